"""Ways in, over a real database: delays, the set-up link, and what ends a person's sessions and tokens."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from comserv.domain.errors import TooManyAttempts, Unauthenticated
from comserv.domain.person import Role
from comserv.domain.signin import FREE_BY_NAME
from comserv.persistence import people
from comserv.persistence.database import Database
from comserv.services.passwords import Passwords
from comserv.services.sessions import Sessions
from tests.databases import FakeClock

pytestmark = pytest.mark.anyio
PASSWORD = "a short sentence does"


@pytest.fixture
async def sessions(database: Database) -> AsyncIterator[Sessions]:
    passwords = Passwords()
    stored = await passwords.hash(PASSWORD)
    async with database.write() as tx:
        await people.add(tx, "anna", Role.ADMIN, stored)
    yield Sessions(database, passwords, timedelta(hours=1))
    passwords.close()


async def _try(sessions: Sessions, password: str, address: str) -> str:
    try:
        await sessions.sign_in("anna", password, address, "")
    except (Unauthenticated, TooManyAttempts) as error:
        return error.code
    return "in"


async def test_many_tries_at_once_learn_no_more_than_one_after_another(sessions: Sessions, clock: FakeClock) -> None:
    """Each counts before its password is looked at; those that come while others are looked at have to wait."""
    tries = await asyncio.gather(*(_try(sessions, f"wrong {n} wrong", f"10.0.0.{n}") for n in range(12)))
    taken = FREE_BY_NAME + 1
    assert (tries.count("unauthenticated"), tries.count("too_many_attempts")) == (taken, 12 - taken)
    assert await _try(sessions, PASSWORD, "10.0.0.99") == "too_many_attempts"
    clock.advance(seconds=2)
    assert await _try(sessions, PASSWORD, "10.0.0.99") == "in"
    assert await _try(sessions, "wrong once more", "10.0.0.99") == "unauthenticated"
