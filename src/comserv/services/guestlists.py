"""Lists of guests: what matches a query, in its order and counted, kept as long as nothing in it changes.

A page, its live parts and the next page of it are lists of the same query; over 10,000 guests each would cost 20 ms of CPU again. New
figures change no list but one that is ordered by them.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from comserv.domain.errors import Invalid
from comserv.services.estate import Estate, Row

MOST_KEPT = 32  # queries; each is a tuple of references

Test = Callable[[Row], bool]


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
    """rows: all that match, in order. everything: how many there are in all, without templates where they are left out."""

    rows: Sequence[Row]
    everything: int
    counts: Mapping[str, int]
    stale: int


class GuestLists:
    """What is kept is thrown away as soon as the estate shows anything else."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._ordered: dict[str, tuple[Hashable, Sequence[Row]]] = {}
        self._matches: dict[GuestQuery, tuple[Hashable, Matches]] = {}

    def of(self, query: GuestQuery, now: datetime) -> Matches:
        """Raises Invalid for an order that does not exist."""
        whole = replace(query, cursor="", limit=0)
        frame = self._estate.frame(now, figures=whole.sort.removeprefix("-") in OF_FIGURES)
        kept = self._matches.pop(whole, None)
        if kept is None or kept[0] != frame:
            kept = frame, self._match(whole, frame, now)
        self._matches[whole] = kept  # the last that was asked for is the last
        while len(self._matches) > MOST_KEPT:
            del self._matches[next(iter(self._matches))]
        return kept[1]

    def _match(self, query: GuestQuery, frame: Hashable, now: datetime) -> Matches:
        stale = {known.server.id for known in self._estate.servers() if known.stale(now)}
        ordered = rows = self._in_order(query.sort, frame)
        for test in _tests(query, stale):
            rows = [row for row in rows if test(row)]
        plain = query.templates is False
        return Matches(
            rows=rows,
            everything=sum(not row.guest.template for row in ordered) if plain else len(ordered),
            counts={str(status): count for status, count in Counter(map(_status, rows)).items()},
            stale=sum(row.guest.key.server in stale for row in rows) if stale else 0,
        )

    def _in_order(self, sort: str, frame: Hashable) -> Sequence[Row]:
        kept = self._ordered.get(sort)
        if kept is None or kept[0] != frame:
            rows = sorted(self._estate.rows(), key=_key(sort), reverse=sort.startswith("-"))
            kept = self._ordered[sort] = frame, rows
        return kept[1]


_status = attrgetter("guest.status")


def _tests(query: GuestQuery, stale: Set[str]) -> list[Test]:
    """The filters of a query, the cheap ones first."""
    tests: list[Test] = []
    if query.templates is not None:
        tests.append(lambda row: row.guest.template is query.templates)
    for values, of in (
        (query.servers, lambda row: row.guest.key.server),
        (query.nodes, lambda row: row.guest.node),
        (query.types, lambda row: str(row.guest.type)),
    ):
        if values:
            tests.append(lambda row, of=of, values=frozenset(values): of(row) in values)
    if query.statuses:
        tests.append(lambda row, wanted=frozenset(query.statuses): not wanted.isdisjoint(_statuses(row, stale)))
    if query.tags:
        tests.append(lambda row, wanted=frozenset(query.tags): not wanted.isdisjoint(row.guest.tags))
    for word in query.text.lower().split():
        tests.append(lambda row, word=word: word in row.search)
    return tests


def _statuses(row: Row, stale: Set[str]) -> Iterable[str]:
    yield str(row.guest.status)
    if row.guest.lock:
        yield "locked"
    if row.guest.key.server in stale:
        yield "stale"


def _key(sort: str) -> Callable[[Row], Any]:
    """What is the same is in the order of names. Raises Invalid."""
    name = sort.removeprefix("-")
    if name == "name":
        return attrgetter("place")
    value = _SORTS.get(name)
    if value is None:
        raise Invalid(fields={"sort": f"one of name, {', '.join(_SORTS)}; a leading - turns it round"})
    return lambda row: (value(row), row.place)


OF_FIGURES = ("cpu", "memory", "uptime")
_SORTS: Mapping[str, Callable[[Row], Any]] = {
    "vmid": lambda row: row.guest.key.vmid,
    "server": lambda row: row.guest.key.server,
    "node": lambda row: row.guest.node,
    "status": lambda row: str(row.guest.status),
    "cpu": lambda row: -1.0 if (cpu := row.current.cpu) is None else cpu,
    "memory": lambda row: row.current.memory_used or 0,
    "disk": lambda row: row.guest.disk or 0,
    "uptime": lambda row: row.current.uptime or 0,
}
