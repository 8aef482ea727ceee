"""Reservations: VM ids, names and addresses that running jobs have taken. Each of them only once."""

from typing import Any

from sqlalchemy import delete, select

from comserv.domain.guest import GuestKey
from comserv.domain.reservation import Reservation, Taken
from comserv.persistence.database import Transaction
from comserv.persistence.tables import reservations, reserved_addresses


async def take(tx: Transaction, reservation: Reservation) -> Taken | None:
    """Reserve; None when it is ours (also when the same job had it already), else what another job has taken.

    Two at once: the second waits for the first transaction's end and then sees it.
    """
    mine = {"server": reservation.guest.server, "vmid": reservation.guest.vmid, "job": reservation.job}
    values = {
        "hostname": reservation.hostname or None,
        "node": reservation.node,
        "storage": reservation.storage,
        "memory_mb": reservation.memory_mb,
        "disk_gb": reservation.disk_gb,
        "created": tx.now,
    }
    await free(tx, reservation.job)
    if not await tx.add(reservations, **mine, **values):
        return "vmid" if await get(tx, reservation.guest) else "hostname"
    for address in sorted(set(reservation.addresses)):
        if not await tx.add(reserved_addresses, address=address, job=reservation.job):
            await free(tx, reservation.job)
            return "address"
    return None


async def free(tx: Transaction, job: str) -> None:
    """All that the job has reserved."""
    await tx.execute(delete(reserved_addresses).where(reserved_addresses.c.job == job))
    await tx.execute(delete(reservations).where(reservations.c.job == job))


async def get(tx: Transaction, guest: GuestKey) -> Reservation | None:
    here = (reservations.c.server == guest.server) & (reservations.c.vmid == guest.vmid)
    found = await _select(tx, here)
    return found[0] if found else None


async def of_job(tx: Transaction, job: str) -> Reservation | None:
    found = await _select(tx, reservations.c.job == job)
    return found[0] if found else None


async def on_server(tx: Transaction, server: str) -> tuple[Reservation, ...]:
    """By VM id: what running jobs will take there."""
    return await _select(tx, reservations.c.server == server)


async def every(tx: Transaction) -> tuple[Reservation, ...]:
    return await _select(tx, None)


async def _select(tx: Transaction, condition: Any) -> tuple[Reservation, ...]:
    statement = select(reservations).order_by(reservations.c.server, reservations.c.vmid)
    addressed = select(reserved_addresses).order_by(reserved_addresses.c.address)
    if condition is not None:
        statement = statement.where(condition)
        addressed = addressed.where(reserved_addresses.c.job.in_(select(reservations.c.job).where(condition)))
    rows = (await tx.execute(statement)).all()
    by_job: dict[str, list[str]] = {}
    for row in await tx.execute(addressed):
        by_job.setdefault(row.job, []).append(row.address)
    return tuple(_reservation(row, tuple(by_job.get(row.job, ()))) for row in rows)


def _reservation(row: Any, addresses: tuple[str, ...]) -> Reservation:
    return Reservation(
        guest=GuestKey(row.server, row.vmid),
        job=row.job,
        hostname=row.hostname or "",
        addresses=addresses,
        node=row.node,
        storage=row.storage,
        memory_mb=row.memory_mb,
        disk_gb=row.disk_gb,
        created=row.created,
    )
