"""`/nodes/{node}/tasks` and `/cluster/tasks`: what runs, what ran, its log, and its end."""

from __future__ import annotations

import re
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ParameterError
from pve_simulator.permissions import split
from pve_simulator.replies import Reply
from pve_simulator.world.task import UPID, Task

TASK = "/nodes/{node}/tasks/{upid}"
RECENT = 25  # ended tasks of each node that the cluster remembers
NO_FILE = "unable to open file - No such file or directory"


def who(task: Task) -> dict[str, str]:
    """User and token; consoles keep both in one."""
    user, token = split(task.user)
    return {"user": task.user} if token is None or task.type == "vncproxy" else {"user": user, "tokenid": token}


def facts(task: Task) -> dict[str, Any]:
    """What the UPID tells."""
    names = ("upid", "node", "pid", "pstart", "starttime", "type", "id")
    return {name: getattr(task, name) for name in names}


def row(task: Task) -> dict[str, Any]:
    """A row of a node's list."""
    if task.running:
        return {**facts(task), "user": task.user, "saved": "0", "status": "RUNNING"}
    return {**facts(task), **who(task), "endtime": task.endtime, "status": task.exitstatus}


@endpoint("GET", "/nodes/{node}/tasks")
async def listed(call: Call) -> list[dict[str, Any]]:
    source = call.get("source", "archive")
    found = [task for task in reversed(call.estate.tasks.values()) if task.node == call.node.name]
    every = call.may(f"/nodes/{call.node.name}", "Sys.Audit")
    found = [task for task in found if every or own(call, task)]
    running = [task for task in found if task.running] if source in ("active", "all") else []
    ended = [task for task in found if not task.running] if source in ("archive", "all") else []
    ended.sort(key=lambda task: task.endtime or 0, reverse=True)
    chosen = [task for task in (*running, *ended) if wanted(call, task)]
    call.extra["total"] = len(chosen)
    start, limit = call.get("start", 0), call.get("limit", 50)
    return [row(task) for task in (chosen[start : start + limit] if limit else chosen[start:])]


def wanted(call: Call, task: Task) -> bool:
    """Whether the filters let a task pass."""
    status = task.exitstatus or ""
    states = [part for part in re.split(r"[,;\s]+", call.get("statusfilter", "")) if part]
    return (
        ("vmid" not in call or task.id == str(call["vmid"]))
        and call.get("userfilter", "").lower() in task.user.lower()
        and call.get("typefilter", task.type) == task.type
        and not (call.get("errors") and (task.running or not task.failed))
        and (not states or kind(status) in states)
        and task.starttime >= call.get("since", 0)
        and ("until" not in call or task.starttime <= call["until"])
    )


def kind(status: str) -> str:
    """An exit status as filters name it."""
    if status == "OK":
        return "ok"
    if status.startswith("WARNINGS"):
        return "warning"
    return "unknown" if status in ("", "unexpected status") else "error"


def own(call: Call, task: Task) -> bool:
    """Whether the caller, or a token of the same user, began a task."""
    return split(task.user)[0] == split(call.user)[0]


def parsed(call: Call) -> re.Match[str]:
    """The UPID of the path; raises ParameterError for one that is none."""
    found = UPID.fullmatch(call["upid"])
    if found is None:
        raise ParameterError({"upid": "unable to parse worker upid"})
    return found


def seen(call: Call) -> re.Match[str]:
    """The UPID of the path, which the caller may look at: an own one, or with Sys.Audit on the node."""
    found = parsed(call)
    if split(found["user"])[0] != split(call.user)[0]:
        call.check(f"/nodes/{call.node.name}", "Sys.Audit")
    return found


def known(call: Call) -> Task | None:
    """The task, if it ran on the node of the path."""
    task = call.server.tasks.get(call["upid"])
    return task if task is not None and task.node == call.node.name else None


@endpoint("GET", TASK)
async def index(call: Call) -> list[dict[str, str]]:
    return [{"name": "log"}, {"name": "status"}]


@endpoint("GET", f"{TASK}/status")
async def status(call: Call) -> dict[str, Any]:
    seen(call)
    task = known(call)
    if task is None:
        raise ParameterError({"upid": "no such task"})
    told = {**facts(task), **who(task), "status": "running" if task.running else "stopped"}
    return told if task.running else {**told, "exitstatus": task.exitstatus}


@endpoint("GET", f"{TASK}/log")
async def log(call: Call) -> Any:
    seen(call)
    task, start, limit = known(call), call.get("start", 0), call.get("limit", 50)
    lines = list(task.log) if task else [NO_FILE]
    if call.get("download"):
        if start or "limit" in call:
            raise ParameterError({"start": "Parameter can't be used in conjunction with 'download'."})
        return Reply(200, "OK", "".join(f"{line}\n" for line in lines).encode(), "text/plain")
    call.extra["total"] = len(lines)
    shown = lines[start : start + limit] if limit else lines[start:]
    return [{"n": start + number, "t": line} for number, line in enumerate(shown, 1)]


@endpoint("DELETE", TASK)
async def stop(call: Call) -> None:
    found = parsed(call)
    if split(found["user"])[0] != split(call.user)[0]:
        call.check(f"/nodes/{call.node.name}", "Sys.Modify")
    task = known(call)
    if task is None:
        return
    if task.running:
        await call.server.tasks.stop(task.upid)


@endpoint("GET", "/cluster/tasks")
async def recent(call: Call) -> list[dict[str, Any]]:
    """Running and recent tasks of all nodes that the caller may see."""
    every = {name: call.may(f"/nodes/{name}", "Sys.Audit") for name in call.estate.nodes}
    tasks = [task for task in reversed(call.estate.tasks.values()) if every.get(task.node) or own(call, task)]
    tasks = [task for task in tasks if not call.server.node_down(task.node)]
    running = [{**facts(task), **who(task)} for task in tasks if task.running]
    ended = sorted((task for task in tasks if not task.running), key=lambda task: -(task.endtime or 0))
    rows: list[dict[str, Any]] = []
    for node in call.estate.nodes:
        latest = [task for task in ended if task.node == node][:RECENT]
        for place, task in enumerate(latest):
            told = {name: value for name, value in facts(task).items() if name not in ("pid", "pstart")}
            told |= {**who(task), "endtime": task.endtime, "status": task.exitstatus}
            rows.append({**told, "saved": 1 if place == 0 else "1"})  # pvestatd writes texts, a worker a number
    for told in running:
        told.pop("pstart")
    return [*running, *rows]
