"""Puts the pages together as one application: routes of every noun, static files, and the locks around them."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from comserv.services.services import Services
from comserv.web import (
    access,
    account,
    audit,
    bundles,
    create,
    events,
    find,
    guest,
    guests,
    jobs,
    overview,
    people,
    problems,
    server_add,
    server_doctor,
    server_load,
    server_maintenance,
    server_trust,
    servers,
)
from comserv.web.assets import Assets
from comserv.web.context import Web
from comserv.web.live import Parts
from comserv.web.pages import Pages
from comserv.web.security import BrowserSecurity
from comserv.web.session import Cookies

# What has a fixed word where another has a name comes first: /servers/new before /servers/{id}
NOUNS = (
    access, overview, bundles, create, guests, guest, jobs, server_add, server_doctor, server_load, server_maintenance,
    server_trust,
    servers,
    people, audit, account, find, events,
)  # fmt: skip


def application(
    services: Services,
    *,
    secure: bool = False,
    port: int | None = None,
    public_url: str = "",
    stopping: asyncio.Event | None = None,
) -> FastAPI:
    """All pages as one application, to be mounted at `/` after the API.

    secure: browsers come over HTTPS. port: where plain HTTP is served, so that two Comservs on one machine do not share a
    cookie. public_url: where a proxy stands before Comserv. stopping: set it when Comserv is to end, and every stream ends
    at once.
    """
    assets = Assets()
    pages = Pages(assets)
    parts = Parts(lambda error: pages.text("part/problem.html", problem=error.problem()))
    web = Web(services, pages, parts, Cookies(secure, port), stopping or asyncio.Event())
    app = FastAPI(title="Comserv", openapi_url=None, docs_url=None, redoc_url=None)
    for noun in NOUNS:
        app.include_router(noun.router(web))
    app.mount(assets.mount, assets.app(), name="static")
    app.add_middleware(BrowserSecurity, public_url=public_url)
    app.add_exception_handler(HTTPException, _plain(pages))
    app.add_exception_handler(RequestValidationError, _plain(pages))
    app.add_exception_handler(Exception, _plain(pages))
    return app


def _plain(pages: Pages) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A page for what the framework refuses by itself, and for a crash (which Starlette raises on, to be logged)."""

    async def handle(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return problems.respond_plainly(pages, request, 404 if isinstance(error, RequestValidationError) else status)

    return handle
