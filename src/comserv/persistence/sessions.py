"""Ways in: sessions, API tokens and set-up links. The secret itself is hashed here and never stored."""

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update

from comserv.domain.errors import NotFound
from comserv.domain.person import Role
from comserv.domain.session import ApiToken, Session
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.tables import api_tokens, people, sessions, setup_links


def digest(secret: str) -> bytes:
    """SHA-256: enough for 32 random bytes, which nobody can guess."""
    return hashlib.sha256(secret.encode()).digest()


async def add(
    tx: Transaction, token: str, person_id: int, expires: datetime, *, address: str = "", user_agent: str = ""
) -> Session:
    values = {"person": person_id, "created": tx.now, "last_seen": tx.now, "expires": expires}
    row = tx.insert(sessions).values(token_hash=digest(token), address=address, user_agent=user_agent[:500], **values)
    return _session((await tx.execute(row.returning(*_SESSION))).one())


async def by_token(tx: Transaction, token: str) -> Session | None:
    """The session, unless it has expired or its person is disabled."""
    statement = select(*_SESSION).join(people, people.c.id == sessions.c.person)
    good = (sessions.c.token_hash == digest(token)) & (sessions.c.expires > tx.now) & people.c.disabled.is_(False)
    row = (await tx.execute(statement.where(good))).first()
    return None if row is None else _session(row)


async def touch(tx: Transaction, session_id: int, expires: datetime, address: str = "") -> None:
    """It was used now, from there, and lasts until then."""
    values = {"last_seen": tx.now, "expires": expires, **({"address": address} if address else {})}
    await tx.execute(update(sessions).where(sessions.c.id == session_id).values(values))


async def of_person(tx: Transaction, person_id: int) -> tuple[Session, ...]:
    """Those that last, the last used first."""
    mine = (sessions.c.person == person_id) & (sessions.c.expires > tx.now)
    rows = await tx.execute(select(*_SESSION).where(mine).order_by(sessions.c.last_seen.desc(), sessions.c.id))
    return tuple(_session(row) for row in rows)


async def revoke(tx: Transaction, session_id: int) -> None:
    await _end_sessions(tx, sessions.c.id == session_id)


async def revoke_all(tx: Transaction, person_id: int, *, but: int | None = None) -> int:
    """All of a person's sessions, but the one that asks. How many there were."""
    mine = sessions.c.person == person_id
    return await _end_sessions(tx, mine if but is None else mine & (sessions.c.id != but))


async def remove_expired(tx: Transaction) -> int:
    return (await tx.execute(delete(sessions).where(sessions.c.expires <= tx.now))).rowcount


async def add_api_token(
    tx: Transaction, token: str, person_id: int, name: str, role: Role, expires: datetime | None
) -> ApiToken:
    values = {"person": person_id, "name": name, "role": str(role), "created": tx.now, "expires": expires}
    row = tx.insert(api_tokens).values(token_hash=digest(token), **values)
    added = _api_token((await tx.execute(row.returning(*_API_TOKEN))).one())
    tx.changed(Topic.PERSON, person_id)
    return added


async def api_token(tx: Transaction, token: str) -> ApiToken | None:
    """The API token, unless it has expired or its person is disabled."""
    statement = select(*_API_TOKEN).join(people, people.c.id == api_tokens.c.person)
    lasts = api_tokens.c.expires.is_(None) | (api_tokens.c.expires > tx.now)
    good = (api_tokens.c.token_hash == digest(token)) & lasts & people.c.disabled.is_(False)
    row = (await tx.execute(statement.where(good))).first()
    return None if row is None else _api_token(row)


async def api_token_used(tx: Transaction, token_id: int) -> None:
    await tx.execute(update(api_tokens).where(api_tokens.c.id == token_id).values(last_used=tx.now))


async def api_tokens_of(tx: Transaction, person_id: int) -> tuple[ApiToken, ...]:
    rows = await tx.execute(select(*_API_TOKEN).where(api_tokens.c.person == person_id).order_by(api_tokens.c.id))
    return tuple(_api_token(row) for row in rows)


async def revoke_api_token(tx: Transaction, person_id: int, token_id: int) -> None:
    """Raises NotFound where the person has no such token."""
    mine = (api_tokens.c.id == token_id) & (api_tokens.c.person == person_id)
    if not (await tx.execute(delete(api_tokens).where(mine))).rowcount:
        raise NotFound(noun="API token", name=token_id)
    tx.changed(Topic.PERSON, person_id)


async def revoke_api_tokens(tx: Transaction, person_id: int) -> int:
    """All of a person's, for good. How many there were."""
    gone = (await tx.execute(delete(api_tokens).where(api_tokens.c.person == person_id))).rowcount
    if gone:
        tx.changed(Topic.PERSON, person_id)
    return gone


async def add_setup_link(tx: Transaction, token: str, expires: datetime) -> None:
    """A fresh link makes the earlier ones void."""
    await tx.execute(delete(setup_links))
    await tx.execute(tx.insert(setup_links).values(token_hash=digest(token), created=tx.now, expires=expires))


async def setup_link_is_good(tx: Transaction, token: str) -> bool:
    """Known, not expired, not used, and nobody is there yet."""
    statement = select(func.count()).select_from(setup_links).where(_good_link(tx, token))
    return bool((await tx.execute(statement)).scalar())


async def use_setup_link(tx: Transaction, token: str) -> bool:
    """Use it up; False where it is not good any more. Two at once: one of them gets it."""
    used = await tx.execute(update(setup_links).where(_good_link(tx, token)).values(used=tx.now))
    return bool(used.rowcount)


def _good_link(tx: Transaction, token: str) -> Any:
    fresh = (setup_links.c.expires > tx.now) & setup_links.c.used.is_(None)
    return (setup_links.c.token_hash == digest(token)) & fresh & ~select(people.c.id).exists()


async def _end_sessions(tx: Transaction, which: Any) -> int:
    gone = (await tx.execute(delete(sessions).where(which).returning(sessions.c.person))).all()
    for person in {row.person for row in gone}:
        tx.changed(Topic.PERSON, person)
    return len(gone)


_SESSION = [column for column in sessions.c if column.name != "token_hash"]
_API_TOKEN = [column for column in api_tokens.c if column.name != "token_hash"]


def _session(row: Any) -> Session:
    return Session(row.id, row.person, row.created, row.last_seen, row.expires, row.address, row.user_agent)


def _api_token(row: Any) -> ApiToken:
    return ApiToken(row.id, row.person, row.name, Role(row.role), row.created, row.expires, row.last_used)
