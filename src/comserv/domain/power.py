"""Power: which verbs make sense in a state, how each is sent, when the wanted state is there, and what a task's end means."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from comserv.domain.errors import Problem
from comserv.domain.guest import GuestState, GuestStatus, GuestType
from comserv.domain.plan import PlannedCall
from comserv.domain.task import TaskStatus

SHUTDOWN_WAIT = timedelta(seconds=180)
HA_WAIT = timedelta(seconds=90)


class PowerAction(StrEnum):
    START = "start"
    SHUTDOWN = "shutdown"
    STOP = "stop"
    REBOOT = "reboot"
    RESET = "reset"
    SUSPEND = "suspend"
    HIBERNATE = "hibernate"
    RESUME = "resume"


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
    raise NotImplementedError


def power_call(
    action: PowerAction, type: GuestType, node: str, vmid: int, state: GuestState | None = None, force: bool = False
) -> PlannedCall:
    """How it is sent. state: as seen right before (a hibernated VM is resumed by start). force: a shutdown that ends in a stop."""
    raise NotImplementedError


def task_types(action: PowerAction, type: GuestType) -> tuple[str, ...]:
    """Types of the tasks that the call may make, the HA ones included."""
    raise NotImplementedError


def reached(action: PowerAction, state: GuestState, since_sent: timedelta | None = None) -> bool | None:
    """Whether the wanted state is there. since_sent: None before it was sent. None: cannot be seen (a reset leaves no trace)."""
    raise NotImplementedError


def after_power(
    action: PowerAction, task: TaskStatus, state: GuestState | None, ended: datetime, now: datetime
) -> PowerDone | PowerWait | PowerFailed:
    """What the end of its task means. state: read after the task's end, None where it could not be read. ended: when it ended."""
    raise NotImplementedError
