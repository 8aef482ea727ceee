"""Of guests only what rarely changes: addresses as last known, which guests we made, and what we changed ourselves."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from comserv.domain.guest import AddressSource, GuestKey, KnownAddress
from comserv.domain.overlay import MadeGuest, Overlay
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.tables import addresses, made_guests, overlays

RESTAMP_AFTER = timedelta(minutes=1)


async def keep_addresses(
    tx: Transaction, guest: GuestKey, source: AddressSource, found: Iterable[str], as_of: datetime
) -> bool:
    """What `source` tells of the guest's addresses, replacing what it told before. Whether they changed.

    The same addresses again write nothing unless the row's `as_of` is older than a minute.
    """
    mine = _at(addresses, guest) & (addresses.c.source == source)
    kept = {row.address: row.as_of for row in await tx.execute(select(addresses).where(mine))}
    wanted = set(found)
    if wanted == set(kept):
        if any(as_of - old > RESTAMP_AFTER for old in kept.values()):
            await tx.execute(update(addresses).where(mine).values(as_of=as_of))
        return False
    await tx.execute(delete(addresses).where(mine))
    rows = [
        {"server": guest.server, "vmid": guest.vmid, "source": source, "address": text, "as_of": as_of}
        for text in sorted(wanted)
    ]
    if rows:
        await tx.execute(insert(addresses), rows)
    tx.changed(Topic.GUEST, str(guest))
    return True


async def known_addresses(
    tx: Transaction, server: str | None = None, vmid: int | None = None
) -> tuple[KnownAddress, ...]:
    """All known addresses, or those of a server, or of one guest."""
    statement = select(addresses).order_by(
        addresses.c.server, addresses.c.vmid, addresses.c.source, addresses.c.address
    )
    if server is not None:
        statement = statement.where(addresses.c.server == server)
    if vmid is not None:
        statement = statement.where(addresses.c.vmid == vmid)
    return tuple(_address(row) for row in await tx.execute(statement))


async def holders(tx: Transaction, wanted: Iterable[str]) -> tuple[KnownAddress, ...]:
    """Which guests, on any server, are known to have one of these addresses."""
    rows = await tx.execute(select(addresses).where(addresses.c.address.in_(list(wanted))))
    return tuple(_address(row) for row in rows)


async def remember_made(tx: Transaction, made: MadeGuest) -> None:
    """Evidence of a guest of ours, written as it grows: first job, then UPID, then uuid. A later job replaces it."""
    values = {"job": made.job, "upid": made.upid, "smbios_uuid": made.smbios_uuid, "at": made.at or tx.now}
    statement = tx.insert(made_guests).values(server=made.guest.server, vmid=made.guest.vmid, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["server", "vmid"], set_=values))


async def made(tx: Transaction, guest: GuestKey) -> MadeGuest | None:
    row = (await tx.execute(select(made_guests).where(_at(made_guests, guest)))).first()
    return None if row is None else MadeGuest(guest, row.job, row.upid, row.smbios_uuid, row.at)


async def forget(tx: Transaction, guest: GuestKey) -> None:
    """The guest is gone: evidence and addresses with it. Its overlay stays until the sweep has seen it."""
    await tx.execute(delete(made_guests).where(_at(made_guests, guest)))
    await tx.execute(delete(addresses).where(_at(addresses, guest)))
    tx.changed(Topic.GUEST, str(guest))


async def forget_addresses(tx: Transaction, keys: Iterable[GuestKey]) -> None:
    """These guests are not there any more: their addresses are free for others. What proves that we made them stays."""
    for guest in keys:
        if (await tx.execute(delete(addresses).where(_at(addresses, guest)))).rowcount:
            tx.changed(Topic.GUEST, str(guest))


async def overlay(tx: Transaction, guest: GuestKey, fields: Mapping[str, Any], job: str) -> None:
    """Show `fields` of the guest as changed by us; earlier fields that the sweep has not confirmed stay."""
    kept = (await tx.execute(select(overlays.c.fields).where(_at(overlays, guest)))).scalar() or {}
    values = {"fields": {**kept, **fields}, "job": job, "at": tx.now}
    statement = tx.insert(overlays).values(server=guest.server, vmid=guest.vmid, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["server", "vmid"], set_=values))
    tx.changed(Topic.GUEST, str(guest))


async def overlays_of(tx: Transaction, server: str | None = None) -> tuple[Overlay, ...]:
    statement = select(overlays).order_by(overlays.c.server, overlays.c.vmid)
    if server is not None:
        statement = statement.where(overlays.c.server == server)
    return tuple(
        Overlay(GuestKey(row.server, row.vmid), row.fields, row.job, row.at) for row in await tx.execute(statement)
    )


async def confirm(tx: Transaction, confirmed: Iterable[Overlay]) -> None:
    """The sweep shows what these overlays say (or they are too old): take them away, unless they changed meanwhile."""
    for value in confirmed:
        unchanged = _at(overlays, value.guest) & (overlays.c.at == value.at)
        if (await tx.execute(delete(overlays).where(unchanged))).rowcount:
            tx.changed(Topic.GUEST, str(value.guest))


def _at(table: Any, guest: GuestKey) -> Any:
    return (table.c.server == guest.server) & (table.c.vmid == guest.vmid)


def _address(row: Any) -> KnownAddress:
    return KnownAddress(GuestKey(row.server, row.vmid), row.address, AddressSource(row.source), row.as_of)
