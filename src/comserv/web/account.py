"""One's own account: password, SSH keys, API tokens, sessions, and how the pages look."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fastapi import APIRouter, Request, Response

from comserv.domain.errors import ComservError, Conflict, Forbidden, Invalid, TooManyAttempts
from comserv.domain.person import Person, Role, at_most
from comserv.domain.session import OwnKey
from comserv.domain.sshkey import is_private
from comserv.services.passwords import LEAST
from comserv.services.people import ApiTokenView, SessionView
from comserv.services.sessions import Visitor
from comserv.web import links
from comserv.web.context import RowId, Web, see_other, text_of
from comserv.web.pages import Page
from comserv.web.people import read_role
from comserv.web.problems import faults, status_of

THEMES = ("", "light", "dark")


@dataclass(frozen=True)
class AccountPage(Page):
    """made: a token that was just made; it is shown this once. roles: those that a token may have. typed: a key that was refused."""

    template: ClassVar[str] = "account.html"
    section: ClassVar[str] = "Account"

    person: Person
    tokens: tuple[ApiTokenView, ...]
    sessions: tuple[SessionView, ...]
    keys: tuple[OwnKey, ...]
    roles: tuple[Role, ...]
    made: str = ""
    typed: str = ""
    faults: Mapping[str, str] = field(default_factory=dict)
    error: ComservError | None = None
    least: int = LEAST


def router(web: Web) -> APIRouter:
    routes = web.router()
    people = web.services.people

    async def page(
        request: Request, visitor: Visitor, made: str = "", error: ComservError | None = None, typed: str = ""
    ) -> Response:
        shown = AccountPage(
            person=visitor.person,
            tokens=await people.tokens(visitor.actor),
            sessions=await people.sessions(visitor.actor, web.cookies.read(request)),
            keys=await web.services.ssh_keys.list(visitor.actor),
            roles=tuple(role for role in Role if at_most(role, visitor.person.role)),
            made=made,
            typed=typed,
            faults=faults(error) if error else {},
            error=error,
        )
        return await web.page(request, visitor, shown, status=status_of(error) if error else 200)

    @routes.get("/account")
    async def show(request: Request) -> Response:
        return await page(request, await web.visitor(request))

    @routes.post("/account/password")
    async def password(request: Request) -> Response:
        visitor, form = await web.form(request)
        typed = {name: value if isinstance(value, str) else "" for name, value in form.items()}
        try:
            if typed.get("password") != typed.get("again"):
                raise Invalid(fields={"again": "The two passwords differ."})
            await people.own_password(
                visitor.actor, typed.get("current", ""), typed.get("password", ""), web.cookies.read(request)
            )
        except Invalid as error:
            return await page(request, visitor, error=error)
        except TooManyAttempts as error:
            response = await page(request, visitor, error=error)
            response.headers["retry-after"] = str(error.facts.get("retry_after", 1))
            return response
        return see_other(request, links.account())

    @routes.post("/account/theme")
    async def theme(request: Request) -> Response:
        visitor, form = await web.form(request)
        chosen = text_of(form, "theme")
        await people.set_theme(visitor.actor, chosen if chosen in THEMES else "")
        return see_other(request, links.account())

    @routes.post("/account/tokens")
    async def make_token(request: Request) -> Response:
        visitor, form = await web.form(request)
        try:
            role, days = read_role(text_of(form, "role")), read_days(text_of(form, "days"))
            made = await people.create_token(visitor.actor, text_of(form, "token_name", 255), role, days)
        except (Invalid, Forbidden) as error:
            return await page(request, visitor, error=error)
        return await page(request, visitor, made=made)

    @routes.post("/account/tokens/{token_id}/revoke")
    async def revoke_token(request: Request, token_id: RowId) -> Response:
        visitor, _ = await web.form(request)
        await people.revoke_token(visitor.actor, token_id)
        return see_other(request, links.account())

    @routes.post("/account/ssh-keys")
    async def add_key(request: Request) -> Response:
        visitor, form = await web.form(request)
        text = text_of(form, "key", 65536)
        try:
            await web.services.ssh_keys.add(visitor.actor, text)
        except (Invalid, Conflict) as error:
            typed = "" if is_private(text) else text
            shown = error if isinstance(error, Invalid) else Invalid(fields={"key": error.detail})
            return await page(request, visitor, error=shown, typed=typed)
        return see_other(request, links.account())

    @routes.post("/account/ssh-keys/{key_id}")
    async def offer_key(request: Request, key_id: RowId) -> Response:
        visitor, form = await web.form(request)
        await web.services.ssh_keys.change(visitor.actor, key_id, offered=text_of(form, "offered") == "yes")
        return see_other(request, links.account())

    @routes.post("/account/ssh-keys/{key_id}/remove")
    async def remove_key(request: Request, key_id: RowId) -> Response:
        visitor, _ = await web.form(request)
        await web.services.ssh_keys.remove(visitor.actor, key_id)
        return see_other(request, links.account())

    @routes.post("/account/sessions/others/revoke")
    async def revoke_others(request: Request) -> Response:
        visitor, _ = await web.form(request)
        await people.revoke_sessions(visitor.actor, web.cookies.read(request))
        return see_other(request, links.account())

    @routes.post("/account/sessions/{session_id}/revoke")
    async def revoke_session(request: Request, session_id: RowId) -> Response:
        visitor, _ = await web.form(request)
        await people.revoke_session(visitor.actor, session_id)
        return see_other(request, links.account())

    return routes


def read_days(text: str) -> int | None:
    """None where nothing was typed: it never expires. Raises Invalid: a slip must not make a token for good."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise Invalid(
            fields={"days": "Days are a whole number from 1 to 3650; leave it empty for a token that does not expire."}
        )
    return int(text)
