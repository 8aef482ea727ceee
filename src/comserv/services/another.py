"""What another VM would be asked for with: like a guest, like a job, or like what a person asked for last."""

from dataclasses import dataclass
from datetime import datetime

from comserv.domain.another import another, request_of
from comserv.domain.errors import ComservError, Conflict, GuestMissing, NotFound, ProxmoxError
from comserv.domain.guest import Guest, GuestConfig, GuestKey, GuestType
from comserv.domain.job import Job, JobKind
from comserv.domain.ownership import smbios_uuid
from comserv.domain.person import Action, Actor
from comserv.domain.vmrequest import VmRequest, stored_vm_request
from comserv.jobs.clients import Clients
from comserv.jobs.provisioning import asked_of
from comserv.persistence import guests, jobs, lastrequests, reservations
from comserv.persistence.database import Database
from comserv.services.estate import Estate
from comserv.services.permission import permit

PASSWORD = "cloud_init.password"  # noqa: S105 - the field's name, not a password


@dataclass(frozen=True)
class Like:
    """request: for another one, nothing secret in it; template vmid 0 where nobody knows it. name: of the first.

    job: whose request it was, else it is read out of the configuration. secrets: fields that the first had and that have to
    be given anew.
    """

    request: VmRequest
    name: str
    job: str = ""
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Last:
    """What a person asked for last, with the next address; and when."""

    request: VmRequest
    at: datetime


class Another:
    def __init__(self, database: Database, estate: Estate, clients: Clients) -> None:
        self._db, self._estate, self._clients = database, estate, clients

    async def like_guest(self, actor: Actor, key: GuestKey) -> Like:
        """From the request of the job that made it, else from its configuration; asks the server.

        Raises NotFound, Conflict (a container, or one that cannot be read), ProxmoxError.
        """
        await permit(self._db, actor, Action.PLAN, f"guest {key}")
        guest = self._estate.guest(key, self._db.clock()).guest
        if guest.type is not GuestType.QEMU:
            raise Conflict(f"{guest.name or key.vmid} is a container.", cure="Only VMs are made from templates.")
        config, problem = await self._config(guest)
        job = await self._made_by(key, config)
        if job is not None:
            return await self._like(job)
        if config is None:
            raise problem or Conflict("Its configuration cannot be read.")
        found = request_of(guest, config)
        secrets = (PASSWORD,) if config.get("cipassword") else ()
        name = guest.name or str(key.vmid)
        return Like(await self._another(found), name, secrets=secrets)

    async def like_job(self, actor: Actor, job_id: str) -> Like:
        """Raises NotFound, Conflict where it made no VM."""
        await permit(self._db, actor, Action.PLAN, f"job {job_id[:40]}")
        async with self._db.read() as tx:
            job = await jobs.get(tx, job_id)
        if job.kind is not JobKind.CREATE_VM:
            raise Conflict(f"{job.title}: no VM was asked for.", cure="Take a job that created one.")
        return await self._like(job)

    async def last(self, actor: Actor) -> Last | None:
        """What this person asked for last on the page; None before that, and for the command line that acts as `local`."""
        await permit(self._db, actor, Action.PLAN, "vms")
        if actor.person_id is None:
            return None
        async with self._db.read() as tx:
            kept = await lastrequests.get(tx, actor.person_id)
        if kept is None:
            return None
        return Last(await self._another(stored_vm_request(kept[0])), kept[1])

    async def _like(self, job: Job) -> Like:
        request = stored_vm_request(asked_of(job.request))
        secrets = (PASSWORD,) if request.cloud_init.password else ()
        return Like(await self._another(request), request.hostname, job.id, secrets)

    async def _another(self, request: VmRequest) -> VmRequest:
        async with self._db.read() as tx:
            reserved = await reservations.every(tx)
            known = await guests.known_addresses(tx)
        names = [row.guest.name for row in self._estate.rows()]
        names += [one.hostname for one in reserved if one.hostname]
        addresses = {one.address for one in known} | {address for one in reserved for address in one.addresses}
        return another(request, names, addresses)

    async def _config(self, guest: Guest) -> tuple[GuestConfig | None, ComservError | None]:
        """None with the reason where the server does not tell. Raises GuestMissing."""
        try:
            client = await self._clients.of(guest.key.server)
            return await client.node(guest.node).qemu(guest.key.vmid).config(), None
        except GuestMissing:
            raise
        except (ProxmoxError, Conflict) as error:
            return None, error

    async def _made_by(self, key: GuestKey, config: GuestConfig | None) -> Job | None:
        """The job that made this very guest; where its configuration cannot be read, the one that made the last of this id."""
        async with self._db.read() as tx:
            made = await guests.made(tx, key)
            if made is None or not made.job:
                return None
            if config is not None and made.smbios_uuid != smbios_uuid(config):
                return None
            try:
                found = await jobs.get(tx, made.job)
            except NotFound:  # ended long ago, and removed
                return None
        return found if found.kind is JobKind.CREATE_VM else None
