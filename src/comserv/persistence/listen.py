"""Changes between processes on PostgreSQL: NOTIFY with ids and revisions only, one LISTEN connection that reconnects.

While that connection is down, followers are told every few seconds that anything may have changed.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
import psycopg

from comserv.persistence.changes import EVERYTHING, Change, Changes, Topic

CHANNEL = "comserv"
CONNECT_SECONDS = 5
ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}
"""A peer that is gone is noticed within some 5 s."""

PAYLOAD_BYTES = 7000  # PostgreSQL's limit is 8000
QUIET_SECONDS = 10.0
RETRY_SECONDS = 2.0


class _Notice(msgspec.Struct, array_like=True):
    process: str
    changes: list[tuple[str, str, int]]


def encode(process: str, changes: Iterable[Change]) -> dict[str, Any]:
    """Parameters of pg_notify: the channel, and as few notices as fit its payload."""
    notices: list[str] = []
    for change in changes:
        row = (str(change.topic), change.key, change.revision)
        if notices and len(notices[-1]) + len(change.key) + 60 < PAYLOAD_BYTES:
            notice = msgspec.json.decode(notices[-1], type=_Notice)
            notice.changes.append(row)
            notices[-1] = msgspec.json.encode(notice).decode()
        else:
            notices.append(msgspec.json.encode(_Notice(process, [row])).decode())
    return {"channel": CHANNEL, "notices": notices}


def decode(process: str, payload: str) -> list[Change]:
    """What another process tells; nothing where it is our own notice. An unreadable one: anything may have changed."""
    try:
        notice = msgspec.json.decode(payload, type=_Notice)
        if notice.process == process:
            return []
        return [Change(Topic(topic), key, revision) for topic, key, revision in notice.changes]
    except (msgspec.DecodeError, ValueError):
        return [EVERYTHING]


async def follow(dsn: str, process: str, changes: Changes, listening: asyncio.Event) -> None:
    """Publish other processes' changes in `changes`, until cancelled. listening: set from the first connection on."""
    while True:
        try:
            await _listen(dsn, process, changes, listening)
        except (psycopg.Error, OSError, TimeoutError):
            await asyncio.sleep(RETRY_SECONDS)
            changes.publish([EVERYTHING])


async def _listen(dsn: str, process: str, changes: Changes, listening: asyncio.Event) -> None:
    options: dict[str, Any] = {"application_name": f"comserv {process}", "connect_timeout": CONNECT_SECONDS, **ALIVE}
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, **options)
    async with connection:
        await connection.execute(f"LISTEN {CHANNEL}")
        if listening.is_set():
            changes.publish([EVERYTHING])
        listening.set()
        while True:
            async for notice in connection.notifies(timeout=QUIET_SECONDS):
                changes.publish(decode(process, notice.payload))
            await asyncio.wait_for(connection.execute("SELECT 1"), QUIET_SECONDS)
