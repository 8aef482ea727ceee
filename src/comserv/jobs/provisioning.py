"""A VM from a template, told as its steps: reserve, clone, configure, grow, start, prove.

Each step looks before it acts and can be entered again at any point; what a look means is decided in the domain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from comserv.domain.errors import (
    DigestMismatch,
    GuestMissing,
    PermissionMissing,
    Problem,
    ProxmoxError,
    ReplyUnreadable,
    RequestRefused,
    ServerUnreachable,
)
from comserv.domain.guest import AddressSource, AgentReport, GuestConfig, GuestKey, GuestState, GuestStatus, GuestType
from comserv.domain.hostname import same_name
from comserv.domain.job import JobKind, StepState, WaitReason
from comserv.domain.lostreply import (
    CallLook,
    ChangedByOther,
    CloneLook,
    Gone,
    Next,
    Sent,
    TakenByOther,
    after_call,
    after_clone,
)
from comserv.domain.overlay import MadeGuest
from comserv.domain.ownership import Evidence, is_ours, read_marker, smbios_uuid
from comserv.domain.plan import Decision, PlannedCall
from comserv.domain.proof import CannotProve, Mismatch, NotYet, Proven, asked, prove
from comserv.domain.provisioning import (
    clone_parameters,
    clone_path,
    configure_parameters,
    grow_parameters,
    guest_path,
    verify_configuration,
    verify_size,
)
from comserv.domain.reservation import Reservation
from comserv.domain.taskend import explain
from comserv.domain.units import GIB, MIB
from comserv.domain.vmrequest import VmRequest, secrets_of, stored_vm_request
from comserv.jobs.calls import Caller, Ended, Refused
from comserv.jobs.failures import failure_of
from comserv.jobs.run import Run, StepRun
from comserv.jobs.story import Hold, StepFailed, Story
from comserv.jobs.workplace import Workplace
from comserv.persistence import guests, reservations
from comserv.persistence.database import Transaction

STEPS = ("reserve", "clone", "configure", "grow", "start", "prove")
CLONES_PER_TEMPLATE = (
    1  # two clones of one source serialise on the server anyway (semantics section 10), with lock timeouts
)
CLONES_PER_STORAGE = 2
ASK_EVERY = 1.5  # seconds between two questions to the agent
MOST_CHANGED_MEANWHILE = 5
MOST_IDS_TRIED = 50
LOOKED_LATELY = timedelta(seconds=3)
MAKES_A_GUEST = ("qmclone", "qmcreate", "qmrestore", "vzclone", "vzcreate", "vzrestore")


def provisioning(workplace: Workplace) -> Story:
    """The story of `create_vm`, for the engine."""

    async def tell(run: Run) -> Mapping[str, Any]:
        return await (await _open(run, workplace)).tell()

    async def on_cancel(run: Run) -> str:
        return _remains(run)

    return Story(JobKind.CREATE_VM, STEPS, tell, on_cancel=on_cancel)


def kept_request(request: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    """What a job of this kind keeps of what was asked: the request itself, and what the plan decided."""
    return {**request, "decision": msgspec.to_builtins(decision)}


def asked_of(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The request alone, as it was asked."""
    return {name: value for name, value in kept.items() if name != "decision"}


async def _open(run: Run, workplace: Workplace) -> "Creation":
    secrets = {}
    for name in ("cloud_init.password",):
        value = await run.secret(name)
        if value:
            secrets[name] = value
    request = stored_vm_request(asked_of(run.job.request), secrets)
    decision = msgspec.convert(run.job.request["decision"], Decision)
    caller = await workplace.caller(run, lambda: tuple(secrets_of(request).values()))
    return Creation(run, workplace, caller, request, decision)


def _remains(run: Run) -> str:
    clone = run.job.step("clone")
    if clone.state is not StepState.DONE:
        return "No VM was made."
    name = run.job.title.removeprefix("Create ")
    return f"The VM {name} ({run.job.vmid}) stands on {run.job.server} as far as its steps went. Nothing was removed."


@dataclass
class Creation:
    """One entry into the story, with all that it works with."""

    run: Run
    place: Workplace
    caller: Caller
    request: VmRequest
    decision: Decision
    vmid: int = 0
    uuid: str = ""

    async def tell(self) -> Mapping[str, Any]:
        name = self.request.hostname
        reserved = await self.run.step("reserve", self.reserve, text="Reserve a VM id and the name")
        self.vmid = self.run.job.vmid or int(reserved["vmid"])
        made = await self.run.step("clone", self.clone, text=self._cloning())
        self.vmid, self.uuid = int(made["vmid"]), str(made["uuid"])
        if self.run.job.attempt > 1:
            await self._take(self.vmid)  # an earlier try gave back what it had reserved when it ended
        await self.run.step("configure", self.configure, text="Configure CPU, memory, network and cloud-init")
        await self.grow_if_asked()
        await self.start_if_asked()
        proof = await self.run.step("prove", self.prove, text=f"Prove that {name} answers as asked")
        if proof.get("warning"):
            self.run.warn(str(proof["warning"]))
        return {
            "vmid": self.vmid,
            "node": self.decision.node,
            "name": name,
            "addresses": list(proof.get("addresses", ())),
        }

    def _cloning(self) -> str:
        return f"Clone the template {self.decision.template_vmid} to {self.vmid}"

    @property
    def key(self) -> GuestKey:
        return GuestKey(self.request.server, self.vmid)

    @property
    def guest(self):  # the client's own handle
        return self.caller.client.node(self.decision.node).qemu(self.vmid)

    # --- reserve

    async def reserve(self, step: StepRun) -> Mapping[str, Any]:
        """The VM id was reserved with the job; here the server is asked whether it is still free, before anything is sent."""
        vmid = self.run.job.vmid or self.decision.vmid
        await self._name_is_free(vmid)
        for _ in range(MOST_IDS_TRIED):
            if vmid is None:
                vmid = await self.caller.reads(self.caller.client.cluster.next_id())
            if await self._is_free(vmid) and await self._take(vmid):
                self.run.place(vmid=vmid, node=self.decision.node)
                return {"vmid": vmid}
            if self.request.vmid is not None:
                raise StepFailed(_taken(vmid, self.request.server))
            step.note(f"The VM id {vmid} was taken meanwhile; the next free one is used.")
            vmid = await self._another(vmid)
        raise StepFailed(_taken(vmid or 0, self.request.server))

    async def _is_free(self, vmid: int) -> bool:
        try:
            await self.caller.reads(self.caller.client.cluster.is_free(vmid))
        except RequestRefused:
            return False
        return True

    async def _name_is_free(self, vmid: int | None) -> None:
        """The plan looked already; since then the job may have waited for hours."""
        seen = await self.caller.reads(self.caller.client.cluster.resources())
        name = self.request.hostname
        taken = [guest for guest in seen.guests if guest.key.vmid != vmid and same_name(guest.name, name)]
        if taken:
            detail = f"The guest {taken[0].key.vmid} on {taken[0].node} bears it: somebody made it meanwhile."
            cure = "Ask for another name, or rename that guest and try again."
            raise StepFailed(Problem("hostname_taken", f"The name {name} is taken.", detail, cure))

    async def _take(self, vmid: int, sent: bool = False) -> bool:
        """Whether the number is ours now. Raises StepFailed where name or address is not to be had; `sent`: the clone was
        sent already, so that a guest which turns up with the address meanwhile is not looked for any more."""
        request, decision = self.request, self.decision
        addresses = tuple(one for one in (request.static_address, request.static_address6) if one)
        wanted = Reservation(
            guest=GuestKey(request.server, vmid),
            job=self.run.job.id,
            hostname=request.hostname,
            addresses=addresses,
            node=decision.node,
            storage=decision.storage,
            memory_mb=decision.memory // MIB,
            disk_gb=decision.disk / GIB,
        )
        async with self.run.transaction() as tx:
            taken = await reservations.take(tx, wanted)
            known = () if sent else await guests.holders(tx, addresses)
        holders = [one for one in known if one.guest != wanted.guest]
        if taken in ("hostname", "address"):
            what = f"The name {request.hostname}" if taken == "hostname" else f"An address of {request.hostname}"
            detail = "Another job that runs has reserved it."
            raise StepFailed(
                Problem(f"{taken}_taken", f"{what} is taken.", detail, "Wait for that job, or use another one.")
            )
        if holders:
            title = f"The address {holders[0].address} is taken."
            detail = f"It belongs to the guest {holders[0].guest}, as far as is known."
            raise StepFailed(Problem("address_taken", title, detail, "Ask for another address."))
        return taken is None

    async def _another(self, vmid: int) -> int:
        """The next number that neither the server nor a job of ours uses."""
        free = await self.caller.reads(self.caller.client.cluster.next_id())
        async with self.run.reading() as tx:
            held = {one.guest.vmid for one in await reservations.on_server(tx, self.request.server)}
        candidate = max(free, vmid + 1) if free <= vmid else free
        while candidate in held:
            candidate += 1
        return candidate

    # --- clone

    async def clone(self, step: StepRun) -> Mapping[str, Any]:
        source = f"template:{self.request.server}/{self.decision.template_vmid}"
        storage = f"storage:{self.request.server}/{self.decision.node}/{self.decision.storage}"
        waits = "Another clone of this template or to this storage runs; they go one after the other."
        async with (
            self.run.limit(source, CLONES_PER_TEMPLATE, waits),
            self.run.limit(storage, CLONES_PER_STORAGE, waits),
        ):
            await self._still_free(step)
            await self._cloned(step)
        config = await self._config()
        self.uuid = smbios_uuid(config)
        made = MadeGuest(self.key, self.run.job.id, step.upid, self.uuid)

        async def remember(tx: Transaction) -> None:
            await guests.remember_made(tx, made)
            await guests.overlay(tx, self.key, self._shown(config, GuestStatus.STOPPED), self.run.job.id)

        step.on_done(remember)
        return {"vmid": self.vmid, "uuid": self.uuid, "upid": step.upid}

    async def _still_free(self, step: StepRun) -> None:
        """What was reserved is still ours; and where nothing was sent yet, and time has passed, also still free there."""
        ended, now = self.run.job.step("reserve").ended, self.run.now()
        sent = bool(step.intent)
        late = not sent and (ended is None or now - ended > LOOKED_LATELY)
        if late:
            await self._name_is_free(self.vmid)
        if await self._take(self.vmid, sent) and not (late and not await self._is_free(self.vmid)):
            return
        if sent or self.request.vmid is not None:
            raise StepFailed(_taken(self.vmid, self.request.server))
        await self._move_to_another_id(step, f"The VM id {self.vmid} was taken meanwhile.")

    async def _cloned(self, step: StepRun) -> None:
        doing = f"The clone of {self.request.hostname}"
        for _ in range(MOST_IDS_TRIED):
            call = PlannedCall(
                "POST",
                clone_path(self.decision),
                clone_parameters(self.request, self.decision, self.vmid, self.run.job.id, self.place.sign),
            )
            try:
                await self.caller.task(
                    step, call, self._look_for_clone(step), doing, heavy_on=self.decision.template_node
                )
            except Refused as refused:
                await self._after_refused_clone(step, refused, doing)
            else:
                return
        raise StepFailed(_taken(self.vmid, self.request.server))

    def _look_for_clone(self, step: StepRun):  # a Look
        async def look(sent: Sent) -> Next:
            config, decision = await self._config_or_none(), self.decision
            tasks = await self.caller.tasks(step, decision.template_node, sent.at, MAKES_A_GUEST)
            elsewhere = await self._elsewhere() if config is None else None
            if elsewhere and elsewhere != decision.template_node:
                tasks = (*tasks, *await self.caller.tasks(step, elsewhere, sent.at, MAKES_A_GUEST))
            marker = read_marker(config.get("description"), self.place.sign) if config else None
            marked = marker is not None and (marker.job, marker.vmid) == (self.run.job.id, self.vmid)
            return after_clone(
                CloneLook(
                    sent,
                    decision.template_vmid,
                    self.vmid,
                    exists=config is not None or elsewhere is not None,
                    lock=config.get("lock") if config else "",
                    marked=marked,
                    tasks=tasks,
                )
            )

        return look

    async def _elsewhere(self) -> str | None:
        """The node on which somebody's guest has our number; None where nobody has it."""
        try:
            await self.caller.client.cluster.is_free(self.vmid)
        except RequestRefused:
            rows = (await self.caller.client.cluster.resources()).guests
            return next((row.node for row in rows if row.key.vmid == self.vmid), self.decision.node)
        return None

    async def _after_refused_clone(self, step: StepRun, refused: Refused, doing: str) -> None:
        """Somebody else has the number: another one is taken only where that is proven; then it returns, else it raises."""
        outcome, error = refused.outcome, refused.error
        if isinstance(outcome, TakenByOther) and outcome.proven and self.request.vmid is None:
            await self._move_to_another_id(step, outcome.reason)
            return
        if isinstance(outcome, TakenByOther):
            detail = f"{outcome.reason} Nothing of it was changed."
            cure = "Look at that guest, then try again."
            if step.intent.get("spent"):
                cure = f"Look at that guest, then try again. {left_behind(self.decision.template_node, self.vmid)}"
            raise StepFailed(Problem("vmid_taken", f"The VM id {self.vmid} is taken.", detail, cure))
        if isinstance(outcome, Gone):
            detail = f"{outcome.reason} Somebody removed it."
            raise StepFailed(Problem("guest_gone", f"{self.request.hostname} is gone.", detail, "Create it again."))
        if isinstance(error, GuestMissing):
            detail = "It was removed or moved since the plan was made."
            raise StepFailed(
                Problem(
                    "template_gone",
                    "The template is not there any more.",
                    detail,
                    "Choose another template.",
                    error.proxmox,
                )
            )
        raise failure_of(refused, doing, self.request.server) from refused

    async def _move_to_another_id(self, step: StepRun, why: str) -> None:
        vmid = self.vmid
        for _ in range(MOST_IDS_TRIED):
            vmid = await self._another(vmid)
            if await self._is_free(vmid) and await self._take(vmid):
                break
        else:
            raise StepFailed(_taken(vmid, self.request.server))
        self.vmid = vmid
        self.run.place(vmid=vmid)
        step.note(f"{why} The next free one, {vmid}, is used.")
        await step.progress(text=self._cloning())
        await step.intend({})

    # --- configure

    async def configure(self, step: StepRun) -> Mapping[str, Any]:
        doing = f"The configuration of {self.request.hostname}"
        look = self._look_at_config(step, ("qmconfig",), self._is_configured)
        for _ in range(MOST_CHANGED_MEANWHILE):
            config = await self._ours()
            if self._is_configured(config):
                await self.caller.finish(step, look, doing)
                break
            parameters = configure_parameters(
                self.request, self.decision, self.vmid, config, self.run.job.id, self.place.sign
            )
            call = PlannedCall("POST", f"{guest_path(self.decision, self.vmid)}/config", parameters)
            try:
                await self.caller.task(step, call, look, doing)
            except Refused as refused:
                if not isinstance(refused.error, DigestMismatch) and not _changed(refused):
                    raise failure_of(refused, doing, self.request.server) from refused
                step.note("Somebody else changed the configuration meanwhile; it was read again.")
            await self.caller.account(step)
        config = await self._ours()
        different = verify_configuration(
            self.request, self.decision, self.vmid, config, self.run.job.id, self.place.sign
        )
        if different:
            detail = "; ".join(
                f"{one.key}: asked {one.asked or 'nothing'}, found {one.found or 'nothing'}" for one in different
            )
            raise StepFailed(
                Problem("not_as_asked", f"{doing} is not as asked.", detail, "Look at the VM, then try again.")
            )
        await self._show(step, self._shown(config, GuestStatus.STOPPED))
        step.forget_secrets()
        return {}

    def _is_configured(self, config: GuestConfig) -> bool:
        return not verify_configuration(
            self.request, self.decision, self.vmid, config, self.run.job.id, self.place.sign
        )

    # --- grow

    async def grow_if_asked(self) -> None:
        if self.request.disk_gb is None:
            await self.run.skip("grow", "The disk stays as large as the template's.")
            return
        await self.run.step("grow", self.grow, text=f"Grow {self.decision.disk_key} to {self.request.disk_gb} GiB")

    async def grow(self, step: StepRun) -> Mapping[str, Any]:
        doing = f"Growing the disk of {self.request.hostname}"
        look = self._look_at_config(step, ("resize",), lambda now: not verify_size(self.request, self.decision, now))
        for _ in range(MOST_CHANGED_MEANWHILE):
            config = await self._ours()
            parameters = grow_parameters(self.request, self.decision, config)
            if parameters is None:
                await self.caller.finish(step, look, doing)
                break
            call = PlannedCall("PUT", f"{guest_path(self.decision, self.vmid)}/resize", parameters)
            try:
                ended = await self.caller.task(step, call, look, doing, accept_failure=True)
            except Refused as refused:
                if not isinstance(refused.error, DigestMismatch) and not _changed(refused):
                    raise failure_of(refused, doing, self.request.server) from refused
                ended = Ended()
            await self.caller.account(step)
            if ended.task is not None and not ended.task.ok:
                await self._after_failed_growth(ended, doing)
        if verify_size(self.request, self.decision, await self._ours()):
            raise StepFailed(Problem("disk_not_grown", f"{doing} did not bring the size asked for."))
        return {}

    async def _after_failed_growth(self, ended: Ended, doing: str) -> None:
        """A changed digest is told inside the task (semantics section 6): then it is tried again on what is there now."""
        text = ended.task.exitstatus if ended.task else ""
        end = explain(text, doing, self.request.server)
        if end.problem.code == "digest_mismatch":
            return
        raise self.caller.waits(end, doing)

    # --- start

    async def start_if_asked(self) -> None:
        if not self.request.start_after_creation:
            await self.run.skip("start", "It was not asked to start.")
            return
        await self.run.step("start", self.start, text=f"Start {self.request.hostname}")

    async def start(self, step: StepRun) -> Mapping[str, Any]:
        """The VM shows as running well before its start has ended, and that may still fail."""
        doing = f"The start of {self.request.hostname}"
        await self._ours()
        state = await self._state()
        if state.status is GuestStatus.RUNNING:
            ended = await self.caller.finish(step, self._look_at_start(step), doing)
        else:
            call = PlannedCall("POST", f"{guest_path(self.decision, self.vmid)}/status/start")
            try:
                ended = await self.caller.task(step, call, self._look_at_start(step), doing, accept_failure=True)
            except Refused as refused:
                raise failure_of(refused, doing, self.request.server) from refused
        await self._after_start(step, ended, doing)
        await self._show(step, {"status": str(GuestStatus.RUNNING)})
        return {"at": self.run.now()}

    def _look_at_start(self, step: StepRun):  # a Look
        async def look(sent: Sent) -> Next:
            now = await self._state_or_none()
            types = ("qmstart", "hastart")
            tasks = await self.caller.tasks(step, self.decision.node, sent.at, types)
            reached = now is not None and now.status is GuestStatus.RUNNING
            return after_call(CallLook(sent, self.vmid, types, now is not None, reached, tasks=tasks))

        return look

    async def _after_start(self, step: StepRun, ended: Ended, doing: str) -> None:
        if ended.task is None or ended.task.ok or (await self._state()).status is GuestStatus.RUNNING:
            return
        await self.caller.account(step)
        raise self.caller.waits(explain(ended.task.exitstatus, doing, self.request.server), doing)

    # --- prove

    async def prove(self, step: StepRun) -> Mapping[str, Any]:
        """Asks the agent until it reports what was asked, or it is clear that nothing can be proven: a warning, no failure."""
        await self._kept_address()
        wanted = asked(self.request, self.decision.agent)
        report, running, said, since = None, None, "", self.run.now()
        if wanted.started and wanted.agent:
            report, running, said = await self._ask_agent(step)
            since = await self._began(step)
        answer = prove(wanted, report, self.run.now() - since, self.place.proof_wait, running, said)
        match answer:
            case Proven(addresses):
                return await self._proven(step, addresses, report)
            case Mismatch(reason, addresses):
                await self._proven(step, addresses, report)
                return {"addresses": list(addresses), "warning": reason}
            case CannotProve(reason):
                return {"addresses": [], "warning": reason}
            case NotYet(reason):
                raise Hold(WaitReason.AGENT, reason, self.run.later(ASK_EVERY))

    async def _began(self, step: StepRun) -> datetime:
        """Since when the agent could have answered: a time in which its server did not answer does not count."""
        if step.intent.get("away"):
            await step.intend({"since": self.run.now()})
        since = step.intent.get("since") or self.run.job.step("start").result.get("at")
        return datetime.fromisoformat(str(since)) if since else self.run.now()

    async def _ask_agent(self, step: StepRun) -> tuple[AgentReport | None, bool | None, str]:
        """(its report, whether the VM runs, what Proxmox said where it can never be asked)."""
        try:
            self._be_ours(await self.guest.config())
            state = await self.guest.current()
            if state.status is not GuestStatus.RUNNING:
                return None, False, ""
            if not await self.guest.agent.answers():
                return None, True, ""
            return await self.guest.agent.report(self.run.now()), True, ""
        except PermissionMissing as error:
            return None, True, error.detail
        except GuestMissing as error:
            raise StepFailed(_vanished(self.request.hostname, error)) from error
        except RequestRefused as error:
            return None, True, error.detail if "No QEMU guest agent" in error.detail else ""
        except (ServerUnreachable, ReplyUnreadable) as error:
            await step.intend({"away": True})
            raise self.caller.held(error) from error

    async def _proven(self, step: StepRun, addresses: tuple[str, ...], report: AgentReport | None) -> Mapping[str, Any]:
        at = report.as_of if report else self.run.now()

        async def keep(tx: Transaction) -> None:
            await guests.keep_addresses(tx, self.key, AddressSource.AGENT, addresses, at)

        step.on_done(keep)
        return {"addresses": list(addresses)}

    async def _kept_address(self) -> None:
        """The static address is the guest's from now on, also when its agent never answers."""
        found = tuple(one for one in (self.request.static_address, self.request.static_address6) if one)
        if found:
            async with self.run.transaction() as tx:
                await guests.keep_addresses(tx, self.key, AddressSource.CLOUD_INIT, found, self.run.now())

    # --- looks

    async def _config(self) -> GuestConfig:
        """The clone's configuration; a lock that is still held by the end of the clone is waited for."""
        try:
            return await self.caller.reads(self.guest.config())
        except GuestMissing as error:
            raise StepFailed(_vanished(self.request.hostname, error)) from error

    async def _config_or_none(self) -> GuestConfig | None:
        try:
            return await self.guest.config()
        except GuestMissing:
            return None

    async def _ours(self) -> GuestConfig:
        """The configuration, after making sure that this guest is the one that this job made (promise 1)."""
        config = await self._config()
        self._be_ours(config)
        return config

    def _be_ours(self, config: GuestConfig) -> None:
        job = self.run.job.id
        evidence = Evidence(
            self.request.server, self.vmid, config.get("description"), smbios_uuid(config), job, job, self.uuid
        )
        ownership = is_ours(evidence, self.place.sign)
        if not ownership.ours:
            cure = "Look at the guest's tasks on the server: somebody changed or replaced it. Nothing was changed by Comserv."
            title = f"The guest {self.vmid} is not the one that this job made any more."
            raise StepFailed(Problem("not_ours", title, " ".join(ownership.reasons), cure))

    async def _state(self) -> GuestState:
        try:
            return await self.caller.reads(self.guest.current())
        except GuestMissing as error:
            raise StepFailed(_vanished(self.request.hostname, error)) from error

    async def _state_or_none(self) -> GuestState | None:
        try:
            return await self.guest.current()
        except GuestMissing:
            return None

    def _look_at_config(self, step: StepRun, types: tuple[str, ...], reached):  # GuestConfig → bool, a Look
        async def look(sent: Sent) -> Next:
            config = await self._config_or_none()
            tasks = await self.caller.tasks(step, self.decision.node, sent.at, types)
            return after_call(
                CallLook(
                    sent,
                    self.vmid,
                    types,
                    config is not None,
                    config is not None and reached(config),
                    tasks=tasks,
                )
            )

        return look

    async def _show(self, step: StepRun, fields: Mapping[str, Any]) -> None:
        async def lay(tx: Transaction) -> None:
            await guests.overlay(tx, self.key, fields, self.run.job.id)

        step.on_done(lay)

    def _shown(self, config: GuestConfig, status: GuestStatus) -> dict[str, Any]:
        """What the list shows of it until the sweep has seen it."""
        return {
            "gone": False,
            "type": str(GuestType.QEMU),
            "node": self.decision.node,
            "name": config.get("name") or self.request.hostname,
            "status": str(status),
            "cores": float(config.integer("cores", 1) * config.integer("sockets", 1)),
            "memory": config.integer("memory", 512) * MIB,
            "tags": [tag for tag in config.get("tags").split(";") if tag],
        }


def left_behind(node: str, vmid: int) -> str:
    """The command that ends what a clone left that died with its node: locked, and with nothing that proves whose it is."""
    return f"If a clone of this job left it behind, end it on {node}: qm unlock {vmid} && qm destroy {vmid}"


def _changed(refused: Refused) -> bool:
    return isinstance(refused.outcome, ChangedByOther)


def _taken(vmid: int, server: str) -> Problem:
    title = f"The VM id {vmid} is taken on {server}."
    return Problem(
        "vmid_taken", title, "Somebody else made a guest with it meanwhile.", "Ask for another VM id, or for none."
    )


def _vanished(name: str, error: ProxmoxError) -> Problem:
    detail = "Somebody removed it while the job ran, or moved it to another node."
    return Problem(
        "guest_gone",
        f"{name} is not there any more.",
        detail,
        "Look at the guest's tasks on the server.",
        error.proxmox,
    )
