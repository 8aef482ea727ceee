"""The state vocabulary of the pages: each state is a glyph, a word and a tone, and no page has words of its own for it."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from comserv.domain.audit import Outcome
from comserv.domain.connection import StageName, StageState
from comserv.domain.doctor import FeatureState
from comserv.domain.guest import Guest, GuestStatus
from comserv.domain.job import Job, JobKind, JobState, StepState, WaitReason
from comserv.domain.person import Role
from comserv.domain.picture import Health, Node
from comserv.domain.plan import Level
from comserv.domain.server import ServerState
from comserv.domain.task import TaskRow, TaskStatus
from comserv.services.guests import GuestView


@dataclass(frozen=True)
class State:
    """glyph: a name in icons.GLYPHS. tone: ok, busy, warn, bad or idle. detail: what stands quietly beside the word."""

    glyph: str
    word: str
    tone: str
    detail: str = ""


UNKNOWN = State("unknown", "Unknown", "idle")
GUEST = {
    GuestStatus.RUNNING: State("running", "Running", "ok"),
    GuestStatus.STOPPED: State("stopped", "Stopped", "idle"),
    GuestStatus.PAUSED: State("paused", "Paused", "warn"),
    GuestStatus.SUSPENDED: State("asleep", "Hibernated", "idle"),
    GuestStatus.UNKNOWN: UNKNOWN,
}
# qmpstatus values that are none of Proxmox's own states, and say that something is wrong or in between
QMP = {
    "io-error": State("fault", "Fault", "bad", "disk I/O error"),
    "internal-error": State("fault", "Fault", "bad", "internal error"),
    "guest-panicked": State("fault", "Fault", "bad", "the guest crashed"),
    "prelaunch": State("busy", "Starting", "busy"),
    "inmigrate": State("busy", "Arriving", "busy"),
    "finish-migrate": State("busy", "Leaving", "busy"),
    "paused": GUEST[GuestStatus.PAUSED],
    "suspended": GUEST[GuestStatus.PAUSED],
}
TEMPLATE = State("template", "Template", "idle")
JOB = {
    JobState.QUEUED: State("queued", "Queued", "idle"),
    JobState.RUNNING: State("busy", "Running", "busy"),
    JobState.SUCCEEDED: State("succeeded", "Succeeded", "ok"),
    JobState.FAILED: State("failed", "Failed", "bad"),
    JobState.CANCELLED: State("cancelled", "Cancelled", "idle"),
}
STEP = {
    StepState.WAITING: State("waiting", "Waiting", "idle"),
    StepState.RUNNING: State("busy", "Running", "busy"),
    StepState.DONE: State("succeeded", "Done", "ok"),
    StepState.FAILED: State("failed", "Failed", "bad"),
    StepState.SKIPPED: State("cancelled", "Skipped", "idle"),
}
SERVER = {
    ServerState.UP: State("up", "Answers", "ok"),
    ServerState.SLOW: State("slow", "Slow", "warn"),
    ServerState.DOWN: State("down", "Does not answer", "bad"),
    ServerState.UNREACHED: State("unknown", "Never reached", "warn"),
    ServerState.MAINTENANCE: State("paused", "In maintenance", "idle"),
}
STAGE = {
    StageState.OK: State("succeeded", "Passed", "ok"),
    StageState.WARNING: State("warning", "Passed, with a warning", "warn"),
    StageState.FAILED: State("failed", "Failed", "bad"),
    StageState.SKIPPED: State("waiting", "Skipped", "idle"),
}
FEATURE = {
    FeatureState.WORKS: State("succeeded", "Works", "ok"),
    FeatureState.PARTLY: State("warning", "For some", "warn"),
    FeatureState.BLOCKED: State("blocker", "Blocked", "bad"),
}
FINDING = {
    Level.BLOCKER: State("blocker", "Blocker", "bad"),
    Level.WARNING: State("warning", "Warning", "warn"),
    Level.NOTE: State("note", "Note", "idle"),
}
WAITING = {
    WaitReason.SERVER_DOWN: State("held", "Held for the server", "warn"),
    WaitReason.LOCK: State("locked", "Waits for a lock", "warn"),
    WaitReason.LIMIT: State("waiting", "Waits its turn", "idle"),
    WaitReason.OUTCOME_UNKNOWN: State("unknown", "We are looking", "warn"),
    WaitReason.AGENT: State("busy", "Waits for the agent", "busy"),
    WaitReason.MAINTENANCE: State("held", "Held for maintenance", "idle"),
}
OUTCOME = {
    Outcome.DONE: State("succeeded", "Done", "ok"),
    Outcome.REFUSED: State("blocker", "Refused", "bad"),
    Outcome.SUCCEEDED: JOB[JobState.SUCCEEDED],
    Outcome.FAILED: JOB[JobState.FAILED],
    Outcome.CANCELLED: JOB[JobState.CANCELLED],
}
STAGE_NAMES = {
    StageName.NAME: "Name",
    StageName.TCP: "TCP",
    StageName.TLS: "TLS",
    StageName.HTTP: "API",
    StageName.VERSION: "Version",
    StageName.TOKEN: "Token",
    StageName.RIGHTS: "Rights",
    StageName.CLOCK: "Time",
    StageName.NODES: "Nodes",
    StageName.STORAGES: "Storages",
    StageName.GUESTS: "Guests",
}
STEP_NAMES = {
    "reserve": "Reserve the VM id and the address",
    "clone": "Clone the template",
    "configure": "Configure",
    "grow": "Grow the disk",
    "start": "Start",
    "prove": "Prove",
}
KIND_NAMES = {
    JobKind.CREATE_VM: "Create",
    JobKind.POWER: "Power",
    JobKind.CHANGE_GUEST: "Change",
    JobKind.DELETE_GUEST: "Delete",
}
ROLE_NAMES = {
    Role.VIEWER: "Viewer, may look",
    Role.OPERATOR: "Operator, may look and manage guests",
    Role.ADMIN: "Admin, may do all",
}


def guest_state(view: GuestView) -> State:
    """What the list says: our own job first, then staleness, then the lock, then the status."""
    guest = view.guest
    if view.job is not None and not view.job.state.ended:
        return _under(view.job)
    if view.stale and not guest.template:
        return State("unknown", f"Was {GUEST[guest.status].word.lower()}" if _known(guest) else "Unknown", "idle")
    if guest.lock and guest.status != GuestStatus.SUSPENDED:
        return State("locked", "Locked", "warn", guest.lock)
    return TEMPLATE if guest.template else GUEST[guest.status]


# The first word of a job's title → what the guest's row says meanwhile
DOING = {
    "Create": "Creating",
    "Start": "Starting",
    "Shut": "Shutting down",
    "Stop": "Stopping",
    "Reboot": "Rebooting",
    "Reset": "Resetting",
    "Pause": "Pausing",
    "Hibernate": "Hibernating",
    "Resume": "Resuming",
    "Change": "Changing",
    "Delete": "Deleting",
}


def _under(job: Job) -> State:
    """A guest with a job of ours: what happens to it, or what the job waits for."""
    if job.waiting is not None:
        return WAITING[job.waiting.reason]
    verb = job.title.partition(" ")[0]
    return State("busy", DOING.get(verb, verb), "busy", running_percent(job))


def counted_states(counts: Mapping[str, int]) -> str:
    """`41 running, 14 stopped`, in the order of the vocabulary."""
    told = [(counts.get(str(status), 0), state.word.lower()) for status, state in GUEST.items()]
    return ", ".join(f"{number:,} {word}" for number, word in told if number)


def node_state(node: Node, stale: bool) -> State:
    """A node inside a server; where the server is not heard, only what it was."""
    if stale:
        return State("unknown", "Was online" if node.online else "Was offline", "idle")
    return State("up", "Online", "ok") if node.online else State("down", "Offline", "bad")


def _known(guest: Guest) -> bool:
    return guest.status != GuestStatus.UNKNOWN


def live_state(status: GuestStatus, qmpstatus: str) -> State:
    """What the guest's own page says, where `status/current` was asked: QEMU's word counts before Proxmox's."""
    return QMP.get(qmpstatus, GUEST[status])


def job_state(job: Job) -> State:
    """A job that waits says for what; one with warnings says so."""
    if job.waiting is not None and not job.state.ended:
        return WAITING[job.waiting.reason]
    if job.cancel_requested and not job.state.ended:
        return State("busy", "Is being cancelled", "busy")
    if job.state == JobState.RUNNING:
        done = sum(step.state in (StepState.DONE, StepState.SKIPPED) for step in job.steps)
        detail = f"step {min(done + 1, len(job.steps))} of {len(job.steps)}" if len(job.steps) > 1 else ""
        return State("busy", "Running", "busy", detail)
    if job.state == JobState.SUCCEEDED and job.warnings:
        return State("warning", "Succeeded, with a warning", "warn")
    return JOB[job.state]


def running_percent(job: Job) -> str:
    """`64 %` of the step that runs, or nothing where Proxmox tells none."""
    known = [step.percent for step in job.steps if step.state == StepState.RUNNING and step.percent is not None]
    return f"{known[0]:.0f} %" if known else ""


def server_state(health: Health) -> State:
    return SERVER[health.state]


def task_state(task: TaskRow) -> State:
    status = TaskStatus(task.upid, task.running, task.exitstatus, task.ended)
    if status.running:
        return JOB[JobState.RUNNING]
    if status.stopped_by_somebody:
        return JOB[JobState.CANCELLED]
    return JOB[JobState.SUCCEEDED if status.ok else JobState.FAILED]


# What Proxmox calls its tasks (the type in a UPID) → what a person calls them
TASKS = {
    "qmstart": "Start",
    "qmstop": "Stop",
    "qmshutdown": "Shut down",
    "qmreboot": "Reboot",
    "qmreset": "Reset",
    "qmsuspend": "Suspend",
    "qmresume": "Resume",
    "qmclone": "Clone",
    "qmconfig": "Configure",
    "qmdestroy": "Delete",
    "qmtemplate": "Make a template",
    "qmigrate": "Move",
    "qmmove": "Move a disk",
    "qmrestore": "Restore",
    "qmsnapshot": "Snapshot",
    "qmdelsnapshot": "Delete a snapshot",
    "qmrollback": "Roll back",
    "resize": "Grow a disk",
    "vncproxy": "Console",
    "vzdump": "Back up",
    "vzstart": "Start",
    "vzstop": "Stop",
    "vzshutdown": "Shut down",
    "vzreboot": "Reboot",
    "vzcreate": "Create",
    "vzdestroy": "Delete",
}

_TAG_COLOURS = ("#c2410c", "#2563eb", "#7c3aed", "#0d9488", "#be185d", "#a16207", "#64748b")


def tag_colour(name: str) -> str:
    """A colour that stays with a tag's name."""
    return _TAG_COLOURS[zlib.crc32(name.encode()) % len(_TAG_COLOURS)]


def role_options(roles: Iterable[Role]) -> tuple[tuple[Role, str], ...]:
    """For a choice of roles."""
    return tuple((role, ROLE_NAMES[role]) for role in roles)


def action_words(action: str) -> str:
    """`create_vm` → `Create VM`, as the audit says it."""
    return action.replace("_", " ").capitalize().replace(" vm", " VM")
