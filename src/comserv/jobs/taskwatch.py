"""Watches Proxmox's tasks: one poller per node, not one per task. What a job waits for is told when it ended.

A task that is the only one watched is asked itself (its answer holds the exit text); more than one are followed by the node's
list of active tasks, and each that left it is asked once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from comserv.domain.errors import ComservError
from comserv.domain.task import TaskStatus, Upid
from comserv.proxmox.client import Client

PACE = ((1.0, 0.1), (4.0, 0.2), (inf, 1.0))
"""(up to this age of the youngest task, seconds between two looks): most tasks end within the first, few last a minute."""
LOG_EVERY = 1.0
LINES = 200
TARGETS_KEPT = 2000

Listener = Callable[[tuple[str, ...]], Awaitable[None]]


@dataclass
class _Watched:
    upid: Upid
    ended: asyncio.Future[TaskStatus]
    since: float = field(default_factory=monotonic)


class Targets(dict[str, int]):
    """The last ones only."""

    def __setitem__(self, upid: str, vmid: int) -> None:
        super().__setitem__(upid, vmid)
        while len(self) > TARGETS_KEPT:
            del self[next(iter(self))]


class TaskWatch:
    """Of one server. A client that fails ends all waits on that node with its error; whoever waits decides what that means."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._watched: dict[str, dict[str, _Watched]] = {}
        self._pollers: dict[str, asyncio.Task[None]] = {}
        self.targets = Targets()
        """Which VM id a clone makes, by UPID: told by its log, once read."""

    async def ended(self, upid: Upid, listen: Listener | None = None, reader: Client | None = None) -> TaskStatus:
        """Waits until the task has stopped. reader: the client that reads the log, so that its calls stand with their job.

        listen: gets the log's last lines about once a second, new ones or not, and once at the end.

        Raises TaskMissing where the node does not know it any more, and what the client raises.
        """
        on_node = self._watched.setdefault(upid.node, {})
        watched = on_node.setdefault(upid.text, _Watched(upid, asyncio.get_running_loop().create_future()))
        if upid.node not in self._pollers or self._pollers[upid.node].done():
            self._pollers[upid.node] = asyncio.create_task(self._poll(upid.node))
        try:
            if listen:
                await self._tell(watched, listen, reader or self._client)
            return await asyncio.shield(watched.ended)
        finally:
            if on_node.get(upid.text) is watched and not watched.ended.done():
                del on_node[upid.text]

    async def _tell(self, watched: _Watched, listen: Listener, reader: Client) -> None:
        lines: tuple[str, ...] = ()
        following = 0
        while True:
            over = watched.ended.done()
            log = await reader.task(watched.upid).log(following, LINES)
            if log.lines:
                lines = (*lines, *log.lines)[-LINES:]
                following += len(log.lines)
            await listen(lines)
            if over:
                return
            await asyncio.wait([watched.ended], timeout=LOG_EVERY * max(1.0, self._client.server.pace.pauses))

    async def _poll(self, node: str) -> None:
        on_node = self._watched[node]
        while on_node:
            youngest = min(monotonic() - one.since for one in on_node.values())
            pause = next(pause for age, pause in PACE if youngest < age)
            await asyncio.sleep(pause * self._client.server.pace.pauses)
            try:
                await self._look(node)
            except ComservError as error:
                for one in list(on_node.values()):
                    self._end(one, error)

    async def _look(self, node: str) -> None:
        watched = list(self._watched[node].values())
        if len(watched) > 1:
            rows = await self._client.node(node).tasks.list("active")
            active = {row.upid.text for row in rows}
            watched = [one for one in watched if one.upid.text not in active]
        for one in watched:
            try:
                status = await self._client.task(one.upid).status()
            except ComservError as error:
                self._end(one, error)
                continue
            if not status.running:
                self._end(one, status)

    def _end(self, one: _Watched, outcome: TaskStatus | ComservError) -> None:
        self._watched[one.upid.node].pop(one.upid.text, None)
        if one.ended.done():
            return
        if isinstance(outcome, TaskStatus):
            one.ended.set_result(outcome)
        else:
            one.ended.set_exception(outcome)
            one.ended.exception()  # whoever waits gets it; nobody may wait any more

    async def close(self) -> None:
        for poller in self._pollers.values():
            poller.cancel()
        await asyncio.gather(*self._pollers.values(), return_exceptions=True)
