"""Passwords: argon2id in a bounded number of threads, so that signing in can neither block nor exhaust the process."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from comserv.domain.errors import Invalid

LEAST, MOST = 12, 1024  # characters; a long sentence is welcome, a megabyte is an attack
Result = TypeVar("Result")
AT_ONCE = 2  # each takes 64 MiB while it runs


class Passwords:
    """Hashes and checks. One per process; `close()` ends its threads."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """Raises Invalid for one that is too short, too long, or one character over and over."""
        if not LEAST <= len(password) <= MOST:
            raise Invalid(
                fields={"password": f"a password has {LEAST} to {MOST} characters; a short sentence does well"}
            )
        if len(set(password)) < 4:
            raise Invalid(fields={"password": "this password is the same few characters over and over"})
        return await self._run(self._hasher.hash, password)

    async def matches(self, stored: str | None, password: str) -> bool:
        """None: there is no such person; as much time is spent, so that nobody learns which of the two was wrong."""
        if len(password) > MOST:
            return False
        if stored is None:
            if self._decoy is None:
                self._decoy = await self._run(self._hasher.hash, "a password that nobody has")
            await self._run(self._verify, self._decoy, password)
            return False
        return await self._run(self._verify, stored, password)

    def outdated(self, stored: str) -> bool:
        """Whether it was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., Result], *arguments: str) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(work, *arguments))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
