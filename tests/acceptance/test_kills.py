"""Killed with SIGKILL at any moment of a creation, with replies lost besides: exactly one VM, as asked, and a job that says so.

COMSERV_TEST_SEED gives another seed, COMSERV_TEST_KILLS another number of kills per database (for long runs).
"""

import asyncio
import os
import time
from pathlib import Path
from random import Random

import pytest

from tests.acceptance.campaign import Campaign, Tally
from tests.acceptance.harness import instance, logs_shown, register, simulated
from tests.acceptance.moments import STEPS, grid
from tests.acceptance.rows import Rows
from tests.databases import ENGINES, Cluster

SEED = os.environ.get("COMSERV_TEST_SEED", "1")
KILLS = int(os.environ.get("COMSERV_TEST_KILLS", "60"))
LANES = 2  # installations beside each other: while one starts anew, the other works
AT_ONCE = 5  # creations in a round


@pytest.fixture
def on_cluster(engine: str, request: pytest.FixtureRequest) -> Cluster | None:
    """PostgreSQL where the engine is that."""
    return request.getfixturevalue("cluster") if engine == "postgresql" else None


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ENGINES)
async def test_a_creation_survives_kills_at_any_moment(engine: str, on_cluster: Cluster | None, tmp_path: Path) -> None:
    began = time.monotonic()
    total = Tally()
    print(f"seed {SEED}; again with COMSERV_TEST_SEED={SEED}")
    with logs_shown(tmp_path):
        async with asyncio.TaskGroup() as group:
            lanes = [
                group.create_task(_lane(engine, on_cluster, tmp_path / f"lane-{number}", number))
                for number in range(LANES)
            ]
        for lane in lanes:
            total.add(lane.result())
    print(f"{engine}, seed {SEED}: {total}; {time.monotonic() - began:.0f} s")
    assert total.kills >= KILLS
    for step in STEPS:
        assert sum(count for (hit, _), count in total.hits.items() if hit == step) >= KILLS // 30, f"{step}: {total}"
    for step in STEPS[1:5]:
        assert total.hits[step, "sent"] and total.hits[step, "task"], f"{step}: {total}"


async def _lane(engine: str, cluster: Cluster | None, folder: Path, number: int) -> Tally:
    """One installation over its share of the kills."""
    random = Random(f"{SEED}/{engine}/{number}")
    url = cluster.new_database() if cluster else f"sqlite+aiosqlite:///{folder / 'comserv' / 'comserv.db'}"
    settings = {"COMSERV_DATABASE_URL": url} if cluster else {}
    try:
        async with (
            simulated(
                folder / "server", "--guests", "4", "--templates", "4", "--seed", str(random.randint(1, 99))
            ) as server,
            instance(folder / "comserv", **settings) as comserv,
        ):
            await comserv.start()
            await register(comserv, server)
            return await _rounds(Campaign(comserv, server, Rows(url), random), number)
    finally:
        if cluster:
            cluster.drop(url)


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
