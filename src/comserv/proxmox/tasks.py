"""/nodes/{node}/tasks: how a task goes, what it says, how it ended, and how to stop it (semantics sections 6 and 20)."""

from datetime import datetime
from typing import Literal

import msgspec

from comserv.domain.errors import ReplyUnreadable
from comserv.domain.task import TaskLog, TaskRow, TaskStatus, Upid, parse_upid
from comserv.proxmox.decoding import Text, moment
from comserv.proxmox.encoding import path
from comserv.proxmox.exchange import Exchange

LINES = 500


class TaskRecord(msgspec.Struct):
    """A row of a list of tasks. Of running rows the node's list says RUNNING, the cluster's nothing (semantics section 20)."""

    upid: str
    status: Text = ""
    endtime: float | None = None


class StatusRecord(msgspec.Struct):
    """…/status (recordings NAME.task_status)."""

    status: str
    exitstatus: Text = ""


class Line(msgspec.Struct):
    """A line of …/log; n begins at 1."""

    n: int
    t: Text = ""


class Task:
    """One task. Its node is in its UPID."""

    def __init__(self, exchange: Exchange, upid: Upid) -> None:
        self._exchange, self._upid = exchange, upid
        self._path = path("nodes", upid.node, "tasks", upid.text)

    async def status(self) -> TaskStatus:
        """Raises TaskMissing where the node does not know it any more."""
        row = await self._exchange.get(f"{self._path}/status", StatusRecord)
        if row.status not in ("running", "stopped"):
            raise ReplyUnreadable(f"a task's status is {row.status!r}", server=self._exchange.server_id)
        return TaskStatus(self._upid, row.status == "running", str(row.exitstatus))

    async def log(self, start: int = 0, limit: int = LINES) -> TaskLog:
        """Lines from `start` (0-based) on, at most `limit`; limit 0 is all. Empty when there are none yet."""
        reply = await self._exchange.get_counted(f"{self._path}/log", list[Line], {"start": start, "limit": limit})
        lines = tuple(str(line.t) for line in reply.data)
        return TaskLog(start, lines, reply.total if reply.total is not None else start + len(lines))

    async def stop(self) -> None:
        """Asks the task to end. It answers nothing; the task's own status tells when it did."""
        await self._exchange.change("DELETE", self._path)


class NodeTasks:
    """The tasks of one node."""

    def __init__(self, exchange: Exchange, node: str) -> None:
        self._exchange, self._path = exchange, path("nodes", node, "tasks")

    async def list(
        self,
        source: Literal["archive", "active", "all"] = "all",
        *,
        vmid: int | None = None,
        type: str = "",
        user: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        errors: bool = False,
        start: int = 0,
        limit: int = 500,
    ) -> tuple[TaskRow, ...]:
        """Newest first. type: `qmclone`; user: a part of the user's name; since, until: when it began, to the second.

        Without Sys.Audit on the node only the token's own tasks are told.
        """
        parameters = {
            "source": source,
            "vmid": vmid,
            "typefilter": type or None,
            "userfilter": user or None,
            "since": int(since.timestamp()) if since else None,
            "until": int(until.timestamp()) if until else None,
            "errors": errors or None,
            "start": start,
            "limit": limit,
        }
        rows = await self._exchange.get(self._path, list[TaskRecord], parameters)
        return tuple(task_row(self._exchange.server_id, row) for row in rows)


def task_row(server: str, row: TaskRecord) -> TaskRow:
    """Running is what has no end yet; RUNNING is the word for it, not its exit text."""
    ended = moment(row.endtime)
    return TaskRow(parse_upid(server, row.upid), ended is None, str(row.status) if ended else "", ended)
