"""Coming in and going out: sign-in, the one-time link of set-up, links that sign in until they expire, sign-out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from comserv.domain.errors import ComservError, Conflict, Invalid, NotFound, TooManyAttempts, Unauthenticated
from comserv.services.passwords import LEAST
from comserv.services.sessions import SignedIn
from comserv.web import links
from comserv.web.context import Web, address_of, agent_of, see_other, text_of
from comserv.web.pages import Page, Shell
from comserv.web.problems import faults, status_of

MOST_PASSWORD = 1024


@dataclass(frozen=True)
class SignInPage(Page):
    """set_up: whether a person exists; before that there is nobody to sign in as."""

    template: ClassVar[str] = "sign-in.html"

    host: str
    then: str = "/"
    name: str = ""
    set_up: bool = True
    error: ComservError | None = None


@dataclass(frozen=True)
class SetUpPage(Page):
    template: ClassVar[str] = "set-up.html"

    token: str
    name: str = ""
    least: int = LEAST
    faults: Mapping[str, str] = field(default_factory=dict)
    error: ComservError | None = None


def router(web: Web) -> APIRouter:
    routes = web.router()
    sessions = web.services.sessions

    def door(request: Request, page: Page, status: int = 200) -> Response:
        return web.pages.page(page, Shell(nonce=request.state.nonce), status)

    def entered(request: Request, signed_in: SignedIn, then: str) -> Response:
        return web.cookies.give(see_other(request, links.safe_return(then)), signed_in)

    @routes.get("/sign-in")
    async def show(request: Request) -> Response:
        then = links.safe_return(request.query_params.get("then", "/"))
        token = web.cookies.read(request)
        if token and await sessions.visitor(token):
            return RedirectResponse(then, 303)
        return door(request, SignInPage(request.url.hostname or "", then, set_up=await sessions.set_up()))

    @routes.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        form = await request.form()
        name, then = text_of(form, "user", 255), links.safe_return(text_of(form, "then") or "/")
        try:
            signed_in = await sessions.sign_in(
                name,
                _password(form.get("password")),
                address_of(request),
                agent_of(request),
                web.cookies.read(request),
            )
        except (Unauthenticated, TooManyAttempts) as error:
            page = SignInPage(request.url.hostname or "", then, name, error=error)
            response = door(request, page, status_of(error))
            if isinstance(error, TooManyAttempts):
                response.headers["retry-after"] = str(error.facts.get("retry_after", 1))
            return response
        return entered(request, signed_in, then)

    @routes.get("/sign-in/link/{token}")
    async def enter(request: Request, token: str) -> Response:
        """A link that signs in as often as it is opened, until it expires or the person's sessions are ended."""
        known = web.cookies.read(request)
        if known and await sessions.visitor(known):
            return RedirectResponse(links.overview(), 303)
        try:
            signed_in = await sessions.sign_in_by_link(token, address_of(request), agent_of(request))
        except Unauthenticated as error:
            page = SignInPage(request.url.hostname or "", error=error)
            return door(request, page, 401)
        return entered(request, signed_in, links.overview())

    @routes.get("/set-up/{token}")
    async def show_set_up(request: Request, token: str) -> Response:
        if await sessions.set_up():
            return RedirectResponse(links.sign_in(), 303)
        if not await sessions.check_setup_link(token):
            raise NotFound(
                "It was used, it is older than an hour, or a newer one was made.",
                noun="set-up link",
                name="like this",
                cure="Run `comserv setup-link` on the machine where Comserv runs; it prints a fresh one.",
            )
        return door(request, SetUpPage(token))

    @routes.post("/set-up/{token}")
    async def set_up(request: Request, token: str) -> Response:
        form = await request.form()
        name, password, again = (
            text_of(form, "user", 255),
            _password(form.get("password")),
            _password(form.get("again")),
        )
        try:
            if password != again:
                raise Invalid(fields={"again": "The two passwords differ."})
            signed_in = await sessions.use_setup_link(token, name, password, address_of(request), agent_of(request))
        except (Invalid, Conflict) as error:
            return door(request, SetUpPage(token, name, faults=faults(error), error=error), status_of(error))
        return entered(request, signed_in, links.overview())

    @routes.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        await web.form(request)
        await sessions.sign_out(web.cookies.read(request))
        return web.cookies.take(see_other(request, links.sign_in()))

    return routes


def _password(value: object) -> str:
    """As it was typed; outer spaces may belong to it."""
    return value[:MOST_PASSWORD] if isinstance(value, str) else ""
