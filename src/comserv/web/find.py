"""Find or do: what Ctrl-K lists, and the same as a page for browsers without script."""

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from fastapi import APIRouter, Request, Response

from comserv.domain.outage import Coverage
from comserv.services.finding import Match
from comserv.web import links
from comserv.web.context import Web, wants_part
from comserv.web.pages import Page
from comserv.web.verbs import POWER

GROUPS = {"guest": "Guests", "verb": "Do", "job": "Jobs", "server": "Servers", "page": "Pages"}
ICONS = {"guest": "server-2", "verb": "bolt", "job": "list-check", "server": "server", "page": "layout-dashboard"}


@dataclass(frozen=True)
class Found:
    """A match as a link; `asks`: a dialog that asks before anything is done."""

    match: Match
    href: str
    icon: str


@dataclass(frozen=True)
class FindPage(Page):
    """groups: heading and what was found under it."""

    template: ClassVar[str] = "find.html"

    text: str
    groups: tuple[tuple[str, tuple[Found, ...]], ...]
    coverage: Coverage


def router(web: Web) -> APIRouter:
    routes = web.router()

    @routes.get("/find")
    async def show(request: Request) -> Response:
        visitor = await web.visitor(request)
        text = request.query_params.get("q", "").strip()[:200]
        found = [_found(match) for match in await web.services.finder.find(visitor.actor, text)]
        order = list(GROUPS)
        found.sort(key=lambda one: order.index(one.match.group))
        groups = tuple((GROUPS[name], tuple(some)) for name, some in groupby(found, key=lambda one: one.match.group))
        known = await web.services.finder.coverage(visitor.actor)
        if wants_part(request):
            found_html = web.pages.text("part/found.html", text=text, groups=groups, coverage=known)
            return Response(found_html, media_type="text/html")
        return await web.page(request, visitor, FindPage(text, groups, known))

    return routes


def _found(match: Match) -> Found:
    """A verb leads to the page that asks for it: nothing is done by choosing in a list."""
    href, icon = links.subject(match.group, match.subject), ICONS[match.group]
    if match.group == "verb":
        known = next((verb for action, verb in POWER.items() if str(action) == match.verb), None)
        icon = known.icon if known else "bolt"
        if known:
            href = f"{href}/power/{match.verb}"
        elif match.verb in ("change", "delete"):
            href = f"{href}/{match.verb}"
    return Found(match, href, icon)
