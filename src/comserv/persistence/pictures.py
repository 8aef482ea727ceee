"""The picture of each server in one row, its figures apart; and the health of its sweeps.

payload: msgpack of what seldom changes, deflated where it is large, written only when it changed; then `revision` grows. figures and
as_of: new at every look (`figures.py`).
"""

import asyncio
import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update

from comserv.domain.picture import Health, Picture
from comserv.persistence import figures
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.tables import health, pictures

LARGE = 4096
MANY_GUESTS = 300
PLAIN, DEFLATED = b"\x00", b"\x01"

_decoder = msgspec.msgpack.Decoder(Picture)


@dataclass(frozen=True)
class Packed:
    """A picture ready to be saved. digest: of everything in it but figures, revision and as_of."""

    picture: Picture
    digest: bytes
    payload: bytes
    figures: bytes


async def pack(picture: Picture) -> Packed:
    """Outside any transaction; a large picture is packed in a thread."""
    if len(picture.guests) < MANY_GUESTS:
        return _pack(picture)
    return await asyncio.to_thread(_pack, picture)


async def save(tx: Transaction, packed: Packed) -> int:
    """The revision of the saved picture: the old one where nothing but figures changed, then only these are written."""
    picture = packed.picture
    mine = pictures.c.server == picture.server
    kept = (await tx.execute(select(pictures.c.revision, pictures.c.digest).where(mine))).first()
    fresh = {"as_of": picture.as_of, "figures": packed.figures}
    if kept is not None and kept.digest == packed.digest:
        await tx.execute(update(pictures).where(mine).values(fresh))
        tx.changed(Topic.PICTURE, picture.server, kept.revision)
        return kept.revision
    revision = kept.revision + 1 if kept is not None else 1
    values = {"revision": revision, "digest": packed.digest, "payload": packed.payload, **fresh}
    statement = tx.insert(pictures).values(server=picture.server, **values)
    await tx.execute(statement.on_conflict_do_update(index_elements=["server"], set_=values))
    tx.changed(Topic.PICTURE, picture.server, revision)
    return revision


async def save_figures(tx: Transaction, seen: Iterable[Picture]) -> None:
    """Of pictures that differ from what is saved in nothing but figures: all in one statement. This process knows them already."""
    rows = [{"of": one.server, "seen": one.revision, "at": one.as_of, "packed": figures.pack(one)} for one in seen]
    if rows:
        mine = update(pictures).where(pictures.c.server == bindparam("of"), pictures.c.revision == bindparam("seen"))
        await tx.execute(mine.values(as_of=bindparam("at"), figures=bindparam("packed")), rows)
    for one in rows:
        tx.changed_elsewhere(Topic.PICTURE, one["of"])


async def get(tx: Transaction, server: str, *, newer_than: int = -1) -> Picture | None:
    """The picture where its revision is above `newer_than`, else None."""
    shown = select(pictures.c.revision, pictures.c.as_of, pictures.c.payload, pictures.c.figures)
    row = (await tx.execute(shown.where(pictures.c.server == server, pictures.c.revision > newer_than))).first()
    if row is None:
        return None
    packed = row.payload, row.figures
    read = _unpack(*packed) if len(row.payload) < LARGE else await asyncio.to_thread(_unpack, *packed)
    return replace(read, revision=row.revision, as_of=row.as_of)


async def renewed(tx: Transaction, known: Picture) -> Picture:
    """The picture as it is saved now: what is known with the newest figures where nothing else changed since, else read whole.

    Where none is saved, what is known.
    """
    newest = select(pictures.c.revision, pictures.c.as_of, pictures.c.figures)
    row = (await tx.execute(newest.where(pictures.c.server == known.server))).first()
    if row is None or (row.revision, row.as_of) == (known.revision, known.as_of):
        return known
    if row.revision != known.revision or row.figures is None:
        return await get(tx, known.server) or known
    return replace(figures.lay(row.figures, known), as_of=row.as_of)


async def stamp(tx: Transaction, server: str) -> tuple[int, datetime | None] | None:
    """Revision and as_of of the picture, without its payload; None where there is none."""
    row = (await tx.execute(select(pictures.c.revision, pictures.c.as_of).where(pictures.c.server == server))).first()
    return None if row is None else (row.revision, row.as_of)


async def save_health(tx: Transaction, value: Health) -> None:
    await _save_healths(tx, [value])
    tx.changed(Topic.HEALTH, value.server)


async def save_healths(tx: Transaction, values: Iterable[Health]) -> None:
    """All in one statement. This process knows them already."""
    found = list(values)
    if found:
        await _save_healths(tx, found)
    for value in found:
        tx.changed_elsewhere(Topic.HEALTH, value.server)


async def _save_healths(tx: Transaction, values: list[Health]) -> None:
    row = tx.insert(health)
    row = row.on_conflict_do_update(
        index_elements=["server"], set_={"payload": row.excluded.payload, "at": row.excluded.at}
    )
    await tx.execute(row, [{"server": one.server, "payload": msgspec.to_builtins(one), "at": tx.now} for one in values])


async def get_health(tx: Transaction, server: str) -> Health | None:
    payload = (await tx.execute(select(health.c.payload).where(health.c.server == server))).scalar()
    return None if payload is None else msgspec.convert(payload, Health)


def _pack(picture: Picture) -> Packed:
    raw = msgspec.msgpack.encode(figures.without(picture), order="deterministic")
    payload = DEFLATED + zlib.compress(raw, 1) if len(raw) > LARGE else PLAIN + raw
    return Packed(picture, hashlib.blake2b(raw, digest_size=16).digest(), payload, figures.pack(picture))


def _unpack(payload: bytes, packed: bytes | None) -> Picture:
    """A row that an older version wrote has its figures in the payload."""
    raw = zlib.decompress(payload[1:]) if payload[:1] == DEFLATED else payload[1:]
    picture: Any = _decoder.decode(raw)
    return picture if packed is None else figures.lay(packed, picture)
