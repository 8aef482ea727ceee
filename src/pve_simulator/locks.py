"""The file lock of each guest: one writer at a time, and a limit to the waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from pve_simulator.clock import Clock
from pve_simulator.errors import ApiError


class Locks:
    """Locks by VMID."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.locks: dict[int, asyncio.Lock] = {}

    def held(self, vmid: int) -> bool:
        """Whether somebody holds a guest's lock."""
        return vmid in self.locks and self.locks[vmid].locked()

    @contextlib.asynccontextmanager
    async def hold(
        self, vmid: int, timeout: float = 10.0, log: Callable[[str], None] | None = None
    ) -> AsyncIterator[None]:
        """Holds the lock; raises ApiError 500 `can't lock file ... - got timeout` after `timeout` seconds.

        With `log` the waiting is told there: `trying to acquire lock...`, then ` OK`.
        """
        lock = self.locks.setdefault(vmid, asyncio.Lock())
        waited = lock.locked()
        if waited and log:
            log("trying to acquire lock...")
        try:
            await asyncio.wait_for(lock.acquire(), self.clock.scaled(timeout))
        except TimeoutError:
            raise ApiError(500, f"can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout") from None
        if waited and log:
            log(" OK")
        try:
            yield
        finally:
            lock.release()
