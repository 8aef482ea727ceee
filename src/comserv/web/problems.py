"""Errors on pages: what happened, why, what to do, and Proxmox's own words. The only place that makes pages of errors."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from comserv.domain.errors import (
    ComservError,
    Conflict,
    DatabaseUnavailable,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    ProxmoxError,
    TooManyAttempts,
    Unauthenticated,
)
from comserv.services.sessions import Visitor
from comserv.web import links
from comserv.web.pages import Page, Pages, Shell

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
STATUS: tuple[tuple[type[ComservError], int], ...] = (
    (Unauthenticated, 401),
    (TooManyAttempts, 429),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 422),
    (ProxmoxError, 502),
    (DatabaseUnavailable, 503),
)
WORDS = {
    400: "What was sent cannot be read.",
    404: "There is no such page.",
    405: "This address does not take that.",
    413: "What was sent is too long.",
}


@dataclass(frozen=True)
class ProblemPage(Page):
    """An error as a page of its own. back: where one can go from here."""

    template: ClassVar[str] = "problem.html"

    problem: Problem
    back: str
    request_id: str = ""


def status_of(error: ComservError) -> int:
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def page_route(pages: Pages) -> type[APIRoute]:
    """Routes that turn errors of ours into pages; anything else goes on to the process's edge."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def handle_with_pages(request: Request) -> Response:
                try:
                    return await handle(request)
                except ComservError as error:
                    return respond(pages, request, error)

            return handle_with_pages

    return PageRoute


def respond(pages: Pages, request: Request, error: ComservError) -> Response:
    """To sign-in when nobody is signed in; else the error's page, or for htmx the error as a part."""
    by_htmx = request.headers.get("hx-request") == "true"
    if isinstance(error, Unauthenticated):
        return _to_sign_in(request, by_htmx)
    problem, status = error.problem(), status_of(error)
    if by_htmx:
        return Response(pages.text("part/problem.html", problem=problem), status, media_type="text/html")
    return _page(pages, request, problem, status)


def respond_plainly(pages: Pages, request: Request, status: int, detail: str = "") -> Response:
    """For what the framework refuses by itself (404, 405), and for a crash (500)."""
    title = WORDS.get(status, "Something went wrong inside Comserv.")
    cure = "Go on from the overview." if status < 500 else "Look for the request's id in Comserv's log."
    return _page(pages, request, Problem(f"http_{status}", title, detail, cure), status)


def _page(pages: Pages, request: Request, problem: Problem, status: int) -> Response:
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    shell = Shell(
        actor=visitor.actor if visitor else None,
        csrf=visitor.csrf if visitor else "",
        nonce=getattr(request.state, "nonce", ""),
        theme=visitor.person.theme if visitor else "",
    )
    page = ProblemPage(problem, _back(request), getattr(request.state, "request_id", ""))
    return pages.page(page, shell, status)


def _to_sign_in(request: Request, by_htmx: bool) -> Response:
    if by_htmx:
        return Response(status_code=401, headers={"HX-Redirect": links.sign_in()})
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(links.sign_in(path if request.method == "GET" else ""), 303)


def _back(request: Request) -> str:
    return links.overview() if request.method == "GET" else links.safe_return(request.url.path)


def faults(error: ComservError) -> Mapping[str, str]:
    """What is wrong, by field, where the error says so."""
    return error.fields if isinstance(error, Invalid) else {}
