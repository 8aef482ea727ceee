"""The end of a guest: removed with its disks, and only if it still is the one that the person saw and named."""

from collections.abc import Mapping
from typing import Any

from comserv.domain.errors import GuestMissing, Problem
from comserv.domain.guest import GuestConfig, GuestType
from comserv.domain.job import JobKind
from comserv.domain.lostreply import DeleteLook, Gone, Next, Sent, after_delete
from comserv.domain.removal import identity, removal_call
from comserv.jobs.calls import Caller, Refused
from comserv.jobs.failures import failure_of
from comserv.jobs.run import Run, StepRun
from comserv.jobs.story import StepFailed, Story
from comserv.jobs.workplace import Workplace
from comserv.persistence import guests
from comserv.persistence.database import Transaction


def removal(workplace: Workplace) -> Story:
    """The story of `delete_guest`. request: {"type", "name", "identity"}; identity: as `domain/removal.identity` when it was asked."""

    async def tell(run: Run) -> Mapping[str, Any]:
        work = GuestRemoval(run, await workplace.caller(run))
        await run.step("delete", work.carry_out, text=run.job.title)
        return {"vmid": run.job.vmid, "node": run.job.node}

    return Story(JobKind.DELETE_GUEST, ("delete",), tell)


class GuestRemoval:
    def __init__(self, run: Run, caller: Caller) -> None:
        self.run, self.caller = run, caller
        request = run.job.request
        self.type, self.vmid = GuestType(request["type"]), run.job.vmid or 0
        self.name, self.identity = str(request.get("name") or self.vmid), str(request["identity"])
        self.handle = caller.client.node(run.job.node).guest(self.type, self.vmid)
        self.doing = f"The deletion of {self.name}"

    async def carry_out(self, step: StepRun) -> Mapping[str, Any]:
        if not step.intent.get("at"):
            config = await self.caller.reads(self._config())
            if config is None:
                step.note("It was not there any more.")
                return self._gone(step)
            self._same_guest(config)
        call = removal_call(self.type, self.run.job.node, self.vmid)
        try:
            await self.caller.task(step, call, self._look(step), self.doing)
        except Refused as refused:
            if isinstance(refused.outcome, Gone) or isinstance(refused.error, GuestMissing):
                return self._gone(step)
            raise failure_of(refused, self.doing, self.run.job.server) from refused
        return self._gone(step)

    def _same_guest(self, config: GuestConfig) -> None:
        """Another guest with this number is another guest: it stays."""
        if identity(self.type, config) != self.identity:
            detail = (
                f"The number {self.vmid} now belongs to a guest that is not the one you named, or it was changed since."
            )
            raise StepFailed(
                Problem("another_guest", f"{self.name} was not deleted.", detail, "Look at the guest, and ask again.")
            )

    def _look(self, step: StepRun):  # a Look
        async def look(sent: Sent) -> Next:
            config = await self._config()
            types = ("qmdestroy", "vzdestroy")
            tasks = await self.caller.tasks(step, self.run.job.node, sent.at, types)
            now = identity(self.type, config) if config else ""
            return after_delete(DeleteLook(sent, self.vmid, config is not None, now, self.identity, tasks))

        return look

    async def _config(self) -> GuestConfig | None:
        try:
            return await self.handle.config()
        except GuestMissing:
            return None

    def _gone(self, step: StepRun) -> Mapping[str, Any]:
        key = self.run.job.guest

        async def forget(tx: Transaction) -> None:
            if key:
                await guests.forget(tx, key)
                await guests.overlay(tx, key, {"gone": True}, self.run.job.id)

        step.on_done(forget)
        return {"gone": True}
