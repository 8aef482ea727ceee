"""Power: which verbs make sense in a state, how each is sent, when the wanted state is there, and what a task's end means.

The state machine is that of semantics section 9; for HA-managed guests section 16: there "OK" means only that it was requested.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from comserv.domain.errors import Problem
from comserv.domain.guest import GuestState, GuestStatus, GuestType
from comserv.domain.plan import PlannedCall
from comserv.domain.task import TaskStatus
from comserv.domain.taskend import explain

SHUTDOWN_WAIT = timedelta(seconds=180)
HA_WAIT = timedelta(seconds=90)
STATE_WAIT = timedelta(seconds=10)


class PowerAction(StrEnum):
    START = "start"
    SHUTDOWN = "shutdown"
    STOP = "stop"
    REBOOT = "reboot"
    RESET = "reset"
    SUSPEND = "suspend"
    HIBERNATE = "hibernate"
    RESUME = "resume"


FOR_CONTAINERS = (PowerAction.START, PowerAction.SHUTDOWN, PowerAction.STOP, PowerAction.REBOOT)

_WANTED = {
    PowerAction.START: GuestStatus.RUNNING,
    PowerAction.RESUME: GuestStatus.RUNNING,
    PowerAction.SHUTDOWN: GuestStatus.STOPPED,
    PowerAction.STOP: GuestStatus.STOPPED,
    PowerAction.SUSPEND: GuestStatus.PAUSED,
    PowerAction.HIBERNATE: GuestStatus.SUSPENDED,
}

_NOUNS = {
    PowerAction.START: "start",
    PowerAction.RESUME: "resuming",
    PowerAction.SHUTDOWN: "shutdown",
    PowerAction.STOP: "stop",
    PowerAction.REBOOT: "reboot",
    PowerAction.RESET: "reset",
    PowerAction.SUSPEND: "pausing",
    PowerAction.HIBERNATE: "hibernation",
}

_MAKES_SENSE = {
    GuestStatus.STOPPED: (PowerAction.START,),
    GuestStatus.SUSPENDED: (PowerAction.START, PowerAction.RESUME),
    GuestStatus.RUNNING: (
        PowerAction.SHUTDOWN,
        PowerAction.STOP,
        PowerAction.REBOOT,
        PowerAction.RESET,
        PowerAction.SUSPEND,
        PowerAction.HIBERNATE,
    ),
    GuestStatus.PAUSED: (PowerAction.RESUME, PowerAction.STOP, PowerAction.RESET, PowerAction.HIBERNATE),
    GuestStatus.UNKNOWN: tuple(PowerAction),
}

_STATE_WORDS = {
    GuestStatus.STOPPED: "It is stopped.",
    GuestStatus.SUSPENDED: "It is hibernated.",
    GuestStatus.RUNNING: "It runs.",
    GuestStatus.PAUSED: "It is paused.",
}

_WHILE_LOCKED = (PowerAction.SUSPEND, PowerAction.RESUME)
"""A locked running VM still takes these (semantics section 8); the others are accepted and fail in their task."""


@dataclass(frozen=True)
class PowerFacts:
    """The state as far as it is known: from the list (no qmpstatus there) or from `status/current`."""

    type: GuestType
    status: GuestStatus
    lock: str = ""
    template: bool = False
    ha_managed: bool = False
    qmpstatus: str = ""


@dataclass(frozen=True)
class PowerDone:
    note: str = ""


@dataclass(frozen=True)
class PowerWait:
    """The task has ended, the state is not there yet: look again until `until`."""

    until: datetime
    reason: str


@dataclass(frozen=True)
class PowerFailed:
    problem: Problem


def possible_actions(facts: PowerFacts) -> Mapping[PowerAction, str]:
    """Every verb: empty where it makes sense now, else the reason why not, a whole sentence."""
    return {action: _hindrance(action, facts) for action in PowerAction}


def _hindrance(action: PowerAction, facts: PowerFacts) -> str:
    if facts.template:
        return "It is a template, which is only cloned."
    if facts.type == GuestType.LXC and action not in FOR_CONTAINERS:
        return f"A container cannot do this; it takes {', '.join(FOR_CONTAINERS[:-1])} and {FOR_CONTAINERS[-1]}."
    if facts.lock and facts.lock != "suspended" and action not in _WHILE_LOCKED:
        return f"It is locked ({facts.lock}); wait until that task has ended."
    if facts.ha_managed and action == PowerAction.HIBERNATE:
        return "It is managed by HA, which would start it again."
    if action in _MAKES_SENSE[facts.status]:
        return ""
    return _STATE_WORDS[facts.status]


def power_call(
    action: PowerAction,
    type: GuestType,
    node: str,
    vmid: int,
    state: GuestState | None = None,
    force: bool = False,
    wait: timedelta = SHUTDOWN_WAIT,
) -> PlannedCall:
    """How it is sent. state: as seen right before (a hibernated VM is resumed by start). force: a shutdown that ends in a stop.

    wait: how long a shutdown or reboot may take before Proxmox's task gives up.
    """
    word, parameters = str(action), {}
    hibernated = state is not None and state.status == GuestStatus.SUSPENDED
    if action == PowerAction.HIBERNATE:
        word, parameters = "suspend", {"todisk": "1"}
    elif action == PowerAction.RESUME and hibernated:
        word = "start"
    elif action == PowerAction.SHUTDOWN:
        parameters = {"timeout": f"{wait.total_seconds():.0f}", **({"forceStop": "1"} if force else {})}
    elif action == PowerAction.REBOOT:
        parameters = {"timeout": f"{wait.total_seconds():.0f}"}
    elif action == PowerAction.STOP:
        parameters = {"overrule-shutdown": "1"}
    return PlannedCall("POST", f"/nodes/{node}/{type}/{vmid}/status/{word}", parameters)


def task_types(action: PowerAction, type: GuestType) -> tuple[str, ...]:
    """Types of the tasks that the call may make, the HA ones included."""
    prefix = "qm" if type == GuestType.QEMU else "vz"
    own = {
        PowerAction.SUSPEND: ("pause",),
        PowerAction.HIBERNATE: ("suspend",),
        PowerAction.RESUME: ("resume", "start"),
    }.get(action, (str(action),))
    ha = {
        PowerAction.START: ("hastart",),
        PowerAction.RESUME: ("hastart",),
        PowerAction.STOP: ("hastop",),
        PowerAction.SHUTDOWN: ("hastop",),
    }.get(action, ())
    return tuple(prefix + word for word in own) + ha


def reached(action: PowerAction, state: GuestState, since_sent: timedelta | None = None) -> bool | None:
    """Whether the wanted state is there. since_sent: None before it was sent. None: cannot be seen (a reset leaves no trace).

    A reboot is seen by an uptime that is shorter than the time since it was sent; before it was sent it is never there.
    """
    if action == PowerAction.RESET:
        return None if since_sent is not None else False
    if action == PowerAction.REBOOT:
        return since_sent is not None and state.status == GuestStatus.RUNNING and _younger(state, since_sent)
    if action == PowerAction.STOP:
        return state.status in (GuestStatus.STOPPED, GuestStatus.SUSPENDED)
    return state.status == _WANTED[action] and not (state.lock and state.status == GuestStatus.STOPPED)


def _younger(state: GuestState, since_sent: timedelta) -> bool:
    return state.uptime < since_sent.total_seconds()


def after_power(
    action: PowerAction,
    task: TaskStatus,
    state: GuestState | None,
    ended: datetime,
    now: datetime,
    doing: str = "",
) -> PowerDone | PowerWait | PowerFailed:
    """What the end of its task means. state: read after the task's end, None where it could not be read. ended: when it ended.

    doing: for the problem's text, "The start of web-01"; made from the task where it is not given.
    """
    doing = doing or f"The {_NOUNS[action]} of {task.upid.id}"
    if not task.ok:
        return _after_failure(action, task, state, doing)
    if action in (PowerAction.REBOOT, PowerAction.RESET):
        return PowerDone()
    if state is not None and reached(action, state, now - ended):
        return PowerDone()
    return _not_there_yet(action, task, state, ended, now, doing)


def _after_failure(
    action: PowerAction, task: TaskStatus, state: GuestState | None, doing: str
) -> PowerDone | PowerFailed:
    """A failed task may still have found the wanted state: two people start the same VM, and one of them is told no."""
    if state is not None and action in _WANTED and reached(action, state):
        return PowerDone(f"It is so already; the task itself ended with “{task.exitstatus.strip()}”.")
    return PowerFailed(explain(task.exitstatus, doing, task.upid.server).problem)


def _not_there_yet(
    action: PowerAction, task: TaskStatus, state: GuestState | None, ended: datetime, now: datetime, doing: str
) -> PowerWait | PowerFailed:
    by_ha = task.upid.type.startswith("ha") or (state is not None and state.ha_managed)
    until = ended + (HA_WAIT if by_ha else STATE_WAIT)
    if now < until:
        reason = "HA was asked and carries it out by itself." if by_ha else "The task has ended; the state follows."
        return PowerWait(until, reason)
    words = _STATE_WORDS.get(state.status, "Its state is not known.") if state else "Its state could not be read."
    if by_ha:
        detail = f"HA was asked for it {HA_WAIT.total_seconds():.0f} s ago. {words}"
        cure = "Look at HA's status on the server: the resource may be in an error state, or no node can take it."
    else:
        detail = f"The task ended well. {words} Somebody else may have changed it right after."
        cure = "Look at the guest's tasks, and try again."
    return PowerFailed(Problem("state_not_reached", f"{doing} did not bring the wanted state.", detail, cure))
