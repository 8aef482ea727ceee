"""Every write of a creation whose reply is lost, without a kill: one VM as asked, and nothing sent twice that was carried out.

All run at once on one server, each with a template's clone of its own kind; how often each call was really sent is counted there.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.acceptance import moments
from tests.acceptance.campaign import Campaign
from tests.acceptance.creations import chosen
from tests.acceptance.harness import Instance, Simulated, instance, logs_shown, register, simulated
from tests.acceptance.moments import WRITES
from tests.acceptance.rows import Rows

SENT = {  # how often the call is sent in all: again only where it was not carried out
    "drop_before": 2,
    "drop_after": 1,
    "error_carried_out": 1,
    "inner_carried_out": 1,
    "inner": 2,
    "garbage": 1,
    "late": 1,
    "slow": 1,
}
CASES = [(step, kind) for step in WRITES for kind in SENT]


@dataclass
class Estate:
    """A Comserv and a server with a template for every case, so that a clone's fault meets its own case."""

    comserv: Instance
    server: Simulated
    campaign: Campaign


@pytest.fixture
async def estate(tmp_path: Path) -> AsyncIterator[Estate]:
    folder = tmp_path / "comserv"
    rows = Rows(f"sqlite+aiosqlite:///{folder / 'comserv.db'}")
    options = ("--guests", "3", "--templates", str(len(CASES) + 1))
    with logs_shown(tmp_path):
        async with simulated(tmp_path / "server", *options) as server, instance(folder) as comserv:
            try:
                await comserv.start()
                await register(comserv, server)
                campaign = Campaign(comserv, server, rows, Random(1))
                await campaign.open()
                yield Estate(comserv, server, campaign)
            finally:
                rows.close()


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(300)
async def test_a_lost_reply_is_no_failure_and_nothing_is_made_twice(estate: Estate) -> None:
    random = Random(7)
    made = [
        chosen(
            random, number, estate.server.templates[number], vmid=2000 + number, disk_gb=9, start_after_creation=True
        )
        for number in range(len(CASES))
    ]
    rules = [
        moments.lost(step, kind, creation, f"{step}-{kind}") for creation, (step, kind) in zip(made, CASES, strict=True)
    ]
    await estate.server.break_with(*rules)

    await estate.campaign.carry_out(made)

    assert not await estate.server.unspent(), "every reply was lost as planned"
    sent = await estate.server.sent()
    wrong = []
    for creation, (step, kind) in zip(made, CASES, strict=True):
        for write in WRITES:
            wanted = SENT[kind] if write == step else 1
            times = moments.times_sent(sent, write, creation)
            if times != wanted:
                wrong.append(f"{step} {kind}: {write} was sent {times} times, not {wanted}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_refusal_in_words_fails_the_job_at_once_with_these_words_and_a_retry_goes_on_from_there(
    estate: Estate,
) -> None:
    random = Random(8)
    made = [
        chosen(
            random, number, estate.server.templates[number], vmid=2000 + number, disk_gb=9, start_after_creation=True
        )
        for number in range(len(WRITES))
    ]
    rules = [
        moments.lost(step, "refused", creation, f"refused-{step}") for creation, step in zip(made, WRITES, strict=True)
    ]
    await estate.server.break_with(*rules)

    await estate.campaign.carry_out(made)

    assert [creation.retries for creation in made] == [1] * len(WRITES)
    sent = await estate.server.sent()
    for creation, step in zip(made, WRITES, strict=True):
        assert {write: moments.times_sent(sent, write, creation) for write in WRITES} == {
            write: 2 if write == step else 1 for write in WRITES
        }
