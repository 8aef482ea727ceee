"""What each server's token may do, as it was seen last: one row a server, msgpack of `RightsSeen`, deflated."""

import zlib
from collections.abc import Iterable

import msgspec
from sqlalchemy import select

from comserv.domain.rights import RightsSeen
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.tables import job_calls, job_steps, rights

_decoder = msgspec.msgpack.Decoder(RightsSeen)


async def keep(tx: Transaction, server: str, seen: RightsSeen) -> None:
    """In place of the one before."""
    values = {"as_of": seen.as_of, "payload": zlib.compress(msgspec.msgpack.encode(seen), 1)}
    statement = tx.insert(rights).values(server=server, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["server"], set_=values))
    tx.changed(Topic.RIGHTS, server)


async def get(tx: Transaction, server: str) -> RightsSeen | None:
    payload = (await tx.execute(select(rights.c.payload).where(rights.c.server == server))).scalar()
    return None if payload is None else _decoder.decode(zlib.decompress(payload))


async def known_tasks(tx: Transaction, upids: Iterable[str]) -> frozenset[str]:
    """Those of these tasks that a job of ours began or followed."""
    wanted, found = list(upids), set[str]()
    for table in (job_calls, job_steps):
        if wanted:
            found |= {row.upid for row in await tx.execute(select(table.c.upid).where(table.c.upid.in_(wanted)))}
    return frozenset(found)
