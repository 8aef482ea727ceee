"""Behind a proxy that ends TLS: who is served at all, and whose word about the client is taken.

`X-Forwarded-For`, `-Proto` and `-Host` count only where the peer is one of the proxies; of the hops the right-most that
is none of them is the client, for everything left of it may be made up.
"""

import ipaddress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from comserv.listening.refusal import refuse
from comserv.settings import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def behind_proxy(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application as the proxy reaches it; itself where there is none."""
    return Proxied(app, settings) if settings.behind_proxy else app


class Proxied:
    """Refuses every peer but the proxies and this machine: they would be served in the clear. Then takes the proxy's word."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._networks, self._public = app, settings.proxies, settings.public_url.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        peer = address_of(scope)
        if peer is None or not (peer.is_loopback or self._is_proxy(peer)):
            why = "Comserv is reached through its proxy only."
            await refuse(scope, receive, send, 403, why, f"Open {self._public}")
            return
        scope = {**scope, "client": (str(peer), scope["client"][1])}
        if self._is_proxy(peer):
            scope = self._forwarded(scope, peer)
            if scope["scheme"] in ("http", "ws") and scope["path"] != "/api/v1/health":
                why = "The proxy says that this came by plain HTTP (X-Forwarded-Proto), so it is not served."
                await refuse(scope, receive, send, 403, why, f"Open {self._public}, and let the proxy lead there.")
                return
        await self._app(scope, receive, send)

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _forwarded(self, scope: Scope, peer: Address) -> Scope:
        """As the browser sent it. A proxy that says nothing of the scheme speaks for the public URL, which is https."""
        headers = Headers(scope=scope)
        plain = _last(headers, "x-forwarded-proto").lower() in ("http", "ws")
        secure, open_ = ("wss", "ws") if scope["type"] == "websocket" else ("https", "http")
        found: dict[str, Any] = {**scope, "scheme": open_ if plain else secure}
        client = self._client(headers, peer)
        if client != peer:
            found["client"] = (str(client), 0)
        if host := _last(headers, "x-forwarded-host"):
            found["headers"] = list(scope["headers"])
            MutableHeaders(scope=found)["host"] = host
        return found

    def _client(self, headers: Headers, peer: Address) -> Address:
        client = peer
        for hop in reversed(_hops(headers, "x-forwarded-for")):
            address = _read(hop)
            if address is None:
                break
            client = address
            if not self._is_proxy(address):
                break
        return client


def address_of(scope: Scope) -> Address | None:
    """The address at the other end of the socket; an IPv4 one also where it came in by IPv6."""
    try:
        return _read(scope["client"][0])
    except (KeyError, TypeError):
        return None


def _read(text: str) -> Address | None:
    """`203.0.113.7`, `203.0.113.7:4711`, `2001:db8::7`, `[2001:db8::7]:4711`; None for what is no address."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _hops(headers: Headers, name: str) -> list[str]:
    return [one.strip() for one in ",".join(headers.getlist(name)).split(",") if one.strip()]


def _last(headers: Headers, name: str) -> str:
    """What the nearest proxy said."""
    hops = _hops(headers, name)
    return hops[-1] if hops else ""
