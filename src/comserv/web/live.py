"""Live parts: pieces of pages that are drawn by name, for the page itself and for the stream that keeps it fresh.

A part's name is its kind, and a key where there may be several: `nav`, `job:0d7k…`, `guests:server=lab&sort=-cpu`. A part
is drawn once per role and revision, however many browsers show it, so it holds nothing of a person or a session.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from markupsafe import Markup

from comserv.domain.errors import ComservError, NotFound
from comserv.domain.person import Actor
from comserv.services.live import Notice
from comserv.web.pages import Drawn
from comserv.web.rows import split

ValueT = TypeVar("ValueT")
Draw = Callable[[Actor, str], Awaitable[str]]
Concerns = Callable[[str, Notice], bool]
MOST_KEPT = 128  # drawings, and as many ways from one to the next
FRESH = 1.0  # s
TOGETHER = 0.04  # s within which parts that begin to be drawn share one reading; see Moment
_TIMES = re.compile(r"(<time\b[^>]*>)[^<]*")


@dataclass(frozen=True)
class PartKind:
    """draw: actor and key → HTML. concerns: whether a notice may have changed the part with this key.

    swap: how a browser takes it over (`innerMorph`, `rows`, `calm`; see app.js). first: what the page itself shows where
    `draw` asks a server and would keep the page waiting; the stream brings the rest. pause: least seconds between two
    drawings in one stream, for the same parts.
    """

    kind: str
    draw: Draw
    concerns: Concerns
    swap: str = "innerMorph"
    first: Draw | None = None
    pause: float = 0.0


class Parts:
    """All kinds of live parts by name; each page's module registers its own."""

    def __init__(self, problem: Callable[[ComservError], str]) -> None:
        self._kinds: dict[str, PartKind] = {}
        self._problem = problem
        self._drawn: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._changes: OrderedDict[tuple[str, str, str], Markup | None] = OrderedDict()

    def register(self, kind: PartKind) -> None:
        self._kinds[kind.kind] = kind

    def kind(self, name: str) -> PartKind:
        """Raises NotFound for a name that no page uses."""
        found = self._kinds.get(name.partition(":")[0])
        if found is None:
            raise NotFound(f"No page has a part {name[:40]}.", noun="part", name=name[:40])
        return found

    def concerns(self, name: str, notice: Notice) -> bool:
        return notice.topic == "everything" or self.kind(name).concerns(name.partition(":")[2], notice)

    async def first(self, actor: Actor, name: str) -> Drawn:
        """The part for a page that is sent at once; without a mark where the stream has more to tell."""
        first = self.kind(name).first
        if first is None:
            return await self.draw(actor, name)
        return Drawn(name, Markup(await first(actor, name.partition(":")[2])), "")  # noqa: S704 - drawn by a template

    async def draw(self, actor: Actor, name: str) -> Drawn:
        """The part as it is now. An error of ours is drawn in its place, so that the rest of the page stands."""
        try:
            html = await self.kind(name).draw(actor, name.partition(":")[2])
        except ComservError as error:
            html = self._problem(error)
        return Drawn(name, Markup(html), mark(html))  # noqa: S704 - drawn by a template, which escapes

    def message(self, drawn: Drawn, before: Drawn | None) -> Markup:
        """What brings a browser from one drawing of a part to the next: the rows that changed, else the whole part."""
        swap, html, changed = self.kind(drawn.name).swap, drawn.html, self._changed_rows(drawn, before)
        if changed is not None:
            swap, html = "changed-rows", changed
        return Markup('<hx-partial hx-target="#{}" hx-swap="{}">{}</hx-partial>').format(place(drawn.name), swap, html)

    def _changed_rows(self, drawn: Drawn, before: Drawn | None) -> Markup | None:
        """Found once for all browsers that stand where this one does."""
        if before is None or before.rows is None or drawn.rows is None:
            return None
        key = (drawn.name, before.mark, drawn.mark)
        if key not in self._changes:
            self._changes[key] = drawn.rows.changed_since(before.rows)
            if len(self._changes) > MOST_KEPT:
                self._changes.popitem(last=False)
        return self._changes[key]

    async def _draw_rows(self, actor: Actor, name: str) -> Drawn:
        """As `draw`, and for a list its single rows."""
        drawn = await self.draw(actor, name)
        return replace(drawn, rows=split(drawn.html, mark)) if self.kind(name).swap == "rows" else drawn

    async def shared(self, actor: Actor, name: str, revision: int | None) -> Drawn:
        """The part no older than this revision, drawn once for all who have the same role.

        revision None: no notice has come yet, so one drawn within the last second will do.
        """
        key, clock = (name, str(actor.role)), asyncio.get_running_loop().time()
        kept = self._drawn.get(key)
        if kept is None or not kept.serves(revision, clock):
            kept = _Kept(
                -1 if revision is None else revision, clock, asyncio.ensure_future(self._draw_rows(actor, name))
            )
            self._drawn[key] = kept
            if len(self._drawn) > MOST_KEPT:
                self._drawn.popitem(last=False)
        self._drawn.move_to_end(key)
        return await asyncio.shield(kept.task)


@dataclass(frozen=True)
class _Kept:
    revision: int
    at: float
    task: "asyncio.Task[Drawn]"

    def serves(self, revision: int | None, clock: float) -> bool:
        if self.task.done() and (self.task.cancelled() or self.task.exception() is not None):
            return False
        return clock - self.at < FRESH if revision is None else self.revision >= revision


class Moment(Generic[ValueT]):
    """One reading for all parts of a page that begin to be drawn together.

    It is kept shorter than notices are gathered (events.GATHER), so that what is drawn after a notice was also read after it.
    """

    def __init__(self) -> None:
        self._read: dict[Hashable, tuple[float, asyncio.Task[ValueT]]] = {}

    async def of(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, ValueT]]) -> ValueT:
        """Raises what `read` raises."""
        clock = asyncio.get_running_loop().time()
        self._read = {name: kept for name, kept in self._read.items() if clock - kept[0] < TOGETHER}
        if key not in self._read:
            self._read[key] = (clock, asyncio.ensure_future(read()))
        return await asyncio.shield(self._read[key][1])


def mark(html: str) -> str:
    """A short hash of a part that does not change when only relative times do."""
    return hashlib.sha256(_TIMES.sub(r"\1", html).encode()).hexdigest()[:12]


def place(name: str) -> str:
    """The id of the element that holds a part; a page has at most one part of a kind."""
    return "p-" + name.partition(":")[0]
