"""Named limits within the process that owns a server: so many runs at once, the first come first."""

import asyncio
from typing import Any


class Limits:
    """Semaphores by name. Only the owner of a server drives jobs there, so they need not reach beyond the process."""

    def __init__(self) -> None:
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._users: dict[str, int] = {}

    def full(self, name: str, size: int) -> bool:
        return self._slot(name, size).locked()

    async def acquire(self, name: str, size: int, cancelled: asyncio.Event | None = None) -> bool:
        """False where `cancelled` was set first."""
        self._users[name] = self._users.get(name, 0) + 1
        acquiring = asyncio.ensure_future(self._slot(name, size).acquire())
        giving_up = [asyncio.ensure_future(cancelled.wait())] if cancelled else []
        try:
            await asyncio.wait([acquiring, *giving_up], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._withdraw(name, acquiring)
            raise
        finally:
            for waiting in giving_up:
                waiting.cancel()
        if acquiring.done():
            return True
        self._withdraw(name, acquiring)
        return False

    def _withdraw(self, name: str, acquiring: "asyncio.Future[Any]") -> None:
        if acquiring.done() and not acquiring.cancelled():
            self.release(name)
        else:
            acquiring.cancel()
            self._left(name)

    def release(self, name: str) -> None:
        self._slots[name].release()
        self._left(name)

    def _slot(self, name: str, size: int) -> asyncio.Semaphore:
        return self._slots.setdefault(name, asyncio.Semaphore(size))

    def _left(self, name: str) -> None:
        """A limit that nobody uses or waits for is forgotten, and with it its size."""
        self._users[name] -= 1
        if not self._users[name]:
            del self._users[name], self._slots[name]
