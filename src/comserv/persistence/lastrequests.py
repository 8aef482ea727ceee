"""What each person asked for last when a VM was made, so that the next form begins with it. Never a secret."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select

from comserv.persistence.database import Transaction
from comserv.persistence.tables import last_requests


async def put(tx: Transaction, person_id: int, request: Mapping[str, Any], at: datetime | None = None) -> None:
    values = {"request": dict(request), "at": at or tx.now}
    row = tx.insert(last_requests).values(person=person_id, **values)
    await tx.execute(row.on_conflict_do_update(index_elements=["person"], set_=values))


async def get(tx: Transaction, person_id: int) -> tuple[Mapping[str, Any], datetime] | None:
    row = (await tx.execute(select(last_requests).where(last_requests.c.person == person_id))).first()
    return None if row is None else (row.request, row.at)
