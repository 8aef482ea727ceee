"""The load on a server: counted by what for, bounded by its pace, and the same for whoever looks from another process."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comserv.domain.errors import Forbidden
from comserv.domain.gentleness import PACES, Gentleness
from comserv.domain.load import Load, Purpose, SlowCall, together
from comserv.domain.power import PowerAction
from comserv.jobs.clients import Clients
from comserv.proxmox.limits import Limits, Places
from comserv.services.estate import Estate
from comserv.services.load import Loads
from tests.installed import ADMIN, OPERATOR, VIEWER, Installed, Pve, installed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def usual(comserv: Installed) -> AsyncIterator[Installed]:
    yield comserv
    await comserv.services.loads.set_gentleness(ADMIN, "lab", Gentleness.USUAL)


async def test_requests_are_counted_by_what_they_are_for(comserv: Installed, pve: Pve) -> None:
    guest = await comserv.created()
    assert (
        await comserv.ended(await comserv.services.guests.power(OPERATOR, comserv.key(guest), PowerAction.START))
    ).state
    await comserv.services.guests.live(VIEWER, comserv.key(guest))
    await comserv.plan()
    assert [stage async for stage in comserv.services.servers.test(ADMIN, "lab")]
    view = await comserv.services.loads.get(VIEWER, "lab")
    counted = dict(view.kinds)
    assert view.load and all(counted[purpose] for purpose in Purpose if purpose is not Purpose.LOOK), counted
    assert view.load.slowest and view.load.slowest[0].path.startswith("/") and view.load.slowest[0].ms > 0
    assert (view.breaker, view.pace.calls, view.sweep_seconds) == ("closed", 4, 1.0)


async def test_errors_and_an_open_breaker_are_told(comserv: Installed, pve: Pve) -> None:
    pve.fault("status", {"path": "/cluster/resources"}, status=500, text="broken", times=5)
    await comserv.eventually(lambda: comserv.installation.estate.server("lab").health.failures >= 3)
    view = await comserv.services.loads.get(VIEWER, "lab")
    assert view.load and view.load.errors >= 3 and view.breaker == "open" and view.next_try


async def test_a_gentler_setting_counts_at_once(usual: Installed) -> None:
    await usual.services.loads.set_gentleness(ADMIN, "lab", Gentleness.GENTLE)
    client = await usual.installation.clients.of("lab")
    assert client.server.gentleness is Gentleness.GENTLE
    await usual.eventually(lambda: usual.installation.estate.server("lab").server.gentleness is Gentleness.GENTLE)
    view = await usual.services.loads.get(VIEWER, "lab")
    assert (view.pace.calls, view.sweep_seconds, view.task_pauses[0]) == (2, 3.0, pytest.approx(0.3))
    with pytest.raises(Forbidden):
        await usual.services.loads.set_gentleness(OPERATOR, "lab", Gentleness.EAGER)


async def test_another_process_shows_what_the_owner_asked(pve: Pve, tmp_path: Path) -> None:
    async with installed(pve, tmp_path) as comserv:
        await comserv.eventually(lambda: comserv.installation.estate.server("lab").health.load)
        estate, clients = Estate(comserv.database), Clients(comserv.database)
        await estate.load()
        theirs = Loads(comserv.database, estate, clients, 1.0)
        assert clients.meter("lab").load(comserv.database.process).requests == 0
        health = estate.server("lab").health
        assert health.load and health.load.process == comserv.database.process and health.load.by_purpose[Purpose.SWEEP]
        comserv.database.process = "another"
        seen = await theirs.get(VIEWER, "lab")
        assert seen.load and seen.load.by_purpose[Purpose.SWEEP]


def test_no_pace_is_harder_than_what_is_promised_to_every_server() -> None:
    usual = PACES[Gentleness.USUAL]
    assert (usual.calls, usual.heavy_per_node) == (4, 2)
    for pace in PACES.values():
        assert pace.calls <= 4 and pace.heavy_per_node <= 2 and pace.rarer >= 1


def test_the_loads_of_several_processes_are_one() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    slow = [SlowCall("GET", f"/{n}", n, now, Purpose.PLAN, 200) for n in range(9)]
    one = Load("a", now, {Purpose.SWEEP: 6}, 1, 1, 0, tuple(slow[:4]))
    two = Load("b", now, {Purpose.SWEEP: 1, Purpose.PLAN: 3}, 0, 2, 1, tuple(slow[4:]))
    both = together([one, two])
    assert both and both.by_purpose == {Purpose.SWEEP: 7, Purpose.PLAN: 3} and (both.in_flight, both.waiting) == (3, 1)
    assert [call.ms for call in both.slowest] == [8, 7, 6, 5, 4] and together([]) is None


async def test_fewer_places_let_nobody_in_until_enough_have_left_and_a_cancelled_one_leaves_its_place_to_the_next() -> (
    None
):
    places, inside = Places(2), []

    async def stay(name: str, go: asyncio.Event) -> None:
        async with places:
            inside.append(name)
            await go.wait()
        inside.remove(name)

    leave = [asyncio.Event() for _ in range(4)]
    tasks = [asyncio.create_task(stay(str(n), leave[n])) for n in range(4)]
    await asyncio.sleep(0)
    assert inside == ["0", "1"]
    places.resize(1)
    leave[0].set()
    await asyncio.sleep(0.01)
    assert inside == ["1"]
    tasks[2].cancel()
    leave[1].set()
    await asyncio.sleep(0.01)
    assert inside == ["3"]
    leave[3].set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert inside == []


async def test_a_light_call_always_finds_a_place_beside_heavy_ones() -> None:
    limits, entered = Limits(), []

    async def heavy(node: str) -> None:
        async with limits.place(node):
            entered.append(node)
            await asyncio.sleep(30)

    tasks = [asyncio.create_task(heavy(node)) for node in ("a", "a", "a", "b", "b")]
    await asyncio.sleep(0.01)
    assert len(entered) == 3 and entered.count("a") == 2
    async with asyncio.timeout(1), limits.place():
        pass
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
