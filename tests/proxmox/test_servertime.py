"""What time it is on a server, as its replies tell it by the second."""

import time

import pytest

from comserv.proxmox import servertime
from comserv.proxmox.servertime import ServerTime

NOON = "Sun, 01 Mar 2026 12:00:00 GMT"
LATER = "Sun, 01 Mar 2026 17:00:00 GMT"


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch):
    """Sets the monotonic clock."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(servertime, "monotonic", lambda: seconds)

    return set_to


def told(clock: ServerTime) -> str:
    now = clock.now()
    assert now is not None
    return f"{now:%H:%M:%S.%f}"[:10]


def test_nobody_has_told_it_at_first_and_what_is_no_date_tells_nothing() -> None:
    clock = ServerTime()
    clock.told("yesterday", 0, 1)
    clock.told("", 0, 1)
    assert clock.now() is None


def test_it_runs_on_by_a_clock_that_nobody_sets(at) -> None:
    clock = ServerTime()
    clock.told(NOON, 100.0, 100.2)
    at(100.2)
    assert told(clock) == "12:00:00.6"
    at(160.2)
    assert told(clock) == "12:01:00.6"


def test_each_reply_narrows_it_and_a_slow_one_changes_nothing(at) -> None:
    clock = ServerTime()
    clock.told(NOON, 100.0, 100.2)  # between 100.8 and 0 ahead
    clock.told("Sun, 01 Mar 2026 12:00:01 GMT", 100.9, 100.9)  # at least 0.1 s further than it was told
    at(100.9)
    assert told(clock) == "12:00:01.3"
    clock.told(NOON, 90.0, 130.0)
    assert told(clock) == "12:00:01.3"


def test_a_server_whose_clock_is_set_is_followed(at) -> None:
    clock = ServerTime()
    clock.told(NOON, 100.0, 100.2)
    clock.told(LATER, 100.3, 100.4)
    at(100.4)
    assert told(clock).startswith("17:00:0")


def test_our_own_clock_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ServerTime()
    clock.told(NOON, time.monotonic(), time.monotonic())
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert told(clock).startswith("12:00:0")
