"""Puts the pages into an application: routes of every noun, static files, and the locks around them."""

import asyncio

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from comserv.services.services import Services
from comserv.web import (
    access,
    account,
    audit,
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
    servers,
)
from comserv.web.assets import Assets
from comserv.web.context import Web
from comserv.web.live import Parts
from comserv.web.pages import Pages
from comserv.web.security import BrowserSecurity
from comserv.web.session import Cookies

# What has a fixed word where another has a name comes first: /servers/new before /servers/{id}
NOUNS = (access, overview, create, guests, guest, jobs, server_add, servers, people, audit, account, find, events)


def mount(
    app: FastAPI,
    services: Services,
    *,
    secure: bool = False,
    port: int | None = None,
    public_url: str = "",
    stopping: asyncio.Event | None = None,
) -> Web:
    """Adds every page to the application.

    secure: browsers come over HTTPS. port: where plain HTTP is served, so that two Comservs on one machine do not share a
    cookie. stopping: set it when Comserv is to end, and every stream ends at once.
    """
    assets = Assets()
    pages = Pages(assets)
    parts = Parts(lambda error: pages.text("part/problem.html", problem=error.problem()))
    web = Web(services, pages, parts, Cookies(secure, port), stopping or asyncio.Event())
    for noun in NOUNS:
        app.include_router(noun.router(web))
    app.mount(assets.mount, assets.app(), name="static")
    app.add_middleware(BrowserSecurity, public_url=public_url)
    return web


def framework_refusal(web: Web, request: Request, error: HTTPException) -> Response:
    """The page for what the framework itself refuses (404, 405) outside the API."""
    return problems.respond_plainly(web.pages, request, error.status_code)


def crash(web: Web, request: Request) -> Response:
    """The page for an error that is nobody's fault but ours; the process's edge has logged it."""
    return problems.respond_plainly(web.pages, request, 500)
