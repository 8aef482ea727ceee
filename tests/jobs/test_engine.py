"""The engine with stories that end, fail, hold, are cancelled and tried again, on both engines."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from comserv.domain.audit import Outcome
from comserv.domain.errors import Problem, ProxmoxSaid, ServerUnreachable
from comserv.domain.guest import GuestKey
from comserv.domain.job import CallRecord, Job, JobKind, JobSecret, JobState, RunningTask, StepState, WaitReason
from comserv.domain.reservation import Reservation
from comserv.jobs.engine import CancelRequested, Hold, LostOwnership, Run, StepFailed, StepRun, Story
from comserv.persistence import audit, jobcalls, jobs, jobsecrets, leases, meta, reservations
from comserv.persistence.audit import AuditFilter
from comserv.persistence.database import Database, Transaction
from comserv.persistence.jobs import JobFilter
from tests.databases import FakeClock
from tests.jobs.driving import STEPS, asked, do_nothing, driven, ended, step_states, tell_three_steps, until
from tests.persistence.examples import AT, a_job, with_server

pytestmark = pytest.mark.anyio


def a_story(tell: Any, **values: Any) -> Story:
    return Story(JobKind.CREATE_VM, STEPS, tell, **values)


async def test_a_job_runs_from_step_to_step_and_ends_with_its_result_and_an_audit_row(
    database: Database, tmp_path: Path
) -> None:
    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell_three_steps)):
        done = await ended(database, job.id)
    assert (done.state, done.result, step_states(done)) == (JobState.SUCCEEDED, {"vmid": 105}, ["done"] * 3)
    assert done.started and done.ended and done.attempt == 1 and done.waiting is None
    async with database.read() as tx:
        (entry,) = (await audit.page(tx, AuditFilter())).items
    assert (entry.who, entry.action, entry.object, entry.outcome, entry.job) == (
        "anna",
        "create_vm",
        "guest rack/105",
        Outcome.SUCCEEDED,
        job.id,
    )


async def test_a_job_asked_for_while_the_engine_runs_begins_at_once_also_on_a_server_just_added(
    database: Database, tmp_path: Path
) -> None:
    async with driven(database, tmp_path, a_story(tell_three_steps)):
        await ended(database, (await asked(database, "rack")).id)
        await ended(database, (await asked(database)).id, seconds=2)
        await ended(database, (await asked(database, "lab", server="lab")).id, seconds=5)


async def test_a_step_that_is_done_gives_back_its_result_as_it_was_stored_and_is_not_done_again(
    database: Database, tmp_path: Path
) -> None:
    acted: list[str] = []
    results: list[Mapping[str, Any]] = []

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> dict[str, Any]:
            acted.append("clone")
            return {"at": AT, "pair": (1, 2)}

        async def configure(step: StepRun) -> None:
            acted.append("configure")
            if len(acted) == 2:
                raise Hold(WaitReason.LOCK, "locked", run.now())

        await run.step("reserve", do_nothing)
        results.append(await run.step("clone", clone))
        await run.step("configure", configure)
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        await ended(database, job.id)
    assert acted == ["clone", "configure", "configure"]
    assert results == [{"at": "2026-03-01T12:00:00Z", "pair": [1, 2]}] * 2


async def test_what_a_step_writes_with_its_intent_and_with_its_end_is_committed_with_them_or_not_at_all(
    database: Database, tmp_path: Path
) -> None:
    async def put(tx: Transaction) -> None:
        await meta.put(tx, "intended", "yes")

    async def fail(tx: Transaction) -> None:
        await meta.put(tx, "done", "yes")
        raise ServerUnreachable("not now", server="rack")

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> dict[str, Any]:
            await step.intend({"vmid": 105}, put)
            step.on_done(fail)
            return {"vmid": 105}

        await run.step("clone", clone)
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        failed = await ended(database, job.id)
    async with database.read() as tx:
        assert (await meta.get(tx, "intended"), await meta.get(tx, "done")) == ("yes", None)
    assert (failed.step("clone").state, failed.step("clone").intent) == (StepState.FAILED, {"vmid": 105})


async def test_an_error_of_a_server_fails_the_job_with_its_words_and_leaves_the_rest_waiting(
    database: Database, tmp_path: Path
) -> None:
    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> None:
            raise ServerUnreachable("no route", server="rack", said=ProxmoxSaid(595, "No route to host"))

        await run.step("reserve", do_nothing)
        await run.step("clone", clone)
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        failed = await ended(database, job.id)
    assert failed.state is JobState.FAILED and failed.error is not None
    assert (failed.error.code, failed.error.proxmox) == ("server_unreachable", ProxmoxSaid(595, "No route to host"))
    assert step_states(failed) == ["done", "failed", "waiting"]
    assert failed.step("clone").note == failed.error.title


async def test_a_story_can_fail_a_step_with_a_problem_of_its_own(database: Database, tmp_path: Path) -> None:
    problem = Problem("gone", "The guest was deleted meanwhile.", "105", "Look at the list.")

    async def tell(run: Run) -> dict[str, Any]:
        raise StepFailed(problem)

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        assert (await ended(database, job.id)).error == problem


async def test_a_fault_of_ours_fails_the_job_and_says_so_without_telling_secrets(
    database: Database, tmp_path: Path
) -> None:
    async def tell(run: Run) -> dict[str, Any]:
        raise KeyError("geheim")

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        error = (await ended(database, job.id)).error
    assert error is not None and error.code == "internal_fault"
    assert job.id in error.cure and "KeyError" in error.detail and "geheim" not in repr(error)


async def test_a_kind_of_job_without_a_story_fails_instead_of_waiting_for_ever(
    database: Database, tmp_path: Path
) -> None:
    job = await asked(database, "rack", kind=JobKind.POWER)
    async with driven(database, tmp_path, a_story(tell_three_steps)):
        error = (await ended(database, job.id)).error
    assert error is not None and error.code == "no_story"


async def test_warnings_place_notes_and_calls_are_saved_with_the_job(database: Database, tmp_path: Path) -> None:
    call = CallRecord(AT, "POST", "/clone", {"newid": "200"}, 200, 12.5)

    async def tell(run: Run) -> dict[str, Any]:
        async def reserve(step: StepRun) -> dict[str, Any]:
            run.place(vmid=200, node="pve2")
            run.warn("careful")
            run.warn("careful")
            step.note("chosen anew")
            run.record(call)
            return {}

        await run.step("reserve", reserve)
        await run.skip("clone", "not needed")
        return {"ok": True}

    job = await asked(database, "rack", vmid=None)
    async with driven(database, tmp_path, a_story(tell)):
        done = await ended(database, job.id)
    assert (done.vmid, done.node, done.warnings) == (200, "pve2", ("careful",))
    assert done.step("reserve").note == "chosen anew"
    assert (done.step("clone").state, done.step("clone").note) == (StepState.SKIPPED, "not needed")
    assert done.step("configure").state is StepState.SKIPPED
    async with database.read() as tx:
        assert (await jobcalls.page(tx, job.id)).items == (call,)


async def test_progress_is_saved_at_most_twice_a_second_and_the_last_of_it_always(
    database: Database, tmp_path: Path
) -> None:
    revisions: list[int] = []

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> None:
            for percent in range(100):
                await step.progress(percent=percent, log=[f"line {n}" for n in range(percent)])
            revisions.append(run.job.revision)
            async with asyncio.timeout(5):
                while run.job.step("clone").percent != 99:
                    await asyncio.sleep(0.05)
            revisions.append(run.job.revision)
            await step.progress(text="almost", percent=100)

        await run.step("clone", clone)
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        step = (await ended(database, job.id)).step("clone")
    assert revisions[1] == revisions[0] + 1 and revisions[0] <= 4
    assert (step.percent, step.text, len(step.log)) == (100, "almost", 99)


async def test_a_step_does_not_wait_for_its_progress_to_be_due(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comserv.jobs.run.PROGRESS_SECONDS", 3600)

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> None:
            await step.intend({"sent": True})
            await step.progress(percent=7)

        await run.step("clone", clone)
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        assert (await ended(database, job.id)).step("clone").percent == 7


# --- hold


def holding(*holds: Hold, seen: list[str] | None = None) -> Story:
    """A story whose step clone is held with one hold after the other, and then done."""
    left = list(holds)

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> None:
            if seen is not None:
                seen.append(step.intent.get("sent", ""))
            if left:
                hold = left.pop(0)
                if "sent" in hold.text:
                    await step.intend({"sent": hold.text})
                raise hold

        await run.step("reserve", do_nothing)
        await run.step("clone", clone)
        return {}

    return a_story(tell)


async def test_a_held_job_shows_why_since_when_and_until_when_and_goes_on_by_itself(
    database: Database, tmp_path: Path, clock: FakeClock
) -> None:
    begin = clock()
    hold = Hold(WaitReason.SERVER_DOWN, "rack does not answer", begin + timedelta(seconds=30))
    job = await asked(database, "rack")
    async with driven(database, tmp_path, holding(hold), sleep=clock.sleep):
        held = await until(database, job.id, lambda job: job.waiting)
        assert held.waiting is not None and held.state is JobState.RUNNING
        assert (held.waiting.reason, held.waiting.text) == (WaitReason.SERVER_DOWN, "rack does not answer")
        assert (held.waiting.since, held.waiting.next_try) == (begin, begin + timedelta(seconds=30))
        assert held.step("clone").state is StepState.RUNNING
        await until_asleep(clock)
        clock.advance(seconds=29)
        await asyncio.sleep(0.1)
        async with database.read() as tx:
            assert not (await jobs.get(tx, job.id)).state.ended
        clock.advance(seconds=1)
        done = await ended(database, job.id)
    assert (done.state, done.waiting, done.held_since) == (JobState.SUCCEEDED, None, None)


@pytest.mark.parametrize("by", ["job", "server"])
async def test_a_held_job_is_woken_at_once(database: Database, tmp_path: Path, clock: FakeClock, by: str) -> None:
    job = await asked(database, "rack")
    async with driven(database, tmp_path, holding(Hold(WaitReason.LOCK, "locked")), sleep=clock.sleep) as engine:
        await until(database, job.id, lambda job: job.waiting)
        engine.wake("another")
        engine.wake_server("another")
        engine.wake(job.id) if by == "job" else engine.wake_server("rack")
        assert (await ended(database, job.id)).state is JobState.SUCCEEDED


async def test_a_step_entered_again_sees_what_was_intended_before(
    database: Database, tmp_path: Path, clock: FakeClock
) -> None:
    seen: list[str] = []
    job = await asked(database, "rack")
    holds = [Hold(WaitReason.OUTCOME_UNKNOWN, f"sent {n}", clock()) for n in range(2)]
    async with driven(database, tmp_path, holding(*holds, seen=seen), sleep=clock.sleep):
        await ended(database, job.id)
    assert seen == ["", "sent 0", "sent 1"]


async def test_a_job_held_for_24_hours_without_getting_anywhere_fails_truly_whatever_held_it(
    database: Database, tmp_path: Path, clock: FakeClock
) -> None:
    problem = ServerUnreachable("no route", server="rack").problem()

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> None:
            reason = WaitReason.LOCK if clock().hour % 2 else WaitReason.SERVER_DOWN
            await step.intend({"tried": clock().hour})
            raise Hold(reason, "still nothing", run.later(3600), problem=problem)

        await run.step("clone", clone)
        return {}

    begin = clock()
    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell), sleep=clock.sleep):
        for hour in range(1, 25):
            held = await until(database, job.id, lambda job: tries_later_than(job, clock()))
            assert held.waiting is not None and held.waiting.since == begin, hour
            await until_asleep(clock)
            clock.advance(hours=1)
        failed = await ended(database, job.id)
    assert failed.state is JobState.FAILED and failed.error is not None
    assert failed.error.code == "held_too_long" and "24 h" in failed.error.title
    assert problem.title in failed.error.detail and problem.cure in failed.error.cure


async def test_the_time_of_holding_begins_anew_once_a_task_was_started(
    database: Database, tmp_path: Path, clock: FakeClock
) -> None:
    entries: list[int] = []

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> None:
            entries.append(1)
            if len(entries) == 2:
                await step.task("UPID:1")
            if len(entries) < 4:
                raise Hold(WaitReason.SERVER_DOWN, f"try {len(entries)}")

        await run.step("clone", clone)
        return {}

    begin = clock()
    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell), sleep=clock.sleep) as engine:
        for hours, since in ((20, begin), (20, begin + timedelta(hours=20)), (3, begin + timedelta(hours=20))):
            text = f"try {len(entries) + (0 if entries else 1)}"
            held = await until(database, job.id, lambda job: job.waiting and job.waiting.text == text)  # noqa: B023
            assert held.waiting is not None and held.waiting.since == since
            await until_asleep(clock)
            clock.advance(hours=hours)
            async with database.changes.subscribe() as changes:
                engine.wake(job.id)
                await asyncio.wait_for(changes.get(), 5)
            await asyncio.sleep(0.05)
        assert (await ended(database, job.id)).state is JobState.SUCCEEDED


def tries_later_than(job: Job, now: datetime) -> bool:
    return job.waiting is not None and job.waiting.next_try is not None and job.waiting.next_try > now


async def until_asleep(clock: FakeClock) -> None:
    async with asyncio.timeout(5):
        while not clock.sleepers:
            await asyncio.sleep(0.01)


# --- cancel


async def test_a_cancel_ends_a_job_between_steps_and_it_says_what_remains(database: Database, tmp_path: Path) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> dict[str, Any]:
            await step.task("UPID:1")
            reached.set()
            await go.wait()
            assert run.cancel_requested and run.running_task is RunningTask.FINISH
            return {"cloned": True}

        await run.step("clone", clone)
        await run.step("configure", do_nothing)
        raise AssertionError("not reached")

    async def remains(run: Run) -> str:
        return f"The VM {run.job.vmid} stands there, not configured."

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell, on_cancel=remains)):
        await reached.wait()
        async with database.write() as tx:
            asked_for = await jobs.request_cancel(tx, job.id)
        assert (asked_for.state, asked_for.cancel_requested) == (JobState.RUNNING, True)
        await asyncio.sleep(0.2)
        go.set()
        cancelled = await ended(database, job.id)
    assert cancelled.state is JobState.CANCELLED and cancelled.error is None
    assert step_states(cancelled) == ["waiting", "done", "waiting"]
    assert cancelled.warnings == ("The VM 105 stands there, not configured.",)


async def test_a_story_hears_of_a_cancel_within_a_step_and_may_stop_its_task_and_end(
    database: Database, tmp_path: Path
) -> None:
    stopped: list[str] = []
    reached = asyncio.Event()

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> None:
            await step.task("UPID:1")
            reached.set()
            assert await run.pause(30)
            assert run.running_task is RunningTask.STOP
            stopped.append(step.upid)
            raise CancelRequested

        await run.step("clone", clone)
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        await reached.wait()
        async with database.write() as tx:
            await jobs.request_cancel(tx, job.id, RunningTask.STOP)
        cancelled = await ended(database, job.id, seconds=5)
    assert stopped == ["UPID:1"] and cancelled.state is JobState.CANCELLED
    assert (cancelled.step("clone").state, cancelled.step("clone").note) == (StepState.FAILED, "Cancelled.")


async def test_a_held_job_can_be_cancelled_and_one_whose_outcome_is_unknown_is_looked_at_first(
    database: Database, tmp_path: Path, clock: FakeClock
) -> None:
    entries: list[bool] = []

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> None:
            entries.append(run.cancel_requested)
            await step.intend({"sent": True})
            if len(entries) < 3:
                raise Hold(WaitReason.OUTCOME_UNKNOWN, "sent, no reply", cancellable=False)
            raise Hold(WaitReason.SERVER_DOWN, "down")

        await run.step("clone", clone)
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell), sleep=clock.sleep) as engine:
        await until(database, job.id, lambda job: job.waiting)
        async with database.write() as tx:
            await jobs.request_cancel(tx, job.id)
        async with asyncio.timeout(5):
            while len(entries) < 2:
                await asyncio.sleep(0.01)
        await until_asleep(clock)
        async with database.read() as tx:
            assert (await jobs.get(tx, job.id)).state is JobState.RUNNING
        engine.wake(job.id)
        cancelled = await ended(database, job.id)
    assert cancelled.state is JobState.CANCELLED and entries == [False, True, True]


async def test_a_job_that_waits_in_line_is_cancelled_without_ever_beginning(database: Database, tmp_path: Path) -> None:
    go = asyncio.Event()

    async def tell(run: Run) -> dict[str, Any]:
        await go.wait()
        return {}

    first, second = await asked(database, "rack"), await asked(database)
    async with driven(database, tmp_path, a_story(tell)):
        await until(database, second.id, lambda job: job.waiting)
        async with database.write() as tx:
            await jobs.request_cancel(tx, second.id)
        cancelled = await ended(database, second.id)
        go.set()
        assert (await ended(database, first.id)).state is JobState.SUCCEEDED
    assert (cancelled.state, cancelled.started, cancelled.waiting) == (JobState.CANCELLED, None, None)


# --- retry


async def test_a_failed_job_tried_again_goes_on_where_it_stopped_with_the_same_id(
    database: Database, tmp_path: Path
) -> None:
    acted: list[tuple[str, str]] = []

    async def tell(run: Run) -> dict[str, Any]:
        async def reserve(step: StepRun) -> dict[str, Any]:
            acted.append(("reserve", ""))
            return {"vmid": 200}

        async def clone(step: StepRun) -> dict[str, Any]:
            acted.append(("clone", str(step.intent.get("sent", ""))))
            await step.intend({"sent": "yes"})
            if run.job.attempt == 1:
                raise StepFailed(Problem("full", "The storage is full."))
            return {}

        place = await run.step("reserve", reserve)
        await run.step("clone", clone)
        return dict(place)

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        assert (await ended(database, job.id)).state is JobState.FAILED
        async with database.write() as tx:
            await jobs.retry(tx, job.id, {})
        done = await ended(database, job.id)
    assert acted == [("reserve", ""), ("clone", ""), ("clone", "yes")]
    assert (done.state, done.attempt, done.error, done.result) == (JobState.SUCCEEDED, 2, None, {"vmid": 200})


async def test_a_retry_in_the_very_moment_of_the_end_is_not_lost(database: Database, tmp_path: Path) -> None:
    async def tell(run: Run) -> dict[str, Any]:
        if run.job.attempt < 20:
            raise StepFailed(Problem("again", "again"))
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        for attempt in range(1, 20):
            await until(database, job.id, lambda job: job.state.ended and job.attempt == attempt)  # noqa: B023
            async with database.write() as tx:
                await jobs.retry(tx, job.id, {})
        assert (await ended(database, job.id)).attempt == 20


# --- secrets and reservations


async def test_secrets_are_read_by_the_story_and_gone_when_the_job_has_ended(
    database: Database, tmp_path: Path
) -> None:
    read: list[str | None] = []

    async def tell(run: Run) -> dict[str, Any]:
        read.append(await run.secret("one"))
        read.append(await run.secret("none"))
        raise StepFailed(Problem("no", "no"))

    async with database.write() as tx:
        await with_server(tx)
        job = await jobs.add(tx, a_job(), [JobSecret("one", "clone", "geheim")])
    async with driven(database, tmp_path, a_story(tell)):
        await ended(database, job.id)
    assert read == ["geheim", None]
    async with database.read() as tx:
        assert await jobsecrets.read(tx, job.id, "one") is None


async def test_a_settled_job_frees_what_it_reserved_unless_its_story_keeps_it(
    database: Database, tmp_path: Path
) -> None:
    async def tell(run: Run) -> dict[str, Any]:
        async with run.transaction() as tx:
            await reservations.take(tx, Reservation(GuestKey("rack", run.job.vmid or 0), run.job.id))
        return {}

    async def keep(tx: Transaction, job: Job) -> None:
        await meta.put(tx, "settled", job.state)

    keeping = Story(JobKind.POWER, STEPS, tell, settle=keep)
    one, two = await asked(database, "rack", vmid=200), await asked(database, vmid=201, kind=JobKind.POWER)
    async with driven(database, tmp_path, a_story(tell), keeping):
        await ended(database, one.id)
        await ended(database, two.id)
    async with database.read() as tx:
        assert [kept.guest.vmid for kept in await reservations.every(tx)] == [201]
        assert await meta.get(tx, "settled") == "succeeded"


# --- limits and lines


async def test_jobs_of_one_guest_run_one_after_the_other_in_the_order_in_which_they_were_asked_for(
    database: Database, tmp_path: Path
) -> None:
    order: list[str] = []
    gates = [asyncio.Event() for _ in range(3)]

    async def tell(run: Run) -> dict[str, Any]:
        number = len(order)
        order.append(run.job.id)
        await gates[number].wait()
        return {}

    made = [await asked(database, *(["rack"] if not number else [])) for number in range(3)]
    other = await asked(database, vmid=106, kind=JobKind.POWER)
    free = Story(JobKind.POWER, STEPS, tell_three_steps)
    async with driven(database, tmp_path, a_story(tell), free):
        assert (await ended(database, other.id)).state is JobState.SUCCEEDED, "another guest does not wait"
        for behind in made[1:]:
            waiting = (await until(database, behind.id, lambda job: job.waiting)).waiting
            assert waiting is not None and waiting.reason is WaitReason.LIMIT and made[0].id in waiting.text
        for number in range(3):
            async with asyncio.timeout(5):
                while len(order) <= number:
                    await asyncio.sleep(0.01)
            assert order == [job.id for job in made[: number + 1]]
            gates[number].set()
            done = await ended(database, made[number].id)
            assert done.state is JobState.SUCCEEDED and done.waiting is None


async def waiting_jobs(database: Database) -> list[Job]:
    async with database.read() as tx:
        return [job for job in (await jobs.page(tx, JobFilter())).items if job.waiting]


async def test_a_limit_lets_so_many_through_at_once_and_who_waits_shows_it(database: Database, tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    go = asyncio.Event()

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> None:
            async with run.limit("template:rack/9000", 2, "Waits for the template."):
                inside.append(1)
                most.append(len(inside))
                await go.wait()
                inside.pop()

        await run.step("clone", clone)
        return {}

    made = [await asked(database, *([] if number else ["rack"]), vmid=200 + number) for number in range(5)]
    async with driven(database, tmp_path, a_story(tell)):
        async with asyncio.timeout(15):
            while len(waiting := await waiting_jobs(database)) < 3:
                await asyncio.sleep(0.02)
        assert {job.waiting.reason for job in waiting if job.waiting} == {WaitReason.LIMIT}
        async with database.write() as tx:
            await jobs.request_cancel(tx, waiting[0].id)
        cancelled = await ended(database, waiting[0].id)
        assert cancelled.state is JobState.CANCELLED, "also while it waits there"
        go.set()
        done = [await ended(database, job.id) for job in made if job.id != cancelled.id]
    assert {(job.state, job.waiting) for job in done} == {(JobState.SUCCEEDED, None)}
    assert max(most) == 2 and len(most) == 4


# --- ownership


async def test_a_run_whose_epoch_is_over_writes_nothing_more(database: Database, tmp_path: Path) -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    told: list[str] = []

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> dict[str, Any]:
            reached.set()
            await go.wait()
            for attempt in (step.intend({"sent": True}), run.commit(node="stale")):
                try:
                    await attempt
                except LostOwnership:
                    told.append("lost")
            return {}

        await run.step("clone", clone)
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)) as engine:
        await reached.wait()
        async with database.write() as tx:
            await leases.raise_epoch(tx, "rack", "another")
        async with database.read() as tx:
            before = await jobs.get(tx, job.id)
        go.set()
        async with asyncio.timeout(5):
            while engine.driving("rack"):
                await asyncio.sleep(0.01)
        async with database.read() as tx:
            assert await jobs.get(tx, job.id) == before
    assert told == ["lost"] * 2 and before.step("clone").state is StepState.RUNNING


async def test_a_stopped_engine_leaves_its_jobs_as_they_are_and_the_next_one_goes_on(
    database: Database, tmp_path: Path
) -> None:
    entries: list[str] = []

    async def tell(run: Run) -> dict[str, Any]:
        async def clone(step: StepRun) -> dict[str, Any]:
            entries.append(step.upid)
            if not step.upid:
                await step.task("UPID:1")
                await asyncio.sleep(3600)
            return {}

        await run.step("clone", clone)
        return {}

    job = await asked(database, "rack")
    async with driven(database, tmp_path, a_story(tell)):
        running = await until(database, job.id, lambda job: job.step("clone").upid)
    async with database.read() as tx:
        assert await jobs.get(tx, job.id) == running
    async with driven(database, tmp_path, a_story(tell)):
        done = await ended(database, job.id)
    assert entries == ["", "UPID:1"] and (done.state, done.attempt) == (JobState.SUCCEEDED, 1)


async def test_a_cancelled_driver_entered_again_does_not_leave_its_task_alone(
    database: Database, tmp_path: Path
) -> None:
    """A cancel that comes while nobody drives: the step that has sent something is entered, one that has not is not."""
    entered: list[str] = []

    async def tell(run: Run) -> dict[str, Any]:
        async def act(step: StepRun) -> dict[str, Any]:
            entered.append(step.now.name)
            return {}

        for name in STEPS:
            await run.step(name, act)
        return {}

    async with database.write() as tx:
        await with_server(tx)
        job = await jobs.add(tx, a_job())
        await jobs.save(tx, replace(job, state=JobState.RUNNING))
        await jobs.save_step(tx, job.id, replace(job.steps[0], state=StepState.RUNNING, upid="UPID:1"))
        await jobs.request_cancel(tx, job.id)
    async with driven(database, tmp_path, a_story(tell)):
        cancelled = await ended(database, job.id)
    assert entered == ["reserve"] and cancelled.state is JobState.CANCELLED
    assert step_states(cancelled) == ["done", "waiting", "waiting"]
