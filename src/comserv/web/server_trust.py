"""A server's certificates, its further addresses and its token: decided on pages of their own, each change once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fastapi import APIRouter, Request, Response

from comserv.domain.errors import ComservError, Conflict, FewerRights, Invalid
from comserv.domain.pastedtoken import PastedToken, read_form
from comserv.domain.person import Action
from comserv.domain.server import parse_fingerprint
from comserv.domain.trust import CertificateReview, Offers
from comserv.services.servers import ServerView
from comserv.services.servertoken import TokenLines, TokenReplaced
from comserv.web import links
from comserv.web.context import Web, see_other, text_of, texts_of
from comserv.web.pages import Page
from comserv.web.problems import faults, status_of
from comserv.web.server_add import PASTED


@dataclass(frozen=True)
class CertificatePage(Page):
    """What every address shows now, beside what was agreed."""

    template: ClassVar[str] = "server-certificate.html"
    section: ClassVar[str] = "Servers"

    view: ServerView
    review: CertificateReview
    error: ComservError | None = None


@dataclass(frozen=True)
class AddressesPage(Page):
    template: ClassVar[str] = "server-addresses.html"
    section: ClassVar[str] = "Servers"

    view: ServerView
    offers: Offers
    error: ComservError | None = None


@dataclass(frozen=True)
class TokenPage(Page):
    """token_id: as it stands in the form. done: it was replaced. fewer: it may do less, and is asked about."""

    template: ClassVar[str] = "server-token.html"
    section: ClassVar[str] = "Servers"

    view: ServerView
    lines: TokenLines
    token_id: str
    faults: Mapping[str, str] = field(default_factory=dict)
    error: ComservError | None = None
    done: TokenReplaced | None = None
    found: PastedToken = field(default_factory=PastedToken)
    progress: None = None
    fewer: bool = False


def router(web: Web) -> APIRouter:
    routes = web.router()
    _certificate(web, routes)
    _addresses(web, routes)
    _token(web, routes)
    return routes


def _certificate(web: Web, routes: APIRouter) -> None:
    servers, addresses = web.services.servers, web.services.server_addresses

    async def page(request: Request, server_id: str, error: ComservError | None = None) -> Response:
        visitor = await web.visitor(request)
        review = await addresses.certificates(visitor.actor, server_id)
        view = await servers.get(visitor.actor, server_id)
        status = status_of(error) if error else 200
        return await web.page(request, visitor, CertificatePage(view, review, error), status=status)

    @routes.get("/servers/{server_id}/certificate")
    async def ask_certificate(request: Request, server_id: str) -> Response:
        return await page(request, server_id)

    @routes.post("/servers/{server_id}/certificate")
    async def accept_certificate(request: Request, server_id: str) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.MANAGE_SERVERS, f"server {server_id}")
        try:
            await addresses.accept(visitor.actor, server_id, _pins(texts_of(form, "accept")))
        except (Conflict, Invalid) as error:
            return await page(request, server_id, error)
        return see_other(request, links.server(server_id))


def _addresses(web: Web, routes: APIRouter) -> None:
    servers, addresses = web.services.servers, web.services.server_addresses

    async def page(request: Request, server_id: str, error: ComservError | None = None) -> Response:
        visitor = await web.visitor(request)
        offers = await addresses.offers(visitor.actor, server_id)
        view = await servers.get(visitor.actor, server_id)
        status = status_of(error) if error else 200
        return await web.page(request, visitor, AddressesPage(view, offers, error), status=status)

    @routes.get("/servers/{server_id}/addresses")
    async def ask_addresses(request: Request, server_id: str) -> Response:
        return await page(request, server_id)

    @routes.post("/servers/{server_id}/addresses")
    async def take_addresses(request: Request, server_id: str) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.MANAGE_SERVERS, f"server {server_id}")
        try:
            await addresses.take(visitor.actor, server_id, _pins(texts_of(form, "take")))
        except (Conflict, Invalid) as error:
            return await page(request, server_id, error)
        return see_other(request, links.server(server_id, "addresses"))

    @routes.post("/servers/{server_id}/ca")
    async def trust_ca(request: Request, server_id: str) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.MANAGE_SERVERS, f"server {server_id}")
        try:
            await addresses.trust_ca(visitor.actor, server_id, parse_fingerprint(text_of(form, "fingerprint", 200)))
        except (Conflict, Invalid) as error:
            return await page(request, server_id, error)
        return see_other(request, links.server(server_id, "addresses"))


def _token(web: Web, routes: APIRouter) -> None:
    servers, token = web.services.servers, web.services.server_token

    @routes.get("/servers/{server_id}/token")
    async def ask_token(request: Request, server_id: str) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.MANAGE_SERVERS)
        view, lines = await servers.get(visitor.actor, server_id), await token.next_lines(visitor.actor, server_id)
        return await web.page(request, visitor, TokenPage(view, lines, str(lines.token_id)))

    @routes.post("/servers/{server_id}/token")
    async def replace_token(request: Request, server_id: str) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.MANAGE_SERVERS, f"server {server_id}")
        lines = await token.next_lines(visitor.actor, server_id)
        given, fewer = text_of(form, "token_id", PASTED), text_of(form, "fewer") == "1"
        try:
            token_id, value = read_form(text_of(form, "pasted", PASTED), given, text_of(form, "token_secret", PASTED))
            given = str(token_id)
            done = await token.replace(visitor.actor, server_id, token_id, value, fewer_rights=fewer)
        except (Conflict, Invalid) as error:
            view = await servers.get(visitor.actor, server_id)
            told = faults(error) if isinstance(error, Invalid) else {}
            page = TokenPage(view, lines, given, told, error, fewer=isinstance(error, FewerRights))
            return await web.page(request, visitor, page, status=status_of(error))
        return await web.page(request, visitor, TokenPage(done.view, lines, given, done=done))


def _pins(texts: tuple[str, ...]) -> dict[str, str]:
    """From values `https://pve2:8006 AA:BB:…` of ticks."""
    pairs = (text.partition(" ") for text in texts)
    return {address: parse_fingerprint(pin) for address, _, pin in pairs}
