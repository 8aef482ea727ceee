"""An API on a real socket, over services that say what a test wants them to say."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio
import pytest
import uvicorn
from starlette.applications import Starlette
from yarl import URL

from comserv.api.application import mounted
from comserv.domain.errors import Unauthenticated
from comserv.domain.person import Actor, Role
from tests.processes import Running, comserv_running, simulator

TOKEN = "t0ken"


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[str]:
    """An ASGI application on a free port of loopback; its address."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            while not server.started:
                await anyio.sleep(0.005)
            yield address
            server.should_exit = True


class Knows:
    """The sessions service of one person with one token."""

    async def bearer(self, token: str, request_id: str = "", address: str = "") -> Actor:
        if token != TOKEN:
            raise Unauthenticated("This token is not known.")
        return Actor("mara", Role.ADMIN, "api", 1, request_id, address)

    async def set_up(self) -> bool:
        return False


Call = Callable[..., Awaitable[tuple[int, Any, "aiohttp.ClientResponse"]]]


@pytest.fixture
async def services() -> SimpleNamespace:
    return SimpleNamespace(sessions=Knows())


@pytest.fixture
async def call(services: SimpleNamespace) -> AsyncIterator[Call]:
    """`await call("GET", "/servers")` → status, JSON, response; the token goes with it unless told otherwise."""
    outer = Starlette(routes=[mounted(services)])  # pyright: ignore[reportArgumentType]
    async with listening(outer) as address, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def call(method: str, path: str, token: str | None = TOKEN, **options: Any) -> Any:
            headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
            url = URL(f"{address}/api/v1{path}", encoded=True)
            async with session.request(method, url, headers=headers, **options) as response:
                told = (
                    await response.json(content_type=None)
                    if response.content_type.endswith("json")
                    else await response.text()
                )
                return response.status, told, response

        yield call


@pytest.fixture(scope="module")
def estate() -> Iterator[dict[str, Any]]:
    """Two simulated Proxmox VE servers whose guests may come to harm."""
    with simulator("--speed", "10", "--guests", "6", "--servers", "2") as told:
        yield told


def register(running: Running, server_id: str, told: dict[str, Any]) -> None:
    token = told["tokens"]["full"]
    added = running.command(
        *("server", "add", server_id, "--address", told["url"], "--fingerprint", told["fingerprint"]),
        *("--token-id", token["id"], "--token-secret-stdin"),
        stdin=token["secret"],
    )
    assert added.code == 0, added.err


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, estate: dict[str, Any]) -> Iterator[Running]:
    """`comserv serve` with the first server, `rack`, on it. Nothing may have gone wrong inside when all is over."""
    with comserv_running(tmp_path_factory.mktemp("api"), COMSERV_LOG_LEVEL="WARNING") as found:
        register(found, "rack", estate)
        yield found
        log = (found.data_dir / "serve.log").read_text()
        assert "Traceback" not in log and "request failed" not in log, log[-5000:]
