"""Guests: the list over all servers, one guest live, power, a change, and the end."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec

from comserv.domain.change import ChangeRequest, features_of, to_mapping
from comserv.domain.errors import ComservError, Conflict, IdempotencyMismatch, Invalid, Problem
from comserv.domain.features import FeatureId
from comserv.domain.guest import (
    AgentReport,
    GuestConfig,
    GuestKey,
    GuestState,
    GuestStatus,
    GuestType,
    PendingChange,
)
from comserv.domain.job import Job, JobKind, RunningTask
from comserv.domain.outage import Coverage
from comserv.domain.ownership import strip_marker
from comserv.domain.person import Action, Actor
from comserv.domain.plan import Finding
from comserv.domain.power import PowerAction, PowerFacts, possible_actions
from comserv.domain.removal import RemovalFacts, identity, plan_removal
from comserv.domain.task import TaskRow
from comserv.jobs.clients import Clients
from comserv.persistence import idempotency, jobs
from comserv.persistence.database import Database, Transaction
from comserv.persistence.paging import check_limit, decode_cursor, encode_cursor
from comserv.proxmox.client import Client
from comserv.proxmox.guests import Lxc, Qemu
from comserv.services.allowed import Allowed
from comserv.services.asking import Write, ask, known_job, new_job
from comserv.services.estate import Estate, GuestView
from comserv.services.guestlists import GuestLists, GuestQuery
from comserv.services.permission import permit

__all__ = ["Deletion", "GuestLive", "GuestPage", "GuestQuery", "GuestView", "Guests", "Outcome"]

TASKS_SHOWN = 20
TASKS_SINCE = timedelta(days=30)


@dataclass(frozen=True)
class GuestPage:
    """total: all that match; everything: all guests there are; counts: by status among those that match; revision grows on any change.

    coverage: of how many servers it tells, those that the query names or all.
    """

    items: tuple[GuestView, ...]
    total: int
    everything: int
    counts: Mapping[str, int]
    stale: int
    next_cursor: str | None
    revision: str = ""
    coverage: Coverage = field(default_factory=lambda: Coverage(0))


@dataclass(frozen=True)
class GuestLive:
    """One guest asked for now: `status/current`, configuration with what waits, and what may be done in this state.

    actions: each power verb → "" when it makes sense now, else the reason why not. notes: without our marker.
    """

    view: GuestView
    state: GuestState
    config: GuestConfig
    pending: tuple[PendingChange, ...]
    actions: Mapping[PowerAction, str]
    proxmox_url: str
    notes: str = ""


@dataclass(frozen=True)
class Deletion:
    """What a deletion would take and leave, shown before it is asked for."""

    view: GuestView
    goes: tuple[str, ...]
    stays: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Outcome:
    """One of many asked for at once: its job, or why none was made."""

    key: GuestKey
    job: Job | None = None
    problem: Problem | None = None


class Guests:
    def __init__(self, database: Database, estate: Estate, clients: Clients) -> None:
        self._db, self._estate, self._clients = database, estate, clients
        self._lists = GuestLists(estate)
        self._allowed = Allowed(database, estate, clients)

    async def list(self, actor: Actor, query: GuestQuery) -> GuestPage:
        """From the picture, never from a server: it costs the servers nothing. Needs SEE. Raises Invalid."""
        await permit(self._db, actor, Action.SEE, "guests")
        limit = check_limit(query.limit)
        start = int(decode_cursor(query.cursor, int)[0]) if query.cursor else 0
        now = self._db.clock()
        found = self._lists.of(query, now)
        jobs = self._estate.jobs_by_guest()
        items = tuple(
            self._told(row.view(now), jobs.get(row.guest.key) if jobs else None)
            for row in found.rows[start : start + limit]
        )
        return GuestPage(
            items=items,
            total=len(found.rows),
            everything=found.everything,
            counts=found.counts,
            stale=found.stale,
            next_cursor=encode_cursor(start + limit) if start + limit < len(found.rows) else None,
            revision=str(self._estate.revision),
            coverage=self._estate.coverage(self._db.clock(), query.servers),
        )

    def _told(self, view: GuestView, job: Job | None) -> GuestView:
        denied = self._allowed.denied(view)
        return replace(view, job=job, denied=denied) if job or denied else view

    async def get(self, actor: Actor, key: GuestKey) -> GuestView:
        """The row as last seen. Raises NotFound."""
        await permit(self._db, actor, Action.SEE, f"guest {key}")
        view = self._estate.guest(key, self._db.clock())
        return replace(view, denied=self._allowed.denied(view))

    async def live(self, actor: Actor, key: GuestKey) -> GuestLive:
        """Asks the server. Raises NotFound, ProxmoxError."""
        view = await self.get(actor, key)
        client, handle = await self._handle(view)
        state, config, pending = await asyncio.gather(handle.current(), handle.config(), handle.pending())
        guest = msgspec.structs.replace(
            view.guest, status=state.status, lock=state.lock, name=state.name or view.guest.name
        )
        facts = PowerFacts(guest.type, state.status, state.lock, guest.template, state.ha_managed, state.qmpstatus)
        address = client.server.addresses[0]
        return GuestLive(
            view=replace(view, guest=guest),
            state=state,
            config=config,
            pending=pending,
            actions=possible_actions(facts),
            proxmox_url=f"{address}/#v1:0:={guest.type}%2F{key.vmid}",
            notes=strip_marker(config.get("description")),
        )

    async def agent(self, actor: Actor, key: GuestKey) -> AgentReport:
        """Asks the guest's agent (for containers: the host). Raises RequestRefused when it is not configured or silent."""
        view = await self.get(actor, key)
        _, handle = await self._handle(view)
        if isinstance(handle, Lxc):
            return AgentReport(self._db.clock(), await handle.addresses())
        return await handle.agent.report(self._db.clock())

    async def tasks(self, actor: Actor, key: GuestKey) -> tuple[TaskRow, ...]:
        """Proxmox's tasks of this guest, newest first, running ones first."""
        view = await self.get(actor, key)
        client = await self._clients.of(key.server)
        since = self._db.clock() - TASKS_SINCE
        rows = await client.node(view.guest.node).tasks.list("all", vmid=key.vmid, since=since, limit=TASKS_SHOWN)
        return tuple(sorted(rows, key=lambda row: (not row.running, -row.upid.started.timestamp())))

    async def _handle(self, view: GuestView) -> tuple[Client, Qemu | Lxc]:
        client = await self._clients.of(view.guest.key.server)
        return client, client.node(view.guest.node).guest(view.guest.type, view.guest.key.vmid)

    async def power(
        self,
        actor: Actor,
        key: GuestKey,
        action: PowerAction,
        idempotency_key: str = "",
        *,
        claim: Write | None = None,
    ) -> Job:
        """claim: goes into the job's transaction. Raises Conflict where the action makes no sense in the state we know, NotFound."""
        await permit(self._db, actor, Action.POWER, f"guest {key}")
        body = _body(key, {"action": str(action)})
        if known := await known_job(self._db, actor, idempotency_key, body):
            return known
        view = self._estate.guest(key, self._db.clock())
        guest = view.guest
        request = {"action": str(action), "type": str(guest.type), "name": guest.name}
        title = f"{_VERBS[action]} {guest.name or key.vmid}"
        self._makes_sense(view, action)
        await self._allowed.check(guest, (FeatureId.POWER,))
        job = new_job(self._db, actor, JobKind.POWER, title, key, guest.node, request, ("power",))
        waits = self._waits_for_the_guest(key) if action is PowerAction.STOP else ()

        async def write(tx: Transaction, added: Job) -> None:
            if claim:
                await claim(tx, added)
            for one in waits:
                if not (await jobs.get(tx, one.id)).state.ended:
                    await jobs.request_cancel(tx, one.id, RunningTask.STOP)

        return await ask(self._db, actor, job, key=idempotency_key, body=body, write=write)

    def _waits_for_the_guest(self, key: GuestKey) -> tuple[Job, ...]:
        """Shutdowns and reboots that may wait for minutes: whoever cuts the power does not want to wait behind them."""
        kinds = (str(PowerAction.SHUTDOWN), str(PowerAction.REBOOT))
        found = (job for job in self._estate.open_jobs.values() if job.guest == key and job.kind is JobKind.POWER)
        return tuple(job for job in found if job.request.get("action") in kinds)

    def _makes_sense(self, view: GuestView, action: PowerAction) -> None:
        """By what is known: a stale state, or one that a job is about to change, forbids nothing; the job looks for itself."""
        guest = view.guest
        facts = PowerFacts(guest.type, guest.status, guest.lock, guest.template, bool(guest.hastate))
        reason = possible_actions(facts)[action]
        busy = self._estate.job_on(guest.key) is not None
        uncertain = (
            view.stale or busy or guest.status in (GuestStatus.UNKNOWN, GuestStatus.RUNNING, GuestStatus.STOPPED)
        )
        never = guest.template or (guest.type is GuestType.LXC and "container cannot" in reason)
        if reason and (never or not uncertain):
            raise Conflict(f"{guest.name or guest.key.vmid}: {reason}", cure="Look at its state, and choose what fits.")

    async def power_many(
        self, actor: Actor, keys: Sequence[GuestKey], action: PowerAction, idempotency_key: str = ""
    ) -> tuple[Outcome, ...]:
        """A job each, checked one by one. The key counts for all of them: sent again, it gives the jobs that were made.

        Raises IdempotencyMismatch where the key came with another action or other guests.
        """
        await permit(self._db, actor, Action.POWER, f"{len(keys)} guests")
        if not 1 <= len(keys) <= 500:
            raise Invalid(fields={"guests": "select 1 to 500 guests"})
        chosen = tuple(dict.fromkeys(keys))
        body = {"guests": sorted(map(str, chosen)), "action": str(action)}
        await known_job(self._db, actor, idempotency_key, body)

        async def claim(tx: Transaction, added: Job) -> None:
            if idempotency_key:  # the first job made stands for all of them
                await idempotency.claim(tx, actor.name, idempotency_key, body, added.id)

        return tuple([await self._outcome(actor, key, action, idempotency_key, claim) for key in chosen])

    async def _outcome(
        self, actor: Actor, key: GuestKey, action: PowerAction, idempotency_key: str, claim: Write
    ) -> Outcome:
        own_key = f"{idempotency_key} {key}" if idempotency_key else ""
        try:
            return Outcome(key, job=await self.power(actor, key, action, own_key, claim=claim))
        except IdempotencyMismatch:  # another request took the key meanwhile: nothing of this one is done
            raise
        except ComservError as error:
            return Outcome(key, problem=error.problem())

    async def change(
        self, actor: Actor, key: GuestKey, change: ChangeRequest, idempotency_key: str = "", digest: str = ""
    ) -> Job:
        """digest: of the configuration that the person saw, or empty; nothing is overwritten that was changed since.

        Raises Invalid, NotFound.
        """
        await permit(self._db, actor, Action.CHANGE_GUEST, f"guest {key}")
        wanted = to_mapping(change)
        if known := await known_job(self._db, actor, idempotency_key, _body(key, {"change": wanted})):
            return known
        guest = self._estate.guest(key, self._db.clock()).guest
        await self._allowed.check(guest, features_of(change))
        request = {"change": wanted, "type": str(guest.type), "name": guest.name, "digest": digest}
        title = f"Change {guest.name or key.vmid}"
        job = new_job(self._db, actor, JobKind.CHANGE_GUEST, title, key, guest.node, request, ("configure",))
        return await ask(self._db, actor, job, key=idempotency_key, body=_body(key, {"change": wanted}))

    async def deletion(self, actor: Actor, key: GuestKey) -> Deletion:
        """What would go and what would stay; asks the server."""
        await permit(self._db, actor, Action.DELETE_GUEST, f"guest {key}")
        deletion, _ = await self._deletion(key)
        return deletion

    async def _deletion(self, key: GuestKey) -> tuple[Deletion, GuestConfig]:
        view = self._estate.guest(key, self._db.clock())
        _, handle = await self._handle(view)
        state, config = await asyncio.gather(handle.current(), handle.config())
        removal = plan_removal(RemovalFacts(guest=view.guest, config=config, state=state, stale=view.stale))
        return Deletion(view, removal.goes, removal.stays, removal.findings), config

    async def delete(self, actor: Actor, key: GuestKey, typed_name: str, idempotency_key: str = "") -> Job:
        """typed_name: the guest's name (or its VM id where it has none), typed by the person. Raises Invalid when it differs."""
        await permit(self._db, actor, Action.DELETE_GUEST, f"guest {key}")
        body = _body(key, {"confirm": typed_name})
        if known := await known_job(self._db, actor, idempotency_key, body):
            return known
        await self._allowed.check(self._estate.guest(key, self._db.clock()).guest, (FeatureId.DELETE_GUEST,))
        deletion, config = await self._deletion(key)
        guest = deletion.view.guest
        name = config.get("name") or config.get("hostname") or guest.name or str(key.vmid)
        if typed_name.strip() != name:
            raise Invalid(fields={"confirm": f"type the name of the guest to delete it: {name}"})
        blockers = [finding for finding in deletion.findings if finding.level == "blocker"]
        if blockers:
            raise Conflict(" ".join(one.text for one in blockers), cure=" ".join(one.cure for one in blockers))
        request = {"type": str(guest.type), "name": name, "identity": identity(guest.type, config)}
        job = new_job(self._db, actor, JobKind.DELETE_GUEST, f"Delete {name}", key, guest.node, request, ("delete",))
        return await ask(self._db, actor, job, key=idempotency_key, body=body)


_VERBS = {
    PowerAction.START: "Start",
    PowerAction.SHUTDOWN: "Shut down",
    PowerAction.STOP: "Stop",
    PowerAction.REBOOT: "Reboot",
    PowerAction.RESET: "Reset",
    PowerAction.SUSPEND: "Pause",
    PowerAction.HIBERNATE: "Hibernate",
    PowerAction.RESUME: "Resume",
}


def _body(key: GuestKey, request: Mapping[str, Any]) -> dict[str, Any]:
    return {"server": key.server, "vmid": key.vmid, **request}
