"""A change of a guest's CPU, memory, name, tags, notes or start on boot, with the digest, so that nobody's edit is overwritten."""

from collections.abc import Mapping
from typing import Any

from comserv.domain.change import change_call, change_effect, is_changed, parse_change_request
from comserv.domain.errors import (
    DigestMismatch,
    GuestLocked,
    GuestMissing,
    LockTimeout,
    OutcomeUnknown,
    Problem,
    RequestRefused,
    ServerUnreachable,
)
from comserv.domain.guest import GuestConfig, GuestStatus, GuestType
from comserv.domain.job import JobKind, WaitReason
from comserv.domain.lostreply import CallLook, ChangedByOther, Next, Sent, after_call
from comserv.domain.plan import PlannedCall
from comserv.domain.taskend import explain
from comserv.domain.units import MIB
from comserv.jobs.calls import LOOK_EVERY, NOT_CARRIED_OUT, Caller, Refused
from comserv.jobs.failures import failure_of
from comserv.jobs.run import Run, StepRun
from comserv.jobs.story import Hold, StepFailed, Story
from comserv.jobs.workplace import Workplace
from comserv.persistence import guests
from comserv.persistence.database import Transaction

MOST_CHANGED_MEANWHILE = 5


def change(workplace: Workplace) -> Story:
    """The story of `change_guest`. request: {"change", "type", "name", "digest"}; digest: of what the person had seen, or empty."""

    async def tell(run: Run) -> Mapping[str, Any]:
        work = GuestChange(run, await workplace.caller(run))
        await run.step("configure", work.carry_out, text=run.job.title)
        return {"vmid": run.job.vmid, "node": run.job.node}

    return Story(JobKind.CHANGE_GUEST, ("configure",), tell)


class GuestChange:
    def __init__(self, run: Run, caller: Caller) -> None:
        self.run, self.caller = run, caller
        request = run.job.request
        self.change = parse_change_request(request["change"])
        self.type, self.vmid = GuestType(request["type"]), run.job.vmid or 0
        self.seen = str(request.get("digest") or "")
        self.name = str(request.get("name") or self.vmid)
        self.handle = caller.client.node(run.job.node).guest(self.type, self.vmid)
        self.doing = f"The change of {self.name}"

    async def carry_out(self, step: StepRun) -> Mapping[str, Any]:
        for _ in range(MOST_CHANGED_MEANWHILE):
            config = await self._config()
            if is_changed(self.change, self.type, config):
                await self.caller.finish(step, self._look(step), self.doing)
                break
            self._still_as_seen(step, config)
            call = change_call(self.change, self.type, self.run.job.node, self.vmid, config)
            try:
                await self._send(step, call)
            except Refused as refused:
                if not isinstance(refused.error, DigestMismatch) and not isinstance(refused.outcome, ChangedByOther):
                    raise failure_of(refused, self.doing, self.run.job.server) from refused
                step.note("Somebody else changed the configuration meanwhile; it was read again.")
            await self.caller.account(step)
        config = await self._config()
        if not is_changed(self.change, self.type, config):
            detail = "Proxmox took the change, and its configuration does not show it: somebody else may have changed it right after."
            raise StepFailed(
                Problem("not_as_asked", f"{self.doing} is not there.", detail, "Look at the guest, and try again.")
            )
        return await self._done(step, config)

    def _still_as_seen(self, step: StepRun, config: GuestConfig) -> None:
        """A person who changed what is not there any more is asked to look again; nothing is overwritten."""
        if self.seen and config.digest != self.seen and not step.intent.get("at"):
            detail = (
                "Its configuration was changed by somebody else after the page was opened. Nothing was overwritten."
            )
            raise StepFailed(
                Problem(
                    "digest_mismatch",
                    f"{self.doing} was not made.",
                    detail,
                    "Look at what is there now, and decide again.",
                )
            )

    async def _send(self, step: StepRun, call: PlannedCall) -> None:
        if self.type is GuestType.QEMU:
            await self.caller.task(step, call, self._look(step), self.doing)
            return
        await self._put(step, call)

    async def _put(self, step: StepRun, call: PlannedCall) -> None:
        """A container's change is done when it is answered. After a lost reply the configuration itself tells."""
        await step.intend({"digest": call.parameters["digest"], "call": f"{call.method} {call.path}"})
        try:
            await self.caller.client.change(call)
        except ServerUnreachable as error:
            raise self.caller.held(error) from error
        except OutcomeUnknown as error:
            text = "The reply was lost. Looking at the configuration."
            raise Hold(WaitReason.OUTCOME_UNKNOWN, text, self.run.later(LOOK_EVERY), problem=error.problem()) from error
        except (GuestLocked, LockTimeout) as error:
            text = error.proxmox.message if error.proxmox else error.detail
            raise self.caller.waits(explain(text, self.doing, self.run.job.server), self.doing) from error
        except RequestRefused as error:
            if isinstance(error, NOT_CARRIED_OUT) or not is_changed(self.change, self.type, await self._config()):
                raise Refused(error) from error
            step.note("It was answered with an error, and is there all the same.")

    def _look(self, step: StepRun):  # a Look
        async def look(sent: Sent) -> Next:
            types = ("qmconfig",)
            try:
                config = await self.handle.config()
            except GuestMissing:
                config = None
            tasks = await self.caller.tasks(step, self.run.job.node, sent.at, types)
            done = config is not None and is_changed(self.change, self.type, config)
            untouched = config is None or config.digest == step.intent.get("digest", config.digest)
            return after_call(CallLook(sent, self.vmid, types, config is not None, done, untouched, tasks))

        return look

    async def _config(self) -> GuestConfig:
        try:
            return await self.caller.reads(self.handle.config())
        except GuestMissing as error:
            text = "It was removed, or moved to another node, since this was asked for."
            problem = Problem(
                "guest_gone", f"{self.name} is not there.", text, "Look at the list of guests.", error.proxmox
            )
            raise StepFailed(problem) from error

    async def _done(self, step: StepRun, config: GuestConfig) -> Mapping[str, Any]:
        state = await self.caller.reads(self.handle.current())
        live = await self.caller.reads(self.handle.config(current=True))
        running = state.status is not GuestStatus.STOPPED
        waits = change_effect(self.change, self.type, running, live).after_restart
        key = self.run.job.guest

        async def lay(tx: Transaction) -> None:
            if key:
                await guests.overlay(tx, key, self._shown(waits), self.run.job.id)

        step.on_done(lay)
        if waits:
            self.run.warn(f"{_names(waits)} will be as asked after the next shutdown and start, or a reboot from here.")
        return {"digest": config.digest, "after_restart": list(waits)}

    def _shown(self, waits: tuple[str, ...]) -> dict[str, Any]:
        change, fields = self.change, {}
        if change.name is not None:
            fields["name"] = change.name
        if change.tags is not None:
            fields["tags"] = list(change.tags)
        if change.cpu_cores is not None and "cpu_cores" not in waits:
            fields["cores"] = float(change.cpu_cores)
        if change.memory_mb is not None and "memory_mb" not in waits:
            fields["memory"] = change.memory_mb * MIB
        return fields


_WORDS = {"cpu_cores": "The cores", "memory_mb": "The memory", "name": "The name"}


def _names(fields: tuple[str, ...]) -> str:
    return " and ".join(_WORDS.get(name, name) for name in fields)
