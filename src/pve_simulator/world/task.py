"""A task: a worker process with an id that tells all about it, a log and an end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

UPID = re.compile(
    r"UPID:(?P<node>[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):"
    r"(?P<starttime>[0-9A-Fa-f]{8}):(?P<type>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):"
)


@dataclass
class Task:
    """`user` may be a token (`user@realm!name`). While it runs `endtime` and `exitstatus` are None."""

    upid: str
    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str
    endtime: int | None = None
    exitstatus: str | None = None
    log: list[str] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether its worker is at work."""
        return self.exitstatus is None

    @property
    def failed(self) -> bool:
        """Whether it ended badly; warnings are no failure."""
        return self.exitstatus is not None and self.exitstatus != "OK" and not self.exitstatus.startswith("WARNINGS")
