"""Power: start, shut down, stop, reboot, reset, suspend, hibernate, resume, as one step that ends when the state is there."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from comserv.domain.errors import GuestMissing, Problem
from comserv.domain.guest import GuestState, GuestType
from comserv.domain.job import JobKind, WaitReason
from comserv.domain.lostreply import CallLook, Next, Sent, after_call
from comserv.domain.power import (
    PowerAction,
    PowerDone,
    PowerFacts,
    PowerFailed,
    PowerWait,
    after_power,
    possible_actions,
    power_call,
    reached,
    task_types,
)
from comserv.domain.task import TaskStatus, parse_upid
from comserv.domain.taskend import explain
from comserv.jobs import calls
from comserv.jobs.calls import Caller, Refused
from comserv.jobs.failures import failure_of
from comserv.jobs.run import Run, StepRun
from comserv.jobs.story import CancelRequested, Hold, StepFailed, Story
from comserv.jobs.workplace import Workplace
from comserv.persistence import guests
from comserv.persistence.database import Transaction

LOOK_AGAIN = 1.0  # seconds


def power(workplace: Workplace) -> Story:
    """The story of `power`. request: {"action", "type", "name"}; its one step bears the action's name."""

    async def tell(run: Run) -> Mapping[str, Any]:
        change = PowerChange(run, await workplace.caller(run))
        await run.step("power", change.carry_out, text=f"{run.job.title}")
        return {"vmid": run.job.vmid, "node": run.job.node}

    return Story(JobKind.POWER, ("power",), tell)


class PowerChange:
    def __init__(self, run: Run, caller: Caller) -> None:
        self.run, self.caller = run, caller
        request = run.job.request
        self.action, self.type = PowerAction(request["action"]), GuestType(request["type"])
        self.name = str(request.get("name") or run.job.vmid)
        self.vmid = run.job.vmid or 0
        self.handle = caller.client.node(run.job.node).guest(self.type, self.vmid)
        self.doing = f"{run.job.title}"

    async def carry_out(self, step: StepRun) -> Mapping[str, Any]:
        ended = step.intent.get("ended")
        if ended is None:
            state = await self._state()
            if not step.intent.get("at") and reached(self.action, state):
                step.note("It was so already.")
                return await self._done(step, state)
            if not step.intent.get("at"):
                self._makes_sense(state)
            task = await self._send(step, state)
            await step.intend(
                {**step.intent, "ended": await self.caller.now(), "exitstatus": task.exitstatus if task else "OK"}
            )
        return await self._confirm(step)

    def _makes_sense(self, state: GuestState) -> None:
        """What cannot work is not sent; a lock that a task holds is waited for."""
        facts = PowerFacts(self.type, state.status, state.lock, False, state.ha_managed, state.qmpstatus)
        reason = possible_actions(facts)[self.action]
        if not reason:
            return
        cure = "Look at its state, and choose what fits."
        problem = Problem("not_possible", f"{self.doing}: that cannot be done now.", reason, cure)
        if state.lock and state.lock != "suspended":
            raise Hold(WaitReason.LOCK, reason, self.run.later(calls.TRY_LATER), problem=problem)
        raise StepFailed(problem)

    async def _send(self, step: StepRun, state: GuestState) -> TaskStatus | None:
        call = power_call(self.action, self.type, self.run.job.node, self.vmid, state)
        try:
            ended = await self.caller.task(step, call, self._look(step), self.doing, accept_failure=True)
        except Refused as refused:
            raise failure_of(refused, self.doing, self.run.job.server) from refused
        if ended.task is not None and ended.task.stopped_by_somebody and self.run.cancel_requested:
            raise CancelRequested
        return ended.task

    def _look(self, step: StepRun):  # a Look
        async def look(sent: Sent) -> Next:
            state = await self._state_or_none()
            types = task_types(self.action, self.type)
            tasks = await self.caller.tasks(step, self.run.job.node, sent.at, types)
            there = reached(self.action, state, sent.looked_at - sent.at) if state else None
            return after_call(CallLook(sent, self.vmid, types, state is not None, there, tasks=tasks))

        return look

    async def _confirm(self, step: StepRun) -> Mapping[str, Any]:
        """The task's end says little: HA only asks, and a failed start may have found the VM running."""
        ended = datetime.fromisoformat(str(step.intent["ended"]))
        upid = step.intent.get("upid")
        state = await self._state()
        if upid is None:
            return await self._done(step, state)
        task = TaskStatus(parse_upid(self.run.job.server, str(upid)), False, str(step.intent["exitstatus"]), ended)
        match after_power(self.action, task, state, ended, await self.caller.now(), self.doing):
            case PowerDone(note):
                step.note(note)
                return await self._done(step, state)
            case PowerWait(_, reason):
                raise Hold(WaitReason.LIMIT, reason, self.run.later(LOOK_AGAIN))
            case PowerFailed(problem):
                await self.caller.account(step)
                await step.intend({name: value for name, value in step.intent.items() if name == "spent"})
                if task.ok:
                    raise StepFailed(problem)
                raise self.caller.waits(explain(task.exitstatus, self.doing, self.run.job.server), self.doing)

    async def _done(self, step: StepRun, state: GuestState) -> Mapping[str, Any]:
        async def lay(tx: Transaction) -> None:
            key = self.run.job.guest
            if key:
                await guests.overlay(tx, key, {"status": str(state.status), "lock": state.lock}, self.run.job.id)

        step.on_done(lay)
        return {"status": str(state.status)}

    async def _state(self) -> GuestState:
        try:
            return await self.caller.reads(self.handle.current())
        except GuestMissing as error:
            text = "It was removed, or moved to another node, since this was asked for."
            cure = "Look at the list of guests."
            problem = Problem("guest_gone", f"{self.name} is not there.", text, cure, error.proxmox)
            raise StepFailed(problem) from error

    async def _state_or_none(self) -> GuestState | None:
        try:
            return await self.handle.current()
        except GuestMissing:
            return None
