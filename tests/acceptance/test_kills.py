"""Killed with SIGKILL at each moment of a creation, with replies lost besides: exactly one VM, as asked, and a job that says so.

Each moment is aimed at once, on SQLite; the campaign (test_campaign.py) kills at drawn moments of everything, also on PostgreSQL.
COMSERV_TEST_SEED gives another seed, COMSERV_TEST_KILLS another number of kills (for long runs).
"""

import asyncio
import os
import time
from pathlib import Path
from random import Random

import pytest

from tests.acceptance.campaign import Campaign, Tally
from tests.acceptance.creations import chosen
from tests.acceptance.harness import SPEED, Simulated, instance, logs_shown, register, simulated, until
from tests.acceptance.moments import STEPS, WRITES, call_of, grid, times_sent
from tests.acceptance.rows import Rows

SEED = os.environ.get("COMSERV_TEST_SEED", "1")
KILLS = int(os.environ.get("COMSERV_TEST_KILLS", str(len(grid()))))
LANES = 3  # installations beside each other: while one starts anew, the others work
ARRIVES_AFTER = 20  # seconds that a call is under way, longer than any restart
AT_ONCE = 5  # creations in a round


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(900)
async def test_a_creation_survives_kills_at_any_moment(tmp_path: Path) -> None:
    began = time.monotonic()
    total = Tally()
    print(f"seed {SEED}; again with COMSERV_TEST_SEED={SEED}")
    with logs_shown(tmp_path):
        async with asyncio.TaskGroup() as group:
            lanes = [group.create_task(_lane(tmp_path / f"lane-{number}", number)) for number in range(LANES)]
        for lane in lanes:
            total.add(lane.result())
    print(f"seed {SEED}: {total}; {time.monotonic() - began:.0f} s")
    assert total.kills >= KILLS
    for step in STEPS:
        assert sum(count for (hit, _), count in total.hits.items() if hit == step) >= KILLS // 30, f"{step}: {total}"
    for step in STEPS[1:5]:
        assert total.hits[step, "sent"] and total.hits[step, "task"], f"{step}: {total}"


async def _lane(folder: Path, number: int) -> Tally:
    """One installation over its share of the kills."""
    random = Random(f"{SEED}/{number}")
    seed = str(random.randint(1, 99))
    async with (
        simulated(folder / "server", "--guests", "4", "--templates", "4", "--seed", seed) as server,
        instance(folder / "comserv") as comserv,
    ):
        await comserv.start()
        await register(comserv, server)
        rows = Rows(f"sqlite+aiosqlite:///{folder / 'comserv' / 'comserv.db'}")
        return await _rounds(Campaign(comserv, server, rows, random), number)


async def _rounds(campaign: Campaign, number: int) -> Tally:
    try:
        await campaign.open()
        wanted = -(-KILLS // LANES)
        aims = _aims(campaign.random, number, wanted)
        while campaign.tally.kills < wanted:
            now, aims = aims[:AT_ONCE], aims[AT_ONCE:]
            await campaign.round(now or campaign.random.sample(grid(), AT_ONCE))
        return campaign.tally
    finally:
        campaign.rows.close()


def _aims(random: Random, number: int, wanted: int) -> list[tuple[str, str]]:
    """A lane's part of the grid, in any order, again and again as far as it is needed."""
    part = grid()[number::LANES]
    found: list[tuple[str, str]] = []
    while len(found) < wanted:
        found += random.sample(part, len(part))
    return found[:wanted]


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_call_that_arrives_after_the_restart_is_waited_for_and_not_sent_again(tmp_path: Path) -> None:
    """All four writes are under way at the kill, and reach the server only when the new process has looked for them."""
    folder, random = tmp_path / "comserv", Random(SEED)
    rows = Rows(f"sqlite+aiosqlite:///{folder / 'comserv.db'}")
    with logs_shown(tmp_path):
        async with (
            simulated(tmp_path / "server", "--guests", "3", "--templates", str(len(WRITES) + 1)) as server,
            instance(folder, COMSERV_OUTCOME_WAIT="30") as comserv,
        ):
            try:
                await comserv.start()
                await register(comserv, server)
                campaign = Campaign(comserv, server, rows, random)
                await campaign.open()
                await _under_way_at_the_kill(campaign, random)
            finally:
                rows.close()


async def _under_way_at_the_kill(campaign: Campaign, random: Random) -> None:
    server = campaign.server
    made = [
        chosen(random, number, server.templates[number], vmid=2000 + number, disk_gb=9, start_after_creation=True)
        for number in range(len(WRITES))
    ]
    await server.break_with(
        *(
            {
                "match": call_of(step, creation),
                "effect": "delay",
                "seconds": ARRIVES_AFTER * SPEED,
                "times": 1,
                "tag": step,
            }
            for step, creation in zip(WRITES, made, strict=True)
        )
    )
    carrying_out = asyncio.create_task(campaign.carry_out(made))
    try:
        await until("all writes are under way", lambda: _all_under_way(server), ARRIVES_AFTER - 1)
        arrived = time.monotonic() + ARRIVES_AFTER + 1
        await campaign.kill()
        assert [campaign.tally.hits[step, "sent"] for step in WRITES] == [1] * len(WRITES)
        await carrying_out
        await asyncio.sleep(arrived - time.monotonic())  # a call that was sent again too early would have overtaken it
    finally:
        carrying_out.cancel()
        await asyncio.gather(carrying_out, return_exceptions=True)
    sent = await server.sent()
    assert {(step, creation.name): times_sent(sent, step, creation) for step in WRITES for creation in made} == {
        (step, creation.name): 1 for step in WRITES for creation in made
    }


async def _all_under_way(server: Simulated) -> bool:
    return not await server.unspent()
