"""A task: Proxmox's own asynchronous work, named by a UPID; and what its end means."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from comserv.domain.errors import ReplyUnreadable

UPID = re.compile(
    r"UPID:(?P<node>[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):"
    r"(?P<start>[0-9A-Fa-f]{8}):(?P<type>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):"
)


@dataclass(frozen=True)
class Upid:
    """`UPID:<node>:<pid>:<pstart>:<starttime>:<type>:<id>:<user[!token]>:` with the server that it belongs to."""

    server: str
    text: str
    node: str
    type: str
    id: str
    user: str
    started: datetime

    def __str__(self) -> str:
        return self.text


def parse_upid(server: str, text: str) -> Upid:
    """Raises ReplyUnreadable for what is no UPID."""
    found = UPID.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise ReplyUnreadable(f"not a task id: {text!r}", server=server)
    started = datetime.fromtimestamp(int(found["start"], 16), UTC)
    return Upid(server, text, found["node"], found["type"], found["id"], found["user"], started)


@dataclass(frozen=True)
class TaskStatus:
    """exitstatus is empty while it runs; `OK`, `WARNINGS: n`, or the error's text."""

    upid: Upid
    running: bool
    exitstatus: str = ""
    ended: datetime | None = None

    @property
    def ok(self) -> bool:
        """`WARNINGS: n` counts as success (semantics section 6)."""
        return not self.running and (self.exitstatus == "OK" or self.exitstatus.startswith("WARNINGS:"))

    @property
    def stopped_by_somebody(self) -> bool:
        """Ended by DELETE: the exit text is then `unexpected status`, `received interrupt` or `interrupted by signal`."""
        return not self.running and any(
            word in self.exitstatus for word in ("unexpected status", "received interrupt", "interrupted by signal")
        )


@dataclass(frozen=True)
class TaskLog:
    """Lines from `start` on; `total` grows while the task runs."""

    start: int
    lines: tuple[str, ...]
    total: int


@dataclass(frozen=True)
class TaskRow:
    """A row of a list of tasks, running or ended; exitstatus as in TaskStatus."""

    upid: Upid
    running: bool
    exitstatus: str = ""
    ended: datetime | None = None
