"""Figures and calendar events are functions: the same time gives the same answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve_simulator import metrics
from pve_simulator.calendar import BadEvent, coming
from pve_simulator.clock import Clock
from pve_simulator.server import Server
from pve_simulator.tls import Certificates
from pve_simulator.worlds import Plan, make

NOON = 1795521600  # Tuesday, 24 November 2026, 12:00 UTC


@pytest.fixture(scope="module")
def server() -> Server:
    """A server that nobody serves."""
    return Server(make(Plan(guests=30)), Clock(), Certificates.make())


@given(st.text(max_size=8), st.floats(0, 2e9))
def test_a_wave_stays_between_its_heights(key: str, at: float) -> None:
    assert -1 <= metrics.wobble(key, at) <= 1


def test_a_stopped_guest_uses_nothing(server: Server) -> None:
    guest = next(guest for guest in server.estate.guests.values() if not guest.process and guest.type == "qemu")
    figures = metrics.guest_figures(server, guest, server.clock.time())
    assert {figures[name] for name in ("cpu", "mem", "uptime", "netin", "disk")} == {0}
    assert figures["maxmem"] > 0


def test_a_running_guest_stays_within_what_it_was_given_and_its_counters_only_grow(server: Server) -> None:
    guest = next(guest for guest in server.estate.guests.values() if guest.process)
    now = server.clock.time()
    rows = [metrics.guest_figures(server, guest, now + second) for second in range(0, 600, 20)]
    assert all(0 <= row["cpu"] <= 1 and 0 < row["mem"] <= row["maxmem"] for row in rows)
    for name in ("netin", "netout", "diskread", "diskwrite", "uptime"):
        assert [row[name] for row in rows] == sorted(row[name] for row in rows)
    assert len({row["cpu"] for row in rows}) > 1, "it lives"


def test_a_node_carries_the_memory_of_its_guests(server: Server) -> None:
    node, now = server.estate.entry, server.clock.time()
    guests = sum(figures["memhost"] for _, figures in metrics.running_on(server, node.name, now))
    assert guests < metrics.node_figures(server, node, now)["mem"] < node.memory


@pytest.mark.parametrize(
    ("event", "hours"),
    [
        ("13:00", [1, 25]),
        ("*:30", [0.5, 1.5]),
        ("*/15", [0.25, 0.5]),
        ("wed 00:00", [12, 180]),
        ("sat,sun 12:00", [96, 120]),
        ("mon..wed 12:00", [24, 144]),
        ("daily", [12, 36]),
    ],
)
def test_calendar_events_come_when_they_say(event: str, hours: list[float]) -> None:
    assert coming(event, NOON, 2) == [NOON + int(hour * 3600) for hour in hours]


def test_an_event_that_nobody_can_read_is_refused() -> None:
    with pytest.raises(BadEvent, match="unable to parse calendar event - unparsed token 'whenever'"):
        coming("whenever", NOON, 1)
