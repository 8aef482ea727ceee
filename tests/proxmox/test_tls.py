"""A certificate is always verified, in one of three ways, before a byte is sent; and addresses stand in for each other."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from comserv.domain.errors import CertificateRefused, Invalid, ServerUnreachable
from comserv.domain.server import Server, Tls, TlsMode
from comserv.proxmox import connections, tls
from comserv.proxmox.client import Client
from tests.proxmox.certificates import Authority, Certificate
from tests.proxmox.conftest import QUICK, SECRET
from tests.proxmox.scripted import Scripted, close, reply

pytestmark = pytest.mark.anyio

VERSION = reply({"version": "9.1.6"})
MakeServer = Callable[..., Scripted]
MakeClient = Callable[..., Client]


def shows(certificate: Certificate, *answers: Any) -> Scripted:
    return Scripted(list(answers or [VERSION]), context=certificate.context())


async def test_the_accepted_fingerprint_is_enough(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(VERSION) as server, client_at(server.address) as client:
        await client.version()


async def test_another_fingerprint_is_refused_before_anything_is_sent_and_shown(
    authority: Authority, certificate: Certificate, client_at: MakeClient
) -> None:
    other = authority.issue("renewed")
    async with shows(other) as server, client_at(server.address) as client:
        with pytest.raises(CertificateRefused) as caught:
            await client.version()
    assert server.asked == []
    assert caught.value.facts["seen"] == other.fingerprint
    assert caught.value.facts["address"] == server.address


async def test_an_address_without_an_accepted_fingerprint_is_not_even_tried(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(VERSION) as server, client_at(server.address, tls=Tls(TlsMode.FINGERPRINT)) as client:
        with pytest.raises(CertificateRefused, match="no fingerprint has been accepted"):
            await client.version()
    assert server.connections == 0


async def test_the_given_ca_is_enough(authority: Authority, scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(VERSION) as server, client_at(server.address, tls=Tls(TlsMode.CA, authority.pem)) as client:
        await client.version()


async def test_another_ca_is_refused(
    tmp_path_factory: pytest.TempPathFactory, scripted: MakeServer, client_at: MakeClient
) -> None:
    stranger = Authority(tmp_path_factory.mktemp("stranger"))
    async with scripted(VERSION) as server, client_at(server.address, tls=Tls(TlsMode.CA, stranger.pem)) as client:
        with pytest.raises(CertificateRefused):
            await client.version()
    assert server.asked == []


async def test_an_expired_certificate_of_the_ca_is_refused(authority: Authority, client_at: MakeClient) -> None:
    ca = Tls(TlsMode.CA, authority.pem)
    async with shows(authority.issue(days=-1)) as server, client_at(server.address, tls=ca) as client:
        with pytest.raises(CertificateRefused, match="expired"):
            await client.version()


async def test_a_certificate_for_another_host_is_refused(authority: Authority, client_at: MakeClient) -> None:
    ca = Tls(TlsMode.CA, authority.pem)
    async with shows(authority.issue(host="10.0.0.1")) as server, client_at(server.address, tls=ca) as client:
        with pytest.raises(CertificateRefused, match=r"127\.0\.0\.1"):
            await client.version()


async def test_the_systems_cas_do_not_know_a_servers_own(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(VERSION) as server, client_at(server.address, tls=Tls(TlsMode.SYSTEM)) as client:
        with pytest.raises(CertificateRefused):
            await client.version()
    assert server.asked == []


async def test_the_systems_cas_are_used_where_they_know_it(
    authority: Authority, scripted: MakeServer, client_at: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "system_context", lambda: ssl.create_default_context(cadata=authority.pem))
    async with scripted(VERSION) as server, client_at(server.address, tls=Tls(TlsMode.SYSTEM)) as client:
        await client.version()
        assert (await tls.look(server.address)).trusted_by_system


async def test_an_expired_certificate_with_an_accepted_fingerprint_works_and_can_be_seen(
    authority: Authority, server_at: Callable[..., Server]
) -> None:
    """A pin does not check expiry; so the certificate is kept for whoever shows it."""
    expired = authority.issue(days=-1)
    async with shows(expired) as server:
        pinned = server_at(server.address, tls=Tls(TlsMode.FINGERPRINT, "", {server.address: expired.fingerprint}))
        async with Client(pinned, SECRET, QUICK) as client:
            await client.version()
            (der,) = client.certificates.values()
    assert tls.fingerprint(der) == expired.fingerprint


async def test_looking_shows_the_certificate_and_sends_nothing(certificate: Certificate, scripted: MakeServer) -> None:
    async with scripted(VERSION) as server:
        seen = await tls.look(server.address)
    assert (seen.fingerprint, seen.subject, seen.issuer) == (certificate.fingerprint, "CN=pve1", "CN=Test CA")
    assert not seen.trusted_by_system
    assert seen.pem == certificate.pem
    assert server.asked == []


async def test_looking_at_what_speaks_no_tls_says_so() -> None:
    async with Scripted([VERSION]) as plain:
        plain_port = plain.address
        server = await asyncio.start_server(_greets, "127.0.0.1", 0)
        async with server:
            address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(ServerUnreachable, match="does not speak TLS"):
                await tls.look(address)
    with pytest.raises(ServerUnreachable, match="connection refused"):
        await tls.look(plain_port)


async def _greets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


def test_a_ca_is_read_and_what_is_none_is_refused_in_words(authority: Authority, certificate: Certificate) -> None:
    assert tls.parse_ca("# Müllers CA\n" + authority.pem + "\n") == authority.pem
    with pytest.raises(Invalid, match="no certificate"):
        tls.parse_ca("hello")
    with pytest.raises(Invalid, match="is no CA"):
        tls.parse_ca(certificate.pem)


# --- addresses ------------------------------------------------------------------------------------------------------


async def test_the_next_address_stands_in_for_one_that_is_down_and_keeps_standing_in(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    async with Scripted() as gone:
        down = gone.address
    async with scripted(VERSION) as server, client_at(down, server.address) as client:
        await client.version()
        tried = client.failing_addresses[down]
        await client.version()
        assert client.failing_addresses == {down: tried}  # it was tried once
        assert client.requests_last_minute == 2


async def test_the_preferred_address_is_taken_again_after_a_while(
    scripted: MakeServer, client_at: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "AVOID_FAILED", 0.1)
    async with (
        scripted(close, close, VERSION) as first,
        scripted(VERSION) as second,
        client_at(first.address, second.address) as client,
    ):
        for asked_first in (1, 2, 3):
            await client.version()
            assert len(first.asked) == asked_first
            await asyncio.sleep(0.12)
        assert len(second.asked) == 2
        assert client.failing_addresses == {}


async def test_a_certificate_that_changed_on_one_address_is_told_though_another_answers(
    authority: Authority, scripted: MakeServer, certificate: Certificate, client_at: MakeClient
) -> None:
    async with (
        shows(authority.issue("renewed")) as first,
        scripted(VERSION) as second,
        client_at(first.address, second.address) as client,
    ):
        await client.version()
        assert isinstance(client.failing_addresses[first.address], CertificateRefused)


async def test_when_no_address_answers_every_ones_reason_is_told(authority: Authority, client_at: MakeClient) -> None:
    async with Scripted() as gone:
        down = gone.address
    async with shows(authority.issue("renewed")) as server, client_at(down, server.address) as client:
        with pytest.raises(CertificateRefused) as caught:
            await client.version()
    assert "connection refused" in caught.value.detail and "was not accepted" in caught.value.detail


async def test_a_name_that_does_not_exist_is_told(client_at: MakeClient) -> None:
    async with client_at("https://no-such-host.invalid:8006") as client:
        with pytest.raises(ServerUnreachable, match="no address is known"):
            await client.version()


async def test_a_server_without_addresses_reaches_nobody(server_at: Callable[..., Server]) -> None:
    async with Client(replace(server_at(), addresses=()), SECRET) as client:
        with pytest.raises(ServerUnreachable, match="no address is known"):
            await client.version()


async def test_a_name_is_looked_up(scripted: MakeServer, client_at: MakeClient, authority: Authority) -> None:
    async with scripted(VERSION) as server:
        named = server.address.replace("127.0.0.1", "localhost")
        async with client_at(named, tls=Tls(TlsMode.CA, authority.pem)) as client:
            assert (await client.version()).text == "9.1.6"


async def test_names_that_hang_keep_no_other_server_waiting(
    scripted: MakeServer, client_at: MakeClient, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there are threads for everybody, and more."""
    let_go, real = threading.Event(), socket.getaddrinfo

    def hangs_for_some(host: str, *rest: Any) -> Any:
        return let_go.wait(10) and [] if host.endswith(".invalid") else real(host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", hangs_for_some)
    hanging = [client_at(f"https://pve{n}.invalid:8006") for n in range(40)]
    waiting = [asyncio.create_task(client.version()) for client in hanging]
    try:
        async with scripted(VERSION) as server:
            named = server.address.replace("127.0.0.1", "localhost")
            async with client_at(named, tls=Tls(TlsMode.CA, authority.pem)) as client:
                await asyncio.sleep(0.1)
                await asyncio.wait_for(client.version(), 0.5)
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(error) for error in ended} == {ServerUnreachable}
    finally:
        let_go.set()
        for client in hanging:
            await client.close()


async def test_a_proxy_of_the_environment_is_not_used(
    scripted: MakeServer, client_at: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with scripted(VERSION) as server, client_at(server.address) as client:
        await client.version()
