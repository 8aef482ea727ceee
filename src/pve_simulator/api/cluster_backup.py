"""`/cluster/backup`: backup jobs; `backupjobs.py` runs them when they are due."""

from __future__ import annotations

import uuid
from typing import Any

from pve_simulator.calendar import BadEvent, coming
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import Guest

NUMBERS = ("enabled", "all", "bwlimit", "ionice", "lockwait", "pigz", "protected", "quiet", "remove", "zstd")


def jobs(estate: Estate) -> dict[str, dict[str, str]]:
    """The jobs by id."""
    return estate.sections.setdefault("jobs", {})


def bad(parameter: str, text: str) -> ApiError:
    """A refusal of the inner command, with the outer status 500."""
    return ApiError(500, f"400 Parameter verification failed.\n{parameter}: {text}")


def known(call: Call) -> dict[str, str]:
    """The job of the path; raises ApiError 500."""
    found = jobs(call.estate).get(call["id"])
    if found is None:
        raise bad("id", f"No such job '{call['id']}'")
    return found


def told(job: str, values: dict[str, str]) -> dict[str, Any]:
    """A job as the API tells it."""
    typed = {name: int(value) if name in NUMBERS else value for name, value in values.items()}
    return {"id": job, "type": "vzdump", **typed}


def checked(call: Call) -> dict[str, str]:
    """The values of a call, the old way to tell a time made the new one; raises ParameterError."""
    values = {name: str(value) for name, value in call.sent.items() if name not in ("id", "delete", "digest")}
    if "starttime" in values:
        values["schedule"] = f"{values.pop('dow', 'mon..sun')} {values.pop('starttime')}"
    if "schedule" in values:
        try:
            coming(values["schedule"], call.server.clock.seconds(), 1)
        except BadEvent as refusal:
            raise ParameterError({"schedule": f"invalid format - {refusal}\n"}) from None
    return values


@endpoint("GET", "/cluster/backup")
async def listed(call: Call) -> list[dict[str, Any]]:
    now = call.server.clock.seconds()
    rows = [told(job, values) for job, values in jobs(call.estate).items()]
    return [{**row, "next-run": coming(row["schedule"], now, 1)[0]} if row.get("enabled") else row for row in rows]


@endpoint("POST", "/cluster/backup")
async def create(call: Call) -> None:
    values = checked(call)
    if not {"all", "vmid", "pool"} & set(values):
        raise bad("vmid", "property is missing")
    name = call.get("id") or str(uuid.uuid4())
    if name in jobs(call.estate):
        raise bad("id", f"Job '{name}' already exists")
    jobs(call.estate)[name] = {"enabled": "1", **values}


@endpoint("GET", "/cluster/backup/{id}")
async def one(call: Call) -> dict[str, Any]:
    return told(call["id"], known(call))


@endpoint("PUT", "/cluster/backup/{id}")
async def change(call: Call) -> None:
    found = known(call)
    values = checked(call)
    for name in call.get("delete", "").split(","):
        found.pop(name, None)
    found |= values


@endpoint("DELETE", "/cluster/backup/{id}")
async def remove(call: Call) -> None:
    known(call)
    del jobs(call.estate)[call["id"]]


def chosen(estate: Estate, values: dict[str, str]) -> list[Guest]:
    """The guests that a job backs up."""
    if values.get("all") == "1":
        left_out = values.get("exclude", "").split(",")
        return [guest for guest in estate.guests.values() if str(guest.vmid) not in left_out]
    if "pool" in values:
        pool = estate.pools.get(values["pool"])
        wanted = [str(vmid) for vmid in pool.guests] if pool else []
    else:
        wanted = values.get("vmid", "").split(",")
    return [guest for guest in estate.guests.values() if str(guest.vmid) in wanted]


@endpoint("GET", "/cluster/backup/{id}/included_volumes")
async def included(call: Call) -> dict[str, Any]:
    children = [
        {"id": guest.vmid, "name": guest.name, "type": guest.type, "children": [], "leaf": 1}
        for guest in chosen(call.estate, known(call))
    ]
    return {"children": children}


@endpoint("GET", "/cluster/backup-info/not-backed-up")
async def not_backed_up(call: Call) -> list[dict[str, Any]]:
    covered = {guest.vmid for values in jobs(call.estate).values() for guest in chosen(call.estate, values)}
    return [
        {"vmid": guest.vmid, "name": guest.name, "type": guest.type}
        for guest in call.estate.guests.values()
        if guest.vmid not in covered and call.may(f"/vms/{guest.vmid}", "VM.Audit")
    ]
