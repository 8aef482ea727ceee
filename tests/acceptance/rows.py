"""What stands in Comserv's database, read beside it: what a killed process had written, and that nothing is left over."""

from dataclasses import dataclass

from sqlalchemy import create_engine, func, select
from sqlalchemy.engine import Engine

from comserv.persistence.database import parse_url
from comserv.persistence.tables import job_secrets, job_steps, jobs, reservations, reserved_addresses

OPEN = ("queued", "running")


@dataclass(frozen=True)
class Standing:
    """Where an open job stood when its process was killed.

    step: the one that ran, or the next one. phase: asked (no step has begun), between (the last one is done), before (nothing
    was sent yet), sent (intended, and no task is known), task (its task is known).
    """

    job: str
    step: str
    phase: str


class Rows:
    """A database of either engine. Close it."""

    def __init__(self, url: str) -> None:
        given = parse_url(url)
        driver = "sqlite" if given.get_backend_name() == "sqlite" else "postgresql+psycopg"
        self._engine: Engine = create_engine(given.set(drivername=driver))

    def close(self) -> None:
        self._engine.dispose()

    def standing(self) -> list[Standing]:
        """Of every job that is open."""
        steps = (
            select(job_steps)
            .join(jobs, jobs.c.id == job_steps.c.job)
            .where(jobs.c.state.in_(OPEN))
            .order_by(job_steps.c.job, job_steps.c.position)
        )
        by_job: dict[str, list] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(steps):
                by_job.setdefault(row.job, []).append(row)
        return [_moment(job, rows) for job, rows in by_job.items()]

    def reserved(self) -> set[int]:
        """The VM ids that are reserved."""
        with self._engine.connect() as connection:
            return set(connection.execute(select(reservations.c.vmid)).scalars())

    def left_over(self) -> dict[str, int]:
        """Rows that only open jobs may have, by table; empty when there is none."""
        found = {}
        with self._engine.connect() as connection:
            for table in (reservations, reserved_addresses, job_secrets):
                kept = [job_secrets.c.value.is_not(None)] if table is job_secrets else []  # the name stays, for a retry
                count = connection.execute(select(func.count()).select_from(table).where(*kept)).scalar_one()
                if count:
                    found[table.name] = count
        return found


def _moment(job: str, rows: list) -> Standing:
    row = next((row for row in rows if row.state in ("waiting", "running")), rows[-1])
    if row.state == "waiting":
        return Standing(job, row.name, "asked" if row is rows[0] else "between")
    if row.upid and "upid" in row.intent:
        return Standing(job, row.name, "task")
    return Standing(job, row.name, "sent" if "at" in row.intent else "before")
