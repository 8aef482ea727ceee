"""People: names (unique whatever their case), roles, and password hashes as they are given."""

from typing import Any

from sqlalchemy import delete, func, select, update

from comserv.domain.errors import Conflict, NotFound
from comserv.domain.person import Person, Role
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.tables import people


def name_key(name: str) -> str:
    return name.strip().casefold()


async def add(tx: Transaction, name: str, role: Role, password_hash: str) -> Person:
    """Raises Conflict where the name is taken."""
    values = {"name": name.strip(), "name_key": name_key(name), "role": str(role), "password_hash": password_hash}
    row = tx.insert(people).values(created=tx.now, **values).on_conflict_do_nothing().returning(people.c.id)
    person_id = (await tx.execute(row)).scalar()
    if person_id is None:
        raise Conflict(f"There is a person {name.strip()} already.", cure="Choose another name.")
    tx.changed(Topic.PERSON, person_id)
    return await get(tx, person_id)


async def get(tx: Transaction, person_id: int) -> Person:
    """Raises NotFound."""
    row = (await tx.execute(select(people).where(people.c.id == person_id))).first()
    if row is None:
        raise NotFound(noun="person", name=person_id)
    return _person(row)


async def by_name(tx: Transaction, name: str) -> Person | None:
    row = (await tx.execute(select(people).where(people.c.name_key == name_key(name)))).first()
    return None if row is None else _person(row)


async def every(tx: Transaction) -> tuple[Person, ...]:
    """By name."""
    return tuple(_person(row) for row in await tx.execute(select(people).order_by(people.c.name_key)))


async def count(tx: Transaction) -> int:
    return (await tx.execute(select(func.count()).select_from(people))).scalar_one()


async def count_admins(tx: Transaction) -> int:
    """Those who can sign in: an installation must keep one."""
    admins = (people.c.role == str(Role.ADMIN)) & people.c.disabled.is_(False)
    return (await tx.execute(select(func.count()).select_from(people).where(admins))).scalar_one()


async def password_hash(tx: Transaction, person_id: int) -> str:
    return (await tx.execute(select(people.c.password_hash).where(people.c.id == person_id))).scalar() or ""


async def set_password(tx: Transaction, person_id: int, password_hash: str) -> None:
    await _set(tx, person_id, password_hash=password_hash)


async def set_role(tx: Transaction, person_id: int, role: Role) -> None:
    await _set(tx, person_id, role=str(role))


async def set_disabled(tx: Transaction, person_id: int, disabled: bool) -> None:
    await _set(tx, person_id, disabled=disabled)


async def set_theme(tx: Transaction, person_id: int, theme: str) -> None:
    await _set(tx, person_id, theme=theme)


async def seen(tx: Transaction, person_id: int) -> None:
    await tx.execute(update(people).where(people.c.id == person_id).values(last_seen=tx.now))


async def remove(tx: Transaction, person_id: int) -> None:
    """With sessions and API tokens; jobs and audit keep the name. Raises NotFound."""
    if not (await tx.execute(delete(people).where(people.c.id == person_id))).rowcount:
        raise NotFound(noun="person", name=person_id)
    tx.changed(Topic.PERSON, person_id)


async def _set(tx: Transaction, person_id: int, **values: Any) -> None:
    if not (await tx.execute(update(people).where(people.c.id == person_id).values(values))).rowcount:
        raise NotFound(noun="person", name=person_id)
    tx.changed(Topic.PERSON, person_id)


def _person(row: Any) -> Person:
    return Person(row.id, row.name, Role(row.role), row.disabled, row.created, row.last_seen, row.theme)
