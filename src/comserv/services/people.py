"""People, their roles, their API tokens and sessions."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from comserv.domain.audit import Outcome
from comserv.domain.errors import Conflict, Forbidden, Invalid, NotFound
from comserv.domain.person import Action, Actor, Person, Role, at_most
from comserv.domain.signin import check_person_name
from comserv.domain.useragent import device_of
from comserv.persistence import people, sessions
from comserv.persistence.database import Database, Transaction
from comserv.services.passwords import Passwords
from comserv.services.permission import permit, person_of, write_audit
from comserv.services.tries import count_try

THEMES = ("", "light", "dark")


@dataclass(frozen=True)
class ApiTokenView:
    id: int
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    last_used: datetime | None


@dataclass(frozen=True)
class SessionView:
    id: int
    created_at: datetime
    last_seen: datetime
    address: str
    user_agent: str
    current: bool
    device: str = ""


class People:
    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._db, self._passwords = database, passwords

    async def list(self, actor: Actor) -> tuple[Person, ...]:
        """Needs MANAGE_PEOPLE."""
        await permit(self._db, actor, Action.MANAGE_PEOPLE, "people")
        async with self._db.read() as tx:
            return await people.every(tx)

    async def get(self, actor: Actor, name: str) -> Person:
        """Needs MANAGE_PEOPLE, but for oneself. Raises NotFound."""
        if name != actor.name:
            await permit(self._db, actor, Action.MANAGE_PEOPLE, f"person {name}")
        async with self._db.read() as tx:
            return await _named(tx, name)

    async def create(self, actor: Actor, name: str, role: Role, password: str) -> Person:
        """Raises Invalid (name, password too short), Conflict (name taken)."""
        await permit(self._db, actor, Action.MANAGE_PEOPLE, f"person {name[:64]}")
        name = check_person_name(name)
        stored = await self._passwords.hash(password)
        async with self._db.write() as tx:
            person = await people.add(tx, name, role, stored)
            await write_audit(tx, actor, "create_person", f"person {name}", detail=f"Role {role}.")
        return person

    async def change(self, actor: Actor, name: str, role: Role | None = None, disabled: bool | None = None) -> Person:
        """Ends the person's sessions and revokes the API tokens when disabled. Raises Conflict for the last admin."""
        await permit(self._db, actor, Action.MANAGE_PEOPLE, f"person {name}")
        async with self._db.write() as tx:
            person = await _named(tx, name)
            if role is not None and role != person.role:
                await people.set_role(tx, person.id, role)
                await write_audit(tx, actor, "change_role", f"person {person.name}", detail=f"{person.role} → {role}")
            if disabled is not None and disabled != person.disabled:
                await people.set_disabled(tx, person.id, disabled)
                await sessions.revoke_all(tx, person.id)
                revoked = await sessions.revoke_api_tokens(tx, person.id) if disabled else 0
                await write_audit(
                    tx,
                    actor,
                    "disable_person" if disabled else "enable_person",
                    f"person {person.name}",
                    detail=f"API tokens revoked: {revoked}." if revoked else "",
                )
            if not await people.count_admins(tx):
                raise Conflict("Nobody could administer Comserv any more.", cure="Make another person an admin first.")
            return await people.get(tx, person.id)

    async def set_password(self, actor: Actor, name: str, password: str) -> None:
        """By an admin; ends the person's sessions."""
        await permit(self._db, actor, Action.MANAGE_PEOPLE, f"person {name}")
        stored = await self._passwords.hash(password)
        async with self._db.write() as tx:
            person = await _named(tx, name)
            await people.set_password(tx, person.id, stored)
            await sessions.revoke_all(tx, person.id)
            await write_audit(tx, actor, "set_password", f"person {person.name}")

    async def own_password(self, actor: Actor, current: str, new: str, session_token: str = "") -> None:
        """Ends one's other sessions. Raises Invalid, TooManyAttempts: tries at the present one count as at the door."""
        person_id = person_of(actor)
        tried = await count_try(self._db, actor.name, actor.address)
        async with self._db.read() as tx:
            stored = await people.password_hash(tx, person_id)
        if not await self._passwords.matches(stored, current):
            async with self._db.write() as tx:
                subject, why = f"person {actor.name}", "The present password was wrong."
                await write_audit(tx, actor, "own_password", subject, Outcome.REFUSED, why)
            raise Invalid(fields={"current": "this is not your present password"})
        async with self._db.write() as tx:
            await tried.was_good(tx)
        fresh = await self._passwords.hash(new)
        async with self._db.write() as tx:
            session = await sessions.by_token(tx, session_token)
            await people.set_password(tx, person_id, fresh)
            await sessions.revoke_all(tx, person_id, but=session.id if session else None)
            await write_audit(tx, actor, "own_password", f"person {actor.name}")

    async def set_theme(self, actor: Actor, theme: str) -> None:
        """`light`, `dark`, or empty for the system's."""
        if theme not in THEMES:
            raise Invalid(fields={"theme": "light, dark, or empty for the system's"})
        async with self._db.write() as tx:
            await people.set_theme(tx, person_of(actor), theme)

    async def tokens(self, actor: Actor, name: str = "") -> tuple[ApiTokenView, ...]:
        """One's own; those of another person need MANAGE_PEOPLE."""
        person = await self._whose(actor, name)
        async with self._db.read() as tx:
            found = await sessions.api_tokens_of(tx, person.id)
        return tuple(ApiTokenView(t.id, t.name, t.role, t.created, t.expires, t.last_used) for t in found)

    async def create_token(
        self, actor: Actor, token_name: str, role: Role | None = None, days: int | None = None, name: str = ""
    ) -> str:
        """The token, told this once. role: at most the person's own, and the role that asks. Raises Forbidden, Invalid."""
        person = await self._whose(actor, name)
        token_name = token_name.strip()
        if not 1 <= len(token_name) <= 60:
            raise Invalid(fields={"name": "a token's name has 1 to 60 characters; say what it is for"})
        if days is not None and not 1 <= days <= 3650:
            raise Invalid(fields={"days": "a token lives 1 to 3650 days"})
        wanted = role or person.role
        if not at_most(wanted, person.role) or not at_most(wanted, actor.role):
            raise Forbidden("A token has at most the role of its person and of who makes it.", needed=str(wanted))
        token = "cs_" + secrets.token_urlsafe(32)
        async with self._db.write() as tx:
            expires = tx.now + timedelta(days=days) if days else None
            await sessions.add_api_token(tx, token, person.id, token_name, wanted, expires)
            await write_audit(
                tx, actor, "create_token", f"person {person.name}", detail=f"{token_name}, role {wanted}."
            )
        return token

    async def revoke_token(self, actor: Actor, token_id: int, name: str = "") -> None:
        """One's own; of another person: needs MANAGE_PEOPLE. Raises NotFound."""
        person = await self._whose(actor, name)
        async with self._db.write() as tx:
            await sessions.revoke_api_token(tx, person.id, token_id)
            await write_audit(tx, actor, "revoke_token", f"person {person.name}")

    async def sessions(self, actor: Actor, current_token: str = "", name: str = "") -> tuple[SessionView, ...]:
        """One's own, the last used first; those of another person need MANAGE_PEOPLE."""
        person = await self._whose(actor, name)
        async with self._db.read() as tx:
            current = await sessions.by_token(tx, current_token)
            found = await sessions.of_person(tx, person.id)
        current_id = current.id if current else None
        return tuple(
            SessionView(
                s.id, s.created, s.last_seen, s.address, s.user_agent, s.id == current_id, device_of(s.user_agent)
            )
            for s in found
        )

    async def revoke_session(self, actor: Actor, session_id: int, name: str = "") -> None:
        """One's own; of another person: needs MANAGE_PEOPLE. Raises NotFound."""
        person = await self._whose(actor, name)
        async with self._db.write() as tx:
            known = {session.id: session for session in await sessions.of_person(tx, person.id)}
            if session_id not in known:
                raise NotFound(noun="session", name=session_id)
            await sessions.revoke(tx, session_id)
            detail = f"{device_of(known[session_id].user_agent)}, {known[session_id].address}".rstrip(", ")
            await write_audit(tx, actor, "revoke_session", f"person {person.name}", detail=detail)

    async def revoke_sessions(self, actor: Actor, current_token: str = "", name: str = "") -> int:
        """All of one's own but the current one, how many; all of another person: needs MANAGE_PEOPLE."""
        person = await self._whose(actor, name)
        async with self._db.write() as tx:
            current = await sessions.by_token(tx, current_token)
            ended = await sessions.revoke_all(tx, person.id, but=current.id if current else None)
            await write_audit(tx, actor, "revoke_sessions", f"person {person.name}", detail=f"Ended: {ended}.")
        return ended

    async def _whose(self, actor: Actor, name: str) -> Person:
        if name and name != actor.name:
            await permit(self._db, actor, Action.MANAGE_PEOPLE, f"person {name}")
            async with self._db.read() as tx:
                return await _named(tx, name)
        async with self._db.read() as tx:
            return await people.get(tx, person_of(actor))


async def _named(tx: Transaction, name: str) -> Person:
    person = await people.by_name(tx, name)
    if person is None:
        raise NotFound(noun="person", name=name)
    return person
