"""Power follows the real state machine of Proxmox: what makes sense, how it is sent, and what "OK" does not mean."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.guest import GuestState, GuestStatus, GuestType
from comserv.domain.power import (
    FOR_CONTAINERS,
    PowerAction,
    PowerDone,
    PowerFacts,
    PowerFailed,
    PowerWait,
    after_power,
    possible_actions,
    power_call,
    reached,
    task_types,
)
from comserv.domain.task import TaskStatus, parse_upid
from tests.domain.strategies import NOW

RUNNING, STOPPED = GuestState(GuestStatus.RUNNING, uptime=1000), GuestState(GuestStatus.STOPPED)
PAUSED, HIBERNATED = GuestState(GuestStatus.PAUSED), GuestState(GuestStatus.SUSPENDED, lock="suspended")
FACTS = st.builds(
    PowerFacts,
    st.sampled_from(GuestType),
    st.sampled_from(GuestStatus),
    st.sampled_from(["", "backup", "clone", "suspended"]),
    st.booleans(),
    st.booleans(),
)


def possible(status: GuestStatus, type: GuestType = GuestType.QEMU, **more: object) -> set[str]:
    facts = PowerFacts(type, status, **more)  # type: ignore[arg-type]
    return {str(action) for action, reason in possible_actions(facts).items() if not reason}


def task(type: str = "qmstart", exitstatus: str = "OK") -> TaskStatus:
    upid = parse_upid("rack", f"UPID:pve1:0000043F:0007029E:6B051203:{type}:101:comserv@pve!manager:")
    return TaskStatus(upid, False, exitstatus, NOW)


@pytest.mark.parametrize(
    ("status", "verbs"),
    [
        (GuestStatus.STOPPED, {"start"}),
        (GuestStatus.RUNNING, {"shutdown", "stop", "reboot", "reset", "suspend", "hibernate"}),
        (GuestStatus.PAUSED, {"resume", "stop", "reset", "hibernate"}),
        (GuestStatus.SUSPENDED, {"start", "resume"}),
        (GuestStatus.UNKNOWN, {str(action) for action in PowerAction}),
    ],
)
def test_only_what_makes_sense_in_a_state(status: GuestStatus, verbs: set[str]) -> None:
    assert possible(status) == verbs


def test_a_container_takes_four_verbs() -> None:
    assert possible(GuestStatus.RUNNING, GuestType.LXC) == {"shutdown", "stop", "reboot"}
    assert possible(GuestStatus.STOPPED, GuestType.LXC) == {"start"}
    assert possible(GuestStatus.UNKNOWN, GuestType.LXC) == {str(action) for action in FOR_CONTAINERS}


def test_a_locked_running_vm_still_takes_pause_and_resume() -> None:
    assert possible(GuestStatus.RUNNING, lock="backup") == {"suspend"}
    assert possible(GuestStatus.PAUSED, lock="backup") == {"resume"}
    assert possible(GuestStatus.STOPPED, lock="clone") == set()


def test_a_hibernated_vm_is_not_locked_against_its_start() -> None:
    assert possible(GuestStatus.SUSPENDED, lock="suspended") == {"start", "resume"}


@given(FACTS)
def test_every_verb_is_allowed_or_has_a_reason_that_is_a_sentence(facts: PowerFacts) -> None:
    actions = possible_actions(facts)
    assert set(actions) == set(PowerAction)
    assert all(not reason or reason.endswith(".") for reason in actions.values())
    assert not facts.template or all(actions.values())


@pytest.mark.parametrize(
    ("action", "state", "path", "parameters"),
    [
        (PowerAction.START, STOPPED, "start", {}),
        (PowerAction.SHUTDOWN, RUNNING, "shutdown", {"timeout": "180"}),
        (PowerAction.STOP, RUNNING, "stop", {"overrule-shutdown": "1"}),
        (PowerAction.REBOOT, RUNNING, "reboot", {"timeout": "180"}),
        (PowerAction.RESET, RUNNING, "reset", {}),
        (PowerAction.SUSPEND, RUNNING, "suspend", {}),
        (PowerAction.HIBERNATE, RUNNING, "suspend", {"todisk": "1"}),
        (PowerAction.RESUME, PAUSED, "resume", {}),
        (PowerAction.RESUME, HIBERNATED, "start", {}),
    ],
)
def test_how_a_verb_is_sent(action: PowerAction, state: GuestState, path: str, parameters: dict[str, str]) -> None:
    call = power_call(action, GuestType.QEMU, "pve1", 101, state)
    assert (call.method, call.path) == ("POST", f"/nodes/pve1/qemu/101/status/{path}")
    assert call.parameters == parameters


def test_a_shutdown_may_end_in_a_stop_where_that_was_asked() -> None:
    call = power_call(PowerAction.SHUTDOWN, GuestType.LXC, "pve1", 200, force=True, wait=timedelta(seconds=20))
    assert call.path == "/nodes/pve1/lxc/200/status/shutdown"
    assert call.parameters == {"timeout": "20", "forceStop": "1"}


def test_the_tasks_that_a_verb_may_make_are_known() -> None:
    assert task_types(PowerAction.START, GuestType.QEMU) == ("qmstart", "hastart")
    assert task_types(PowerAction.SUSPEND, GuestType.QEMU) == ("qmpause",)
    assert task_types(PowerAction.HIBERNATE, GuestType.QEMU) == ("qmsuspend",)
    assert task_types(PowerAction.SHUTDOWN, GuestType.LXC) == ("vzshutdown", "hastop")


@pytest.mark.parametrize(
    ("action", "state"),
    [
        (PowerAction.START, RUNNING),
        (PowerAction.RESUME, RUNNING),
        (PowerAction.SHUTDOWN, STOPPED),
        (PowerAction.STOP, STOPPED),
        (PowerAction.STOP, HIBERNATED),
        (PowerAction.SUSPEND, PAUSED),
        (PowerAction.HIBERNATE, HIBERNATED),
    ],
)
def test_a_state_that_is_there_is_not_asked_for_again(action: PowerAction, state: GuestState) -> None:
    assert reached(action, state)


@pytest.mark.parametrize("action", [PowerAction.REBOOT, PowerAction.RESET])
def test_a_reboot_that_was_not_sent_is_never_there_already(action: PowerAction) -> None:
    assert reached(action, RUNNING) is False


def test_a_reboot_is_seen_by_the_uptime_and_a_reset_by_nothing() -> None:
    assert reached(PowerAction.REBOOT, replace(RUNNING, uptime=3), timedelta(seconds=10))
    assert not reached(PowerAction.REBOOT, RUNNING, timedelta(seconds=10))
    assert reached(PowerAction.RESET, RUNNING, timedelta(seconds=10)) is None


# --- what the end of a task means -------------------------------------------------------------------------------------


def after(action: PowerAction, status: TaskStatus, state: GuestState | None, later: float = 1) -> object:
    return after_power(action, status, state, NOW, NOW + timedelta(seconds=later))


def test_a_task_that_ended_well_and_the_state_is_there() -> None:
    assert after(PowerAction.START, task(), RUNNING) == PowerDone()


def test_for_ha_ok_does_not_mean_running() -> None:
    waiting = after(PowerAction.START, task("hastart"), STOPPED)
    assert isinstance(waiting, PowerWait)
    assert waiting.until == NOW + timedelta(seconds=90)
    assert after(PowerAction.START, task("hastart"), RUNNING, later=20) == PowerDone()
    failed = after(PowerAction.START, task("hastart"), STOPPED, later=91)
    assert isinstance(failed, PowerFailed)
    assert "HA was asked" in failed.problem.detail


def test_a_start_that_another_was_faster_with_is_done() -> None:
    done = after(PowerAction.START, task(exitstatus="VM 101 already running"), RUNNING)
    assert isinstance(done, PowerDone)
    assert "already running" in done.note


def test_a_shutdown_without_an_answer_says_what_to_do() -> None:
    failed = after(PowerAction.SHUTDOWN, task("qmshutdown", "VM quit/powerdown failed - got timeout"), RUNNING)
    assert isinstance(failed, PowerFailed)
    assert failed.problem.code == "shutdown_timeout"
    assert "Stop" in failed.problem.cure
    assert failed.problem.proxmox
    assert failed.problem.proxmox.message == "VM quit/powerdown failed - got timeout"


def test_a_shutdown_that_failed_but_the_guest_stopped_is_done() -> None:
    assert isinstance(after(PowerAction.SHUTDOWN, task("qmshutdown", "unexpected status"), STOPPED), PowerDone)


def test_a_task_that_somebody_stopped_is_told_so() -> None:
    failed = after(PowerAction.START, task(exitstatus="unexpected status"), STOPPED)
    assert isinstance(failed, PowerFailed)
    assert failed.problem.code == "task_stopped"


def test_a_reset_is_done_when_its_task_is() -> None:
    assert after(PowerAction.RESET, task("qmreset"), RUNNING) == PowerDone()


def test_a_state_that_does_not_come_is_no_success() -> None:
    assert isinstance(after(PowerAction.STOP, task("qmstop"), RUNNING), PowerWait)
    assert isinstance(after(PowerAction.STOP, task("qmstop"), RUNNING, later=11), PowerFailed)
    assert isinstance(after(PowerAction.STOP, task("qmstop"), None), PowerWait)


@given(
    st.sampled_from(PowerAction),
    st.sampled_from(["OK", "WARNINGS: 2", "VM is locked (backup)", "odd words", "unexpected status"]),
    st.none() | st.sampled_from([RUNNING, STOPPED, PAUSED, HIBERNATED]),
    st.integers(0, 200),
)
def test_every_end_is_done_waits_or_has_a_problem_with_a_cure(
    action: PowerAction, exitstatus: str, state: GuestState | None, later: int
) -> None:
    end = after(action, task(exitstatus=exitstatus), state, later)
    if isinstance(end, PowerFailed):
        assert end.problem.title.endswith(".")
        assert end.problem.cure.endswith(".")
    elif isinstance(end, PowerWait):
        assert end.until > NOW + timedelta(seconds=later)
