"""What a refused call means for its job, in words."""

from dataclasses import replace

from comserv.domain.errors import Problem
from comserv.domain.taskend import explain
from comserv.jobs.calls import Refused
from comserv.jobs.story import StepFailed


def failure_of(refused: Refused, doing: str, server: str) -> StepFailed:
    """doing: a noun with its object, "The start of web-01"."""
    if refused.error is not None:
        said = refused.error.proxmox
        text, status = (said.message, said.status) if said else (refused.error.detail, 500)
        return StepFailed(replace(explain(text, doing, server, status).problem, proxmox=said))
    reason = getattr(refused.outcome, "reason", "It is not as it was left.")
    return StepFailed(Problem("changed_meanwhile", f"{doing} stopped.", reason, "Look at the guest, then try again."))
