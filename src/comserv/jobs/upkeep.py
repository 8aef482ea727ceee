"""Upkeep: what is older than its retention goes, a little at a time; expired sessions too."""

import asyncio
from datetime import timedelta

import structlog

from comserv.domain.errors import DatabaseUnavailable
from comserv.persistence import audit, jobs, sessions
from comserv.persistence.database import Database

log = structlog.get_logger(__name__)

EVERY = 3600.0  # seconds
FIRST_AFTER = 60.0


async def keep_up(database: Database, jobs_kept: timedelta, audit_kept: timedelta) -> None:
    """Runs until it is cancelled. Several processes may do it at once."""
    await asyncio.sleep(FIRST_AFTER)
    while True:
        try:
            async with database.write() as tx:
                gone = await jobs.remove_ended_before(tx, tx.now - jobs_kept)
                gone_audit = await audit.remove_before(tx, tx.now - audit_kept)
                await sessions.remove_expired(tx)
            if gone or gone_audit:
                log.info("older rows were removed", jobs=gone, audit=gone_audit)
        except DatabaseUnavailable as error:
            log.warning("upkeep waits for the database", detail=error.detail)
        await asyncio.sleep(EVERY)
