"""What every page needs at hand: services, templates, live parts, cookies; made once in router.py and given to each noun."""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.datastructures import FormData

from comserv.domain.errors import Unauthenticated
from comserv.domain.person import Action
from comserv.services.services import Services
from comserv.services.sessions import Visitor
from comserv.web import links
from comserv.web.live import Parts
from comserv.web.pages import Page, Pages, Shell
from comserv.web.problems import page_route
from comserv.web.session import Cookies, check_form

RowId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@dataclass(frozen=True)
class Web:
    """stopping: set when Comserv ends, so that streams end at once."""

    services: Services
    pages: Pages
    parts: Parts
    cookies: Cookies
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def router(self) -> APIRouter:
        """A router whose errors become pages."""
        return APIRouter(route_class=page_route(self.pages), include_in_schema=False)

    async def visitor(self, request: Request) -> Visitor:
        """Who asks. Raises Unauthenticated."""
        token = self.cookies.read(request)
        request_id = getattr(request.state, "request_id", "")
        visitor = await self.services.sessions.visitor(token, request_id, address_of(request)) if token else None
        if visitor is None:
            raise Unauthenticated
        request.state.visitor = visitor
        return visitor

    async def require(self, visitor: Visitor, action: Action, subject: str = "") -> None:
        """For what is refused before a service is asked. Raises Forbidden; the refused attempt is in the audit."""
        await self.services.audit.require(visitor.actor, action, subject)

    async def form(self, request: Request) -> tuple[Visitor, FormData]:
        """Who sends a form, and the form, checked to be of this session. Raises Unauthenticated, Forbidden."""
        visitor = await self.visitor(request)
        form = await request.form()
        check_form(form, visitor)
        return visitor, form

    async def shell(
        self, request: Request, visitor: Visitor, section: str = "", parts: Iterable[str] = (), whole: bool = False
    ) -> Shell:
        """The surroundings of a page that shows these live parts.

        whole: parts that ask a server are waited for, for browsers without script.
        """
        draw = self.parts.draw if whole else self.parts.first
        drawn = [await draw(visitor.actor, name) for name in (*_around(section), *parts)]
        return Shell(
            actor=visitor.actor,
            csrf=visitor.csrf,
            nonce=request.state.nonce,
            theme=visitor.person.theme,
            now=datetime.now(UTC),
            parts={part.name.partition(":")[0]: part for part in drawn},
        )

    async def page(
        self,
        request: Request,
        visitor: Visitor,
        page: Page,
        parts: Iterable[str] = (),
        status: int = 200,
        whole: bool = False,
    ) -> Response:
        """A page; for a dialog (`wants_block`), only its block `dialog`."""
        if wants_dialog(request):
            shell = Shell(visitor.actor, visitor.csrf, request.state.nonce)
            return self.pages.block(page, shell, "dialog", status)
        return self.pages.page(page, await self.shell(request, visitor, page.section, parts, whole), status)

    def json(self, value: Any) -> Response:
        return JSONResponse(value)

    def request_key(self) -> str:
        """What a form carries so that sending it twice asks once."""
        return secrets.token_urlsafe(16)


def _around(section: str) -> tuple[str, str]:
    return f"nav:{section}", f"bottom:{section}"


def wants_part(request: Request) -> bool:
    """Asked by htmx for a piece of a page."""
    return request.headers.get("hx-request") == "true"


def wants_dialog(request: Request) -> bool:
    return wants_part(request) and request.headers.get("hx-target", "").endswith("#dialog")


def see_other(request: Request, where: str) -> Response:
    """On to another page after a form; 303, so that a reload does not send the form again."""
    if wants_part(request):
        return Response(status_code=204, headers={"HX-Redirect": where})
    return RedirectResponse(where, 303)


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def agent_of(request: Request) -> str:
    return request.headers.get("user-agent", "")[:200]


def text_of(form: FormData, name: str, most: int = 8192) -> str:
    """A field as text without outer spaces; a file or a missing field is empty."""
    value = form.get(name, "")
    return value.strip()[:most] if isinstance(value, str) else ""


def texts_of(form: FormData, name: str) -> tuple[str, ...]:
    return tuple(value for value in form.getlist(name) if isinstance(value, str))


def here(request: Request) -> str:
    """The address of this page as a path, to come back to."""
    return links.safe_return(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
