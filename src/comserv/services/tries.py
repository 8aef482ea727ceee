"""Passwords are tried at a growing distance, wherever they are asked for: at the door, and for a new one of one's own."""

import math
from dataclasses import dataclass
from datetime import datetime

from comserv.domain.errors import TooManyAttempts
from comserv.domain.session import Attempts
from comserv.domain.signin import next_try
from comserv.persistence import attempts
from comserv.persistence.database import Database, Transaction


@dataclass(frozen=True)
class Try:
    """One try that was counted as failed. before, counted: what was known just before and just after."""

    name: str
    address: str
    before: Attempts
    counted: Attempts

    async def was_good(self, tx: Transaction) -> None:
        """The password was right."""
        await attempts.succeeded(tx, self.name, self.address, self.before, self.counted)


async def count_try(database: Database, name: str, address: str) -> Try:
    """Counts a try as failed before its password is looked at, so that many at once learn no more than one after another.

    Raises TooManyAttempts with `retry_after` seconds. A good one is taken back by `was_good`.
    """
    async with database.write() as tx:
        await attempts.hold(tx, name, address)
        before = await attempts.known(tx, name, address)
        slow_down(before, tx.now)
        return Try(name, address, before, await attempts.failed(tx, name, address))


def slow_down(known: Attempts, now: datetime) -> None:
    """The delay grows with each failure, for the name and for the address; nobody is locked out for good."""
    free = next_try(known)
    left = (free - now).total_seconds() if free else 0
    if left > 0:
        raise TooManyAttempts(f"The next try is taken in {math.ceil(left)} s.", retry_after=math.ceil(left))
