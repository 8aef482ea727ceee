"""The picture of each server, packed in one row, and the health of its sweeps.

The payload is msgpack of `Picture`, deflated where it is large. An unchanged picture costs one small UPDATE of `as_of`.
"""

import asyncio
import hashlib
import zlib
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import select, update

from comserv.domain.picture import Health, Picture
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.tables import health, pictures

LARGE = 4096
MANY_GUESTS = 300
PLAIN, DEFLATED = b"\x00", b"\x01"

_decoder = msgspec.msgpack.Decoder(Picture)


@dataclass(frozen=True)
class Packed:
    """A picture ready to be saved; digest: of everything in it but revision and as_of."""

    picture: Picture
    digest: bytes
    payload: bytes


async def pack(picture: Picture) -> Packed:
    """Outside any transaction; a large picture is packed in a thread."""
    if len(picture.guests) < MANY_GUESTS:
        return _pack(picture)
    return await asyncio.to_thread(_pack, picture)


async def save(tx: Transaction, packed: Packed) -> int:
    """The revision of the saved picture: the old one where nothing changed, then only `as_of` is written."""
    picture = packed.picture
    mine = pictures.c.server == picture.server
    kept = (await tx.execute(select(pictures.c.revision, pictures.c.digest).where(mine))).first()
    if kept is not None and kept.digest == packed.digest:
        await tx.execute(update(pictures).where(mine).values(as_of=picture.as_of))
        tx.changed(Topic.PICTURE, picture.server, kept.revision)
        return kept.revision
    revision = kept.revision + 1 if kept is not None else 1
    values = {"revision": revision, "as_of": picture.as_of, "digest": packed.digest, "payload": packed.payload}
    statement = tx.insert(pictures).values(server=picture.server, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["server"], set_=values))
    tx.changed(Topic.PICTURE, picture.server, revision)
    return revision


async def get(tx: Transaction, server: str, *, newer_than: int = -1) -> Picture | None:
    """The picture where its revision is above `newer_than`, else None."""
    shown = select(pictures.c.revision, pictures.c.as_of, pictures.c.payload)
    row = (await tx.execute(shown.where(pictures.c.server == server, pictures.c.revision > newer_than))).first()
    if row is None:
        return None
    picture = _unpack(row.payload) if len(row.payload) < LARGE else await asyncio.to_thread(_unpack, row.payload)
    return replace(picture, revision=row.revision, as_of=row.as_of)


async def stamp(tx: Transaction, server: str) -> tuple[int, Any] | None:
    """Revision and as_of of the picture, without its payload; None where there is none."""
    row = (await tx.execute(select(pictures.c.revision, pictures.c.as_of).where(pictures.c.server == server))).first()
    return None if row is None else (row.revision, row.as_of)


async def save_health(tx: Transaction, value: Health) -> None:
    values = {"payload": msgspec.to_builtins(value), "at": tx.now}
    statement = tx.insert(health).values(server=value.server, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["server"], set_=values))
    tx.changed(Topic.HEALTH, value.server)


async def get_health(tx: Transaction, server: str) -> Health | None:
    payload = (await tx.execute(select(health.c.payload).where(health.c.server == server))).scalar()
    return None if payload is None else msgspec.convert(payload, Health)


def _pack(picture: Picture) -> Packed:
    raw = msgspec.msgpack.encode(replace(picture, revision=0, as_of=None), order="deterministic")
    payload = DEFLATED + zlib.compress(raw, 1) if len(raw) > LARGE else PLAIN + raw
    return Packed(picture, hashlib.blake2b(raw, digest_size=16).digest(), payload)


def _unpack(payload: bytes) -> Picture:
    raw = zlib.decompress(payload[1:]) if payload[:1] == DEFLATED else payload[1:]
    return _decoder.decode(raw)
