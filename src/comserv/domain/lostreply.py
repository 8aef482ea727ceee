"""What to do after a call whose outcome is not known: follow its task, send it again, or stop and say so.

Pure decisions on what a look at the server found. That a call was not carried out is concluded only when
`wait` (35 s) has passed since it was sent, 5 s since its error reply, and with a look made after both and
after we came back (promise 1).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from comserv.domain.task import TaskStatus, Upid

OUTCOME_WAIT = timedelta(seconds=35)
AFTER_ERROR = timedelta(seconds=5)
CLOCK_SKEW = timedelta(minutes=10)


@dataclass(frozen=True)
class Adopt:
    """Our task ended well and what it made is there: go on as if the reply had come."""

    upid: Upid


@dataclass(frozen=True)
class WaitForTask:
    """Our task is known and runs: follow it."""

    upid: Upid


@dataclass(frozen=True)
class TaskFailed:
    """Our task is known and ended badly. left_behind: something of it still stands there, locked."""

    upid: Upid
    exitstatus: str
    left_behind: bool = False


@dataclass(frozen=True)
class AlreadySo:
    """What was asked is there already; no task of ours had to be found."""


@dataclass(frozen=True)
class SendAgain:
    """It was not carried out: the same call may be sent again."""

    reason: str


@dataclass(frozen=True)
class TakenByOther:
    """The VM id holds a guest that is not ours. proven: the task list shows whose it is, so that another id may be chosen."""

    reason: str
    proven: bool


@dataclass(frozen=True)
class ChangedByOther:
    """What stands there is neither what was before the call nor what was asked."""

    reason: str


@dataclass(frozen=True)
class Gone:
    """What the call was about is not there any more."""

    reason: str


@dataclass(frozen=True)
class KeepLooking:
    """Too early to tell: look again, at the latest at `until`."""

    until: datetime
    reason: str


Next = Adopt | WaitForTask | TaskFailed | AlreadySo | SendAgain | TakenByOther | ChangedByOther | Gone | KeepLooking


@dataclass(frozen=True)
class TaskSeen:
    """A task of the node's list (`GET /nodes/{node}/tasks?source=all`). status: `running` False has its exit text.

    target: the VM id that it makes, from the first line of a clone's log (`creating a clone of VM 102 with ID 110`), else
    the UPID's own id; None where the log could not be read yet.
    """

    status: TaskStatus
    target: int | None

    @property
    def upid(self) -> Upid:
        return self.status.upid


@dataclass(frozen=True)
class Sent:
    """When and by whom a call was sent, and when we looked.

    at: when its intent was written, right before it was sent. back_at: when this process, or the server, came back (equal
    to `at` where nothing was interrupted). error_at: when an error reply came, else None. looked_at: when the look began.
    token: `user@realm!name` as UPIDs carry it; sent_with: the one that was in use when its intent was written, where the
    token was replaced since. skew: how far the server's clock may be behind ours; give what was measured and
    a second, since the default also takes in older tasks. known: UPIDs that were listed before, or belong to an earlier try.
    """

    at: datetime
    looked_at: datetime
    back_at: datetime
    token: str
    error_at: datetime | None = None
    wait: timedelta = OUTCOME_WAIT
    skew: timedelta = CLOCK_SKEW
    known: frozenset[str] = frozenset()
    sent_with: str = ""

    @property
    def tokens(self) -> frozenset[str]:
        """All that are us in a list of tasks."""
        return frozenset(filter(None, (self.token, self.sent_with)))

    @property
    def certain_from(self) -> datetime:
        """The earliest beginning of a look that proves that nothing was carried out."""
        moments = [self.at + self.wait, self.back_at]
        return max(moments + ([self.error_at + AFTER_ERROR] if self.error_at else []))

    @property
    def certain(self) -> bool:
        return self.looked_at >= self.certain_from

    def by_us(self, task: TaskSeen, types: Iterable[str]) -> bool:
        """A task of our token, of one of these types, not known before, that cannot be older than the call."""
        fresh = task.upid.text not in self.known and task.upid.started >= self.at.replace(microsecond=0) - self.skew
        return fresh and task.upid.user in self.tokens and task.upid.type in types


@dataclass(frozen=True)
class CloneLook:
    """What a look after a clone call found. exists, tasks None: could not be read.

    tasks: of the node that ran the clone (the template's), newest first.
    lock: of the target's configuration. marked: its description carries this job's marker for this server and VM id.
    """

    sent: Sent
    template: int
    target: int
    exists: bool | None
    lock: str = ""
    marked: bool = False
    tasks: tuple[TaskSeen, ...] | None = None


def after_clone(look: CloneLook) -> Next:
    """What next, after a clone call whose reply was lost or which a dead process may have sent."""
    if look.exists is None or look.tasks is None:
        return KeepLooking(look.sent.certain_from, "The server did not tell what is there.")
    clones = [task for task in look.tasks if look.sent.by_us(task, ("qmclone",)) and task.upid.id == str(look.template)]
    ours = [task for task in clones if task.target == look.target]
    if ours:
        return _follow_clone(look, ours)
    if any(task.target is None and task.status.running for task in clones):
        return KeepLooking(
            _later(look.sent), "A clone of this template runs, and its log does not yet tell its target."
        )
    if look.exists:
        return _unexplained_target(look)
    if look.sent.certain:
        return SendAgain(f"No task of ours and no guest {look.target} is there.")
    return KeepLooking(look.sent.certain_from, "The call may still arrive.")


def _follow_clone(look: CloneLook, ours: list[TaskSeen]) -> Next:
    running = next((task for task in ours if task.status.running), None)
    if running:
        return WaitForTask(running.upid)
    good = next((task for task in ours if task.status.ok), None)
    if good and look.exists:
        return Adopt(good.upid)
    if good:
        return Gone(f"The VM {look.target} was made and is not there any more.")
    last = ours[0]
    return TaskFailed(last.upid, last.status.exitstatus, left_behind=bool(look.exists))


def _unexplained_target(look: CloneLook) -> Next:
    other = next((task for task in look.tasks or () if task.target == look.target and _makes(task)), None)
    if other and not look.marked and other.upid.user not in look.sent.tokens:
        return TakenByOther(f"The VM id {look.target} was taken by {other.upid.user} meanwhile.", proven=True)
    if not look.sent.certain:
        return KeepLooking(look.sent.certain_from, f"A guest {look.target} is there, and its task is not listed yet.")
    if look.marked:
        reason = f"The guest {look.target} carries this job's marker, but no task of ours that made it is listed."
    elif look.lock == "clone":
        reason = f"The guest {look.target} is being cloned, and no task of ours is listed."
    else:
        reason = f"A guest {look.target} that is not ours is there."
    return TakenByOther(reason, proven=False)


def _makes(task: TaskSeen) -> bool:
    kinds = ("qmclone", "qmcreate", "qmrestore", "vzcreate", "vzrestore", "vzclone", "qmigrate", "vzmigrate")
    return task.upid.type in kinds


@dataclass(frozen=True)
class CallLook:
    """What a look after any other changing call found.

    types: task types that the call makes (`qmconfig`; `qmstart`, `hastart`). there: the guest still is; None: not readable.
    reached: what was asked is so now; None: cannot be seen. untouched: nothing has changed since before the call (same
    digest), None where that cannot be told.
    """

    sent: Sent
    vmid: int
    types: tuple[str, ...]
    there: bool | None
    reached: bool | None
    untouched: bool | None = None
    tasks: tuple[TaskSeen, ...] | None = None


def after_call(look: CallLook) -> Next:
    """What next, after a configure, grow, power, change or delete call whose reply was lost."""
    if look.there is None or look.tasks is None:
        return KeepLooking(look.sent.certain_from, "The server did not tell what is there.")
    ours = [task for task in look.tasks if look.sent.by_us(task, look.types) and task.upid.id == str(look.vmid)]
    running = next((task for task in ours if task.status.running), None)
    if running:
        return WaitForTask(running.upid)
    if look.reached:
        return Adopt(ours[0].upid) if ours and ours[0].status.ok else AlreadySo()
    if not look.there:
        return Gone(f"The guest {look.vmid} is not there any more.")
    if ours and not ours[0].status.ok:
        return TaskFailed(ours[0].upid, ours[0].status.exitstatus)
    if ours and look.reached is None:
        return Adopt(ours[0].upid)
    if not look.sent.certain:
        return KeepLooking(look.sent.certain_from, "The call may still arrive.")
    if look.untouched is False:
        return ChangedByOther(f"The guest {look.vmid} was changed by somebody else meanwhile.")
    return SendAgain("No task of ours is there, and what was asked is not so.")


def _later(sent: Sent) -> datetime:
    return max(sent.certain_from, sent.looked_at + timedelta(seconds=1))


@dataclass(frozen=True)
class DeleteLook:
    """What a look after a delete call found. identity: of the guest with this VM id now (`removal.identity`), empty where it is gone.

    identity_before: read before the call. A guest with another identity is another guest.
    """

    sent: Sent
    vmid: int
    exists: bool | None
    identity: str
    identity_before: str
    tasks: tuple[TaskSeen, ...] | None = None


def after_delete(look: DeleteLook) -> Next:
    """What next, after a delete call whose reply was lost; never SendAgain at a guest that is not surely the one meant."""
    if look.exists is None or look.tasks is None:
        return KeepLooking(look.sent.certain_from, "The server did not tell what is there.")
    kinds = ("qmdestroy", "vzdestroy")
    if look.exists and (not look.identity_before or look.identity != look.identity_before):
        ours = [task for task in look.tasks if look.sent.by_us(task, kinds) and task.upid.id == str(look.vmid)]
        if ours and ours[0].status.ok:  # the one that was meant is gone, and its number was given away since
            return Adopt(ours[0].upid)
        return TakenByOther(
            f"The id {look.vmid} now belongs to another guest, or one that was changed; it stays.", proven=True
        )
    return after_call(CallLook(look.sent, look.vmid, kinds, True, not look.exists, tasks=look.tasks))
