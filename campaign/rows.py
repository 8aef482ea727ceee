"""What stands in Comserv's database, read beside it: what is open, and what must not be left over once all jobs have ended."""

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import create_engine, select
from sqlalchemy.engine import Engine

from comserv.persistence.database import parse_url
from comserv.persistence.tables import audit, job_secrets, job_steps, jobs, reservations, reserved_addresses

OPEN = ("queued", "running")
ENDED = ("succeeded", "failed", "cancelled")


class Rows:
    """A database of either engine. Close it."""

    def __init__(self, url: str) -> None:
        given = parse_url(url)
        driver = "sqlite" if given.get_backend_name() == "sqlite" else "postgresql+psycopg"
        self._engine: Engine = create_engine(given.set(drivername=driver))

    def close(self) -> None:
        self._engine.dispose()

    def open_jobs(self) -> frozenset[str]:
        with self._engine.connect() as connection:
            return frozenset(connection.execute(select(jobs.c.id).where(jobs.c.state.in_(OPEN))).scalars())

    def jobs_of(self, server: str) -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.execute(select(jobs.c.id).where(jobs.c.server == server)).scalars())

    def left_over(self, server: str) -> list[str]:
        """What only open jobs may have."""
        mine = select(jobs.c.id).where(jobs.c.server == server)
        looks = {
            "a reservation": select(reservations.c.vmid).where(reservations.c.server == server),
            "a reserved address": select(reserved_addresses.c.address).where(reserved_addresses.c.job.in_(mine)),
            "a secret of": select(job_secrets.c.job).where(
                job_secrets.c.job.in_(mine), job_secrets.c.value.is_not(None)
            ),
            "a step that runs, of": select(job_steps.c.job).where(
                job_steps.c.job.in_(mine), job_steps.c.state == "running"
            ),
        }
        with self._engine.connect() as connection:
            return [
                f"left over: {what} {found}"
                for what, statement in looks.items()
                for found in connection.execute(statement).scalars()
            ]

    def unaudited(self, attempts: Mapping[str, int]) -> list[str]:
        """Jobs whose audit rows are not: asked for once, and one outcome per attempt. attempts: by job."""
        asked: Counter[str] = Counter()
        outcomes: Counter[str] = Counter()
        with self._engine.connect() as connection:
            for row in connection.execute(select(audit.c.job, audit.c.outcome).where(audit.c.job.in_(attempts))):
                (outcomes if row.outcome in ENDED else asked)[row.job] += 1
        wrong = [f"the audit has {asked[job]} rows that {job} was asked for" for job in attempts if asked[job] != 1]
        return wrong + [
            f"the audit has {outcomes[job]} outcomes of {job}, which was tried {times} times"
            for job, times in attempts.items()
            if outcomes[job] != times
        ]

    def audited(self, action: str, subject: str) -> int:
        """How many rows tell of it."""
        with self._engine.connect() as connection:
            found = connection.execute(select(audit.c.id).where(audit.c.action == action, audit.c.object == subject))
            return len(found.all())
