"""What protects the pages in a browser: headers with a nonce per reply, and the refusal of requests from other sites.

Two locks keep foreign sites from acting in a person's name: here the origin of every unsafe request is compared, and
session.py compares the token that every form carries. SameSite cookies are a third.
"""

import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 1 << 20  # bytes of a form; a CA and some keys are the longest that anybody sends
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "x-frame-options": "DENY",
}
POLICY = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class BrowserSecurity:
    """ASGI middleware around pages. `/api/` is left to its bearer tokens but gets the headers.

    public_url: the address that browsers use, where a proxy stands before Comserv; empty: the Host header counts.
    """

    def __init__(self, app: ASGIApp, public_url: str = "") -> None:
        self.app, self.public_host = app, urlsplit(public_url).netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                _protect(MutableHeaders(scope=message), nonce)
            await send(message)

        if self._foreign(scope):
            refusal = PlainTextResponse("This request comes from another site, so it was refused.\n", 403)
            await refusal(scope, receive, send_protected)
            return
        await self.app(scope, _limited(receive), send_protected)

    def _foreign(self, scope: Scope) -> bool:
        """Browsers send Origin with every unsafe request, and most Sec-Fetch-Site; a program sends neither."""
        if scope["method"] in SAFE_METHODS or scope["path"].startswith("/api/"):
            return False
        headers = Headers(scope=scope)
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None and site not in ("same-origin", "none"):
            return True
        if origin is None:
            return False
        return urlsplit(origin).netloc not in {headers.get("host", ""), self.public_host} - {""}


def _protect(headers: MutableHeaders, nonce: str) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("content-security-policy", POLICY.format(nonce=nonce))
    if "cache-control" not in headers:
        headers["cache-control"] = "no-store"


def _limited(receive: Receive) -> Receive:
    """Raises HTTPException 413 where more comes: a file in a form would else fill memory or disk, also of nobody signed in."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MOST_BODY:
            raise HTTPException(413)
        return message

    return limited
