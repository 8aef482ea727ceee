"""Leases: which process owns a server, since which epoch."""

from collections.abc import Iterable

from sqlalchemy import select

from comserv.domain.lease import Lease
from comserv.persistence.database import Transaction
from comserv.persistence.tables import leases


async def raise_epoch(tx: Transaction, server: str, owner: str) -> Lease:
    """Take the server over: from now on every transaction of an earlier epoch fails `holds`."""
    row = tx.insert(leases).values(server=server, owner=owner, epoch=1)
    taken = row.on_conflict_do_update(index_elements=["server"], set_={"owner": owner, "epoch": leases.c.epoch + 1})
    return Lease(server, owner, (await tx.execute(taken.returning(leases.c.epoch))).scalar_one())


async def holds(tx: Transaction, lease: Lease) -> bool:
    """Whether this epoch is still the last one. On PostgreSQL the row is locked FOR SHARE, so that a take-over waits for
    this transaction's end; on SQLite the write transaction itself keeps others out."""
    mine = (leases.c.server == lease.server) & (leases.c.owner == lease.owner) & (leases.c.epoch == lease.epoch)
    return (await tx.execute(select(leases.c.epoch).where(mine).with_for_update(read=True))).first() is not None


async def held(tx: Transaction, wanted: Iterable[Lease]) -> frozenset[Lease]:
    """Those of the leases whose epoch is still the last one; locked as `holds` does."""
    asked = {lease.server: lease for lease in wanted}
    theirs = select(leases.c.server, leases.c.owner, leases.c.epoch).where(leases.c.server.in_(list(asked)))
    rows = await tx.execute(theirs.order_by(leases.c.server).with_for_update(read=True))
    return frozenset({Lease(*row) for row in rows} & set(asked.values()))


async def current(tx: Transaction, lease: Lease) -> bool:
    """The same, only looked at."""
    mine = (leases.c.server == lease.server) & (leases.c.owner == lease.owner) & (leases.c.epoch == lease.epoch)
    return (await tx.execute(select(leases.c.epoch).where(mine))).first() is not None
