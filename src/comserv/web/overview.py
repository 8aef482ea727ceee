"""The overview: what needs attention first, then the servers as calm tiles, then the jobs that run and that ended."""

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request, Response

from comserv.domain.person import Action, Actor
from comserv.services.live import Notice
from comserv.services.overview import Counts, Summary
from comserv.web import links
from comserv.web.context import Web
from comserv.web.live import Moment, PartKind
from comserv.web.pages import Page

VERBS = {"server": "Look at it", "job": "Open the job", "guest": "Open the guest"}
PARTS = ("overview-line", "overview-attention", "overview-servers", "overview-running", "overview-ended")


@dataclass(frozen=True)
class OverviewPage(Page):
    """first_visit: there is no server yet."""

    template: ClassVar[str] = "overview.html"
    section: ClassVar[str] = "Overview"

    first_visit: bool


def router(web: Web) -> APIRouter:
    routes = web.router()
    _register_parts(web)

    @routes.get(links.overview())
    async def show(request: Request) -> Response:
        visitor = await web.visitor(request)
        counts = await web.services.overview.counts(visitor.actor)
        return await web.page(request, visitor, OverviewPage(not counts.servers), PARTS if counts.servers else ())

    return routes


def _register_parts(web: Web) -> None:
    text, overview = web.pages.text, web.services.overview
    summaries: Moment[Summary] = Moment()
    counts: Moment[Counts] = Moment()

    def part(kind: str, swap: str = "innerMorph") -> None:
        async def draw(actor: Actor, key: str) -> str:
            summary = await summaries.of(actor.role, lambda: overview.summary(actor))
            return text(f"part/{kind}.html", summary=summary, doing=VERBS)

        web.parts.register(PartKind(kind, draw, _any, swap=swap))

    def around(kind: str) -> None:
        async def draw(actor: Actor, key: str) -> str:
            counted = await counts.of(actor.role, lambda: overview.counts(actor))
            return text(f"part/{kind}.html", counts=counted, section=key, admin=actor.may(Action.MANAGE_PEOPLE))

        web.parts.register(PartKind(kind, draw, _any))

    for kind in PARTS:
        part(kind, "innerMorph" if kind in ("overview-line", "overview-servers") else "calm")
    around("nav")
    around("bottom")


def _any(key: str, notice: Notice) -> bool:
    return True
