"""Lists of guests: what matches a query, in its order and counted, kept as long as nothing in it changes.

A page, its live parts and the next page of it are lists of the same query; over 10,000 guests each would cost 20 ms of CPU again.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from comserv.domain.errors import Invalid
from comserv.services.estate import Estate, GuestView

MOST_KEPT = 32  # queries; each is a tuple of references

Test = Callable[[GuestView], bool]


@dataclass(frozen=True)
class GuestQuery:
    """text: words, each a part of name, vmid, tag, node, server or address. statuses: running, stopped, paused, suspended,
    unknown, locked, stale.

    sort: name, vmid, server, node, status, cpu, memory, disk, uptime; a leading - turns it round. limit ≤ 500.
    templates: False leaves them out, True shows only them, None shows all.
    """

    text: str = ""
    servers: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    templates: bool | None = False
    sort: str = "name"
    cursor: str = ""
    limit: int = 100


@dataclass(frozen=True)
class Matches:
    """views: all that match, in order. everything: how many there are in all, without templates where they are left out."""

    views: tuple[GuestView, ...]
    everything: int
    counts: Mapping[str, int]
    stale: int


class GuestLists:
    """Everything kept is thrown away as soon as the estate shows anything else."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._frame: Hashable = None
        self._ordered: dict[str, tuple[GuestView, ...]] = {}
        self._matches: dict[GuestQuery, Matches] = {}

    def of(self, query: GuestQuery, now: datetime) -> Matches:
        """Raises Invalid for an order that does not exist."""
        if (frame := self._estate.frame(now)) != self._frame:
            self._frame, self._ordered, self._matches = frame, {}, {}
        whole = replace(query, cursor="", limit=0)
        if whole not in self._matches:
            found = self._match(whole, now)
            while len(self._matches) >= MOST_KEPT:
                del self._matches[next(iter(self._matches))]
            self._matches[whole] = found
        return self._matches[whole]

    def _match(self, query: GuestQuery, now: datetime) -> Matches:
        ordered = views = self._in_order(query.sort, now)
        for test in _tests(query):
            views = tuple([view for view in views if test(view)])
        plain = query.templates is False
        return Matches(
            views=views,
            everything=sum(not view.guest.template for view in ordered) if plain else len(ordered),
            counts={str(status): count for status, count in Counter(map(_status, views)).items()},
            stale=sum(view.stale for view in views),
        )

    def _in_order(self, sort: str, now: datetime) -> tuple[GuestView, ...]:
        if sort not in self._ordered:
            views = sorted(self._estate.views(now), key=_key(sort), reverse=sort.startswith("-"))
            self._ordered[sort] = tuple(views)
        return self._ordered[sort]


_status = attrgetter("guest.status")


def _tests(query: GuestQuery) -> list[Test]:
    """The filters of a query, the cheap ones first."""
    tests: list[Test] = []
    if query.templates is not None:
        tests.append(lambda view: view.guest.template is query.templates)
    for values, of in (
        (query.servers, lambda view: view.guest.key.server),
        (query.nodes, lambda view: view.guest.node),
        (query.types, lambda view: str(view.guest.type)),
    ):
        if values:
            tests.append(lambda view, of=of, values=frozenset(values): of(view) in values)
    if query.statuses:
        tests.append(lambda view, wanted=frozenset(query.statuses): not wanted.isdisjoint(_statuses(view)))
    if query.tags:
        tests.append(lambda view, wanted=frozenset(query.tags): not wanted.isdisjoint(view.guest.tags))
    for word in query.text.lower().split():
        tests.append(lambda view, word=word: word in view.search)
    return tests


def _statuses(view: GuestView) -> Iterable[str]:
    yield str(view.guest.status)
    if view.guest.lock:
        yield "locked"
    if view.stale:
        yield "stale"


def _key(sort: str) -> Callable[[GuestView], Any]:
    """What is the same is in the order of names. Raises Invalid."""
    value = _SORTS.get(sort.removeprefix("-"))
    if value is None:
        raise Invalid(fields={"sort": f"one of {', '.join(_SORTS)}; a leading - turns it round"})

    def key(view: GuestView) -> Any:
        place = view.guest.key
        return value(view), view.guest.name.lower(), place.server, place.vmid

    return key


_SORTS: Mapping[str, Callable[[GuestView], Any]] = {
    "name": lambda view: view.guest.name.lower(),
    "vmid": lambda view: view.guest.key.vmid,
    "server": lambda view: view.guest.key.server,
    "node": lambda view: view.guest.node,
    "status": lambda view: str(view.guest.status),
    "cpu": lambda view: -1.0 if view.guest.cpu is None else view.guest.cpu,
    "memory": lambda view: view.guest.memory_used or 0,
    "disk": lambda view: view.guest.disk or 0,
    "uptime": lambda view: view.guest.uptime or 0,
}
