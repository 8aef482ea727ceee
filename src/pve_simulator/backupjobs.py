"""What pvescheduler does: begins backup jobs when their time has come, on every node that has guests of theirs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pve_simulator.authentication import Identity
from pve_simulator.calendar import BadEvent, coming
from pve_simulator.call import ENDPOINTS, Call
from pve_simulator.errors import ApiError
from pve_simulator.permissions import ROOT

if TYPE_CHECKING:
    from pve_simulator.server import Server

VZDUMP = ("POST", "/nodes/{node}/vzdump")
NOT_OPTIONS = ("id", "schedule", "enabled", "comment", "vmid", "all", "pool", "exclude", "node", "type", "next-run")


async def look(server: Server, since: float, now: float) -> None:
    """Begins the jobs that fell due after `since` and up to `now`, both true seconds since the epoch."""
    for job in list(server.estate.sections.get("jobs", {}).values()):
        if job.get("enabled", "1") == "1" and due(job.get("schedule", ""), since, now):
            await begin(server, job)


def due(schedule: str, since: float, now: float) -> bool:
    """Whether a calendar event lies in a span of time."""
    try:
        moments = coming(schedule, int(since), 1) if schedule else []
    except BadEvent:
        return False
    return bool(moments) and moments[0] <= now


async def begin(server: Server, job: dict[str, str]) -> None:
    """One vzdump per node, in root's name, for the job's guests there."""
    from pve_simulator.api.cluster_backup import chosen

    options = {name: value for name, value in job.items() if name not in NOT_OPTIONS}
    for node in server.estate.nodes:
        if server.node_down(node) or job.get("node", node) != node:
            continue
        vmids = sorted(guest.vmid for guest in chosen(server.estate, job) if guest.node == node and not guest.template)
        if not vmids:
            continue
        told = {"node": node, "vmid": ",".join(map(str, vmids)), **options}
        call = Call(server, *VZDUMP, Identity(ROOT), dict(told), told, node)
        try:
            await ENDPOINTS[VZDUMP](call)
        except ApiError as refusal:
            logging.getLogger(__name__).warning("backup job on %s: %s", node, refusal.message)
