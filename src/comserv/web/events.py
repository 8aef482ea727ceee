"""The live stream of a tab: parts that changed, each as one message, and a tick that proves the stream alive.

Messages are for htmx's hx-sse: an unnamed one is swapped in (`<hx-partial>`), a named one becomes a DOM event. The id of a
message is that of the last notice it takes in, so that a tab that comes back (`Last-Event-ID`) catches up from there.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import APIRouter, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from comserv.domain.job import JobState
from comserv.domain.person import Actor
from comserv.services.jobs import JobQuery
from comserv.services.live import Notice
from comserv.web import links
from comserv.web.context import Web
from comserv.web.pages import Drawn

TICK = 5.0  # s between two signs of life
LOOK = 30.0  # s between two looks whether the session still holds
GATHER = 0.05  # s that notices are gathered before parts are drawn
MOST_PARTS = 16
_NUMBER = re.compile(r"[0-9]{1,18}")


def router(web: Web) -> APIRouter:
    routes = web.router()

    @routes.get("/events")
    async def events(request: Request) -> Response:
        visitor = await web.visitor(request)
        after = request.headers.get("last-event-id", "")
        seen = dict(_pairs(request.query_params.getlist("see")))
        for name in seen:
            web.parts.kind(name)
            if after:  # it has got more than its page had, and nobody knows how much of it
                seen[name] = ""
        stream = Stream(web, visitor.actor, seen, web.cookies.read(request))
        return EventSourceResponse(
            stream.messages(int(after) if _NUMBER.fullmatch(after) else None),
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    @routes.get("/pulse")
    async def pulse(request: Request) -> Response:
        """My jobs that ended of late, for the tab's title and a notice; what a hidden tab asks instead of the stream."""
        visitor = await web.visitor(request)
        page = await web.services.jobs.list(visitor.actor, JobQuery(person=visitor.actor.name, limit=20))
        ended = [
            {
                "id": f"{job.id}/{job.attempt}",
                "title": job.title,
                "state": str(job.state),
                "ended": job.ended.isoformat() if job.ended else "",
                "href": links.job(job),
            }
            for job in page.items
            if job.state.ended
        ]
        return web.json({"ended": ended, "running": sum(job.state == JobState.RUNNING for job in page.items)})

    return routes


def _pairs(values: Iterable[str]) -> list[tuple[str, str]]:
    cut = [value.rpartition("~") for value in values]
    return [(name, known) for name, _, known in cut if name][:MOST_PARTS]


class Stream:
    """One tab's stream. seen: the parts it shows, by name, with the mark of what it has."""

    def __init__(self, web: Web, actor: Actor, seen: dict[str, str], token: str) -> None:
        self._web, self._actor, self._seen, self._token = web, actor, seen, token
        self._has: dict[str, Drawn] = {}
        self._dirty = set(seen)
        self._drawing: dict[asyncio.Task[Drawn], str] = {}
        self._not_before: dict[str, float] = {}
        self._revision: int | None = None

    async def messages(self, after: int | None) -> AsyncIterator[bytes]:
        """Ends when Comserv stops, or when the session is over."""
        async with _inbox(self._web, after) as inbox:
            try:
                async for message in self._messages(inbox):
                    yield message
            finally:
                for task in self._drawing:
                    task.cancel()

    async def _messages(self, inbox: "Inbox") -> AsyncIterator[bytes]:
        ticked = looked = _clock()
        yield _tick()
        while True:
            self._begin_drawing()
            notices = await self._wait(inbox)
            if notices is None:
                return
            for drawn, before in self._changed():
                yield self._message(drawn, before)
            if any(notice.topic in ("job", "everything") for notice in notices):
                yield format_sse_event(event="job", data_str="")
            if _clock() - looked >= LOOK or any(notice.topic in ("people", "everything") for notice in notices):
                looked = _clock()
                if not await self._still_signed_in():
                    yield format_sse_event(event="signed-out", data_str="")
                    return
            if _clock() - ticked >= TICK:
                ticked = _clock()
                yield _tick()

    async def _still_signed_in(self) -> bool:
        """Looked at when people changed, and from time to time. Another role is drawn for at once."""
        visitor = await self._web.services.sessions.visitor(self._token)
        if visitor is None:
            return False
        if visitor.actor.role != self._actor.role:
            self._actor, self._dirty = visitor.actor, set(self._seen)
        return True

    def _begin_drawing(self) -> None:
        """Begins with what is dirty and due; a slow part does not keep the others waiting."""
        clock, busy = _clock(), set(self._drawing.values())
        for name in sorted(self._dirty - busy):
            if self._not_before.get(name, 0.0) <= clock:
                self._dirty.discard(name)
                self._not_before[name] = clock + self._web.parts.kind(name).pause
                drawing = self._web.parts.shared(self._actor, name, self._revision)
                self._drawing[asyncio.ensure_future(drawing)] = name

    async def _wait(self, inbox: "Inbox") -> list[Notice] | None:
        """Until a part is drawn, notices came, or it is time to tick; None at the end."""
        waiting = asyncio.ensure_future(inbox.get())
        try:
            await asyncio.wait({waiting, *self._drawing}, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return []
            first = waiting.result()
        finally:
            waiting.cancel()
        if first is None:
            return None
        await asyncio.sleep(GATHER)
        notices = [first]
        while not inbox.empty():
            notice = inbox.get_nowait()
            if notice is None:
                return None
            notices.append(notice)
        self._note(notices)
        return notices

    def _patience(self) -> float:
        idle = self._dirty - set(self._drawing.values())
        due = min((self._not_before.get(name, 0.0) - _clock() for name in idle), default=TICK)
        return max(GATHER, min(TICK, due))

    def _note(self, notices: list[Notice]) -> None:
        self._revision = max(self._revision or 0, *(notice.id for notice in notices))
        concerns = self._web.parts.concerns
        self._dirty |= {name for name in self._seen if any(concerns(name, notice) for notice in notices)}

    def _changed(self) -> list[tuple[Drawn, Drawn | None]]:
        """What is drawn by now and came out otherwise than the tab has it, with what it has where that is known."""
        changed: list[tuple[Drawn, Drawn | None]] = []
        for task in [task for task in self._drawing if task.done()]:
            name, drawn = self._drawing.pop(task), task.result()
            if drawn.mark != self._seen[name]:
                changed.append((drawn, self._has.get(name)))
            self._seen[name] = drawn.mark
            if drawn.rows:
                self._has[name] = drawn
            else:
                self._has.pop(name, None)
        return changed

    def _message(self, drawn: Drawn, before: Drawn | None) -> bytes:
        """Always with an id, so that a tab that comes back says that it has got something."""
        return format_sse_event(data_str=self._web.parts.message(drawn, before), id=str(self._revision or 0))


Inbox = asyncio.Queue[Notice | None]


def _tick() -> bytes:
    return format_sse_event(event="tick", data_str="")


def _clock() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def _inbox(web: Web, after: int | None) -> AsyncIterator[Inbox]:
    """Notices as they come, then None when they end or Comserv stops."""
    queue: Inbox = asyncio.Queue()

    async def follow() -> None:
        async for notice in web.services.live.follow(after):
            queue.put_nowait(notice)

    async def end() -> None:
        await web.stopping.wait()

    tasks = [asyncio.create_task(follow()), asyncio.create_task(end())]
    for task in tasks:
        task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        yield queue
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
