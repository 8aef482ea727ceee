"""Idempotency keys: per person, kept as long as the job. The same request twice makes one job."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from comserv.domain.errors import IdempotencyMismatch
from comserv.persistence.database import Transaction
from comserv.persistence.tables import encode_json, idempotency


async def claim(tx: Transaction, person: str, key: str, request: Mapping[str, Any], job_id: str) -> str:
    """The job that stands for this key: `job_id` itself where the key is new, then add that job in this transaction; else
    the job that an earlier request made. Of the request a keyed hash is kept, so it may hold secrets.

    Two at once: the second waits for the first transaction's end. Raises IdempotencyMismatch where the body is another.
    """
    body = encode_json(sorted_deep(request)).encode()
    if await tx.add(idempotency, person=person, key=key, fingerprint=tx.vault.keyed_hash(body), job=job_id):
        return job_id
    here = (idempotency.c.person == person) & (idempotency.c.key == key)
    kept = (await tx.execute(select(idempotency).where(here))).one()
    if not tx.vault.verify(body, kept.fingerprint):
        raise IdempotencyMismatch()
    return kept.job


async def find(tx: Transaction, person: str, key: str, request: Mapping[str, Any]) -> str | None:
    """The job that an earlier request with this key made. Raises IdempotencyMismatch where its body was another."""
    here = (idempotency.c.person == person) & (idempotency.c.key == key)
    kept = (await tx.execute(select(idempotency).where(here))).first()
    if kept is None:
        return None
    if not tx.vault.verify(encode_json(sorted_deep(request)).encode(), kept.fingerprint):
        raise IdempotencyMismatch()
    return kept.job


def sorted_deep(value: Any) -> Any:
    """Objects with their keys in order, so that equal requests have equal bytes."""
    if isinstance(value, Mapping):
        return {str(key): sorted_deep(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [sorted_deep(item) for item in value]
    return value
