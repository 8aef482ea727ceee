"""Failed sign-ins per name and per address, from which the growing delay is reckoned.

An IPv6 address counts as its /64, all of which one machine may use.
"""

import ipaddress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, delete, literal, select, update

from comserv.domain.session import Attempts
from comserv.persistence.database import Transaction
from comserv.persistence.people import name_key
from comserv.persistence.tables import sign_in_attempts

FORGET_AFTER = timedelta(hours=1)
NAME, ADDRESS = "name", "address"


async def failed(tx: Transaction, name: str, address: str) -> Attempts:
    """One more failure for both; a count older than an hour begins anew."""
    for kind, subject in _subjects(name, address):
        table = sign_in_attempts.c
        old = table.last < tx.now - FORGET_AFTER
        row = tx.insert(sign_in_attempts).values(kind=kind, subject=subject, failures=1, last=tx.now)
        more = {"failures": case((old, 1), else_=table.failures + 1), "last": tx.now}
        await tx.execute(row.on_conflict_do_update(index_elements=["kind", "subject"], set_=more))
    await tx.execute(delete(sign_in_attempts).where(sign_in_attempts.c.last < tx.now - FORGET_AFTER))
    return await known(tx, name, address)


async def hold(tx: Transaction, name: str, address: str) -> None:
    """Until this transaction ends no other counts for them. (On SQLite a writer is alone anyway.)"""
    for kind, subject in _subjects(name, address):
        long_ago = tx.now - 2 * FORGET_AFTER
        row = tx.insert(sign_in_attempts).values(kind=kind, subject=subject, failures=0, last=long_ago)
        await tx.execute(row.on_conflict_do_nothing())
        mine = (sign_in_attempts.c.kind == kind) & (sign_in_attempts.c.subject == subject)
        await tx.execute(select(sign_in_attempts).where(mine).with_for_update())


async def known(tx: Transaction, name: str, address: str) -> Attempts:
    found: dict[str, Any] = {}
    for kind, subject in _subjects(name, address):
        mine = (sign_in_attempts.c.kind == kind) & (sign_in_attempts.c.subject == subject)
        recent = mine & (sign_in_attempts.c.last >= tx.now - FORGET_AFTER)
        found[kind] = (await tx.execute(select(sign_in_attempts).where(recent))).first()
    name_row, address_row = found[NAME], found[ADDRESS]
    return Attempts(
        name_row.failures if name_row else 0,
        address_row.failures if address_row else 0,
        name_row.last if name_row else None,
        address_row.last if address_row else None,
    )


async def succeeded(tx: Transaction, name: str, address: str, before: Attempts, counted: Attempts) -> None:
    """A good try clears the name's count. From the address's it takes back itself, and no more.

    Whoever has one account could else try all others from there without end. before, counted: the counts just before and
    just after this try was counted; where nobody failed since, the last failure is again that of before.
    """
    table = sign_in_attempts.c
    (kind, subject), (name_kind, name_subject) = _subjects(name, address)
    await tx.execute(delete(sign_in_attempts).where((table.kind == name_kind) & (table.subject == name_subject)))
    mine = (table.kind == kind) & (table.subject == subject)
    last = literal(before.last_by_address or counted.last_by_address, table.last.type)
    since = case((table.last == counted.last_by_address, last), else_=table.last)
    values = {"failures": table.failures - 1, "last": since}
    await tx.execute(update(sign_in_attempts).where(mine).values(values))
    await tx.execute(delete(sign_in_attempts).where(mine & (table.failures <= 0)))


async def forget_older_than(tx: Transaction, before: datetime) -> None:
    await tx.execute(delete(sign_in_attempts).where(sign_in_attempts.c.last < before))


def _subjects(name: str, address: str) -> tuple[tuple[str, str], ...]:
    return (ADDRESS, _network(address)), (NAME, name_key(name)[:200])


def _network(address: str) -> str:
    """`2001:db8:0:1::/64` for IPv6; the address itself for IPv4, also where it came in by IPv6."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address):
        return str(known.ipv4_mapped or ipaddress.ip_network((known, 64), strict=False))
    return str(known)
