"""After a lost reply nothing is sent again too early, nothing is made twice, and nothing of another's is touched."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.lostreply import (
    Adopt,
    AlreadySo,
    CallLook,
    ChangedByOther,
    CloneLook,
    DeleteLook,
    Gone,
    KeepLooking,
    Next,
    SendAgain,
    Sent,
    TakenByOther,
    TaskFailed,
    TaskSeen,
    WaitForTask,
    after_call,
    after_clone,
    after_delete,
)
from comserv.domain.task import TaskStatus, Upid
from tests.domain.strategies import NOW

US, THEM = "comserv@pve!manager", "root@pam"


def seconds(number: float) -> datetime:
    return NOW + timedelta(seconds=number)


def sent(looked: float = 40, back: float = 0, error: float | None = None, known: frozenset[str] = frozenset()) -> Sent:
    error_at = None if error is None else seconds(error)
    return Sent(NOW, seconds(looked), seconds(back), US, error_at, known=known)


def task(
    type: str = "qmclone",
    id: str = "9000",
    user: str = US,
    exitstatus: str = "",
    target: int | None = 101,
    started: float = 1,
) -> TaskSeen:
    text = f"UPID:pve1:0000043F:0007029E:{int(started) + 1000:08X}:{type}:{id}:{user}:"
    upid = Upid("rack", text, "pve1", type, id, user, seconds(started))
    return TaskSeen(TaskStatus(upid, running=not exitstatus, exitstatus=exitstatus), target)


def clone(
    exists: bool | None = False,
    tasks: tuple[TaskSeen, ...] | None = (),
    when: Sent | None = None,
    lock: str = "",
    marked: bool = False,
) -> Next:
    return after_clone(CloneLook(when or sent(), 9000, 101, exists, lock, marked, tasks))


# --- the promises, by chance ------------------------------------------------------------------------------------------

MOMENTS = st.integers(-700, 200)
TASKS = st.builds(
    task,
    st.sampled_from(["qmclone", "qmconfig", "qmstart", "qmdestroy", "qmcreate"]),
    st.sampled_from(["9000", "101", "102"]),
    st.sampled_from([US, THEM]),
    st.sampled_from(["", "OK", "WARNINGS: 1", "storage is full", "unexpected status"]),
    st.none() | st.sampled_from([101, 102]),
    MOMENTS,
)
SENT = st.builds(sent, MOMENTS, MOMENTS, st.none() | MOMENTS)
MAYBE = st.none() | st.booleans()
LISTS = st.none() | st.lists(TASKS, max_size=4).map(tuple)
CLONES = st.builds(
    CloneLook, SENT, st.just(9000), st.just(101), MAYBE, st.sampled_from(["", "clone", "backup"]), st.booleans(), LISTS
)
CALLS = st.builds(CallLook, SENT, st.just(101), st.just(("qmconfig",)), MAYBE, MAYBE, MAYBE, LISTS)
DELETES = st.builds(
    DeleteLook, SENT, st.just(101), MAYBE, st.sampled_from(["", "a", "b"]), st.sampled_from(["", "a"]), LISTS
)


def assert_certain(when: Sent, tasks: tuple[TaskSeen, ...] | None) -> None:
    assert tasks is not None
    assert when.looked_at >= when.at + timedelta(seconds=35)
    assert when.looked_at >= when.back_at
    assert when.error_at is None or when.looked_at >= when.error_at + timedelta(seconds=5)


@given(CLONES)
def test_a_clone_is_sent_again_only_after_35_s_and_a_look_that_found_nothing(look: CloneLook) -> None:
    if isinstance(after_clone(look), SendAgain):
        assert_certain(look.sent, look.tasks)
        assert look.exists is False
        assert not any(
            one.upid.user == US and one.target == 101 and one.upid.type == "qmclone" and one.upid.id == "9000"
            for one in look.tasks or ()
            if one.upid.started >= look.sent.at - look.sent.skew
        )


@given(CLONES)
def test_another_id_is_chosen_only_where_the_task_list_proves_another_made_the_guest(look: CloneLook) -> None:
    decision = after_clone(look)
    if isinstance(decision, TakenByOther) and decision.proven:
        assert look.exists
        assert not look.marked
        assert any(one.target == 101 and one.upid.user == THEM for one in look.tasks or ())
        assert not any(
            one.target == 101 and look.sent.by_us(one, ["qmclone"]) and one.upid.id == "9000"
            for one in look.tasks or ()
        )


@given(CLONES)
def test_a_clone_is_adopted_only_with_a_task_of_ours_to_that_id(look: CloneLook) -> None:
    decision = after_clone(look)
    if isinstance(decision, Adopt):
        adopted = next(one for one in look.tasks or () if one.upid == decision.upid)
        assert adopted.upid.user == US
        assert adopted.target == 101
        assert adopted.status.ok
        assert look.exists


@given(CALLS)
def test_no_other_call_is_sent_again_before_35_s_and_a_look(look: CallLook) -> None:
    if isinstance(after_call(look), SendAgain):
        assert_certain(look.sent, look.tasks)
        assert look.there
        assert not look.reached
        assert look.untouched is not False


@given(DELETES)
def test_a_delete_is_sent_again_only_at_the_same_guest(look: DeleteLook) -> None:
    if isinstance(after_delete(look), SendAgain):
        assert_certain(look.sent, look.tasks)
        assert look.exists
        assert look.identity == look.identity_before != ""


@given(CLONES | CALLS | DELETES)
def test_what_could_not_be_read_is_looked_at_again(look: CloneLook | CallLook | DeleteLook) -> None:
    if look.tasks is None:
        decide = {CloneLook: after_clone, CallLook: after_call, DeleteLook: after_delete}[type(look)]
        assert isinstance(decide(look), KeepLooking)  # type: ignore[arg-type]


# --- a clone, case by case --------------------------------------------------------------------------------------------


def test_a_clone_that_runs_is_waited_for() -> None:
    running = task()
    assert clone(exists=True, tasks=(running,), when=sent(looked=2), lock="clone") == WaitForTask(running.upid)


def test_a_clone_that_ended_well_is_adopted() -> None:
    ended = task(exitstatus="OK")
    assert clone(exists=True, tasks=(ended,), when=sent(looked=2)) == Adopt(ended.upid)


def test_a_clone_that_failed_is_told_with_its_words() -> None:
    failed = task(exitstatus="clone failed: no space left")
    assert clone(tasks=(failed,)) == TaskFailed(failed.upid, "clone failed: no space left", left_behind=False)
    assert clone(exists=True, tasks=(failed,), lock="clone") == TaskFailed(
        failed.upid, "clone failed: no space left", True
    )


def test_a_clone_that_was_deleted_right_after_is_gone() -> None:
    assert isinstance(clone(exists=False, tasks=(task(exitstatus="OK"),)), Gone)


def test_nothing_is_there_and_it_is_too_early() -> None:
    decision = clone(when=sent(looked=34.9))
    assert isinstance(decision, KeepLooking)
    assert decision.until == seconds(35)


def test_nothing_is_there_after_35_s() -> None:
    assert isinstance(clone(when=sent(looked=35)), SendAgain)


def test_a_look_from_before_we_came_back_proves_nothing() -> None:
    assert isinstance(clone(when=sent(looked=100, back=101)), KeepLooking)


def test_an_error_reply_is_given_five_seconds() -> None:
    assert isinstance(clone(when=sent(looked=40, error=36)), KeepLooking)
    assert isinstance(clone(when=sent(looked=41, error=36)), SendAgain)


def test_a_clone_of_ours_to_another_id_is_not_taken_for_this_one() -> None:
    assert isinstance(clone(tasks=(task(target=102),)), SendAgain)


def test_a_clone_whose_log_does_not_yet_tell_its_target_is_looked_at_again() -> None:
    decision = clone(tasks=(task(target=None),), when=sent(looked=50))
    assert isinstance(decision, KeepLooking)
    assert decision.until > seconds(50)


def test_a_task_of_an_earlier_try_is_not_taken_for_this_one() -> None:
    earlier = task(exitstatus="storage is full")
    assert isinstance(clone(tasks=(earlier,), when=sent(known=frozenset({earlier.upid.text}))), SendAgain)


def test_an_id_that_another_took_is_seen_in_the_task_list() -> None:
    assert clone(exists=True, tasks=(task("qmcreate", "101", THEM, "OK"),), when=sent(looked=2)) == TakenByOther(
        "The VM id 101 was taken by root@pam meanwhile.", proven=True
    )


@pytest.mark.parametrize(("lock", "marked"), [("", False), ("clone", False), ("", True)])
def test_a_guest_whose_maker_is_not_known_stops_us_without_another_id(lock: str, marked: bool) -> None:
    early = clone(exists=True, when=sent(looked=10), lock=lock, marked=marked)
    late = clone(exists=True, lock=lock, marked=marked)
    assert isinstance(early, KeepLooking)
    assert isinstance(late, TakenByOther)
    assert not late.proven


def test_the_servers_clock_may_be_behind() -> None:
    ended = task(exitstatus="OK", started=-300)
    assert clone(exists=True, tasks=(ended,)) == Adopt(ended.upid)
    old = task(exitstatus="OK", started=-700)
    assert isinstance(clone(exists=False, tasks=(old,)), SendAgain)


# --- other calls ------------------------------------------------------------------------------------------------------


def call(
    there: bool | None = True,
    reached: bool | None = False,
    untouched: bool | None = None,
    tasks: tuple[TaskSeen, ...] = (),
    when: Sent | None = None,
) -> Next:
    return after_call(CallLook(when or sent(), 101, ("qmconfig",), there, reached, untouched, tasks))


def config_task(exitstatus: str = "") -> TaskSeen:
    return task("qmconfig", "101", exitstatus=exitstatus)


def test_what_is_so_already_is_not_sent_again() -> None:
    assert call(reached=True, when=sent(looked=1)) == AlreadySo()
    done = config_task("OK")
    assert call(reached=True, tasks=(done,)) == Adopt(done.upid)


def test_a_task_that_runs_is_waited_for_even_when_the_state_is_reached() -> None:
    running = config_task()
    assert call(reached=True, tasks=(running,)) == WaitForTask(running.upid)


def test_a_task_that_failed_is_told() -> None:
    failed = config_task("can't lock file")
    assert call(tasks=(failed,)) == TaskFailed(failed.upid, "can't lock file")


def test_a_reset_that_leaves_no_trace_is_told_by_its_task() -> None:
    done = config_task("OK")
    assert call(reached=None, tasks=(done,)) == Adopt(done.upid)
    assert isinstance(call(reached=None), SendAgain)


def test_somebody_elses_change_is_not_overwritten() -> None:
    assert isinstance(call(untouched=False), ChangedByOther)
    assert isinstance(call(untouched=True), SendAgain)


def test_a_guest_that_is_gone_is_told() -> None:
    assert isinstance(call(there=False), Gone)


def test_a_guest_that_took_the_number_of_a_deleted_one_is_left_alone() -> None:
    look = DeleteLook(sent(), 101, True, "uuid-2", "uuid-1", ())
    assert isinstance(after_delete(look), TakenByOther)


def test_a_deleted_guest_is_deleted() -> None:
    assert after_delete(DeleteLook(sent(looked=1), 101, False, "", "uuid-1", ())) == AlreadySo()
    done = task("qmdestroy", "101", exitstatus="OK")
    assert after_delete(DeleteLook(sent(looked=1), 101, False, "", "uuid-1", (done,))) == Adopt(done.upid)
