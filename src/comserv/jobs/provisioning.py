"""A VM from a template, told as its steps: reserve, clone, configure, grow, start, prove.

Each step looks before it acts and can be entered again at any point; what a look means is decided in the domain.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from comserv.domain.errors import (
    DigestMismatch,
    GuestMissing,
    Problem,
)
from comserv.domain.guest import GuestConfig, GuestStatus
from comserv.domain.job import JobKind, StepState
from comserv.domain.lostreply import (
    CallLook,
    Next,
    Sent,
    after_call,
)
from comserv.domain.plan import Decision, PlannedCall
from comserv.domain.provisioning import (
    configure_parameters,
    grow_parameters,
    guest_path,
    restart_warning,
    verify_configuration,
    verify_size,
    waiting_settings,
)
from comserv.domain.taskend import explain
from comserv.domain.vmrequest import secrets_of, stored_vm_request
from comserv.jobs.calls import Ended, Refused
from comserv.jobs.cloning import Cloning
from comserv.jobs.failures import failure_of
from comserv.jobs.newvm import changed_meanwhile, vanished
from comserv.jobs.proving import Proving
from comserv.jobs.run import Run, StepRun
from comserv.jobs.story import StepFailed, Story
from comserv.jobs.workplace import Workplace

STEPS = ("reserve", "clone", "configure", "grow", "start", "prove")
MOST_CHANGED_MEANWHILE = 5


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


class Creation(Cloning, Proving):
    """The story, with what configures, grows and starts; reserving and cloning stand in cloning.py, the proof in proving.py."""

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
        proof = await self.run.step("prove", self.prove_all, text=f"Prove that {name} answers as asked")
        if proof.get("warning"):
            self.run.warn(str(proof["warning"]))
        if proof.get("after_restart"):
            self.run.warn(restart_warning(proof["after_restart"]))
        return {
            "vmid": self.vmid,
            "node": self.decision.node,
            "name": name,
            "addresses": list(proof.get("addresses", ())),
            **({"after_restart": proof["after_restart"]} if proof.get("after_restart") else {}),
        }

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
                if not isinstance(refused.error, DigestMismatch) and not changed_meanwhile(refused):
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
        return {"after_restart": await self._waiting()}

    async def _waiting(self) -> list[str]:
        """What of our settings a VM that somebody else started before them does not run with yet."""
        try:
            return list(waiting_settings(await self.caller.reads(self.guest.pending())))
        except GuestMissing as error:
            raise StepFailed(vanished(self.request.hostname, error)) from error

    async def prove_all(self, step: StepRun) -> Mapping[str, Any]:
        """The proof, and what waits for a restart still: that may have come since."""
        proof = await self.prove(step)
        waited = self.run.job.step("configure").result.get("after_restart")
        return {**proof, "after_restart": await self._waiting()} if waited else proof

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
                if not isinstance(refused.error, DigestMismatch) and not changed_meanwhile(refused):
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
        return {"at": await self.caller.now()}

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
