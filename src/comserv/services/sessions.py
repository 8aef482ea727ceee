"""Coming in: the first set-up, signing in and out, and who a session or an API token belongs to."""

import asyncio
import math
import secrets
from dataclasses import dataclass
from datetime import timedelta

from comserv.domain.audit import AuditEntry, Outcome
from comserv.domain.errors import Conflict, NotFound, Unauthenticated
from comserv.domain.person import Action, Actor, Person, Role, lower
from comserv.domain.session import Attempts
from comserv.domain.signin import check_person_name, delay_after
from comserv.domain.useragent import LINK as LINK_DEVICE
from comserv.persistence import attempts, audit, meta, people, sessions
from comserv.persistence.database import Database, Transaction
from comserv.services.passwords import Passwords
from comserv.services.permission import permit, write_audit
from comserv.services.tries import count_try, slow_down

SETUP_LINK_LASTS = timedelta(hours=1)
TOUCH_AFTER = timedelta(minutes=1)
LINK = "link:"  # so that what stands in a link is no cookie


@dataclass(frozen=True)
class SignedIn:
    """token: goes into the cookie; csrf: goes into every form of this session."""

    token: str
    csrf: str
    person: Person


@dataclass(frozen=True)
class Visitor:
    """Who a session belongs to."""

    actor: Actor
    person: Person
    csrf: str


class Sessions:
    """lasts: how long a session lives without being used."""

    def __init__(self, database: Database, passwords: Passwords, lasts: timedelta) -> None:
        self._db, self._passwords, self._lasts = database, passwords, lasts
        self._deriving = asyncio.Lock()

    async def set_up(self) -> bool:
        """Whether a person exists."""
        async with self._db.read() as tx:
            return await people.count(tx) > 0

    async def make_setup_link(self) -> str:
        """A fresh token for /set-up/{token}, 32 random bytes, good for an hour; the former one is void. Raises Conflict when set up."""
        token = secrets.token_urlsafe(32)
        async with self._db.write() as tx:
            if await people.count(tx):
                raise Conflict(
                    "Comserv is set up already: a person exists.", cure="Sign in, or run: comserv user password NAME"
                )
            await sessions.add_setup_link(tx, token, tx.now + SETUP_LINK_LASTS)
        return token

    async def served_at(self, base_url: str) -> None:
        """Remembers where people reach Comserv, for the links that commands print."""
        async with self._db.write() as tx:
            await meta.put(tx, meta.BASE_URL, base_url)

    async def base_url(self) -> str:
        """Where it was last served; empty before that."""
        async with self._db.read() as tx:
            return await meta.get(tx, meta.BASE_URL) or ""

    async def check_setup_link(self, token: str) -> bool:
        """Whether it is good; does not use it up."""
        async with self._db.read() as tx:
            return await sessions.setup_link_is_good(tx, token)

    async def use_setup_link(self, token: str, name: str, password: str, address: str, user_agent: str) -> SignedIn:
        """Makes the first administrator and signs in. Raises Invalid, Conflict (used, expired, a person exists)."""
        name = check_person_name(name)
        if not await self.check_setup_link(token):
            raise _void_link()
        stored = await self._passwords.hash(password)
        async with self._db.write() as tx:
            if not await sessions.use_setup_link(tx, token):
                raise _void_link()
            person = await people.add(tx, name, Role.ADMIN, stored)
            actor = Actor(person.name, Role.ADMIN, "page", person.id, address=address)
            await write_audit(tx, actor, "set_up", f"person {person.name}", detail="The first administrator.")
            return await self._open(tx, person, address, user_agent)

    async def sign_in(self, name: str, password: str, address: str, user_agent: str, former: str = "") -> SignedIn:
        """A session of its own each time; the browser's former one ends.

        Raises Unauthenticated (never says which of the two was wrong), TooManyAttempts with `retry_after` seconds."""
        async with self._db.read() as tx:
            slow_down(await attempts.known(tx, name, address), tx.now)
            person = await people.by_name(tx, name)
            stored = await people.password_hash(tx, person.id) if person else None
        tried = await count_try(self._db, name, address)
        good = await self._passwords.matches(stored, password)
        if not good or person is None or person.disabled:
            raise await self._refusal(name, address, tried.counted)
        fresh = await self._passwords.hash(password) if stored and self._passwords.outdated(stored) else ""
        async with self._db.write() as tx:
            await tried.was_good(tx)
            if fresh and await people.password_hash(tx, person.id) == stored:
                await people.set_password(tx, person.id, fresh)
            await write_audit(tx, _actor(person, "page", address), "sign_in", f"person {person.name}")
            await self._end(tx, former)
            return await self._open(tx, person, address, user_agent)

    async def _refusal(self, name: str, address: str, counted: Attempts) -> Unauthenticated:
        async with self._db.write() as tx:
            entry = AuditEntry(
                name[:200], "sign_in", f"person {name[:200]}", Outcome.REFUSED, via="page", address=address
            )
            await audit.add(tx, entry)
        wait = math.ceil(delay_after(counted).total_seconds())
        return Unauthenticated(
            "Name and password do not belong together." + (f" The next try is taken in {wait} s." if wait else ""),
            cure="Check both. An admin can set a new password under People, or: comserv user password NAME",
        )

    async def make_sign_in_link(self, actor: Actor, name: str, lasts: timedelta) -> str:
        """A token for /sign-in/link/{token}, good until it is over or the person's sessions are ended. Needs MANAGE_PEOPLE."""
        await permit(self._db, actor, Action.MANAGE_PEOPLE, f"person {name}")
        token = secrets.token_urlsafe(32)
        async with self._db.write() as tx:
            person = await people.by_name(tx, name)
            if person is None:
                raise NotFound(noun="person", name=name)
            await sessions.add(tx, LINK + token, person.id, tx.now + lasts, user_agent=LINK_DEVICE)
            await write_audit(tx, actor, "sign_in_link", f"person {person.name}")
        return token

    async def sign_in_by_link(self, token: str, address: str, user_agent: str) -> SignedIn:
        """By a link that `make_sign_in_link` made. Raises Unauthenticated."""
        async with self._db.write() as tx:
            link = await sessions.by_token(tx, LINK + token)
            if link is None:
                raise Unauthenticated("This sign-in link is not good any more.", cure="Sign in with name and password.")
            person = await people.get(tx, link.person_id)
            await write_audit(
                tx, _actor(person, "page", address), "sign_in", f"person {person.name}", detail="By a link."
            )
            return await self._open(tx, person, address, user_agent)

    async def _open(self, tx: Transaction, person: Person, address: str, user_agent: str) -> SignedIn:
        token = secrets.token_urlsafe(32)
        await sessions.remove_expired(tx)
        await sessions.add(tx, token, person.id, tx.now + self._lasts, address=address, user_agent=user_agent)
        await people.seen(tx, person.id)
        return SignedIn(token, self._csrf(token), person)

    async def visitor(self, token: str, request_id: str = "", address: str = "") -> Visitor | None:
        """Who a session's cookie belongs to; None when it is unknown, revoked or over."""
        if not token or token.startswith(LINK) or len(token) > 200:
            return None
        async with self._db.read() as tx:
            session = await sessions.by_token(tx, token)
            person = await people.get(tx, session.person_id) if session else None
            now = tx.now
        if session is None or person is None:
            return None
        if now - session.last_seen > TOUCH_AFTER:
            async with self._db.write() as tx:
                await sessions.touch(tx, session.id, tx.now + self._lasts, address)
                await people.seen(tx, person.id)
        return Visitor(_actor(person, "page", address, request_id), person, self._csrf(token))

    async def bearer(self, token: str, request_id: str = "", address: str = "") -> Actor:
        """Who an API token belongs to. Raises Unauthenticated."""
        async with self._db.read() as tx:
            known = await sessions.api_token(tx, token) if 0 < len(token) <= 200 else None
            person = await people.get(tx, known.person_id) if known else None
            now = tx.now
        if known is None or person is None:
            raise Unauthenticated("The API token is unknown, expired or revoked, or its person is disabled.")
        if known.last_used is None or now - known.last_used > TOUCH_AFTER:
            async with self._db.write() as tx:
                await sessions.api_token_used(tx, known.id)
        return Actor(person.name, lower(person.role, known.role), "api", person.id, request_id, address)

    async def sign_out(self, token: str) -> None:
        async with self._db.write() as tx:
            await self._end(tx, token)

    async def _end(self, tx: Transaction, token: str) -> None:
        """The session of a cookie, where it is one; a link that signs in is none."""
        session = await sessions.by_token(tx, token) if token and not token.startswith(LINK) else None
        if session:
            await sessions.revoke(tx, session.id)

    def _csrf(self, token: str) -> str:
        return self._db.vault.keyed_hash(token.encode(), "csrf").hex()


def _actor(person: Person, via: str, address: str = "", request_id: str = "") -> Actor:
    return Actor(person.name, person.role, via, person.id, request_id, address)


def _void_link() -> Conflict:
    return Conflict(
        "This set-up link is not good any more: it was used, an hour has passed, a newer one was made, or a person exists.",
        cure="Run: comserv setup-link",
    )
