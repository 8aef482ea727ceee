"""What the end of a Proxmox task, or its refusal, means: what happened, why, what to do, and whether waiting helps."""

from dataclasses import dataclass

from comserv.domain.errors import Problem
from comserv.domain.job import WaitReason


@dataclass(frozen=True)
class TaskEnd:
    """problem: as it is stored and shown, with Proxmox's own text. wait_for: set where it can be tried again after a while.

    stopped: somebody ended the task. vmid_taken: the VM id is in use.
    """

    problem: Problem
    wait_for: WaitReason | None = None
    stopped: bool = False
    vmid_taken: bool = False


def explain(text: str, doing: str, server: str = "", status: int = 200) -> TaskEnd:
    """text: exitstatus of a failed task, or the message of an error reply (then with its status).

    doing: what was being done, as a noun with its object: "The clone of web-01", "The start of VM 105".
    """
    raise NotImplementedError
