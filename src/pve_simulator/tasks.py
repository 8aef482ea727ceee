"""Workers: what goes on after a call has answered with a UPID."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.lives import Life, mortal
from pve_simulator.locks import HOLDER, Holder, Key
from pve_simulator.world.node import Node
from pve_simulator.world.task import Task

if TYPE_CHECKING:
    from pve_simulator.server import Server

Worker = Callable[["Run"], Awaitable[object]]
KEPT = 2000  # ended tasks that an estate remembers
LOCK_WAIT = 10.0  # seconds Proxmox waits for a guest's file lock


class Run:
    """A task at work, as its worker sees it."""

    def __init__(self, server: Server, task: Task, life: Life | None = None) -> None:
        self.server = server
        self.task = task
        self.life = life  # the node's: it ends the work wherever it is
        self.locks = Holder()
        self.factor = 1.0  # how much slower than usual, by a fault rule
        self.ending: str | None = None  # the exit status that a fault rule gives it
        self.warnings = 0

    def log(self, *lines: str) -> None:
        """Adds lines to the log."""
        self.task.log.extend(lines)
        self.server.changed()

    def warn(self, text: str) -> None:
        """Adds a warning; the task then ends with `WARNINGS: n`."""
        self.warnings += 1
        self.log(f"WARN: {text}")

    async def sleep(self, seconds: float) -> None:
        """Works for some seconds of the real server."""
        await self.server.clock.sleep(seconds * self.factor)

    @contextlib.asynccontextmanager
    async def lock(self, key: Key, timeout: float = LOCK_WAIT, shared: bool = False) -> AsyncIterator[None]:
        """Holds the file lock of a guest (by its VMID) or a storage, waiting for it in the log's words."""
        async with self.server.locks.hold(key, timeout, self.log, shared):
            self.strike()
            yield

    def strike(self) -> None:
        """Where the work begins: raises TaskError where a fault rule lets the task fail."""
        if self.ending is not None:
            raise TaskError(self.ending)


class Tasks:
    """Begins, stops and remembers the tasks of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.workers: dict[str, asyncio.Task[None]] = {}
        self.runs: dict[str, Run] = {}
        self.lost: list[asyncio.Task[None]] = []

    def start(self, node: Node, kind: str, name: str, user: str, worker: Worker) -> str:
        """Begins a task and gives its UPID at once; the worker comes to run when the caller next waits."""
        self.server.observe()
        now, pid = self.server.clock.time(), node.next_pid()
        pstart = int((now - node.started) * 100) & 0xFFFFFFFF
        upid = f"UPID:{node.name}:{pid:08X}:{pstart:08X}:{int(now):08X}:{kind}:{name}:{user}:"
        task = Task(upid, node.name, pid, pstart, int(now), kind, name, user)
        self.server.estate.tasks[upid] = task
        life = self.server.life(node.name)
        run = Run(self.server, task, life)
        self.server.faults.for_task(run)
        self.runs[upid] = run
        self.workers[upid] = asyncio.get_running_loop().create_task(mortal(life, self._work(run, worker)), name=upid)
        self.server.changed()
        return upid

    async def _work(self, run: Run, worker: Worker) -> None:
        task = run.task
        HOLDER.set(run.locks)
        try:
            await worker(run)
            if run.ending is not None:
                raise TaskError(run.ending)
        except asyncio.CancelledError:
            run.log("received interrupt")
            self._end(task, "unexpected status")
            return
        except (TaskError, ApiError) as failure:
            text = run.ending or failure_text(failure)
            run.log(f"TASK ERROR: {text}")
            self._end(task, text)
            return
        except Exception:  # the outermost edge of a task: it fails, and the world goes on
            logging.getLogger(__name__).exception("worker of %s broke", task.upid)
            run.log("TASK ERROR: internal error of the simulator")
            self._end(task, "internal error of the simulator")
            return
        status = f"WARNINGS: {run.warnings}" if run.warnings else "OK"
        run.log(f"TASK {status}")
        self._end(task, status)

    def _end(self, task: Task, status: str) -> None:
        if not task.running:
            return
        task.exitstatus = status
        task.endtime = self.server.clock.seconds()
        self.workers.pop(task.upid, None)
        self.runs.pop(task.upid, None)
        self._forget()
        self.server.changed()

    def _forget(self) -> None:
        tasks = self.server.estate.tasks
        surplus = len(tasks) - KEPT
        if surplus > KEPT // 10:
            for upid in [upid for upid, task in tasks.items() if not task.running][:surplus]:
                del tasks[upid]

    def get(self, upid: str) -> Task | None:
        """A task by its UPID."""
        return self.server.estate.tasks.get(upid)

    async def stop(self, upid: str) -> None:
        """Interrupts a task and waits for its end; the worker may end it in words of its own (TaskError)."""
        worker = self.workers.get(upid)
        if worker is not None:
            worker.cancel()
            await asyncio.wait([worker], timeout=10)

    async def finish(self, patience: float = 1.5) -> None:
        """Waits for all workers, for some true seconds; interrupts whoever is not done then."""
        workers = list(self.workers.values())
        if workers:
            await asyncio.wait(workers, timeout=patience)
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers, timeout=1)

    def lose(self, node: str) -> None:
        """The workers of a node die with it: no log line, no cleaning up, whatever they made half stays."""
        for upid, run in list(self.runs.items()):
            if run.task.node == node:
                self.lost.append(self.workers[upid])
                run.locks.lose()
                self._end(run.task, "unexpected status")

    def bury(self) -> None:
        """After a restart: tasks whose worker died with the process."""
        for task in self.server.estate.tasks.values():
            if task.running and task.upid not in self.workers:
                self._end(task, "unexpected status")


def unlogged(server: Server, node: str) -> Run:
    """What a synchronous call works with where a task would write its log: nobody reads it."""
    return Run(server, Task("", node, 0, 0, 0, "", "", ""))


def failure_text(failure: TaskError | ApiError) -> str:
    """A refusal as an exit status: one line."""
    text = failure.args[0] if failure.args else "unknown error"
    if isinstance(failure, ApiError) and failure.errors:
        text += "\n" + "\n".join(f"{key}: {fault}" for key, fault in failure.errors.items())
    return str(text).strip("\n").replace("\n", " ")
