"""kill -9 at every point of a story, and starting again, with real processes on both engines."""

import signal
import time
from pathlib import Path

import pytest

from comserv.domain.audit import Outcome
from comserv.domain.job import JobState
from comserv.persistence import audit, jobs, meta
from comserv.persistence.audit import AuditFilter
from comserv.persistence.database import Database
from comserv.persistence.vault import Vault
from tests.databases import opened
from tests.jobs.driving import STEPS, asked, step_states
from tests.jobs.processes import logs, start_toy, toy, wait_for, world
from tests.jobs.toy import POINTS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

EVERYWHERE = {"start", "settling", "end"} | {f"{step}-{point}" for step in STEPS for point in POINTS}


async def test_a_job_killed_at_every_point_in_turn_ends_as_if_it_never_was(
    database_url: str, vault: Vault, tmp_path: Path
) -> None:
    async with opened(database_url, vault) as database:
        job = await asked(database, "rack")
        kills = 0
        while (process := start_toy(database_url, tmp_path)).poll() is None:
            if await _killed_or_ended(database, job.id, process):
                break
            kills += 1
            assert kills <= len(EVERYWHERE), logs(tmp_path)
        process.terminate()
        assert process.wait(10) == 0, logs(tmp_path)
        async with database.read() as tx:
            done = await jobs.get(tx, job.id)
            counted = [await meta.get(tx, name) for name in (*STEPS, "settled")]
            entries = (await audit.page(tx, AuditFilter())).items
    assert {path.name.removeprefix("killed-") for path in tmp_path.glob("killed-*")} == EVERYWHERE
    assert kills == len(EVERYWHERE) == 24
    assert (done.state, done.attempt, done.result) == (JobState.SUCCEEDED, 1, {name: name for name in STEPS})
    assert step_states(done) == ["done"] * 3
    assert [text for text, _ in world(tmp_path)] == list(STEPS), "each thing was done to the server exactly once"
    assert counted == ["1"] * 4
    assert [entry.outcome for entry in entries] == [Outcome.SUCCEEDED]


async def _killed_or_ended(database: Database, job_id: str, process: object) -> bool:
    """Whether the job has ended; False when the process died first."""
    import asyncio

    async with asyncio.timeout(30):
        while process.poll() is None:  # type: ignore[attr-defined]
            async with database.read() as tx:
                if (await jobs.get(tx, job_id)).state.ended:
                    return True
            await asyncio.sleep(0.02)
    assert process.returncode == -signal.SIGKILL  # type: ignore[attr-defined]
    return False


def test_a_second_process_on_the_same_folder_is_kept_off_until_the_first_is_killed(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/comserv.db"
    with toy(url, tmp_path) as first:
        second = start_toy(url, tmp_path)
        assert second.wait(20) == 1
        assert f"Another Comserv serves {tmp_path} (process {first.pid})" in logs(tmp_path)
        first.send_signal(signal.SIGKILL)
        first.wait()
        began = time.monotonic()
        with toy(url, tmp_path) as third:
            wait_for(tmp_path / f"ready-{third.pid}", third)
    assert time.monotonic() - began < 20
