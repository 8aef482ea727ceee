"""What happens to each request before its endpoint: the token first, then the address and the body, all taken as hostile."""

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header, Path, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from comserv.api.errors import BodyTooLarge, BodyUnreadable, MalformedAddress, WrongContentType
from comserv.api.problems import request_id_of
from comserv.domain.errors import ComservError, Forbidden, Unauthenticated
from comserv.domain.person import Action, Actor
from comserv.services.services import Services

MAX_BODY = 1 << 20
MAX_DEPTH = 16
MAX_TOKEN = 256

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
"""Control characters but tab and line ends; PostgreSQL and Proxmox refuse them late and in other words."""


def checked(value: Any, depth: int = 0) -> Any:
    """The value itself. Raises BodyUnreadable for what is nested too deep, or holds a text that is none."""
    if depth > MAX_DEPTH:
        raise BodyUnreadable(f"It is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str) and NOT_TEXT.search(value):
        raise BodyUnreadable("A text in it holds control characters.")
    if isinstance(value, dict):
        for name, inner in value.items():
            checked(name, depth + 1)
            checked(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            checked(inner, depth + 1)
    return value


def parse_json(body: bytes) -> Any:
    """Raises BodyUnreadable that says where it ends to be JSON."""
    try:
        return checked(msgspec.json.decode(body))
    except msgspec.DecodeError as error:
        raise BodyUnreadable(f"{error}.") from None
    except RecursionError:
        raise BodyUnreadable(f"It is nested deeper than {MAX_DEPTH} levels.") from None
    except UnicodeDecodeError:
        raise BodyUnreadable("It is not UTF-8.") from None


class JsonRequest(Request):
    """A request whose body is read once, up to 1 MiB, and only as JSON that says so."""

    async def body(self) -> bytes:
        """Raises BodyTooLarge before more than that is read. (The framework's own limit answers in plain text.)"""
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > MAX_BODY:
                raise BodyTooLarge
            read = bytearray()
            async for chunk in self.stream():
                read += chunk
                if len(read) > MAX_BODY:
                    raise BodyTooLarge
            self._body = bytes(read)
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_parsed"):
            media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type != "application/json":
                raise WrongContentType(f"It came as {media_type}." if media_type else "It came without a Content-Type.")
            self._parsed = parse_json(await self.body())
        return self._parsed


async def authenticate(request: Request) -> Actor:
    """Who the bearer token belongs to; cookies do not count here. Raises Unauthenticated."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("No API token came with the request.")
    if len(token) > MAX_TOKEN or not token.isascii():
        raise Unauthenticated("This is no API token of Comserv.")
    address = request.client.host if request.client else ""
    services: Services = request.app.state.services
    return await services.sessions.bearer(token, request_id_of(request), address)


def check_address(request: Request) -> None:
    texts = [*request.path_params.values(), *(text for pair in request.query_params.multi_items() for text in pair)]
    if any(CONTROL.search(str(text)) for text in texts):
        raise MalformedAddress()


class PublicRoute(APIRoute):
    """For the few places that need no token."""


class Route(APIRoute):
    """A place that needs a token. The token is looked at before anything else of the request is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = super().get_route_handler()

        async def handle(request: Request) -> Response:
            request = JsonRequest(request.scope, request.receive)
            request.state.actor = await authenticate(request)
            try:
                check_address(request)
                if self.body_field is not None and await request.body():
                    await request.json()
                return await endpoint(request)
            except Forbidden:
                raise
            except (ComservError, RequestValidationError):
                await self._role_first(request)
                raise

        return handle

    async def _role_first(self, request: Request) -> None:
        """Raises Forbidden, with its audit row: whoever may not do a thing does not learn what else is wrong with the request."""
        services: Services = request.app.state.services
        action = Action((self.openapi_extra or {})["x-comserv-action"])
        if not request.state.actor.may(action):
            await services.audit.require(request.state.actor, action, _subject_of(request))


def _subject_of(request: Request) -> str:
    """What the audit calls the place of a request that was not understood: `guest rack/105`, `server rack`, or its path."""
    places = {name: str(value)[:64] for name, value in request.path_params.items()}
    if "vmid" in places:
        return f"guest {places.get('server_id', '')}/{places['vmid']}"
    nouns = {"server_id": "server", "job_id": "job", "name": "person"}
    named = [f"{noun} {places[place]}" for place, noun in nouns.items() if place in places]
    return named[0] if named else request.url.path.removeprefix("/api/v1/")[:64]


bearer_scheme = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="An API token of a person: made on the account page, by `POST /tokens` or by `comserv token create`.",
)


async def _who(request: Request, _declared: Annotated[Any, Security(bearer_scheme)]) -> Actor:
    return request.state.actor


async def _services(request: Request) -> Services:
    return request.app.state.services


async def _body(request: Request) -> dict[str, Any]:
    return await request.json()


async def _key(
    idempotency_key: Annotated[
        str,
        Header(
            pattern=r"^[\x21-\x7e]*$",
            max_length=128,
            description="Makes a repeated request safe: the same key of the same person gives the job that was made first.",
            examples=["3f1c2a52-5a9e-4a0e-9a4b-0d7f6f4f6f11"],
        ),
    ] = "",
) -> str:
    return idempotency_key


Who = Annotated[Actor, Depends(_who)]
Given = Annotated[Services, Depends(_services)]
RawBody = Annotated[dict[str, Any], Depends(_body)]
IdempotencyKey = Annotated[str, Depends(_key)]
ServerId = Annotated[str, Path(max_length=32, description="The server's id.", examples=["rack"])]
Vmid = Annotated[int, Path(ge=100, le=999_999_999, description="The guest's VM id.", examples=[105])]
JobId = Annotated[str, Path(max_length=64, description="The job's id.", examples=["0d7k3v9a1x4q2m7t"])]
RowId = Annotated[int, Path(ge=1, le=2**31 - 1)]
