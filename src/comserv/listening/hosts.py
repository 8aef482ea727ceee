"""The names that Comserv goes by, and what is said of them to browsers.

A page elsewhere may give its own name the address of this machine (DNS rebinding) and would then count as ours: so a
request is served only under a name that is known to be ours. A bare IP address is no such name, nobody else can have it.
"""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comserv.listening.certificates import Tls
from comserv.listening.place import is_loopback
from comserv.listening.refusal import refuse
from comserv.settings import Settings

HEALTH = "/api/v1/health"  # load balancers ask by address, or by no name at all
HSTS = "max-age=31536000"


class KnownHosts:
    """Serves requests that name Comserv, adds HSTS where it is HTTPS, and asks proxies to pass on what comes bit by bit.

    tls: where Comserv serves TLS itself, the names of its certificate are its own too. base: where people reach it.
    """

    def __init__(self, app: ASGIApp, settings: Settings, tls: Tls | None = None, base: str = "") -> None:
        self._app, self._tls, self._base = app, tls, base
        self._public = (urlsplit(settings.public_url).hostname or "").lower()
        self._host = settings.host.strip("[]").lower()
        self._machine = socket.gethostname().lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        named = Headers(scope=scope).getlist("host")
        name = host_name(named[0]) if len(named) == 1 else ""  # of two, a proxy may have read the other one
        if not self._is_ours(name) and scope["path"] != HEALTH:
            why = f"Comserv is not known as {name[:100] or 'nothing: the request names no host'}."
            cure = f"Open {self._base}" if self._public else f"Open {self._base}, or tell its name: COMSERV_PUBLIC_URL."
            await refuse(scope, receive, send, 421, why, cure)
            return
        lasting = scope["scheme"] == "https" and not is_loopback(name) and not _is_address(name)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if lasting:
                    headers.setdefault("strict-transport-security", HSTS)
                if "content-length" not in headers:
                    headers.setdefault("x-accel-buffering", "no")
            await send(message)

        await self._app(scope, receive, send_on)

    def _is_ours(self, name: str) -> bool:
        if not name:
            return False
        if name in (self._public, self._host) or is_loopback(name):
            return True
        if self._public:
            return False
        return _is_address(name) or name == self._machine or any(_covers(one, name) for one in self._certified)

    @property
    def _certified(self) -> tuple[str, ...]:
        return self._tls.certificate.names if self._tls else ()


def host_name(header: str) -> str:
    """The name of a Host header in small letters, without port; empty where it is none."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?", header.strip().lower())
    return found[1].strip("[]").rstrip(".") if found else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _covers(certified: str, name: str) -> bool:
    """`*.example.org` stands for one label."""
    return certified == name or (certified.startswith("*.") and certified[1:] == f".{name.partition('.')[2]}")
