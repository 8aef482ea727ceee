"""After a new key was put on top of the key file: encrypt anew what older keys encrypted, so that they can go."""

from typing import Any

from sqlalchemy import select, update

from comserv.persistence.database import Transaction
from comserv.persistence.tables import job_secrets, servers


async def reencrypt(tx: Transaction) -> int:
    """How many secrets were encrypted anew. Raises ConfigurationError where one belongs to a key that is not here.

    Idempotency fingerprints and markers signed by an older key need that key in the file as long as they are to be known.
    """
    renewed = 0
    for row in (await tx.execute(select(servers.c.id, servers.c.token_secret))).all():
        fresh = _renewed(tx, row.token_secret, table="servers", row=row.id, column="token_secret")
        if fresh is not None:
            await tx.execute(update(servers).where(servers.c.id == row.id).values(token_secret=fresh))
            renewed += 1
    for row in (await tx.execute(select(job_secrets).where(job_secrets.c.value.is_not(None)))).all():
        fresh = _renewed(tx, row.value, table="job_secrets", row=row.job, column=row.name)
        if fresh is not None:
            here: Any = (job_secrets.c.job == row.job) & (job_secrets.c.name == row.name)
            await tx.execute(update(job_secrets).where(here).values(value=fresh))
            renewed += 1
    return renewed


def _renewed(tx: Transaction, sealed: bytes, **row: str) -> bytes | None:
    if tx.vault.is_current(sealed):
        return None
    return tx.vault.encrypt(tx.vault.decrypt(sealed, **row), **row)
