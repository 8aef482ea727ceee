"""When to try again: a back-off that grows and is spread by chance, and the breaker that it makes up. Times in seconds."""

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST, MOST, BREAKS_AFTER = 2.0, 60.0, 3


def back_off(failures: int, chance: float, first: float = FIRST, most: float = MOST) -> timedelta:
    """How long to wait after so many failures in a row (1 and more): doubling from `first` to `most`.

    chance: 0 to 1, given by the caller, spreads the wait over its upper half, so that many servers that went down
    together are not asked again together.
    """
    whole = min(most, first * 2.0 ** min(max(failures, 1) - 1, 30))
    return timedelta(seconds=whole * (0.5 + 0.5 * min(max(chance, 0.0), 1.0)))


@dataclass(frozen=True)
class Breaker:
    """Of one server. failures: in a row; next_try: before it nothing is sent, None while it is closed."""

    failures: int = 0
    next_try: datetime | None = None

    def open(self, now: datetime) -> bool:
        """Nothing may be sent now."""
        return self.next_try is not None and now < self.next_try

    def failed(self, now: datetime, chance: float) -> "Breaker":
        """After a call that got no answer. It opens at the third in a row; then one call at a time is let through."""
        failures = self.failures + 1
        next_try = now + back_off(failures - BREAKS_AFTER + 1, chance) if failures >= BREAKS_AFTER else None
        return Breaker(failures, next_try)

    def answered(self) -> "Breaker":
        return Breaker()
