"""Maintenance of a server: asked for in a dialog, and ended with one button."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from fastapi import APIRouter, Request, Response

from comserv.domain.errors import Invalid
from comserv.domain.person import Action
from comserv.services.servers import ServerView
from comserv.web import links
from comserv.web.context import Web, see_other, text_of
from comserv.web.pages import Page

LENGTHS = (
    ("", "until I end it"),
    ("1", "1 hour"),
    ("2", "2 hours"),
    ("4", "4 hours"),
    ("8", "8 hours"),
    ("24", "a day"),
)


@dataclass(frozen=True)
class MaintenancePage(Page):
    """jobs: that have not ended there, and would be held. lengths: hours as a choice, and their words."""

    template: ClassVar[str] = "server-maintenance.html"
    section: ClassVar[str] = "Servers"

    view: ServerView
    jobs: int
    lengths: tuple[tuple[str, str], ...] = LENGTHS


def router(web: Web) -> APIRouter:
    routes = web.router()
    services = web.services

    @routes.get("/servers/{server_id}/maintenance")
    async def ask(request: Request, server_id: str) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.MANAGE_SERVERS)
        view = await services.servers.get(visitor.actor, server_id)
        page = MaintenancePage(view, await services.maintenances.held_jobs(visitor.actor, server_id))
        return await web.page(request, visitor, page)

    @routes.post("/servers/{server_id}/maintenance")
    async def begin(request: Request, server_id: str) -> Response:
        visitor, form = await web.form(request)
        hours = text_of(form, "hours")
        if hours not in dict(LENGTHS):
            raise Invalid(fields={"hours": "choose one of the lengths"})
        lasts = timedelta(hours=int(hours)) if hours else None
        await services.maintenances.begin(visitor.actor, server_id, text_of(form, "why", 1000), lasts=lasts)
        return see_other(request, links.server(server_id))

    @routes.post("/servers/{server_id}/maintenance/end")
    async def end(request: Request, server_id: str) -> Response:
        visitor, _ = await web.form(request)
        await services.maintenances.end(visitor.actor, server_id)
        return see_other(request, links.server(server_id))

    return routes
