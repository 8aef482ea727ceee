"""The last step of a creation: the agent in the VM reports what was asked, or the reason why nothing can be proven."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from comserv.domain.errors import (
    GuestMissing,
    PermissionMissing,
    ReplyUnreadable,
    RequestRefused,
    ServerUnreachable,
)
from comserv.domain.guest import AddressSource, AgentReport, GuestStatus
from comserv.domain.job import WaitReason
from comserv.domain.proof import CannotProve, Mismatch, NotYet, Proven, asked, prove
from comserv.jobs.newvm import NewVm, vanished
from comserv.jobs.run import StepRun
from comserv.jobs.story import Hold, StepFailed
from comserv.persistence import guests
from comserv.persistence.database import Transaction

ASK_EVERY = 1.5  # seconds between two questions to the agent


class Proving(NewVm):
    """Prove."""

    # --- prove

    async def prove(self, step: StepRun) -> Mapping[str, Any]:
        """Asks the agent until it reports what was asked, or it is clear that nothing can be proven: a warning, no failure."""
        await self._kept_address()
        wanted = asked(self.request, self.decision.agent)
        report, running, said, waited = None, None, "", timedelta()
        if wanted.started and wanted.agent:
            report, running, said = await self._ask_agent(step)
            waited = await self._waited(step)
        answer = prove(wanted, report, waited, self.place.proof_wait, running, said)
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

    async def _waited(self, step: StepRun) -> timedelta:
        """How long the agent could have answered, by its server's clock: a time in which that did not answer does not count."""
        now = await self.caller.now()
        if step.intent.get("away"):
            await step.intend({"since": now})
        since = step.intent.get("since") or self.run.job.step("start").result.get("at")
        return now - datetime.fromisoformat(str(since)) if since else timedelta()

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
            raise StepFailed(vanished(self.request.hostname, error)) from error
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
