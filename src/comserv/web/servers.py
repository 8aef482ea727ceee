"""Servers: the list, a server's page with its last test and health, and what an admin does to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from comserv.domain.errors import ComservError, Invalid
from comserv.domain.person import Action, Actor
from comserv.domain.picture import Storage
from comserv.domain.server import Tls, TlsMode, parse_address, parse_addresses, parse_fingerprint
from comserv.services.live import Notice
from comserv.services.servers import ServerEdit, ServerView
from comserv.web import links, testing
from comserv.web.context import Web, see_other, text_of, wants_part
from comserv.web.live import PartKind
from comserv.web.pages import Page
from comserv.web.problems import faults, status_of


@dataclass(frozen=True)
class ServersPage(Page):
    template: ClassVar[str] = "servers.html"
    section: ClassVar[str] = "Servers"

    first_visit: bool


@dataclass(frozen=True)
class ServerPage(Page):
    template: ClassVar[str] = "server.html"
    section: ClassVar[str] = "Servers"

    view: ServerView
    may_manage: bool


@dataclass(frozen=True)
class ServerEditPage(Page):
    """values: as they stand in the form. lines: the pveum lines that make a new token."""

    template: ClassVar[str] = "server-edit.html"
    section: ClassVar[str] = "Servers"

    view: ServerView
    values: Mapping[str, str]
    faults: Mapping[str, str] = field(default_factory=dict)
    error: ComservError | None = None


@dataclass(frozen=True)
class ServerRemovePage(Page):
    template: ClassVar[str] = "server-remove.html"
    section: ClassVar[str] = "Servers"

    view: ServerView


def router(web: Web) -> APIRouter:
    routes = web.router()
    servers = web.services.servers
    _register_parts(web)

    @routes.get("/servers")
    async def show_all(request: Request) -> Response:
        visitor = await web.visitor(request)
        none = not await servers.list(visitor.actor)
        return await web.page(request, visitor, ServersPage(none), () if none else ("servers",))

    @routes.get("/servers/{server_id}")
    async def show(request: Request, server_id: str) -> Response:
        visitor = await web.visitor(request)
        view = await servers.get(visitor.actor, server_id)
        page = ServerPage(view, visitor.actor.may(Action.MANAGE_SERVERS))
        return await web.page(
            request,
            visitor,
            page,
            (
                f"server-head:{server_id}",
                f"server:{server_id}",
                f"server-doctor:{server_id}",
                f"server-load:{server_id}",
            ),
        )

    @routes.post("/servers/{server_id}/test")
    async def test(request: Request, server_id: str) -> Response:
        visitor, _ = await web.form(request)
        await web.require(visitor, Action.TEST_SERVER, f"server {server_id}")
        stages = servers.test(visitor.actor, server_id)
        if wants_part(request):
            return testing.stream(web.pages, stages, _say_outcome)
        await testing.whole(stages)
        return see_other(request, links.server(server_id))

    @routes.get("/servers/{server_id}/edit")
    async def ask_edit(request: Request, server_id: str) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.MANAGE_SERVERS)
        view = await servers.get(visitor.actor, server_id)
        return await web.page(request, visitor, ServerEditPage(view, values_of(view)))

    @routes.post("/servers/{server_id}/edit")
    async def edit(request: Request, server_id: str) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.MANAGE_SERVERS, f"server {server_id}")
        view = await servers.get(visitor.actor, server_id)
        values = {name: text_of(form, name, 65536) for name in values_of(view)}
        try:
            wish = edit_of(view, values)
            await servers.edit(visitor.actor, server_id, wish)
        except Invalid as error:
            page = ServerEditPage(view, values, faults(error), error)
            return await web.page(request, visitor, page, status=status_of(error))
        return see_other(request, links.server(server_id))

    @routes.get("/servers/{server_id}/remove")
    async def ask_remove(request: Request, server_id: str) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.MANAGE_SERVERS)
        return await web.page(request, visitor, ServerRemovePage(await servers.get(visitor.actor, server_id)))

    @routes.post("/servers/{server_id}/remove")
    async def remove(request: Request, server_id: str) -> Response:
        visitor, _ = await web.form(request)
        await servers.remove(visitor.actor, server_id)
        return see_other(request, links.servers())

    return routes


def _register_parts(web: Web) -> None:
    servers, text = web.services.servers, web.pages.text

    async def rows(actor: Actor, key: str) -> str:
        return text("part/servers-rows.html", views=await servers.list(actor))

    async def head(actor: Actor, key: str) -> str:
        view = await servers.get(actor, key)
        return text("part/server-head.html", view=view, may_manage=actor.may(Action.MANAGE_SERVERS))

    async def body(actor: Actor, key: str) -> str:
        view = await servers.get(actor, key)
        return text(
            "part/server.html",
            view=view,
            progress=_last(view),
            storages=each_once(view.picture.storages),
            may_manage=actor.may(Action.MANAGE_SERVERS),
        )

    web.parts.register(PartKind("servers", rows, _of_servers, swap="rows"))
    web.parts.register(PartKind("server-head", head, _of_server))
    web.parts.register(PartKind("server", body, _of_server))


def _last(view: ServerView) -> testing.Progress | None:
    return testing.Progress(view.last_test.stages, done=True) if view.last_test else None


def each_once(storages: tuple[Storage, ...]) -> tuple[Storage, ...]:
    """A shared storage is seen from every node, and stands once."""
    found: dict[tuple[str, str], Storage] = {}
    for storage in storages:
        found.setdefault((storage.name, "" if storage.shared else storage.node), storage)
    return tuple(found.values())


def _of_servers(key: str, notice: Notice) -> bool:
    return notice.topic in ("server", "guests")


def _of_server(key: str, notice: Notice) -> bool:
    return notice.topic in ("server", "guests") and notice.key in ("", key)


async def _say_outcome(progress: testing.Progress) -> str:
    return Markup("")


def values_of(view: ServerView) -> dict[str, str]:
    """What the edit form begins with."""
    server = view.server
    return {
        "name": server.name,
        "addresses": "\n".join(server.addresses),
        "default_node": server.default_node,
        "tls_mode": str(server.tls.mode),
        "ca_pem": server.tls.ca_pem,
        "fingerprints": "\n".join(f"{address} {pin}" for address, pin in server.tls.fingerprints.items()),
    }


def edit_of(view: ServerView, values: Mapping[str, str]) -> ServerEdit:
    """Only what differs from what is there. Raises Invalid, each slip in words."""
    server, wish = view.server, dict[str, Any]()
    addresses = parse_addresses(values["addresses"])
    if not addresses:
        raise Invalid(fields={"addresses": "At least one address is needed."})
    if values["name"] != server.name:
        wish["name"] = values["name"]
    if addresses != server.addresses:
        wish["addresses"] = addresses
    if values["default_node"] != server.default_node:
        wish["default_node"] = values["default_node"]
    tls = tls_of(values["tls_mode"], values["ca_pem"], values["fingerprints"])
    if tls != server.tls:
        wish["tls"] = tls
    if not wish:
        raise Invalid("Nothing is different from what is there.")
    return ServerEdit(**wish)


def tls_of(mode: str, ca_pem: str, fingerprints: str) -> Tls:
    """fingerprints: lines of address and fingerprint. Raises Invalid."""
    if mode == TlsMode.CA:
        if "BEGIN CERTIFICATE" not in ca_pem:
            raise Invalid(fields={"tls.ca_pem": "A CA begins with -----BEGIN CERTIFICATE-----."})
        return Tls(TlsMode.CA, ca_pem=ca_pem)
    if mode == TlsMode.FINGERPRINT:
        pins = {}
        for line in filter(None, map(str.strip, fingerprints.splitlines())):
            address, _, pin = line.partition(" ")
            pins[parse_address(address)] = parse_fingerprint(pin)
        if not pins:
            raise Invalid(fields={"tls.fingerprint": "A fingerprint is needed, one line for each address."})
        return Tls(TlsMode.FINGERPRINT, fingerprints=pins)
    return Tls()
