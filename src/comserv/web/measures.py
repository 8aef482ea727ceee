"""Times and amounts for people: relative times, lengths, percentages; sizes come from domain/units.py."""

from datetime import UTC, datetime
from typing import Any

_STEPS = ((172800, 86400, "d"), (7200, 3600, "h"), (120, 60, "min"))


def length(seconds: float) -> str:
    """`4 s`, `14 min`, `7 h`, `12 d`: two digits are enough to read at a glance. app.js does the same."""
    for limit, unit, name in _STEPS:
        if seconds >= limit:
            return f"{int(seconds // unit)} {name}"
    return f"{max(0, int(seconds))} s"


def took(seconds: float) -> str:
    """How long something took: `0.4 s`, `28 s`, `1 min 52 s`, `3 h 5 min`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def ago(when: datetime, now: datetime) -> str:
    return f"{length((now - when).total_seconds())} ago"


def until(when: datetime, now: datetime) -> str:
    """`in 14 s`; `now` for what is due. app.js does the same."""
    left = (when - now).total_seconds()
    return f"in {length(left)}" if left >= 1 else "now"


def exact(when: datetime) -> str:
    """`2026-11-24 09:41:12 UTC`."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def percent(part: float | None, whole: float | None = 1.0) -> int | None:
    """Whole per cent of `part` in `whole`, 0 to 100, or None where one is not known."""
    if part is None or not whole:
        return None
    return max(0, min(100, round(100 * part / whole)))


def counted(number: int, one: str, many: str = "") -> str:
    """`1 guest`, `3 guests`, `1,204 guests`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def mebibytes(gib: str) -> Any:
    """`8` → 8192, `0.5` → 512; what is no number is left for the request's own check to refuse."""
    try:
        return round(float(gib.replace(",", ".")) * 1024) if gib else ""
    except (ValueError, OverflowError):
        return gib


def gibibytes(mib: int) -> str:
    """For a form: 8192 → `8`, 512 → `0.5`."""
    return f"{mib / 1024:g}"
