"""Work in the background that has to go on: what ends by a fault is logged and begun anew, so that nothing stops unseen."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from comserv.domain.errors import DatabaseUnavailable

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 1.0


async def kept_going(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Runs `work` until it is cancelled. work: begins by catching up with what it may have missed."""
    while True:
        try:
            await work()
        except DatabaseUnavailable as error:
            log.warning("background work waits for the database", work=name, detail=error.detail)
        except Exception:  # the outermost edge of this work: nobody else would notice that it has ended
            log.exception("background work failed, it is begun anew", work=name)
        await asyncio.sleep(AGAIN_SECONDS)
