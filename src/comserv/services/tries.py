"""Passwords are tried at a growing distance, wherever they are asked for: at the door, and for a new one of one's own."""

import math
from datetime import datetime

from comserv.domain.errors import TooManyAttempts
from comserv.domain.session import Attempts
from comserv.domain.signin import next_try
from comserv.persistence import attempts
from comserv.persistence.database import Database


async def count_try(database: Database, name: str, address: str) -> Attempts:
    """Counts a try as failed before its password is looked at, so that many at once learn no more than one after another.

    Raises TooManyAttempts with `retry_after` seconds. A good one is taken back by `attempts.succeeded`.
    """
    async with database.write() as tx:
        await attempts.hold(tx, name, address)
        slow_down(await attempts.known(tx, name, address), tx.now)
        return await attempts.failed(tx, name, address)


def slow_down(known: Attempts, now: datetime) -> None:
    """The delay grows with each failure, for the name and for the address; nobody is locked out for good."""
    free = next_try(known)
    left = (free - now).total_seconds() if free else 0
    if left > 0:
        raise TooManyAttempts(f"The next try is taken in {math.ceil(left)} s.", retry_after=math.ceil(left))
