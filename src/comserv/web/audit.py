"""The audit: every change and every refused attempt, newest first."""

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from comserv.services.audit import AuditPage as AuditList
from comserv.services.audit import AuditQuery
from comserv.web import filters, links
from comserv.web.context import Web
from comserv.web.filters import Chip, Filter
from comserv.web.pages import Page

TERMS = ("who", "action", "subject", "outcome")


@dataclass(frozen=True)
class AuditPage(Page):
    template: ClassVar[str] = "audit.html"
    section: ClassVar[str] = "Audit"

    filter: Filter
    chips: tuple[Chip, ...]
    page: AuditList
    following: str = ""
    at_first: bool = True


def router(web: Web) -> APIRouter:
    routes = web.router()

    @routes.get("/audit")
    async def show(request: Request) -> Response:
        visitor = await web.visitor(request)
        chosen, typed = filters.read(request.query_params, TERMS, ())
        if typed:
            return RedirectResponse(links.audit(**chosen.address()), 303)
        who, action, subject, outcome = ("".join(chosen.terms[name][:1]) for name in TERMS)
        query = AuditQuery(who, action, subject, outcome, request.query_params.get("cursor", ""))
        page = await web.services.audit.list(visitor.actor, query)
        here = chosen.address()
        following = links.audit(**{**here, "cursor": page.next_cursor}) if page.next_cursor else ""
        shown = AuditPage(chosen, chosen.chips(links.audit), page, following, not query.cursor)
        return await web.page(request, visitor, shown)

    return routes
