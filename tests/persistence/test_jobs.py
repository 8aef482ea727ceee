"""Jobs, their secrets and calls, on both engines."""

import asyncio
import time
from dataclasses import replace

import pytest
from sqlalchemy import insert, text

from comserv.domain.errors import Conflict, Invalid, NotFound, Problem, ProxmoxSaid, SecretsMissing
from comserv.domain.job import (
    CallRecord,
    JobKind,
    JobSecret,
    JobState,
    RunningTask,
    StepState,
    Waiting,
    WaitReason,
)
from comserv.persistence import idempotency, jobcalls, jobs, jobsecrets, tables
from comserv.persistence.database import Database
from comserv.persistence.jobs import JobFilter
from tests.databases import FakeClock
from tests.persistence.examples import AT, a_job, with_job

pytestmark = pytest.mark.anyio


async def test_a_job_comes_back_as_it_was_saved_with_every_field_of_it_and_of_its_steps(
    database: Database, clock: FakeClock
) -> None:
    async with database.write() as tx:
        job = await with_job(tx)
        step = replace(
            job.steps[1],
            state=StepState.RUNNING,
            text="Cloning",
            started=AT,
            upid="UPID:pve1:…",
            percent=12.5,
            log=("one", "two\0"),
            intent={"vmid": 105},
            result={"a": [1, None]},
            note="n",
        )
        changed = replace(
            job,
            state=JobState.RUNNING,
            vmid=106,
            node="pve2",
            started=AT,
            waiting=Waiting(WaitReason.LOCK, AT, AT, "locked"),
            held_since=AT,
            steps=(job.steps[0], step, job.steps[2]),
            result={"vmid": 106},
            warnings=("careful",),
            error=Problem("code", "title", "detail", "cure", ProxmoxSaid(500, "no", {"vmid": "taken"})),
        )
        await jobs.save_step(tx, job.id, step)
        saved = await jobs.save(tx, changed)
    async with database.read() as tx:
        kept = await jobs.get(tx, job.id)
    assert saved.revision == 2
    cleaned = replace(step, log=("one", "two\ufffd"))
    assert kept == replace(saved, steps=(job.steps[0], cleaned, job.steps[2]))


async def test_ids_sort_by_time_and_are_never_equal(clock: FakeClock) -> None:
    ids = [jobs.new_id(clock())]
    for _ in range(200):
        clock.advance(milliseconds=1)
        ids += [jobs.new_id(clock()), jobs.new_id(clock())]
    assert len(set(ids)) == len(ids) and all(len(job_id) == 16 for job_id in ids)
    assert [job_id[:10] for job_id in ids] == sorted(job_id[:10] for job_id in ids)


async def test_pages_by_cursor_hold_every_job_once_newest_first_also_while_new_ones_come(database: Database) -> None:
    async with database.write() as tx:
        made = [await with_job(tx) for _ in range(25)]
    seen: list[str] = []
    cursor = None
    while True:
        async with database.read() as tx:
            page = await jobs.page(tx, JobFilter(), limit=10, cursor=cursor)
        seen += [job.id for job in page.items]
        async with database.write() as tx:
            await with_job(tx)
        cursor = page.next_cursor
        if cursor is None:
            break
        assert cursor.isascii() and "=" not in cursor and "+" not in cursor and "/" not in cursor
    assert seen == [job.id for job in reversed(made)]


async def test_the_list_filters_by_state_server_guest_person_and_kind(database: Database) -> None:
    async with database.write() as tx:
        first = await with_job(tx)
        power = await with_job(tx, server="lab", kind=JobKind.POWER, requested_by="ben")
        other = await with_job(tx, vmid=7)
        await jobs.save(tx, replace(other, state=JobState.FAILED))

        async def ids(**wanted: object) -> list[str]:
            return [job.id for job in (await jobs.page(tx, JobFilter(**wanted))).items]  # type: ignore[arg-type]

        assert await ids(states=(JobState.FAILED, JobState.SUCCEEDED)) == [other.id]
        assert await ids(server="lab") == [power.id]
        assert await ids(server="rack", vmid=105) == [first.id]
        assert await ids(person="ben") == [power.id]
        assert await ids(kinds=(JobKind.CREATE_VM,)) == [other.id, first.id]


@pytest.mark.parametrize("cursor", ["nonsense!", "AAAA", "W10", "WzFd", "ÿ"])
async def test_a_cursor_that_no_list_handed_out_is_refused_in_words(database: Database, cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        async with database.read() as tx:
            await jobs.page(tx, JobFilter(), cursor=cursor)
    assert "cursor" in refused.value.fields


@pytest.mark.parametrize("limit", [0, -1, 501])
async def test_a_limit_beyond_500_is_refused(database: Database, limit: int) -> None:
    with pytest.raises(Invalid):
        async with database.read() as tx:
            await jobs.page(tx, JobFilter(), limit=limit)


async def test_a_page_out_of_ten_thousand_jobs_takes_milliseconds_wherever_it_lies(database: Database) -> None:
    columns = jobs._columns(a_job())
    steps = jobs._step_columns(a_job().steps[0])
    ids = [f"x{number:015d}" for number in range(10_000)]
    async with database.write() as tx:
        rows = [
            {"id": job, "created": AT, "attempt": 1, "revision": 1, **columns, "queued": AT, "state": "succeeded"}
            for job in ids
        ]
        await tx.execute(insert(tables.jobs), rows)
        await tx.execute(insert(tables.job_steps), [{"job": job, "position": 0, **steps} for job in ids])
    if database.postgresql:
        async with database.write() as tx:
            await tx.execute(text("ANALYZE"))
    times = []
    for wanted in (
        JobFilter(),
        JobFilter(states=(JobState.SUCCEEDED,)),
        JobFilter(server="rack"),
        JobFilter(person="anna"),
    ):
        cursor = None
        for _ in range(5):
            began = time.perf_counter()
            async with database.read() as tx:
                page = await jobs.page(tx, wanted, limit=50, cursor=cursor)
            times.append(time.perf_counter() - began)
            assert len(page.items) == 50
            cursor = jobs.encode_cursor(f"x{int(page.items[-1].id[1:]) - 1500:015d}")
    assert sorted(times)[len(times) // 2] < 0.05


async def test_a_cancel_is_written_beside_what_the_driver_writes_and_comes_to_it_with_its_next_save(
    database: Database,
) -> None:
    async with database.write() as tx:
        job = await with_job(tx)
    async with database.write() as tx:
        asked = await jobs.request_cancel(tx, job.id, RunningTask.STOP)
    async with database.write() as tx:
        saved = await jobs.save(tx, replace(job, state=JobState.RUNNING))
    assert (saved.cancel_requested, saved.running_task) == (True, RunningTask.STOP)
    assert saved.revision == asked.revision + 1 == 3


async def test_an_ended_job_cannot_be_cancelled_and_an_unknown_one_is_not_found(database: Database) -> None:
    async with database.write() as tx:
        job = await with_job(tx)
        await jobs.save(tx, replace(job, state=JobState.SUCCEEDED))
        with pytest.raises(Conflict):
            await jobs.request_cancel(tx, job.id)
        with pytest.raises(NotFound):
            await jobs.request_cancel(tx, "none")


async def test_a_retry_keeps_what_is_done_and_what_was_intended_and_asks_anew_for_the_rest(
    database: Database, clock: FakeClock
) -> None:
    async with database.write() as tx:
        job = await with_job(tx)
        done = replace(job.steps[0], state=StepState.DONE, result={"vmid": 105}, ended=AT)
        failed = replace(
            job.steps[1], state=StepState.FAILED, intent={"vmid": 105}, upid="UPID:x", started=AT, ended=AT
        )
        for step in (done, failed):
            await jobs.save_step(tx, job.id, step)
        problem = Problem("x", "failed")
        await jobs.save(tx, replace(job, state=JobState.FAILED, ended=AT, error=problem, warnings=("w",)))
    clock.advance(hours=1)
    async with database.write() as tx:
        again = await jobs.retry(tx, job.id, {})
    assert (again.id, again.state, again.attempt) == (job.id, JobState.QUEUED, 2)
    assert (again.error, again.ended, again.warnings, again.queued) == (None, None, (), clock())
    assert again.steps[0] == done
    assert again.steps[1] == replace(failed, state=StepState.WAITING, started=None, ended=None)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED])
async def test_only_failed_and_cancelled_jobs_are_tried_again(database: Database, state: JobState) -> None:
    async with database.write() as tx:
        job = await with_job(tx)
        await jobs.save(tx, replace(job, state=state))
    with pytest.raises(Conflict, match=str(state)):
        async with database.write() as tx:
            await jobs.retry(tx, job.id, {})


async def test_two_retries_at_once_make_one_attempt(database: Database) -> None:
    async with database.write() as tx:
        job = await with_job(tx)
        await jobs.save(tx, replace(job, state=JobState.FAILED))

    async def retry() -> bool:
        try:
            async with database.write() as tx:
                await jobs.retry(tx, job.id, {})
                return True
        except Conflict:
            return False

    assert sorted(await asyncio.gather(*(retry() for _ in range(4)))) == [False, False, False, True]
    async with database.read() as tx:
        assert (await jobs.get(tx, job.id)).attempt == 2


async def test_a_secret_is_encrypted_read_back_and_gone_when_it_is_forgotten(database: Database) -> None:
    async with database.write() as tx:
        job = await jobs.add(tx, a_job(), [JobSecret("cloud_init.password", "configure", "geheim")])
        stored = (await tx.execute(tables.job_secrets.select())).one()
        assert b"geheim" not in stored.value
        assert await jobsecrets.read(tx, job.id, "cloud_init.password") == "geheim"
        await jobsecrets.forget(tx, job.id)
        assert await jobsecrets.read(tx, job.id, "cloud_init.password") is None
        assert await jobsecrets.read(tx, job.id, "other") is None


async def test_a_retry_names_the_secrets_that_it_needs_anew_unless_their_step_is_done(database: Database) -> None:
    secrets = [JobSecret("token", "reserve", "one"), JobSecret("cloud_init.password", "configure", "two")]
    async with database.write() as tx:
        job = await jobs.add(tx, a_job(), secrets)
        await jobsecrets.forget(tx, job.id)
        await jobs.save_step(tx, job.id, replace(job.steps[0], state=StepState.DONE))
        await jobs.save(tx, replace(job, state=JobState.FAILED))
    with pytest.raises(SecretsMissing) as missing:
        async with database.write() as tx:
            await jobs.retry(tx, job.id, {})
    assert missing.value.names == ("cloud_init.password",)
    async with database.write() as tx:
        await jobs.retry(tx, job.id, {"cloud_init.password": "three", "unasked": "x"})
        assert await jobsecrets.read(tx, job.id, "cloud_init.password") == "three"


async def test_calls_come_back_in_the_order_in_which_they_were_sent(database: Database) -> None:
    calls = [CallRecord(AT, "POST", f"/x/{n}", {"newid": "105"}, 500, 1.5, "UPID", "reply") for n in range(5)]
    async with database.write() as tx:
        job = await with_job(tx)
        await jobcalls.record(tx, job.id, calls)
        first = await jobcalls.page(tx, job.id, limit=3)
        rest = await jobcalls.page(tx, job.id, limit=3, cursor=first.next_cursor)
    assert [*first.items, *rest.items] == calls and rest.next_cursor is None


async def test_old_jobs_are_removed_with_all_that_hangs_on_them(database: Database, clock: FakeClock) -> None:
    async with database.write() as tx:
        old, running = await with_job(tx), await with_job(tx)
        await idempotency.claim(tx, "anna", "key", {}, old.id)
        await jobcalls.record(tx, old.id, [CallRecord(AT, "GET", "/", {}, 200, 1.0)])
        await jobs.save(tx, replace(old, state=JobState.SUCCEEDED, ended=AT))
        clock.advance(days=1)
        assert await jobs.remove_ended_before(tx, clock()) == 1
        assert [job.id for job in (await jobs.page(tx, JobFilter())).items] == [running.id]
        for table in (tables.job_calls, tables.idempotency):
            assert (await tx.execute(table.select())).all() == []
