"""Over real sockets: what is judged is the very address that would be connected to, at every connection, and nothing is sent."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comserv.domain.connection import StageState
from comserv.domain.errors import ServerUnreachable
from comserv.proxmox import destinations
from comserv.proxmox.client import Client
from comserv.proxmox.probe import probe
from comserv.proxmox.tls import look
from tests.proxmox.conftest import SECRET
from tests.proxmox.scripted import Scripted, reply

pytestmark = pytest.mark.anyio
MakeServer = Callable[..., Scripted]
MakeClient = Callable[..., Client]
VERSION = reply({"version": "9.1.6", "release": "9.1", "repoid": "x"})


@pytest.fixture(autouse=True)
def nobody_listens() -> Iterator[None]:
    yield
    destinations.listening_on([])


def names(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """`pve.example` leads to these addresses, one after another; what was asked."""
    asked, real, left = list[str](), socket.getaddrinfo, list(answers)

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        if host != "pve.example":
            return real(host, port, *arguments, **named)
        asked.append(left[0])
        return real(left.pop(0) if len(left) > 1 else left[0], port, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


async def test_a_literal_address_of_a_metadata_service_gets_nothing(client_at: MakeClient) -> None:
    async with client_at("https://169.254.169.254:8006") as client:
        with pytest.raises(ServerUnreachable, match="cloud tells secrets"):
            await client.version()


async def test_comserv_itself_is_refused_as_a_server(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(VERSION) as server, client_at(server.address) as client:
        destinations.listening_on([("127.0.0.1", int(server.address.rpartition(":")[2]))])
        with pytest.raises(ServerUnreachable, match="is Comserv itself"):
            await client.version()
        with pytest.raises(ServerUnreachable, match="is Comserv itself"):
            await look(server.address)
        assert server.connections == 0


async def test_a_name_that_leads_there_is_refused_in_the_test_and_when_looked_at(
    server_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, "169.254.169.254")
    stages = [stage async for stage in probe(server_at("https://pve.example:8006"), SECRET)]
    assert stages[0].state is StageState.FAILED
    assert "cloud tells secrets" in stages[0].text and stages[0].cure
    with pytest.raises(ServerUnreachable, match="cloud tells secrets"):
        await look("https://pve.example:8006")


async def test_a_name_that_leads_elsewhere_at_the_next_connection_gets_nothing(
    scripted: MakeServer, client_at: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: good at first, then at the metadata service. aiohttp keeps what a name was for ten seconds: it is told to forget."""
    async with scripted(VERSION) as server:
        port = server.address.rpartition(":")[2]
        asked = names(monkeypatch, "127.0.0.1", "169.254.169.254")
        async with client_at(f"https://pve.example:{port}") as client:
            assert (await client.version()).text
            for session in client._connections._sessions.values():  # pyright: ignore[reportPrivateUsage] # the kept connection ends
                session.connector.clear_dns_cache()  # type: ignore[union-attr]
                await session.connector.close()  # type: ignore[union-attr]
            client._connections._sessions.clear()  # pyright: ignore[reportPrivateUsage] # a new one looks the name up again
            with pytest.raises(ServerUnreachable, match="cloud tells secrets"):
                await client.version()
        assert asked == ["127.0.0.1", "169.254.169.254"]
        assert server.connections == 1


async def test_where_it_listens_on_every_address_all_of_them_are_its_own() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        own = destinations.own_addresses(listener)
        destinations.listening_on(own)
        port = listener.getsockname()[1]
        for address in {at for at, _ in own} - {"0.0.0.0"} | {"127.0.0.1", "127.0.0.77"}:
            with pytest.raises(destinations.DestinationRefused):
                destinations.judge(address, port)
    await asyncio.sleep(0)
