"""Facts about the database itself by name: first of all, which key it belongs to, and where Comserv was last served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from comserv.domain.errors import ConfigurationError
from comserv.persistence import tables

if TYPE_CHECKING:
    from comserv.persistence.database import Transaction

KEY_CHECK = "key_check"
BASE_URL = "base_url"


async def get(tx: Transaction, name: str) -> str | None:
    return (await tx.execute(select(tables.meta.c.value).where(tables.meta.c.name == name))).scalar()


async def put(tx: Transaction, name: str, value: str) -> None:
    statement = tx.insert(tables.meta).values(name=name, value=value)
    await tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


async def check_key(tx: Transaction) -> None:
    """Remember this key in an empty database; raises ConfigurationError where the database belongs to another key."""
    current = tx.vault.keyed_hash(b"", KEY_CHECK).hex()
    await tx.add(tables.meta, name=KEY_CHECK, value=current)
    kept = await get(tx, KEY_CHECK) or ""
    if not tx.vault.verify(b"", bytes.fromhex(kept), KEY_CHECK):
        raise ConfigurationError(
            "This key is not the one of this database.",
            cure="Set COMSERV_KEY_FILE to the key file that all processes of this database share, or restore it from a "
            "backup. Without it the stored secrets are lost.",
        )
    if kept != current:
        await put(tx, KEY_CHECK, current)
