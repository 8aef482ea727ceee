"""The list of guests over all servers: filters in the address, sorting, paging, CSV, and power for a selection."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import QueryParams

from comserv.domain.errors import Invalid
from comserv.domain.guest import GuestKey
from comserv.domain.person import Action, Actor
from comserv.services.guests import GuestPage, GuestQuery, GuestView, Outcome
from comserv.services.live import Notice
from comserv.web import filters, links, measures
from comserv.web.context import Web, text_of, texts_of
from comserv.web.filters import Chip, Filter
from comserv.web.live import PartKind
from comserv.web.pages import Page
from comserv.web.verbs import POWER, Verb

TERMS = ("server", "node", "state", "tag", "type")
TEMPLATE = "template"
SHOWN = 100
MOST_SELECTED = 500


@dataclass(frozen=True)
class GuestsPage(Page):
    """filter: what the address says. first_visit: there is no server yet."""

    template: ClassVar[str] = "guests.html"
    section: ClassVar[str] = "Guests"

    filter: Filter
    chips: tuple[Chip, ...]
    page: GuestPage
    sort: str
    first_visit: bool
    loosened: tuple[tuple[Chip, int], ...] = ()
    following: str = ""
    at_first: bool = True


@dataclass(frozen=True)
class SelectionPage(Page):
    """What a hard act on a selection would do, before it is done."""

    template: ClassVar[str] = "guests-confirm.html"
    section: ClassVar[str] = "Guests"

    verb: Verb
    views: tuple[GuestView, ...]


@dataclass(frozen=True)
class OutcomesPage(Page):
    """What came of an act on a selection: a job each, or why none."""

    template: ClassVar[str] = "guests-outcomes.html"
    section: ClassVar[str] = "Guests"

    verb: Verb
    outcomes: tuple[Outcome, ...]
    names: dict[GuestKey, str] = field(default_factory=dict)


def query_of(chosen: Filter, params: QueryParams, limit: int = SHOWN) -> GuestQuery:
    """`state:template` shows templates, which are else left out: they are no guests that anybody runs."""
    states = chosen.terms["state"]
    return GuestQuery(
        text=chosen.text,
        servers=chosen.terms["server"],
        nodes=chosen.terms["node"],
        statuses=tuple(state for state in states if state != TEMPLATE),
        tags=chosen.terms["tag"],
        types=chosen.terms["type"],
        templates=TEMPLATE in states,
        sort=params.get("sort") or "name",
        cursor=params.get("cursor", ""),
        limit=limit,
    )


def router(web: Web) -> APIRouter:
    routes = web.router()

    async def rows(actor: Actor, key: str) -> str:
        operator = actor.may(Action.POWER)
        return web.pages.text("part/guests-rows.html", page=await _page(web, actor, key), operator=operator)

    async def count(actor: Actor, key: str) -> str:
        return web.pages.text("part/guests-count.html", page=await _page(web, actor, key))

    async def outages(actor: Actor, key: str) -> str:
        return web.pages.text("part/outages.html", coverage=(await _page(web, actor, key)).coverage)

    web.parts.register(PartKind("guests-outages", outages, _concerns))
    web.parts.register(PartKind("guests", rows, _concerns, swap="rows"))
    web.parts.register(PartKind("guests-count", count, _concerns))

    @routes.get("/guests")
    async def show(request: Request) -> Response:
        visitor = await web.visitor(request)
        chosen, typed = filters.read(request.query_params, TERMS)
        if typed:
            return RedirectResponse(links.guests(**chosen.address()), 303)
        query = query_of(chosen, request.query_params)
        page = await web.services.guests.list(visitor.actor, query)
        here = chosen.address(cursor=query.cursor)
        key = links.query(here).removeprefix("?")
        shown = GuestsPage(
            filter=chosen,
            chips=chosen.chips(links.guests),
            page=page,
            sort=query.sort,
            first_visit=not page.everything and not await web.services.servers.list(visitor.actor),
            loosened=await _loosened(web, visitor.actor, chosen, request.query_params) if not page.total else (),
            following=links.guests(**{**here, "cursor": page.next_cursor or ""}) if page.next_cursor else "",
            at_first=not query.cursor,
        )
        return await web.page(
            request, visitor, shown, (f"guests:{key}", f"guests-count:{key}", f"guests-outages:{key}")
        )

    @routes.get("/guests.csv")
    async def as_csv(request: Request) -> Response:
        visitor = await web.visitor(request)
        chosen, _ = filters.read(request.query_params, TERMS)
        views = await _all(web, visitor.actor, query_of(chosen, request.query_params, 500))
        name = {"content-disposition": 'attachment; filename="guests.csv"'}
        return Response(to_csv(views), media_type="text/csv; charset=utf-8", headers=name)

    @routes.post("/guests/power")
    async def power(request: Request) -> Response:
        visitor, form = await web.form(request)
        keys = tuple(map(read_key, texts_of(form, "guest")))[:MOST_SELECTED]
        verb = read_verb(text_of(form, "action"))
        if not keys:
            raise Invalid("No guest is selected; nothing was done.")
        if verb.hard and text_of(form, "sure") != "yes":
            await web.require(visitor, Action.POWER, f"{len(keys)} guests")
            views = [await web.services.guests.get(visitor.actor, key) for key in keys]
            return await web.page(request, visitor, SelectionPage(verb, tuple(views)))
        outcomes = await web.services.guests.power_many(visitor.actor, keys, verb.action)
        names = {key: (await web.services.guests.get(visitor.actor, key)).guest.name for key in keys}
        return await web.page(request, visitor, OutcomesPage(verb, tuple(outcomes), names))

    return routes


async def _page(web: Web, actor: Actor, key: str) -> GuestPage:
    params = QueryParams(key)
    chosen, _ = filters.read(params, TERMS)
    return await web.services.guests.list(actor, query_of(chosen, params))


async def _loosened(web: Web, actor: Actor, chosen: Filter, params: QueryParams) -> tuple[tuple[Chip, int], ...]:
    """For a filter that nothing matches: how many there would be without each of its terms, most first."""
    counted = []
    for chip in chosen.chips(links.guests):
        fewer, _ = filters.read(QueryParams(chip.without.partition("?")[2]), TERMS)
        page = await web.services.guests.list(actor, replace(query_of(fewer, params, 1), cursor=""))
        counted.append((chip, page.total))
    return tuple(sorted((pair for pair in counted if pair[1]), key=lambda pair: -pair[1]))


async def _all(web: Web, actor: Actor, query: GuestQuery) -> list[GuestView]:
    views: list[GuestView] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await web.services.guests.list(actor, replace(query, cursor=cursor))
        views += page.items
        cursor = page.next_cursor
    return views


def _concerns(key: str, notice: Notice) -> bool:
    return notice.topic in ("guests", "server", "job")


COLUMNS = (
    "server", "vmid", "name", "type", "node", "state", "stale", "as_of", "lock", "tags", "pool", "cores", "cpu_percent",
    "memory_bytes", "memory_used_bytes", "disk_bytes", "uptime_s", "addresses",
)  # fmt: skip


def to_csv(views: Sequence[GuestView]) -> str:
    """One row a guest, with a head line. A text that a spreadsheet would take for a formula gets a ' before it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for view in views:
        writer.writerow([_harmless(value) for value in _csv_row(view)])
    return out.getvalue()


def _csv_row(view: GuestView) -> list[Any]:
    guest = view.guest
    state = "template" if guest.template else str(guest.status)
    as_of = view.as_of.isoformat() if view.as_of else ""
    addresses = " ".join(known.address for known in view.addresses)
    own = [guest.key.server, guest.key.vmid, guest.name, str(guest.type), guest.node, state, view.stale, as_of]
    load = [guest.cores, measures.percent(guest.cpu), guest.memory, guest.memory_used, guest.disk, guest.uptime]
    return [*own, guest.lock, " ".join(guest.tags), guest.pool, *load, addresses]


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def read_key(text: str) -> GuestKey:
    """`rack/105`. Raises Invalid."""
    server, slash, vmid = text.partition("/")
    if not slash or not vmid.isascii() or not vmid.isdigit() or len(vmid) > 9:
        raise Invalid(f"{text[:40]} names no guest; nothing was done.")
    return GuestKey(server, int(vmid))


def read_verb(text: str) -> Verb:
    """Raises Invalid."""
    found = next((verb for action, verb in POWER.items() if str(action) == text), None)
    if found is None:
        raise Invalid(f"{text[:40]} is nothing that can be done with a guest.")
    return found
