"""Counts what this process sends to one server: the last minute for people, everything since the start for Prometheus."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic, perf_counter

from comserv.domain.load import SLOWEST_SHOWN, Load, Purpose, SlowCall

MINUTE = 60.0
SLOW_KEPT = timedelta(minutes=10)
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds."""


@dataclass
class Timing:
    """A histogram. bounds: upper ones, in seconds. counts: per bucket, not added up; the last one is of what took longer than all."""

    bounds: tuple[float, ...] = BUCKETS
    counts: list[int] = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        place = next((n for n, bound in enumerate(self.bounds) if seconds <= bound), len(self.bounds))
        self.counts[place] += 1


@dataclass
class Measured:
    """One call on its way. status: set when it was answered."""

    status: int | None = None


class Meter:
    """Of one server; it outlives the client, and is shared with tests of the connection."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.waiting = 0
        self._minute: deque[tuple[float, Purpose, bool]] = deque()
        self._slow: list[SlowCall] = []
        self._timings: defaultdict[tuple[Purpose, str], Timing] = defaultdict(Timing)

    @property
    def timings(self) -> Mapping[tuple[Purpose, str], Timing]:
        """By purpose and class of status: `2xx`, `4xx`, `5xx`, or `none` where no answer came."""
        return self._timings

    @contextmanager
    def waits(self) -> Iterator[None]:
        """While a call waits for its place."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    @contextmanager
    def measured(self, purpose: Purpose, method: str, path: str) -> Iterator[Measured]:
        """While a call is on its way."""
        call, began = Measured(), perf_counter()
        self.in_flight += 1
        try:
            yield call
        finally:
            self.in_flight -= 1
            self._ended(purpose, method, path, call.status, perf_counter() - began)

    def _ended(self, purpose: Purpose, method: str, path: str, status: int | None, seconds: float) -> None:
        self._minute.append((monotonic(), purpose, status is None or status >= 500))
        self._forget()
        self._timings[purpose, f"{status // 100}xx" if status else "none"].add(seconds)
        ms = seconds * 1000
        if len(self._slow) < SLOWEST_SHOWN or ms > self._slow[-1].ms:
            now = datetime.now(UTC)
            self._slow.append(SlowCall(method, path, round(ms, 1), now, purpose, status))
            self._slow = sorted(self._lately(now), key=lambda one: -one.ms)[:SLOWEST_SHOWN]

    def _lately(self, now: datetime) -> list[SlowCall]:
        return [one for one in self._slow if now - one.at < SLOW_KEPT]

    def _forget(self) -> None:
        while self._minute and self._minute[0][0] < monotonic() - MINUTE:
            self._minute.popleft()

    def load(self, process: str) -> Load:
        """As it is now."""
        self._forget()
        now = datetime.now(UTC)
        return Load(
            process=process,
            at=now,
            by_purpose=dict(Counter(purpose for _, purpose, _ in self._minute)),
            errors=sum(bad for _, _, bad in self._minute),
            in_flight=self.in_flight,
            waiting=self.waiting,
            slowest=tuple(self._lately(now)),
        )
