"""Every request has an id: the caller's own, or one made here; it is in the reply, in the log and in the audit."""

import re
import secrets

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)
ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """ASGI middleware: `scope["state"]["request_id"]`, the log's context, `X-Request-Id` and the API's fixed headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        state = scope.setdefault("state", {})
        asked = Headers(scope=scope).get("x-request-id", "")
        outermost = "request_id" not in state
        request_id = state.get("request_id") or (asked if ACCEPTED.fullmatch(asked) else secrets.token_hex(8))
        state["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                return await self.app(scope, receive, send_with_id)
            except ClientDisconnect:  # in the middle of its body: nobody is there to be answered
                if not outermost:
                    raise
            except Exception:
                if (
                    outermost
                ):  # the server around us logs it too, but knows no id. Not the path: it may hold a one-time link
                    log.exception("a request failed with a fault of ours", method=scope["method"])
                raise
