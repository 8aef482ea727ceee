"""Speaks REST to a running Comserv: COMSERV_URL with COMSERV_TOKEN."""

import json
import os
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from comserv.cli.exits import CommandError, ComservUnreachable, NoToken, Refused

if TYPE_CHECKING:
    import aiohttp

DEFAULT_URL = "http://127.0.0.1:8080"
PREFIX = "/api/v1"
NDJSON = "application/x-ndjson"
PAUSES = (0.5, 1.0, 2.0)
"""Seconds before a request whose reply was lost is sent again."""
ResultT = TypeVar("ResultT")


def base_url() -> str:
    return os.environ.get("COMSERV_URL", "").strip().rstrip("/") or DEFAULT_URL


def _trust() -> "ssl.SSLContext | aiohttp.Fingerprint | bool":
    """The system's CAs, those of COMSERV_CA_FILE, or the one certificate of COMSERV_FINGERPRINT (SHA-256)."""
    import aiohttp

    pin, ca_file = os.environ.get("COMSERV_FINGERPRINT", ""), os.environ.get("COMSERV_CA_FILE", "")
    if pin:
        try:
            return aiohttp.Fingerprint(bytes.fromhex(pin.replace(":", "").strip()))
        except ValueError as error:
            cure = "Copy the fingerprint that `comserv serve` prints: AA:BB:…"
            raise CommandError("COMSERV_FINGERPRINT is no SHA-256 fingerprint.", str(error), cure) from None
    if ca_file:
        try:
            return ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise CommandError(f"COMSERV_CA_FILE cannot be read: {ca_file}.", str(error)) from None
    return True


class Client:
    """One Comserv, one token. Replies are the API's JSON as it is; a problem is raised as Refused."""

    def __init__(self, session: "aiohttp.ClientSession", url: str) -> None:
        self._session, self.url = session, url

    async def request(self, method: str, path: str, body: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """The reply's JSON, None for an empty one. Raises Refused, ComservUnreachable."""
        return await self._ask(method, path, body, params, None)

    async def _ask(
        self, method: str, path: str, body: Any, params: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> Any:
        async with self._response(method, path, body, params, headers) as response:
            return await response.json() if response.status != 204 else None

    async def make(self, method: str, path: str, body: Any, key: str = "") -> Any:
        """Asks for a job under an Idempotency-Key, so that a lost reply is asked for again and makes no second one."""
        import asyncio

        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        for pause in PAUSES:
            try:
                return await self._ask(method, path, body, None, headers)
            except ComservUnreachable as lost:
                if not lost.sent:
                    raise
                await asyncio.sleep(pause)
        return await self._ask(method, path, body, None, headers)

    async def get(self, path: str, **params: Any) -> Any:
        """params: lists are repeated, None and empty ones left out."""
        return await self.request("GET", path, params=params)

    async def file(self, path: str, **params: Any) -> tuple[str, bytes]:
        """A download: the name that the server gives it, without any folder, and its content."""
        async with self._response("GET", path, None, params, None) as response:
            said = response.content_disposition
            name = (said.filename if said else "") or "bundle.zip"
            return name.replace("\\", "/").rpartition("/")[2], await response.read()

    async def post(self, path: str, body: Any = None) -> Any:
        return await self.request("POST", path, body)

    async def every(self, path: str, most: int | None = None, **params: Any) -> list[Any]:
        """All items of a list, page by page, or the first `most`."""
        return (await self.whole(path, most, **params))["items"]

    async def whole(self, path: str, most: int | None = None, **params: Any) -> dict[str, Any]:
        """The same as one list, with what the last page says beside its items."""
        items: list[Any] = []
        page: dict[str, Any] = {}
        cursor = ""
        while cursor is not None and (most is None or len(items) < most):
            limit = 500 if most is None else min(500, most - len(items))
            page = await self.get(path, **params, limit=limit, cursor=cursor)
            items += page["items"]
            cursor = page["next_cursor"]
        return {**page, "items": items, "next_cursor": None}

    async def lines(self, path: str, body: Any = None) -> AsyncIterator[dict[str, Any]]:
        """The lines of an NDJSON reply as they come. A problem midway is raised as Refused too."""
        async with self._response("POST", path, body, None, {"Accept": NDJSON}) as response:
            async for raw in response.content:
                line = json.loads(raw)
                if "problem" in line:
                    raise Refused(line["problem"])
                yield line

    @asynccontextmanager
    async def _response(
        self, method: str, path: str, body: Any, params: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> "AsyncIterator[aiohttp.ClientResponse]":
        import aiohttp

        url = f"{self.url}{PREFIX}{path}"
        query = [(name, text) for name, value in (params or {}).items() for text in _texts(value)]
        try:
            async with self._session.request(method, url, json=body, params=query, headers=headers) as response:
                if response.status >= 400:
                    raise Refused(await _problem(response, self.url))
                if response.status >= 300 or ("json" not in response.content_type and response.status != 204):
                    raise ComservUnreachable(self.url, "Something answers there, but it is not Comserv.")
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            sent = not isinstance(error, aiohttp.ClientConnectorError)
            raise ComservUnreachable(self.url, str(error) or "It did not answer in time.", sent) from error


def _texts(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, bool):
        return [str(value).lower()]
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


async def _problem(response: "aiohttp.ClientResponse", url: str) -> dict[str, Any]:
    if response.content_type != "application/problem+json":
        raise ComservUnreachable(url, f"It answered {response.status}, but not as Comserv does.")
    return await response.json(content_type=None)


@asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    """A client from the environment. Raises NoToken."""
    import aiohttp

    token = os.environ.get("COMSERV_TOKEN", "").strip()
    if not token:
        raise NoToken
    if any(ord(c) < 33 or ord(c) > 126 for c in token):
        raise CommandError("COMSERV_TOKEN is no API token.", "It holds characters that no token has.")
    connector = aiohttp.TCPConnector(ssl=_trust())
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "comserv-cli"}
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Client(session, base_url())


def speak(work: Callable[[Client], Awaitable[ResultT]]) -> ResultT:
    """Runs a command's conversation with Comserv to its end."""
    import asyncio

    async def run() -> ResultT:
        async with connected() as client:
            return await work(client)

    return asyncio.run(run())
