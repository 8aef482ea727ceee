"""What every step of a creation works with: the request, the decision, and looks at the VM that is being made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comserv.domain.errors import (
    GuestMissing,
    Problem,
    ProxmoxError,
)
from comserv.domain.guest import GuestConfig, GuestKey, GuestState, GuestStatus, GuestType
from comserv.domain.lostreply import (
    CallLook,
    ChangedByOther,
    Next,
    Sent,
    after_call,
)
from comserv.domain.ownership import Evidence, is_ours, smbios_uuid
from comserv.domain.plan import Decision
from comserv.domain.units import MIB
from comserv.domain.vmrequest import VmRequest
from comserv.jobs.calls import Caller, Refused
from comserv.jobs.run import Run, StepRun
from comserv.jobs.story import StepFailed
from comserv.jobs.workplace import Workplace
from comserv.persistence import guests
from comserv.persistence.database import Transaction


@dataclass
class NewVm:
    """One entry into the story. vmid, uuid: of the VM, once the steps before have settled them."""

    run: Run
    place: Workplace
    caller: Caller
    request: VmRequest
    decision: Decision
    vmid: int = 0
    uuid: str = ""

    @property
    def key(self) -> GuestKey:
        return GuestKey(self.request.server, self.vmid)

    @property
    def guest(self):  # the client's own handle
        return self.caller.client.node(self.decision.node).qemu(self.vmid)

    # --- looks

    async def _config(self) -> GuestConfig:
        """The clone's configuration; a lock that is still held by the end of the clone is waited for."""
        try:
            return await self.caller.reads(self.guest.config())
        except GuestMissing as error:
            raise StepFailed(vanished(self.request.hostname, error)) from error

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
            raise StepFailed(vanished(self.request.hostname, error)) from error

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


def changed_meanwhile(refused: Refused) -> bool:
    return isinstance(refused.outcome, ChangedByOther)


def vanished(name: str, error: ProxmoxError) -> Problem:
    detail = "Somebody removed it while the job ran, or moved it to another node."
    return Problem(
        "guest_gone",
        f"{name} is not there any more.",
        detail,
        "Look at the guest's tasks on the server.",
        error.proxmox,
    )
