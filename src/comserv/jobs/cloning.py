"""The first two steps of a creation: a VM id, a name and addresses are ours alone, and the template is cloned to it once."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from comserv.domain.errors import (
    GuestMissing,
    Problem,
)
from comserv.domain.guest import GuestKey, GuestStatus
from comserv.domain.hostname import same_name
from comserv.domain.lostreply import (
    CloneLook,
    Gone,
    Next,
    Sent,
    TakenByOther,
    after_clone,
)
from comserv.domain.overlay import MadeGuest
from comserv.domain.ownership import read_marker, smbios_uuid
from comserv.domain.plan import PlannedCall
from comserv.domain.provisioning import (
    clone_parameters,
    clone_path,
)
from comserv.domain.reservation import Reservation
from comserv.domain.units import GIB, MIB
from comserv.jobs.calls import TELLS, Refused
from comserv.jobs.failures import failure_of
from comserv.jobs.newvm import NewVm
from comserv.jobs.run import StepRun
from comserv.jobs.story import StepFailed
from comserv.persistence import guests, reservations
from comserv.persistence.database import Transaction

CLONES_PER_TEMPLATE = 1
"""Two clones of one source serialise on the server anyway (semantics section 10), with lock timeouts."""
CLONES_PER_STORAGE = 2
MOST_IDS_TRIED = 50
LOOKED_LATELY = timedelta(seconds=3)
MAKES_A_GUEST = ("qmclone", "qmcreate", "qmrestore", "vzclone", "vzcreate", "vzrestore")


class Cloning(NewVm):
    """Reserve and clone."""

    def _cloning(self) -> str:
        return f"Clone the template {self.decision.template_vmid} to {self.vmid}"

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
        except TELLS:
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
        except TELLS:
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


def left_behind(node: str, vmid: int) -> str:
    """The command that ends what a clone left that died with its node: locked, and with nothing that proves whose it is."""
    return f"If a clone of this job left it behind, end it on {node}: qm unlock {vmid} && qm destroy {vmid}"


def _taken(vmid: int, server: str) -> Problem:
    title = f"The VM id {vmid} is taken on {server}."
    return Problem(
        "vmid_taken", title, "Somebody else made a guest with it meanwhile.", "Ask for another VM id, or for none."
    )
