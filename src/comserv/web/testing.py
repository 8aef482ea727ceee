"""The connection test as it goes: each stage appears when it ends, by a stream into the page that asked for it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from fastapi import Response
from fastapi.sse import EventSourceResponse, format_sse_event

from comserv.domain.connection import BEFORE_RIGHTS, Stage, StageName, StageState
from comserv.domain.errors import ComservError, Invalid
from comserv.web.pages import Pages


@dataclass(frozen=True)
class Progress:
    """Stages that ended, in order, and those that are to come. done: nothing more comes."""

    stages: tuple[Stage, ...]
    done: bool = False

    @property
    def waiting(self) -> tuple[StageName, ...]:
        ended = {stage.stage for stage in self.stages}
        return tuple(name for name in StageName if name not in ended)

    @property
    def failed(self) -> Stage | None:
        return next((stage for stage in self.stages if stage.state == StageState.FAILED), None)

    @property
    def keepable(self) -> bool:
        """Whether the server may be kept: what failed, if anything, came at or after the rights."""
        reached = {stage.stage for stage in self.stages if stage.state in (StageState.OK, StageState.WARNING)}
        return reached.issuperset(BEFORE_RIGHTS)


async def progress(stages: AsyncIterator[Stage]) -> AsyncIterator[Progress]:
    ended: tuple[Stage, ...] = ()
    yield Progress(ended)
    async for stage in stages:
        ended = (*ended, stage)
        yield Progress(ended)
    yield Progress(ended, done=True)


async def whole(stages: AsyncIterator[Stage]) -> Progress:
    """All stages at once, for browsers without script."""
    return Progress(tuple([stage async for stage in stages]), done=True)


Finish = Callable[[Progress], Awaitable[str]]


def stream(pages: Pages, stages: AsyncIterator[Stage], finish: Finish) -> Response:
    """Each message is the list of stages as it stands; the last one carries what `finish` says of the outcome."""

    async def messages() -> AsyncIterator[bytes]:
        last = Progress(())
        try:
            async for last in progress(stages):
                if not last.done:
                    yield _message(pages.text("part/stages.html", progress=last, outcome=""))
            yield _message(pages.text("part/stages.html", progress=last, outcome=await finish(last)))
        except ComservError as error:
            yield _message(pages.text("part/stages.html", progress=last, outcome=failure(pages, error)))

    return EventSourceResponse(messages(), headers={"cache-control": "no-store", "x-accel-buffering": "no"})


def failure(pages: Pages, error: ComservError) -> str:
    """An error below the stages, with the fields that it blames."""
    fields = error.fields if isinstance(error, Invalid) else {}
    return pages.text("part/faults.html", problem=error.problem(), faults=fields)


def _message(html: str) -> bytes:
    return format_sse_event(data_str=html)
