"""What becomes of a request: control, page or API; authentication, fault rules, and the decoding of parameters."""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
from typing import TYPE_CHECKING, Any

from pve_simulator import control
from pve_simulator.authentication import Unauthenticated, cookie_value, is_upload
from pve_simulator.dispatch import Request, dispatch
from pve_simulator.errors import ApiError
from pve_simulator.faults import Rule
from pve_simulator.parameters import decoding, multipart
from pve_simulator.replies import JSON, Reply, empty, failure, text

if TYPE_CHECKING:
    from pve_simulator.http import Connection, Head
    from pve_simulator.server import Server

FORMATS = ("json", "extjs", "html", "png")
DELAY_401 = 3.0


async def answer(connection: Connection, head: Head) -> Reply | None:
    """The reply; None where the connection just ends. Every request but those of control is remembered."""
    server = connection.server
    if head.method != "GET":
        server.observe()
    if head.path.startswith("/_sim/"):
        return await control.answer(connection, head)
    began = time.perf_counter()
    who: list[str] = []
    reply = await _with_faults(connection, head, who)
    if head.method != "GET":
        server.changed()
    server.note(head.method, head.path, head.query, who[0] if who else "", reply.status if reply else -1, began)
    return reply


async def _with_faults(connection: Connection, head: Head, who: list[str]) -> Reply | None:
    server = connection.server
    node = node_of(head.path)
    if await dead(connection):
        return None
    if server.faults.standing("server_down", head.method, head.path, node):
        return None
    if server.faults.standing("certificate_renewed", head.method, head.path, node):
        server.renew_certificate(connection.proxy)
    if lost_cookie(head, server, node):
        return None
    rules = server.faults.strike(head.method, head.path, node)
    for rule in rules:
        if rule.effect == "delay":
            await server.clock.sleep(seconds(rule))
        elif rule.effect == "drop_before":
            return None
        elif not carried_out(rule):
            return await _replaced(connection, rule)
    reply = await _answer(connection, head, rules, who)
    if await dead(connection):
        return None
    for rule in rules:
        if rule.effect in ("hang", "status", "garbage", "drop_after"):
            return await _replaced(connection, rule)
    return reply


async def dead(connection: Connection) -> bool:
    """Whether the node of an address of its own is down: then nobody is there who would answer."""
    node, server = connection.proxy.node, connection.server
    if node is None or not server.node_down(node):
        return False
    if server.faults.silent(node):
        await connection.silence()
    return True


def lost_cookie(head: Head, server: Server, node: str | None) -> bool:
    """Whether a write with a cookie ends without a reply and without effect, as a real server's TLS lost some."""
    if (
        not server.faults.rules
        or head.method not in ("POST", "PUT")
        or not cookie_value(head.headers.get("cookie", ""))
    ):
        return False
    return server.faults.standing("cookie_post_lost", head.method, head.path, node) is not None


def seconds(rule: Rule) -> float:
    """How long a delay lasts, in seconds of the real server."""
    return float(rule.values.get("seconds", rule.values.get("delay", 5)))


def carried_out(rule: Rule) -> bool:
    """Whether the request is carried out before the effect."""
    default = rule.effect not in ("hang", "status")
    return bool(rule.values.get("carried_out", default))


async def _replaced(connection: Connection, rule: Rule) -> Reply | None:
    if rule.effect == "hang":
        await connection.silence()
        return None
    if rule.effect == "drop_after":
        return None
    if rule.effect == "garbage":
        return Reply(200, "OK", b'{"data":[{"vmid":1\x00\xff\xfe<html>', JSON)
    status, told = int(rule.values.get("status", 500)), str(rule.values.get("text", "simulated failure"))
    if status == 401 or status >= 595:
        return empty(status, told)
    return failure(ApiError(status, told))


def node_of(path: str) -> str | None:
    """The node that a path names."""
    found = re.search(r"/nodes/([^/]+)", path)
    return found[1] if found else None


async def _answer(connection: Connection, head: Head, rules: list[Rule], who: list[str]) -> Reply | None:
    path = re.sub(r"/+", "/", head.path)
    if path in ("/api2", "/api2/"):
        return text(501, "no such uri")
    if not path.startswith("/api2/"):
        return page(connection, path)
    form, _, rest = path.removeprefix("/api2/").partition("/")
    uri = "/" + rest.rstrip("/")
    server, began = connection.server, asyncio.get_running_loop().time()
    try:
        identity = server.authentication.identify(
            head.method,
            uri,
            head.headers.get("cookie", ""),
            head.headers.get("authorization", ""),
            head.headers.get("csrfpreventiontoken", ""),
        )
    except Unauthenticated as refusal:
        await until(began + server.clock.scaled(DELAY_401))
        return (
            Reply(301, "Moved", headers=[("Location", "/api2/html/access/ticket")])
            if form == "html"
            else empty(401, str(refusal))
        )
    who.append(identity.user)
    request = Request(head.method, uri, form, identity, {}, connection.node, rules=rules, headers=head.headers)
    refusal = await read_parameters(connection, head, request)
    if refusal is not None:
        return refusal
    if form not in FORMATS:
        where = f"{uri}, {form}" if rest else f"/, {form}"
        return text(501, f"no formatter for uri {where}")
    reply = await dispatch(server, request)
    if reply is None:
        return None
    if reply.status == 401:
        await until(began + server.clock.scaled(DELAY_401))
    return shown(reply, form)


async def until(moment: float) -> None:
    """Waits for a moment of the event loop's clock."""
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))


async def read_parameters(connection: Connection, head: Head, request: Request) -> Reply | None:
    """Decodes query and body into `request.values`; a reply where that is refused."""
    length = int(head.headers.get("content-length") or 0) if head.headers.get("content-length", "0").isdigit() else 0
    values: dict[str, Any] = {}
    if length:
        if head.method not in ("POST", "PUT"):
            return text(501, f"Unexpected content for method '{head.method}'")
        if head.method == "POST" and is_upload(request.path):
            return await multipart.upload(connection, head, request)
        kind = head.headers.get("content-type", "")
        body = await connection.body(head)
        essence = kind.partition(";")[0].strip()
        if essence == "application/json":
            try:
                values = decoding.json_object(body)
            except decoding.UndecodableBody as fault:
                return text_line(500, str(fault))
        elif essence in ("", "application/x-www-form-urlencoded"):
            values = decoding.form(body.decode("utf-8", "replace"))
        else:
            return text(506, f"upload 'Content-Type '{kind}' not implemented")
    values |= decoding.form(head.query)  # the query wins
    values.pop("_dc", None)
    request.values = values
    return None


def text_line(status: int, message: str) -> Reply:
    """A refusal of the HTTP layer whose body ends in a newline, as Perl's `die` makes it."""
    reply = text(status, message)
    reply.body = (message + "\n").encode()
    return reply


def page(connection: Connection, path: str) -> Reply:
    """What is no API: the start page, and files that are not there."""
    if path == "/":
        node = connection.node
        title = f"<title>{html.escape(node)} - Proxmox Virtual Environment</title>"
        return Reply(200, "OK", f"<!DOCTYPE html><html><head>{title}</head></html>".encode(), "text/html;charset=UTF-8")
    return text_line(500, f"no such file '{path}'")


def shown(reply: Reply, form: str) -> Reply:
    """A reply in the formats html and png; the others are there already."""
    if form == "png" and reply.status == 200:
        return Reply(200, "OK", None, "image/png")
    if form == "html" and reply.body is not None:
        told = html.escape(json.dumps(json.loads(reply.body), indent=2))
        document = (
            f"<!DOCTYPE html>\n<html><head><title>Proxmox VE API</title></head><body><pre>{told}</pre></body></html>"
        )
        return Reply(reply.status, reply.reason, document.encode(), "text/html;charset=UTF-8")
    return reply
