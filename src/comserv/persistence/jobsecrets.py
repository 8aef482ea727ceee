"""Secrets of jobs: encrypted, for one step each, deleted when that step is proven or the job has settled.

The row stays when the value is deleted, so that a retry knows what it has to ask for anew.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import insert, select, update

from comserv.domain.job import Job, JobSecret, StepState
from comserv.persistence.database import Transaction
from comserv.persistence.tables import job_secrets


async def keep(tx: Transaction, job_id: str, secrets: Iterable[JobSecret]) -> None:
    rows = [
        {"job": job_id, "name": secret.name, "step": secret.step, "value": _seal(tx, job_id, secret.name, secret.value)}
        for secret in secrets
    ]
    if rows:
        await tx.execute(insert(job_secrets), rows)


async def read(tx: Transaction, job_id: str, name: str) -> str | None:
    """None where there is none, or it was deleted."""
    here = (job_secrets.c.job == job_id) & (job_secrets.c.name == name)
    sealed = (await tx.execute(select(job_secrets.c.value).where(here))).scalar()
    return None if sealed is None else tx.vault.decrypt(sealed, table="job_secrets", row=job_id, column=name)


async def every(tx: Transaction) -> tuple[str, ...]:
    """All values that are still kept, of all jobs: what must not be seen anywhere."""
    kept = select(job_secrets).where(job_secrets.c.value.is_not(None))
    return tuple(
        tx.vault.decrypt(row.value, table="job_secrets", row=row.job, column=row.name) for row in await tx.execute(kept)
    )


async def forget(tx: Transaction, job_id: str) -> None:
    await tx.execute(update(job_secrets).where(job_secrets.c.job == job_id).values(value=None))


async def renew(tx: Transaction, job: Job, given: Mapping[str, str]) -> tuple[str, ...]:
    """Take the given values anew; the names that are still missing, of steps that are not done."""
    missing = []
    for row in (await tx.execute(select(job_secrets).where(job_secrets.c.job == job.id))).all():
        if given.get(row.name):
            here = (job_secrets.c.job == job.id) & (job_secrets.c.name == row.name)
            await tx.execute(update(job_secrets).where(here).values(value=_seal(tx, job.id, row.name, given[row.name])))
        elif row.value is None and job.step(row.step).state is not StepState.DONE:
            missing.append(row.name)
    return tuple(sorted(missing))


def _seal(tx: Transaction, job_id: str, name: str, value: str) -> bytes:
    return tx.vault.encrypt(value, table="job_secrets", row=job_id, column=name)
