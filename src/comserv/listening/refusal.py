"""What is said to whom the door is not opened at all: a problem for programs, plain words for people."""

import msgspec
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

TITLES = {403: "This way in is closed", 421: "Comserv does not go by this name"}
CODES = {403: "forbidden", 421: "misdirected"}


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str, cure: str) -> None:
    """Ends the request or the websocket."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": TITLES[status]})
        return
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    if scope["path"].startswith("/api/"):
        told = {"title": TITLES[status], "detail": why, "cure": cure, "code": CODES[status], "status": status}
        reply = Response(msgspec.json.encode(told), status, headers, "application/problem+json")
    else:
        reply = PlainTextResponse(f"{why}\n{cure}\n", status, headers)
    await reply(scope, receive, send)
