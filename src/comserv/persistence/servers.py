"""Servers: what was registered, the token's secret (encrypted), and the last connection test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import delete as sql_delete
from sqlalchemy import select, update

from comserv.domain.connection import Stage
from comserv.domain.errors import Conflict, NotFound
from comserv.domain.gentleness import Gentleness
from comserv.domain.maintenance import Maintenance
from comserv.domain.server import Server, Tls, parse_token_id
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.tables import servers


@dataclass(frozen=True)
class LastTest:
    at: datetime
    stages: tuple[Stage, ...]


async def add(tx: Transaction, server: Server, token_secret: str) -> Server:
    """Raises Conflict where the id is taken."""
    sealed = _seal(tx, server.id, token_secret)
    if not await tx.add(servers, id=server.id, created=tx.now, revision=1, token_secret=sealed, **_columns(server)):
        raise Conflict(f"There is a server {server.id} already.", cure="Choose another id.")
    tx.changed(Topic.SERVER, server.id, 1)
    return await get(tx, server.id)


async def change(tx: Transaction, server: Server, token_secret: str | None = None) -> Server:
    """All but id and created; the secret stays where none is given. Raises NotFound."""
    values = _columns(server)
    if token_secret is not None:
        values["token_secret"] = _seal(tx, server.id, token_secret)
    statement = update(servers).where(servers.c.id == server.id).values(revision=servers.c.revision + 1, **values)
    if not (await tx.execute(statement)).rowcount:
        raise NotFound(noun="server", name=server.id)
    changed = await get(tx, server.id)
    tx.changed(Topic.SERVER, server.id, changed.revision)
    return changed


async def remove(tx: Transaction, server_id: str) -> None:
    """With its picture and all that hangs on it; jobs stay as history. Raises NotFound."""
    if not (await tx.execute(sql_delete(servers).where(servers.c.id == server_id))).rowcount:
        raise NotFound(noun="server", name=server_id)
    tx.changed(Topic.SERVER, server_id)


async def get(tx: Transaction, server_id: str) -> Server:
    """Raises NotFound."""
    row = (await tx.execute(select(*_SHOWN).where(servers.c.id == server_id))).first()
    if row is None:
        raise NotFound(noun="server", name=server_id)
    return _server(row)


async def every(tx: Transaction) -> tuple[Server, ...]:
    """All of them, by id."""
    return tuple(_server(row) for row in await tx.execute(select(*_SHOWN).order_by(servers.c.id)))


async def token_secret(tx: Transaction, server_id: str) -> str:
    """The token's value, for the client only. Raises NotFound, ConfigurationError (another key)."""
    sealed = (await tx.execute(select(servers.c.token_secret).where(servers.c.id == server_id))).scalar()
    if sealed is None:
        raise NotFound(noun="server", name=server_id)
    return tx.vault.decrypt(sealed, table="servers", row=server_id, column="token_secret")


async def keep_test(tx: Transaction, server_id: str, stages: Sequence[Stage]) -> None:
    """The stages of the last connection test."""
    values = {"last_test": msgspec.to_builtins(tuple(stages)), "last_test_at": tx.now}
    await tx.execute(update(servers).where(servers.c.id == server_id).values(values))
    tx.changed(Topic.SERVER, server_id)


async def last_test(tx: Transaction, server_id: str) -> LastTest | None:
    shown = select(servers.c.last_test, servers.c.last_test_at).where(servers.c.id == server_id)
    row = (await tx.execute(shown)).first()
    if row is None or row.last_test is None:
        return None
    return LastTest(row.last_test_at, msgspec.convert(row.last_test, tuple[Stage, ...]))


async def keep_certificates(tx: Transaction, server_id: str, pems: Mapping[str, str]) -> None:
    """Certificates on which addresses were trusted, as PEM by address, beside those kept of other addresses: a later one
    is shown beside them."""
    kept = await certificates(tx, server_id)
    await tx.execute(update(servers).where(servers.c.id == server_id).values(certificates={**kept, **pems}))


async def certificates(tx: Transaction, server_id: str) -> dict[str, str]:
    """PEM by address, of each the last that was trusted."""
    return (await tx.execute(select(servers.c.certificates).where(servers.c.id == server_id))).scalar() or {}


_HIDDEN = ("token_secret", "last_test", "last_test_at", "certificates")
_SHOWN = [column for column in servers.c if column.name not in _HIDDEN]


def _seal(tx: Transaction, server_id: str, secret: str) -> bytes:
    return tx.vault.encrypt(secret, table="servers", row=server_id, column="token_secret")


def _columns(server: Server) -> dict[str, Any]:
    return {
        "name": server.name,
        "addresses": list(server.addresses),
        "token_id": str(server.token_id),
        "tls": msgspec.to_builtins(server.tls),
        "default_node": server.default_node,
        "maintenance": msgspec.to_builtins(server.maintenance) if server.maintenance else None,
        "gentleness": str(server.gentleness),
    }


def _server(row: Any) -> Server:
    return Server(
        id=row.id,
        name=row.name,
        addresses=tuple(row.addresses),
        token_id=parse_token_id(row.token_id),
        tls=msgspec.convert(row.tls, Tls),
        default_node=row.default_node,
        maintenance=msgspec.convert(row.maintenance, Maintenance) if row.maintenance else None,
        gentleness=Gentleness(row.gentleness),
        created_at=row.created,
        revision=row.revision,
    )
