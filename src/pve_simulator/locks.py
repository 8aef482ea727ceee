"""The file locks of guests and storages: one writer or several readers at a time, and a limit to the waiting."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar

from pve_simulator.clock import Clock
from pve_simulator.errors import ApiError

Key = int | str  # a guest's VMID, or a name of another file


class Holder:
    """What one worker holds and waits for, so that it can be let go of when the worker dies."""

    def __init__(self) -> None:
        self.held: list[tuple[FileLock, bool]] = []
        self.turns: list[asyncio.Future[None]] = []

    def lose(self) -> None:
        """The operating system takes back what a dead process locked."""
        for turn in self.turns:
            turn.cancel()
        for lock, shared in self.held:
            lock.release(shared)
        self.held, self.turns = [], []


HOLDER: ContextVar[Holder | None] = ContextVar("HOLDER", default=None)


class FileLock:
    """A lock as flock(2) gives it: held by one, or shared by several; who came first is served first."""

    def __init__(self) -> None:
        self.holders = 0  # -1: held by one alone
        self.waiting: collections.deque[tuple[asyncio.Future[None], bool]] = collections.deque()

    def locked(self, shared: bool) -> bool:
        """Whether one has to wait for it."""
        return bool(self.waiting) or (self.holders < 0 if shared else self.holders != 0)

    async def acquire(self, shared: bool) -> None:
        """Waits for the lock and takes it."""
        if not self.locked(shared):
            self._take(shared)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((turn, shared))
        holder = HOLDER.get()
        if holder:
            holder.turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(shared)  # the turn came together with the interruption
            elif (turn, shared) in self.waiting:
                self.waiting.remove((turn, shared))
                self._wake()
            raise
        finally:
            if holder and turn in holder.turns:
                holder.turns.remove(turn)

    def release(self, shared: bool) -> None:
        """Gives the lock back and wakes who is next."""
        self.holders = self.holders - 1 if shared else 0
        self._wake()

    def _take(self, shared: bool) -> None:
        self.holders = self.holders + 1 if shared else -1

    def _wake(self) -> None:
        while self.waiting:
            turn, shared = self.waiting[0]
            if self.holders < 0 if shared else self.holders != 0:
                return
            self.waiting.popleft()
            if not turn.done():
                self._take(shared)
                turn.set_result(None)


class Locks:
    """Locks by VMID, or by the name of a file."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.locks: dict[Key, FileLock] = {}

    def held(self, key: Key) -> bool:
        """Whether somebody holds a lock."""
        return key in self.locks and self.locks[key].locked(shared=False)

    def forget(self, key: Key) -> None:
        """Drops a lock whose holder died with its node."""
        self.locks.pop(key, None)

    @contextlib.asynccontextmanager
    async def hold(
        self, key: Key, timeout: float = 10.0, log: Callable[[str], None] | None = None, shared: bool = False
    ) -> AsyncIterator[None]:
        """Holds the lock; raises ApiError 500 `can't lock file ... - got timeout` after `timeout` seconds.

        With `log` the waiting is told there: `trying to acquire lock...`, then ` OK`.
        """
        lock = self.locks.setdefault(key, FileLock())
        waited = lock.locked(shared)
        if waited and log:
            log("trying to acquire lock...")
        try:
            async with asyncio.timeout(self.clock.scaled(timeout)):
                await lock.acquire(shared)
        except TimeoutError:
            raise ApiError(500, f"can't lock file '{file_of(key)}' - got timeout") from None
        if waited and log:
            log(" OK")
        holder, grip = HOLDER.get(), (lock, shared)
        if holder:
            holder.held.append(grip)
        try:
            yield
        finally:
            if holder is None:
                lock.release(shared)
            elif grip in holder.held:  # else it died, and the lock is another's
                holder.held.remove(grip)
                lock.release(shared)


def file_of(key: Key) -> str:
    """The file that the real server locks."""
    return f"/var/lock/qemu-server/lock-{key}.conf" if isinstance(key, int) else f"/var/lock/pve-manager/{key}"
