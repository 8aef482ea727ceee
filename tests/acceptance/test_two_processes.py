"""Two Comserv processes on one PostgreSQL: one that drives a creation is killed, hangs, or is cut off from the database.

The other takes over and ends the job: one VM as asked, and whoever comes back late writes nothing and sends nothing.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.acceptance import moments
from tests.acceptance.campaign import Campaign
from tests.acceptance.creations import Creation, chosen
from tests.acceptance.harness import Instance, Simulated, address_of, instance, logs_shown, register, simulated, until
from tests.acceptance.moments import Moment
from tests.acceptance.rows import Rows
from tests.databases import Cluster
from tests.jobs.processes import Wire

LATE_WRITES = 4.0  # seconds in which a process that came back would write what it must not
KILLED_AT = (("clone", "task"), ("configure", "reading"), ("grow", "arrives_late"), ("start", "reply_pending"))
HANGS_AT = (("clone", "task"), ("configure", "reading"), ("grow", "task"), ("start", "arrives_late"))
CUT_OFF_AT = (("clone", "task"), ("configure", "task"))


@dataclass
class Pair:
    """Two processes over one database and one server."""

    both: list[Instance]
    server: Simulated
    campaign: Campaign

    def epoch(self, one: Instance) -> int:
        """The last one with which it owned the server, by its own log; 0 where it never did."""
        lines = [line for line in one.log.read_text().splitlines() if '"server owned"' in line]
        return max((json.loads(line)["epoch"] for line in lines), default=0)

    @property
    def owner(self) -> Instance:
        return max(self.both, key=self.epoch)

    @property
    def other(self) -> Instance:
        return min(self.both, key=self.epoch)

    async def ask_and_wait_for(self, step: str, name: str) -> tuple[Creation, asyncio.Task[None]]:
        """Asks the process that does not own, and returns at that moment of the creation."""
        number = len(self.campaign.creations)
        random = Random(f"{step}/{name}")
        template = self.server.templates[number % 3]
        creation = chosen(random, number, template, vmid=2000 + number, disk_gb=9, start_after_creation=True)
        moment = moments.moment(step, name, creation, f"{step}-{name}", random)
        await self.server.break_with(*moment.rules)
        self.campaign.comserv = self.other
        carrying_out = asyncio.create_task(self.campaign.carry_out([creation]))
        await until(f"{step}/{name}", lambda: self._come(moment, creation, carrying_out), 60)
        return creation, carrying_out

    async def _come(self, moment: Moment, creation: Creation, carrying_out: "asyncio.Task[None]") -> bool:
        if carrying_out.done():
            carrying_out.result()
        come, _ = await self.campaign.come([(moment, creation)])
        return bool(come)

    async def ended_as(self, creation: Creation) -> dict[str, Any]:
        """The job, as the process tells it that ended it."""
        return await self.owner.get(f"/jobs/{creation.job}")

    async def changes(self) -> list[tuple[str, str]]:
        """What was sent to the server to change something."""
        rows = await self.server.requests()
        return [(row["method"], row["path"]) for row in rows if row["method"] != "GET" and "/agent/" not in row["path"]]


@pytest.fixture
async def pair(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Pair]:
    url = cluster.new_database()
    try:
        async with _pair(tmp_path, url, url) as made:
            yield made
    finally:
        cluster.drop(url)


@asynccontextmanager
async def _pair(folder: Path, first_url: str, second_url: str) -> AsyncIterator[Pair]:
    """The first one owns the server, over `first_url`; both have the same key."""
    key = {"COMSERV_KEY_FILE": str(folder / "key")}
    rows = Rows(second_url)
    with logs_shown(folder):
        async with (
            simulated(folder / "server", "--guests", "3", "--templates", "4") as server,
            instance(folder / "first", "first", COMSERV_DATABASE_URL=first_url, **key) as first,
            instance(folder / "second", "second", first.token, COMSERV_DATABASE_URL=second_url, **key) as second,
        ):
            try:
                await first.start()
                await register(first, server)
                await second.start()
                pair = Pair([first, second], server, Campaign(second, server, rows, Random(1)))
                await pair.campaign.open()
                assert pair.owner is first
                yield pair
            finally:
                rows.close()


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_other_process_ends_the_creation_of_one_that_was_killed(pair: Pair) -> None:
    for step, name in KILLED_AT:
        owner, epoch = pair.owner, pair.epoch(pair.owner)
        _, carrying_out = await pair.ask_and_wait_for(step, name)

        owner.kill()
        await carrying_out

        assert pair.owner is not owner
        assert pair.epoch(pair.owner) > epoch
        await pair.server.mend()
        await owner.start()


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_process_that_hangs_while_it_drives_is_taken_over_and_writes_and_sends_nothing_when_it_wakes(
    pair: Pair,
) -> None:
    for step, name in HANGS_AT:
        owner = pair.owner
        creation, carrying_out = await pair.ask_and_wait_for(step, name)

        owner.stop()
        await carrying_out
        assert pair.owner is not owner
        job, sent = await pair.ended_as(creation), await pair.changes()
        owner.go_on()

        await _stays(pair, owner, job, sent)
        await pair.server.mend()


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_process_cut_off_from_the_database_is_taken_over_and_writes_and_sends_nothing_afterwards(
    cluster: Cluster, tmp_path: Path
) -> None:
    url = cluster.new_database()
    host, port = address_of(url)
    try:
        async with Wire(host, port).laid() as wire:
            through = url.replace(f"{host}:{port}", f"127.0.0.1:{wire.port}")
            async with _pair(tmp_path, through, url) as pair:
                for step, name in CUT_OFF_AT:
                    await _cut_off(pair, wire, step, name)
    finally:
        cluster.drop(url)


async def _cut_off(pair: Pair, wire: Wire, step: str, name: str) -> None:
    first, second = pair.both
    assert pair.owner is first
    creation, carrying_out = await pair.ask_and_wait_for(step, name)

    wire.cut()
    await carrying_out
    assert pair.owner is second
    job, sent = await pair.ended_as(creation), await pair.changes()
    wire.mend()

    await _stays(pair, first, job, sent)
    await pair.server.mend()
    second.kill()  # so that the first one owns again
    await until("the first process owns again", lambda: _owns(pair, first), 30)
    await second.start()


async def _owns(pair: Pair, one: Instance) -> bool:
    return pair.owner is one


async def _stays(pair: Pair, late: Instance, job: dict[str, Any], sent: list[tuple[str, str]]) -> None:
    """The process that came back has heard of all, and changes nothing: neither the job nor the server."""

    async def answers() -> bool:
        status, told = await late.ask("GET", f"/jobs/{job['id']}")
        return status == 200 and told == job

    await until("the late process tells what the other did", answers, 20)
    await asyncio.sleep(LATE_WRITES)
    assert await late.get(f"/jobs/{job['id']}") == job
    assert await pair.changes() == sent
