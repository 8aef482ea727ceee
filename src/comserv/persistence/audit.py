"""The audit: one row for each change and each refused attempt; it is only added to.

Refusals that flood are folded into one row that counts: those of the same person, action and object within a minute,
and those of the same person and action beyond 20 rows within a minute, whatever they are about.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from comserv.domain.audit import AuditEntry, Outcome
from comserv.domain.page import Page
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.paging import check_limit, decode_cursor, encode_cursor, page_of
from comserv.persistence.tables import audit

FOLD = timedelta(minutes=1)
MOST_ROWS = 20
MANY = "many"  # the object of a row that stands for refusals about many


@dataclass(frozen=True)
class AuditFilter:
    """Empty fields filter nothing; `object` is compared whole (`guest rack/105`); `until` is excluded."""

    who: str = ""
    action: str = ""
    object: str = ""
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


async def add(tx: Transaction, entry: AuditEntry) -> None:
    """Append it, at the transaction's time."""
    if entry.outcome is Outcome.REFUSED:
        if await _folded(tx, entry):
            return
        if await _floods(tx, entry):
            entry = replace(entry, object=MANY)
            if await _folded(tx, entry):
                return
    told = {name: str(getattr(entry, name)) for name in _TEXTS}
    await tx.execute(insert(audit).values(at=tx.now, last=tx.now, **told))
    tx.changed(Topic.AUDIT)


async def page(tx: Transaction, wanted: AuditFilter, *, limit: int = 50, cursor: str | None = None) -> Page[AuditEntry]:
    """Newest first."""
    statement = select(audit).where(*_conditions(wanted)).order_by(audit.c.id.desc()).limit(check_limit(limit) + 1)
    if cursor:
        statement = statement.where(audit.c.id < decode_cursor(cursor, int)[0])
    return page_of((await tx.execute(statement)).all(), limit, _entry, lambda row: encode_cursor(row.id))


async def remove_before(tx: Transaction, before: datetime) -> int:
    """Retention. How many rows."""
    return (await tx.execute(delete(audit).where(audit.c.at < before))).rowcount


async def _folded(tx: Transaction, entry: AuditEntry) -> bool:
    recent = _recent(tx, entry).where(audit.c.object == entry.object)
    row_id = (await tx.execute(recent.order_by(audit.c.id.desc()).limit(1))).scalar()
    if row_id is None:
        return False
    counted = {"count": audit.c.count + 1, "last": tx.now, "detail": entry.detail, "address": entry.address}
    await tx.execute(update(audit).where(audit.c.id == row_id).values(counted))
    return True


async def _floods(tx: Transaction, entry: AuditEntry) -> bool:
    return len((await tx.execute(_recent(tx, entry).limit(MOST_ROWS))).all()) == MOST_ROWS


def _recent(tx: Transaction, entry: AuditEntry) -> Any:
    """The rows of this person's refusals of this action that may still count one more."""
    same = (audit.c.who == entry.who) & (audit.c.action == entry.action)
    return select(audit.c.id).where(same, audit.c.outcome == str(Outcome.REFUSED), audit.c.last > tx.now - FOLD)


_TEXTS = ("who", "via", "address", "action", "object", "outcome", "detail", "job", "request_id")


def _conditions(wanted: AuditFilter) -> list[Any]:
    conditions = [
        audit.c[name] == getattr(wanted, name) for name in ("who", "action", "object") if getattr(wanted, name)
    ]
    if wanted.outcome:
        conditions.append(audit.c.outcome == str(wanted.outcome))
    if wanted.since:
        conditions.append(audit.c.at >= wanted.since)
    if wanted.until:
        conditions.append(audit.c.at < wanted.until)
    return conditions


def _entry(row: Any) -> AuditEntry:
    texts = {name: getattr(row, name) for name in _TEXTS if name != "outcome"}
    return AuditEntry(outcome=Outcome(row.outcome), id=row.id, at=row.at, last=row.last, count=row.count, **texts)
