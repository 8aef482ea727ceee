"""A VM from a template: the plan, and the job that carries it out."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from comserv.domain.another import worth_repeating
from comserv.domain.audit import Outcome
from comserv.domain.errors import PlanBlocked, ProxmoxError
from comserv.domain.guest import Guest, GuestKey, GuestType
from comserv.domain.hardware import agent_enabled, boot_disk, cores_of, has_cloud_init, memory_mib, network_card
from comserv.domain.job import Job, JobKind, JobSecret
from comserv.domain.person import Action, Actor
from comserv.domain.picture import Node, Storage
from comserv.domain.plan import Decision, Finding, Level, Plan
from comserv.domain.planning import make_plan
from comserv.domain.reservation import Reservation, Taken
from comserv.domain.units import GIB, MIB
from comserv.domain.vmrequest import VmRequest, secrets_of, to_mapping
from comserv.jobs.clients import Clients
from comserv.jobs.provisioning import STEPS, kept_request
from comserv.persistence import lastrequests, reservations
from comserv.persistence.database import Database, Transaction
from comserv.services.asking import ask, known_job, new_job
from comserv.services.estate import Estate
from comserv.services.permission import permit, write_audit
from comserv.services.planfacts import FactsOfServers

__all__ = ["Choices", "TemplateChoice", "Vms"]

MOST_NUMBERS_TRIED = 200
MOST_TEMPLATES_READ = 24


@dataclass(frozen=True)
class TemplateChoice:
    """A template with what its configuration says, so that a form can begin with it. memory in MiB, disk in GiB."""

    guest: Guest
    cores: int | None = None
    memory_mb: int | None = None
    disk_gb: float | None = None
    cloud_init: bool | None = None
    agent: bool | None = None
    bridge: str = ""
    user: str = ""


@dataclass(frozen=True)
class Choices:
    """What the form of a creation offers on one server. vmid: the next free one as we know it, None when the server does not answer."""

    server: str
    templates: tuple[TemplateChoice, ...]
    nodes: tuple[Node, ...]
    storages: tuple[Storage, ...]
    bridges: Mapping[str, tuple[str, ...]]
    pools: tuple[str, ...]
    vmid: int | None
    problem: str = ""


class Vms:
    def __init__(self, database: Database, estate: Estate, clients: Clients) -> None:
        self._db, self._estate, self._clients = database, estate, clients
        self._facts = FactsOfServers(database, estate, clients)

    async def choices(self, actor: Actor, server_id: str) -> Choices:
        """Needs PLAN. Asks the server for templates' configurations and bridges; says what it could not learn in `problem`."""
        await permit(self._db, actor, Action.PLAN, f"server {server_id}")
        known = self._estate.server(server_id)
        seen = await self._facts.seen(known, nodes=True)
        picture = seen.picture or known.picture
        templates = [guest for guest in picture.guests if guest.template and guest.type is GuestType.QEMU]
        read = [self._template(guest, ask=not seen.problem) for guest in templates[:MOST_TEMPLATES_READ]]
        rest = [TemplateChoice(guest) for guest in templates[MOST_TEMPLATES_READ:]]
        return Choices(
            server=server_id,
            templates=(*await asyncio.gather(*read), *rest),
            nodes=picture.nodes,
            storages=tuple(one for one in picture.storages if "images" in one.content),
            bridges={node: tuple(sorted(names)) for node, names in seen.bridges.items()},
            pools=tuple(sorted(seen.pools | {guest.pool for guest in picture.guests if guest.pool})),
            vmid=seen.free_vmid,
            problem=seen.problem,
        )

    async def _template(self, guest: Guest, ask: bool) -> TemplateChoice:
        try:
            config = await self._facts.template_config(guest) if ask else None
        except ProxmoxError:  # the form begins without it; the plan says what could not be read
            config = None
        if config is None:
            return TemplateChoice(guest)
        disk, card = boot_disk(config), network_card(config.get("net0"))
        return TemplateChoice(
            guest=guest,
            cores=cores_of(config),
            memory_mb=memory_mib(config),
            disk_gb=disk.size / GIB if disk and disk.size else None,
            cloud_init=has_cloud_init(config),
            agent=agent_enabled(config),
            bridge=card.bridge if card else "",
            user=config.get("ciuser"),
        )

    async def plan(self, actor: Actor, request: VmRequest) -> Plan:
        """Asks the server where our picture is missing or old. A server that does not answer is a finding, not an error."""
        await permit(self._db, actor, Action.PLAN, f"server {request.server}")
        return await self._plan(request, fresh=False)

    async def _plan(self, request: VmRequest, fresh: bool) -> Plan:
        facts = await self._facts.of(self._estate.server(request.server), request, fresh=fresh)
        return make_plan(request, facts, self._db.clock())

    async def create(
        self, actor: Actor, request: VmRequest, idempotency_key: str = "", body: Mapping[str, Any] | None = None
    ) -> Job:
        """Makes the plan anew and, without a blocker, reserves and makes the job in one transaction.

        body: as it was sent, for the key's fingerprint. Raises PlanBlocked, IdempotencyMismatch (the same key with another body).
        """
        await permit(self._db, actor, Action.CREATE_VM, f"server {request.server}")
        fingerprint = body or to_mapping(request, secrets=True)
        if known := await known_job(self._db, actor, idempotency_key, fingerprint):
            return known
        plan = await self._plan(request, fresh=True)
        if plan.blocked or plan.decision is None:
            # what stands against it may be the job of this very request, sent twice, which came first meanwhile
            if known := await known_job(self._db, actor, idempotency_key, fingerprint):
                return known
            await self._refused(actor, request, plan)
            raise PlanBlocked(plan.findings)
        return await self._ask(actor, request, plan.decision, idempotency_key, fingerprint)

    async def _refused(self, actor: Actor, request: VmRequest, plan: Plan) -> None:
        codes = ", ".join(finding.code for finding in plan.blockers)
        async with self._db.write() as tx:
            subject = f"server {request.server}"
            await write_audit(tx, actor, "create_vm", subject, Outcome.REFUSED, f"{request.hostname}: {codes}")

    async def _ask(
        self, actor: Actor, request: VmRequest, decision: Decision, key: str, body: Mapping[str, Any]
    ) -> Job:
        vmid = decision.vmid or 100
        for _ in range(MOST_NUMBERS_TRIED):
            try:
                return await self._reserve(actor, request, replace(decision, vmid=vmid), key, body)
            except _Taken as taken:
                if taken.what != "vmid" or request.vmid is not None:
                    raise PlanBlocked([_taken_finding(taken.what)]) from None
                vmid += 1
        raise PlanBlocked([_taken_finding("vmid")])

    async def _reserve(
        self, actor: Actor, request: VmRequest, decision: Decision, key: str, body: Mapping[str, Any]
    ) -> Job:
        guest = GuestKey(request.server, decision.vmid or 0)
        kept = kept_request(to_mapping(request), decision)
        title = f"Create {request.hostname}"
        job = new_job(self._db, actor, JobKind.CREATE_VM, title, guest, decision.node, kept, STEPS)
        secrets = [JobSecret(name, "configure", value) for name, value in secrets_of(request).items()]

        async def reserve(tx: Transaction, added: Job) -> None:
            taken = await reservations.take(tx, reservation_of(request, decision, added.id))
            if taken:
                raise _Taken(taken)
            if actor.via == "page" and actor.person_id is not None:
                await lastrequests.put(tx, actor.person_id, to_mapping(worth_repeating(request)))

        return await ask(self._db, actor, job, key=key, body=body, secrets=secrets, write=reserve)


def reservation_of(request: VmRequest, decision: Decision, job: str) -> Reservation:
    """What the job will take of the server, until its end."""
    return Reservation(
        guest=GuestKey(request.server, decision.vmid or 0),
        job=job,
        hostname=request.hostname,
        addresses=tuple(one for one in (request.static_address, request.static_address6) if one),
        node=decision.node,
        storage=decision.storage,
        memory_mb=decision.memory // MIB,
        disk_gb=decision.disk / GIB,
    )


class _Taken(Exception):
    """Ends the transaction: nothing of it is kept."""

    def __init__(self, what: Taken) -> None:
        self.what: Taken = what
        super().__init__(what)


_TAKEN: dict[Taken, tuple[str, str, str, str]] = {
    "vmid": ("vmid_reserved", "The VM id is reserved by another job.", "Leave it empty, or take another.", "vmid"),
    "hostname": ("hostname_taken", "The name is reserved by another job.", "Take another name, or wait.", "hostname"),
    "address": (
        "address_taken",
        "The address is reserved by another job.",
        "Take another, or wait.",
        "network.ip_address",
    ),
}


def _taken_finding(what: Taken) -> Finding:
    """Another job took it between the plan and the reservation."""
    code, text, cure, field = _TAKEN[what]
    return Finding(Level.BLOCKER, code, text, cure, field)
