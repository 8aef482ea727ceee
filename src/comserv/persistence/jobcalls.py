"""The calls behind a job, as they were sent: parameters without secrets, and what came back."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from comserv.domain.job import CallRecord
from comserv.domain.page import Page
from comserv.persistence.database import Transaction
from comserv.persistence.paging import check_limit, decode_cursor, encode_cursor, page_of
from comserv.persistence.tables import job_calls, job_steps, jobs


async def record(tx: Transaction, job_id: str, calls: Iterable[CallRecord]) -> None:
    rows = [
        {
            "job": job_id,
            "at": call.at,
            "method": call.method,
            "path": call.path,
            "parameters": dict(call.parameters),
            "status": call.status,
            "ms": call.ms,
            "upid": call.upid,
            "reply": call.reply,
        }
        for call in calls
    ]
    if rows:
        await tx.execute(insert(job_calls), rows)


async def of_others(tx: Transaction, job_id: str, upids: Sequence[str]) -> frozenset[str]:
    """Those of these tasks that are known to belong to another job."""
    found: set[str] = set()
    for table in (job_calls, job_steps):
        mine = select(table.c.upid).where(table.c.upid.in_(upids), table.c.job != job_id)
        if table is job_calls:
            mine = mine.where(job_calls.c.method != "GET")
        found |= {row.upid for row in await tx.execute(mine)} if upids else set()
    return frozenset(found)


async def without_task(tx: Transaction, server: str, since: datetime) -> tuple[datetime, ...]:
    """When changing calls to a server were sent since then of which no task is known: one may have been begun all the same."""
    statement = (
        select(job_calls.c.at)
        .join(jobs, jobs.c.id == job_calls.c.job)
        .where(jobs.c.server == server, job_calls.c.at > since, job_calls.c.method != "GET", job_calls.c.upid == "")
    )
    return tuple([row.at for row in await tx.execute(statement)])


async def page(tx: Transaction, job_id: str, *, limit: int = 200, cursor: str | None = None) -> Page[CallRecord]:
    """In the order in which they were sent."""
    statement = (
        select(job_calls).where(job_calls.c.job == job_id).order_by(job_calls.c.id).limit(check_limit(limit) + 1)
    )
    if cursor:
        statement = statement.where(job_calls.c.id > decode_cursor(cursor, int)[0])
    return page_of((await tx.execute(statement)).all(), limit, _call, lambda row: encode_cursor(row.id))


def _call(row: Any) -> CallRecord:
    return CallRecord(row.at, row.method, row.path, row.parameters, row.status, row.ms, row.upid, row.reply)
