"""SSH public keys that people keep for the VMs that they make."""

from typing import Any

from sqlalchemy import delete, select, update

from comserv.domain.errors import Conflict, NotFound
from comserv.domain.session import OwnKey
from comserv.domain.sshkey import SshKey
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.tables import ssh_keys


async def add(tx: Transaction, person_id: int, key: SshKey, offered: bool) -> OwnKey:
    """Raises Conflict where the person has it already, whatever its name."""
    values = {"name": key.name, "type": key.type, "blob": key.blob, "bits": key.bits, "fingerprint": key.fingerprint}
    row = tx.insert(ssh_keys).values(person=person_id, offered=offered, created=tx.now, **values)
    added = (await tx.execute(row.on_conflict_do_nothing().returning(*ssh_keys.c))).first()
    if added is None:
        raise Conflict(f"The key {key.fingerprint} is there already.", cure="Nothing has to be done.")
    tx.changed(Topic.PERSON, person_id)
    return _own(added)


async def of_person(tx: Transaction, person_id: int) -> tuple[OwnKey, ...]:
    """The oldest first."""
    rows = await tx.execute(select(ssh_keys).where(ssh_keys.c.person == person_id).order_by(ssh_keys.c.id))
    return tuple(_own(row) for row in rows)


async def change(tx: Transaction, person_id: int, key_id: int, name: str | None, offered: bool | None) -> OwnKey:
    """None leaves as it is. Raises NotFound."""
    mine = (ssh_keys.c.id == key_id) & (ssh_keys.c.person == person_id)
    given = {name: value for name, value in (("name", name), ("offered", offered)) if value is not None}
    if given:
        await tx.execute(update(ssh_keys).where(mine).values(given))
        tx.changed(Topic.PERSON, person_id)
    row = (await tx.execute(select(ssh_keys).where(mine))).first()
    if row is None:
        raise NotFound(noun="SSH key", name=key_id)
    return _own(row)


async def remove(tx: Transaction, person_id: int, key_id: int) -> OwnKey:
    """What it was. Raises NotFound."""
    mine = (ssh_keys.c.id == key_id) & (ssh_keys.c.person == person_id)
    row = (await tx.execute(delete(ssh_keys).where(mine).returning(*ssh_keys.c))).first()
    if row is None:
        raise NotFound(noun="SSH key", name=key_id)
    tx.changed(Topic.PERSON, person_id)
    return _own(row)


def _own(row: Any) -> OwnKey:
    key = SshKey(row.type, row.blob, row.bits, row.fingerprint, row.name)
    return OwnKey(row.id, row.person, key, row.offered, row.created)
