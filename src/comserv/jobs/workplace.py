"""What every story works with at one server: its client, its task watch, our signature, and how long to wait for what."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from comserv.domain.errors import ServerInMaintenance
from comserv.domain.load import Purpose
from comserv.domain.ownership import Sign
from comserv.jobs.calls import Caller, Recorder, held
from comserv.jobs.clients import Clients
from comserv.jobs.run import Run
from comserv.jobs.taskwatch import TaskWatch
from comserv.proxmox.client import Client


@dataclass
class Workplace:
    """sign: the keyed hash of ownership markers. outcome_wait, proof_wait: see the settings of these names."""

    clients: Clients
    sign: Sign
    outcome_wait: timedelta
    proof_wait: timedelta
    _watches: dict[str, tuple[Client, TaskWatch]] = field(default_factory=dict)
    _old: list[TaskWatch] = field(default_factory=list)

    async def caller(self, run: Run, secrets: Callable[[], tuple[str, ...]] = tuple) -> Caller:
        """Raises NotFound where the server is not registered any more, and holds the job while it is in maintenance."""
        try:
            client = await self.clients.of(run.job.server)
        except ServerInMaintenance as error:
            raise held(run, error) from error
        hidden = secrets()
        return Caller(run, client.observed(Recorder(run), hidden), self.watch(client), self.outcome_wait, hidden)

    def watch(self, client: Client) -> TaskWatch:
        """One per client, so that two jobs on one node share its poller."""
        known = self._watches.get(client.server.id)
        if known is None or known[0] is not client:
            if known is not None:
                self._old.append(known[1])  # those who wait with it are told by its client, and come back
            known = self._watches[client.server.id] = (client, TaskWatch(client.for_(Purpose.TASK_POLL)))
        return known[1]

    async def close(self) -> None:
        for watch in [*(watch for _, watch in self._watches.values()), *self._old]:
            await watch.close()
