"""Ending background tasks for sure, also while the database does not answer."""

import asyncio
from collections.abc import Collection
from typing import Any

AGAIN_SECONDS = 1.0


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel them and wait until they have ended. Raises what one of them failed with.

    A cancelled statement first asks PostgreSQL to stop it, for up to 10 s where that does not answer; a second cancel closes
    the connection at once.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error
