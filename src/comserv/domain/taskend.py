"""What the end of a Proxmox task, or its refusal, means: what happened, why, what to do, and whether waiting helps.

One table of Proxmox's own texts (semantics sections 6 to 20, and the recordings); the first rule that matches is taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from comserv.domain.errors import Problem, ProxmoxSaid
from comserv.domain.job import WaitReason


@dataclass(frozen=True)
class TaskEnd:
    """problem: as it is stored and shown, with Proxmox's own text. wait_for: set where it can be tried again after a while.

    stopped: somebody ended the task. vmid_taken: the VM id is in use. gone: what it was about is not there any more.
    """

    problem: Problem
    wait_for: WaitReason | None = None
    stopped: bool = False
    vmid_taken: bool = False
    gone: bool = False


@dataclass(frozen=True)
class _Rule:
    """title, detail, cure may name groups of the pattern, `{doing}` and `{server}`."""

    code: str
    pattern: str
    title: str
    detail: str
    cure: str
    wait_for: WaitReason | None = None


def explain(text: str, doing: str, server: str = "", status: int = 200) -> TaskEnd:
    """text: exitstatus of a failed task, or the message of an error reply (then with its status).

    doing: what was being done, as a noun with its object: "The clone of web-01", "The start of VM 105".
    """
    rule, facts = _match(text)
    facts = {**facts, "doing": doing, "server": server or "the server"}
    problem = Problem(
        code=rule.code,
        title=rule.title.format(**facts),
        detail=rule.detail.format(**facts),
        cure=rule.cure.format(**facts),
        proxmox=ProxmoxSaid(status, text),
    )
    return TaskEnd(
        problem,
        wait_for=rule.wait_for,
        stopped=rule.code == "task_stopped",
        vmid_taken=rule.code == "vmid_taken",
        gone=rule.code == "guest_gone",
    )


def _match(text: str) -> tuple[_Rule, Mapping[str, str]]:
    for rule in _RULES:
        found = re.search(rule.pattern, text, re.IGNORECASE)
        if found:
            return rule, {key: value or "" for key, value in found.groupdict().items()}
    return _OTHER, {}


_OTHER = _Rule(
    "task_failed",
    "",
    "{doing} failed.",
    "Proxmox's own words say why.",
    "Look at the task's log, solve what it names, and try again.",
)

_RULES = (
    _Rule(
        "lock_timeout",
        r"can't (?:lock file|acquire lock)|got (?:lock )?timeout.*lock|trying to acquire .*lock.*timeout",
        "{doing} waited for a lock and got none.",
        "Another task works on the same guest or storage, and Proxmox gives up after 10 s.",
        "It is tried again; if it goes on, look at the running tasks of the node and end the one that hangs.",
        WaitReason.LOCK,
    ),
    _Rule(
        "task_stopped",
        r"unexpected status|received interrupt|interrupted by signal",
        "{doing} was stopped.",
        "Somebody stopped the task on the server, or the server was shut down meanwhile.",
        "Try again; nothing else hinders it.",
    ),
    _Rule(
        "guest_locked",
        r"(?:VM|CT|container) is locked \((?P<lock>[\w-]+)\)",
        "{doing} found the guest locked.",
        "The lock is “{lock}”: another task holds it, or one that died left it behind.",
        "Wait until that task has ended. If none runs, remove the lock on the server: qm unlock VMID.",
        WaitReason.LOCK,
    ),
    _Rule(
        "guest_locked",
        r"(?:VM|CT|container) is locked",
        "{doing} found the guest locked.",
        "Another task holds the lock, or one that died left it behind.",
        "Wait until that task has ended. If none runs, remove the lock on the server: qm unlock VMID.",
        WaitReason.LOCK,
    ),
    _Rule(
        "storage_full",
        r"no space left|not enough (?:free )?space|out of space|insufficient (?:free )?(?:space|extents)|"
        r"free space in .*(?:insufficient|reached threshold)|disk quota exceeded|data usage.*full|pool .*is full",
        "{doing} failed: the storage is full.",
        "There is not enough free space for the disk.",
        "Make room on the storage or choose another one, then try again.",
    ),
    _Rule(
        "storage_disabled",
        r"storage '(?P<storage>[^']+)' is disabled",
        "{doing} failed: the storage {storage} is disabled.",
        "Proxmox does not use a disabled storage.",
        "Enable {storage} on the server (pvesm set {storage} --disable 0) or choose another one.",
    ),
    _Rule(
        "storage_missing",
        r"storage '(?P<storage>[^']+)' (?:does not exist|is not available on node)",
        "{doing} failed: the storage {storage} is not there.",
        "The server has no such storage on this node.",
        "Choose a storage that the node has.",
    ),
    _Rule(
        "storage_missing",
        r"No such storage",
        "{doing} failed: the storage is not there.",
        "The server has no storage of that name.",
        "Choose a storage that the node has.",
    ),
    _Rule(
        "storage_offline",
        r"(?:unable to activate )?storage '(?P<storage>[^']+)'(?: is not online| - )",
        "{doing} failed: the storage {storage} is not online.",
        "The node cannot reach it now.",
        "Bring the storage back, or choose another one.",
    ),
    _Rule(
        "storage_content",
        r"storage '(?P<storage>[^']+)' (?:does not support|is not configured for) (?:content[- ]type )?'?(?P<content>\w+)'?",
        "{doing} failed: the storage {storage} does not take {content}.",
        "Its list of content does not hold that.",
        "Choose another storage, or add the content to this one on the server.",
    ),
    _Rule(
        "storage_content",
        r"content type '(?P<content>\w+)' is not available on storage '(?P<storage>[^']+)'",
        "{doing} failed: the storage {storage} does not take {content}.",
        "Its list of content does not hold that.",
        "Choose another storage, or add the content to this one on the server.",
    ),
    _Rule(
        "vmid_taken",
        r"config file already exists|(?:VM|CT) \d+ already exists|already exists on node",
        "{doing} failed: the VM id is taken.",
        "A guest with this number is there already.",
        "Choose another VM id.",
    ),
    _Rule(
        "snapshot_exists",
        r"snapshot name '(?P<name>[^']+)' already used",
        "{doing} failed: a snapshot {name} is there already.",
        "Names of snapshots are unique in a guest.",
        "Choose another name.",
    ),
    _Rule(
        "guest_gone",
        r"configuration file '[^']*' does not exist|unable to find configuration file|no such (?:vm|ct)\b|"
        r"(?:VM|CT) \d+ does not exist",
        "{doing} failed: the guest is not there any more.",
        "Somebody removed or moved it meanwhile.",
        "Look at the list of guests.",
    ),
    _Rule(
        "shutdown_timeout",
        r"(?:quit/powerdown failed|powerdown failed|shutdown).*got timeout|container did not stop",
        "{doing} got no answer: the guest still runs.",
        "It was asked to shut down, and did not within the time given: no agent answers and it does not heed the power button.",
        "Shut it down from inside, or use Stop, which is like pulling the plug.",
    ),
    _Rule(
        "already_running",
        r"already running",
        "{doing} was not needed: the guest runs already.",
        "Somebody else started it.",
        "Nothing has to be done.",
    ),
    _Rule(
        "paused",
        r"is paused - cannot shutdown",
        "{doing} failed: the guest is paused.",
        "A paused guest cannot answer.",
        "Resume it first, or use Stop.",
    ),
    _Rule(
        "not_running",
        r"not running",
        "{doing} failed: the guest does not run.",
        "It was stopped meanwhile.",
        "Start it first.",
    ),
    _Rule(
        "bridge_missing",
        r"bridge '(?P<bridge>[^']+)' does not exist",
        "{doing} failed: the bridge {bridge} is not on this node.",
        "Proxmox checks the bridge only when a guest starts.",
        "Choose a bridge that the node has, or make {bridge} there.",
    ),
    _Rule(
        "cpu_limit",
        r"MAX (?P<most>\d+) vcpus allowed",
        "{doing} failed: the node has only {most} CPUs.",
        "A guest cannot have more virtual CPUs than its node has.",
        "Give it {most} or fewer.",
    ),
    _Rule(
        "memory_missing",
        r"cannot allocate memory|cannot set up guest memory",
        "{doing} failed: the node has too little free memory.",
        "The memory of the guest could not be taken.",
        "Give it less memory, stop another guest, or choose another node.",
    ),
    _Rule(
        "is_template",
        r"if it's a template|is a template",
        "{doing} failed: it is a template.",
        "A template is only cloned.",
        "Make a VM from it.",
    ),
    _Rule(
        "linked_clone_impossible",
        r"linked clone feature is not supported|linked clones? (?:is|are) not (?:possible|supported)",
        "{doing} failed: the template's storage cannot make linked clones.",
        "A linked clone needs a storage with base volumes.",
        "Ask for a full clone.",
    ),
    _Rule(
        "digest_mismatch",
        r"checksum mismatch \(file change|detected modified configuration",
        "{doing} was not carried out: somebody else changed the configuration meanwhile.",
        "Nothing was overwritten.",
        "Look at what is there now, and decide again.",
    ),
    _Rule(
        "disk_shrink",
        r"shrinking disks is not supported",
        "{doing} failed: a disk cannot be made smaller.",
        "The disk is larger than what was asked.",
        "Ask for a size at least as large as it is.",
    ),
    _Rule(
        "volume_missing",
        r"volume '[^']+' does not exist|no such (?:logical )?volume|failed to stat '[^']+'",
        "{doing} failed: a volume is not there.",
        "It was removed from its storage.",
        "Take another template, or restore the volume.",
    ),
    _Rule(
        "base_in_use",
        r"base volume '(?P<volume>[^']+)' is still in use",
        "{doing} failed: linked clones need its disk.",
        "{volume} is the base of other guests.",
        "Remove those first, or make full clones of them.",
    ),
    _Rule(
        "protected",
        r"protection mode enabled",
        "{doing} failed: the guest is protected.",
        "Its protection forbids removing it or its disks.",
        "Switch protection off in its options, then try again.",
    ),
    _Rule(
        "still_running",
        r"is running - destroy failed",
        "{doing} failed: the guest runs.",
        "Proxmox removes only stopped guests.",
        "Stop it first.",
    ),
    _Rule(
        "ha_managed",
        r"used in HA resources",
        "{doing} failed: the guest is managed by HA.",
        "Its HA resource would be left without a guest.",
        "Remove it from HA first.",
    ),
    _Rule(
        "no_quorum",
        r"no quorum|cluster not ready",
        "{doing} failed: the cluster has no quorum.",
        "Too few nodes see each other, so nothing may be changed.",
        "Bring back the nodes that are missing; it is tried again meanwhile.",
        WaitReason.SERVER_DOWN,
    ),
    _Rule(
        "node_unreachable",
        r"no route to host|connection refused|connection timed out|hostname lookup|broken pipe|no such cluster node",
        "{doing} failed: the node cannot be reached.",
        "Another node of {server} got no answer from it.",
        "Check the node; it is tried again meanwhile.",
        WaitReason.SERVER_DOWN,
    ),
    _Rule(
        "permission_missing",
        r"permission check failed \((?P<path>[^,)]+), (?P<any>(?P<privilege>[\w.]+)[^)]*)\)",
        "{doing} failed: the API token lacks a right.",
        "Needed is {any} at {path}.",
        "Give the token {privilege} there, then try again. Where it has our role already, this line does it, run as root on "
        'the server: pveum role modify Comserv --append 1 --privs "{privilege}". The page of {server} has the exact lines '
        "under “What the token may do”.",
    ),
    _Rule(
        "permission_missing",
        r"permission check failed",
        "{doing} failed: the API token lacks a right.",
        "Proxmox does not say which.",
        "Look at “What the token may do” on the page of {server}: it names the rights that are missing.",
    ),
)
