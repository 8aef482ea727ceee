"""Adding a server in three short steps: look at the address, accept the certificate, give the token; then the test runs.

What earlier steps found travels in the form, so that nothing half made is kept; the token's value is only ever sent to us.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData

from comserv.domain.connection import CertificateSeen
from comserv.domain.errors import ComservError, Invalid
from comserv.domain.pastedtoken import PastedToken, read_form, read_pasted, read_token
from comserv.domain.person import Action
from comserv.domain.server import (
    Tls,
    TlsMode,
    TokenId,
    parse_address,
    parse_server_id,
)
from comserv.services.servers import NewServer
from comserv.web import links, testing
from comserv.web.context import Web, see_other, text_of, wants_part
from comserv.web.pages import Page
from comserv.web.problems import faults, status_of
from comserv.web.servers import tls_of

ValueT = TypeVar("ValueT")
USER, TOKEN = "comserv@pve", "manager"
CARRIED = ("address", "tls_mode", "fingerprint", "ca_pem")
ASKED = ("id", "name", "default_node", "token_id")
PASTED = 8192


@dataclass(frozen=True)
class AddPage(Page):
    """step: 1 look, 2 token, 3 test. values: what is known so far. lines: pveum lines by Proxmox's version."""

    template: ClassVar[str] = "server-add.html"
    section: ClassVar[str] = "Servers"

    step: int
    values: Mapping[str, str]
    seen: CertificateSeen | None = None
    lines: Mapping[str, str] = field(default_factory=dict)
    progress: testing.Progress | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    error: ComservError | None = None
    found: PastedToken = field(default_factory=PastedToken)


def router(web: Web) -> APIRouter:
    routes = web.router()
    servers = web.services.servers

    def lines() -> dict[str, str]:
        return {version: servers.pveum_lines(version, USER, TOKEN) for version in ("9", "8.4")}

    @routes.get("/servers/new")
    async def show(request: Request) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.MANAGE_SERVERS)
        address = request.query_params.get("address", "")
        return await web.page(request, visitor, AddPage(1, {"address": address[:255]}))

    @routes.post("/servers/new/look")
    async def look(request: Request) -> Response:
        visitor, form = await web.form(request)
        values = {"address": text_of(form, "address", 255)}
        try:
            values["address"] = parse_address(values["address"])
            seen = await servers.look(visitor.actor, values["address"])
        except ComservError as error:
            page = AddPage(1, values, faults=_by_field(error), error=error)
            return await web.page(request, visitor, page, status=status_of(error))
        return await web.page(request, visitor, AddPage(1, values, seen))

    @routes.post("/servers/new/token")
    async def token(request: Request) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.MANAGE_SERVERS, "servers")
        values = _carried(form)
        try:
            _tls(values)
        except Invalid as error:
            return await web.page(request, visitor, AddPage(1, values, faults=faults(error), error=error), status=422)
        name = suggested_id(values["address"])
        asked = {"id": name, "name": name, "default_node": "", "token_id": f"{USER}!{TOKEN}"}
        return await web.page(request, visitor, AddPage(2, {**values, **asked}, lines=lines()))

    @routes.post("/servers/new/read")
    async def read(request: Request) -> Response:
        """What was pasted, as it is understood: the two fields below it, without the value."""
        visitor, form = await web.form(request)
        await web.require(visitor, Action.MANAGE_SERVERS, "servers")
        return understood(web, form)

    @routes.post("/servers/new/test")
    async def test(request: Request) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.MANAGE_SERVERS, "servers")
        values = {**_carried(form), **{name: text_of(form, name) for name in ASKED}}
        try:
            new = new_server(values, text_of(form, "token_secret"), text_of(form, "pasted", PASTED))
        except Invalid as error:
            if wants_part(request):
                return Response(testing.failure(web.pages, error), 422, media_type="text/html")
            page = AddPage(2, values, lines=lines(), faults=faults(error), error=error)
            return await web.page(request, visitor, page, status=422)

        async def add(progress: testing.Progress) -> str:
            if not progress.keepable:
                return web.pages.text("part/add-outcome.html", view=None, progress=progress)
            view = await servers.add(visitor.actor, new)
            return web.pages.text("part/add-outcome.html", view=view, progress=progress)

        if wants_part(request):
            return testing.stream(web.pages, servers.test_new(visitor.actor, new), add)
        last = await testing.whole(servers.test_new(visitor.actor, new))
        if not last.keepable:
            return await web.page(request, visitor, AddPage(2, values, lines=lines(), progress=last), status=422)
        await servers.add(visitor.actor, new)
        return see_other(request, links.server(new.id))

    return routes


def understood(web: Web, form: FormData) -> Response:
    """The token's two fields as what was pasted fills them, and a sentence on it; the value is never sent back."""
    pasted, faults = text_of(form, "pasted", PASTED), dict[str, str]()
    token_id, found = text_of(form, "token_id", PASTED), PastedToken()
    try:
        found = read_pasted(pasted)
        if pasted and not found.words:
            read_token(pasted)
    except Invalid as error:
        faults = error.fields
    shown = str(found.token_id or token_id)
    html = web.pages.text("part/token-fields.html", token_id=shown, found=found, faults=faults)
    return Response(html, media_type="text/html")


def _carried(form: FormData) -> dict[str, str]:
    return {name: text_of(form, name, 65536) for name in CARRIED}


def _by_field(error: ComservError) -> dict[str, str]:
    """The form has one field for what the server's value calls addresses."""
    return {("address" if name == "addresses" else name): text for name, text in faults(error).items()}


def _tls(values: Mapping[str, str]):
    pins = f"{values['address']} {values['fingerprint']}" if values["tls_mode"] == TlsMode.FINGERPRINT else ""
    return tls_of(values["tls_mode"], values["ca_pem"], pins)


def new_server(values: Mapping[str, str], secret: str, pasted: str = "") -> NewServer:
    """pasted: what pveum printed, which goes before the two fields. Raises Invalid with all faults at once."""
    found: dict[str, str] = {}

    def read(parse: Callable[[str], ValueT], text: str, otherwise: ValueT) -> ValueT:
        try:
            return parse(text)
        except Invalid as error:
            found.update(error.fields)
            return otherwise

    server_id = read(parse_server_id, values["id"], "")
    if server_id == "new":
        found["id"] = "new is a word of the pages’ own addresses; take another one"
    token_id, value = read(lambda _: read_form(pasted, values["token_id"], secret), "", (TokenId("", "", ""), ""))
    new = NewServer(
        id=server_id,
        name=values["name"] or server_id,
        addresses=(read(parse_address, values["address"], ""),),
        token_id=token_id,
        token_secret=value,
        tls=read(lambda _: _tls(values), "", Tls()),
        default_node=values["default_node"],
    )
    if found:
        raise Invalid(fields=found)
    return new


def suggested_id(address: str) -> str:
    """The first label of the host name, else its digits with hyphens: `https://edge-brn.example.net:8006` → `edge-brn`."""
    host = re.sub(r"^https://|:\d+$", "", address.lower())
    label = host if re.fullmatch(r"[\d.:\[\]]+", host) else host.partition(".")[0]
    return re.sub(r"[^a-z0-9]+", "-", label).strip("-")[:32].strip("-") or "server"
