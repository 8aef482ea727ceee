"""Jobs: list, look, cancel, retry, and remove what is ours of a failed creation."""

from collections.abc import Mapping
from dataclasses import dataclass

from comserv.domain.guest import GuestKey
from comserv.domain.job import CallRecord, Job, JobKind, JobState, RunningTask
from comserv.domain.person import Actor


@dataclass(frozen=True)
class JobQuery:
    states: tuple[JobState, ...] = ()
    kinds: tuple[JobKind, ...] = ()
    server: str = ""
    person: str = ""
    guest: GuestKey | None = None
    cursor: str = ""
    limit: int = 50


@dataclass(frozen=True)
class JobPage:
    items: tuple[Job, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Remains:
    """What of a creation that did not end well is there and provably ours; `text` says it in words, also when nothing is left."""

    guest: GuestKey | None
    text: str
    removable: bool


class Jobs:
    async def list(self, actor: Actor, query: JobQuery) -> JobPage:
        """Newest first. Needs SEE."""
        raise NotImplementedError

    async def get(self, actor: Actor, job_id: str) -> Job:
        """Raises NotFound."""
        raise NotImplementedError

    async def calls(self, actor: Actor, job_id: str) -> tuple[CallRecord, ...]:
        """Every call behind it, oldest first."""
        raise NotImplementedError

    async def running(self, actor: Actor) -> int:
        """How many are queued or running."""
        raise NotImplementedError

    async def cancel(self, actor: Actor, job_id: str, running_task: RunningTask = RunningTask.FINISH) -> Job:
        """Raises Conflict when it has ended."""
        raise NotImplementedError

    async def retry(self, actor: Actor, job_id: str, secrets: Mapping[str, str] | None = None) -> Job:
        """The same job, attempt + 1; what is proven is not done again. Raises Conflict unless failed or cancelled, SecretsMissing."""
        raise NotImplementedError

    async def remains(self, actor: Actor, job_id: str) -> Remains:
        """Asks the server what is left of a failed or cancelled creation."""
        raise NotImplementedError

    async def remove_remains(self, actor: Actor, job_id: str) -> Job:
        """A deletion job for it. Raises Conflict when nothing is provably ours."""
        raise NotImplementedError
