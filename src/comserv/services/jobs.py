"""Jobs: list, look, cancel, retry, and remove what is ours of a failed creation."""

from collections.abc import Mapping
from dataclasses import dataclass

from comserv.domain.errors import Conflict, GuestMissing, ProxmoxError
from comserv.domain.guest import GuestConfig, GuestKey, GuestStatus, GuestType
from comserv.domain.job import CallRecord, Job, JobKind, JobState, RunningTask
from comserv.domain.ownership import Evidence, Sign, is_ours, smbios_uuid
from comserv.domain.page import Page
from comserv.domain.person import Action, Actor
from comserv.domain.removal import identity
from comserv.jobs.clients import Clients
from comserv.jobs.cloning import left_behind
from comserv.persistence import guests, jobcalls, jobs
from comserv.persistence.database import Database
from comserv.persistence.jobs import JobFilter
from comserv.services.asking import ask, known_job, new_job
from comserv.services.estate import Estate
from comserv.services.permission import permit, write_audit

__all__ = ["JobPage", "JobQuery", "Jobs", "Remains"]

JobPage = Page[Job]


@dataclass(frozen=True)
class JobQuery:
    states: tuple[JobState, ...] = ()
    kinds: tuple[JobKind, ...] = ()
    server: str = ""
    person: str = ""
    guest: GuestKey | None = None
    cursor: str = ""
    limit: int = 50


@dataclass(frozen=True)
class Remains:
    """What of a creation that did not end well is there and provably ours; `text` says it in words, also when nothing is left."""

    guest: GuestKey | None
    text: str
    removable: bool


class Jobs:
    """sign: of ownership markers."""

    def __init__(self, database: Database, estate: Estate, clients: Clients, sign: Sign) -> None:
        self._db, self._estate, self._clients, self._sign = database, estate, clients, sign

    async def list(self, actor: Actor, query: JobQuery) -> JobPage:
        """Newest first. Needs SEE."""
        await permit(self._db, actor, Action.SEE, "jobs")
        wanted = JobFilter(
            states=query.states,
            kinds=query.kinds,
            person=query.person,
            server=query.guest.server if query.guest else query.server,
            vmid=query.guest.vmid if query.guest else None,
        )
        async with self._db.read() as tx:
            return await jobs.page(tx, wanted, limit=query.limit, cursor=query.cursor or None)

    async def get(self, actor: Actor, job_id: str) -> Job:
        """Raises NotFound."""
        await permit(self._db, actor, Action.SEE, f"job {job_id[:40]}")
        async with self._db.read() as tx:
            return await jobs.get(tx, job_id)

    async def calls(self, actor: Actor, job_id: str) -> tuple[CallRecord, ...]:
        """Every call behind it, oldest first, at most the first 500."""
        await permit(self._db, actor, Action.SEE, f"job {job_id[:40]}")
        async with self._db.read() as tx:
            await jobs.get(tx, job_id)
            return (await jobcalls.page(tx, job_id, limit=500)).items

    async def running(self, actor: Actor) -> int:
        """How many are queued or running."""
        await permit(self._db, actor, Action.SEE, "jobs")
        return len(self._estate.open_jobs)

    async def cancel(self, actor: Actor, job_id: str, running_task: RunningTask = RunningTask.FINISH) -> Job:
        """Raises Conflict when it has ended."""
        await permit(self._db, actor, Action.CANCEL_JOB, f"job {job_id[:40]}")
        async with self._db.write() as tx:
            job = await jobs.request_cancel(tx, job_id, running_task)
            await write_audit(
                tx, actor, "cancel_job", f"job {job_id}", detail=f"{job.title}; running task: {running_task}."
            )
        return job

    async def retry(self, actor: Actor, job_id: str, secrets: Mapping[str, str] | None = None) -> Job:
        """The same job, attempt + 1; what is proven is not done again. Raises Conflict unless failed or cancelled, SecretsMissing."""
        await permit(self._db, actor, Action.RETRY_JOB, f"job {job_id[:40]}")
        async with self._db.write() as tx:
            job = await jobs.retry(tx, job_id, secrets or {})
            await write_audit(tx, actor, "retry_job", f"job {job_id}", detail=f"{job.title}; try {job.attempt}.")
        return job

    async def remains(self, actor: Actor, job_id: str) -> Remains:
        """Asks the server what is left of a failed or cancelled creation."""
        job = await self.get(actor, job_id)
        return (await self._remains(job))[0]

    async def _remains(self, job: Job) -> tuple[Remains, GuestConfig | None]:
        key = job.guest
        if job.kind is not JobKind.CREATE_VM or key is None or job.state not in (JobState.FAILED, JobState.CANCELLED):
            return Remains(None, "Nothing of it can be left behind.", False), None
        async with self._db.read() as tx:
            made = await guests.made(tx, key)
        try:
            client = await self._clients.of(key.server)
            config = await client.node(job.node).qemu(key.vmid).config()
        except GuestMissing:
            return Remains(key, f"Nothing is left: there is no guest {key.vmid} on {key.server}.", False), None
        except ProxmoxError as error:
            return Remains(key, f"It cannot be told now what is left: {error.title}", False), None
        evidence = Evidence(
            server=key.server,
            vmid=key.vmid,
            description=config.get("description"),
            uuid=smbios_uuid(config),
            reserved_by=job.id,
            created_by=made.job if made else "",
            uuid_at_end=made.smbios_uuid if made else "",
        )
        ownership = is_ours(evidence, self._sign)
        name = config.get("name") or str(key.vmid)
        if ownership.ours and ownership.job == job.id:
            return Remains(
                key, f"{name} ({key.vmid}) stands on {key.server} / {job.node}, made by this job.", True
            ), config
        reasons = " ".join(ownership.reasons)
        if config.get("lock") == "clone":
            reasons += f" It is locked by a clone that has not ended. {left_behind(job.node, key.vmid)}"
        return Remains(
            key, f"A guest {key.vmid} is there, but it cannot be proven to be this job's: {reasons}", False
        ), None

    async def remove_remains(self, actor: Actor, job_id: str, idempotency_key: str = "") -> Job:
        """A deletion job for it. Raises Conflict when nothing is provably ours."""
        await permit(self._db, actor, Action.DELETE_GUEST, f"job {job_id[:40]}")
        job = await self.get(actor, job_id)
        body = {"remove_remains": job_id}
        if known := await known_job(self._db, actor, idempotency_key, body):
            return known
        remains, config = await self._remains(job)
        if config is None or remains.guest is None:
            raise Conflict(
                remains.text, cure="Look at the server; Comserv removes only what it can prove to have made."
            )
        await self._does_not_run(remains.guest, job.node)
        name = config.get("name") or str(remains.guest.vmid)
        request = {
            "type": str(GuestType.QEMU),
            "name": name,
            "identity": identity(GuestType.QEMU, config),
            "of_job": job_id,
        }
        asked = new_job(
            self._db, actor, JobKind.DELETE_GUEST, f"Delete {name}", remains.guest, job.node, request, ("delete",)
        )
        return await ask(self._db, actor, asked, key=idempotency_key, body=body)

    async def _does_not_run(self, key: GuestKey, node: str) -> None:
        client = await self._clients.of(key.server)
        state = await client.node(node).qemu(key.vmid).current()
        if state.status in (GuestStatus.RUNNING, GuestStatus.PAUSED):
            raise Conflict(f"The guest {key.vmid} runs.", cure="Shut it down or stop it first.")
