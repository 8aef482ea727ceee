"""Every failure that a stage of the connection test can meet has words of its own and a cure: one row each."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from comserv.domain.connection import StageName, StageState
from comserv.domain.reaching import Unreached, judge_name, judge_port
from comserv.domain.server import Tls, TlsMode
from comserv.proxmox import tls
from tests.proxmox.certificates import Authority
from tests.proxmox.scripted import Answer, Scripted, close, raw, reply, silence
from tests.proxmox.test_probe import DENIED, MakeRegistered, MakeServer, good, stages_of

pytestmark = pytest.mark.anyio
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def plain(answer: bytes, *, greets: bool = False, hangs: bool = False) -> AsyncIterator[str]:
    """Something without TLS: greets at once, or answers whatever it is sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # whoever came may be gone by now
            if not greets:
                await reader.read(512)
            if hangs:
                await reader.read()
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.sleep(0.05)  # it hears late that nobody is there any more


PLAIN = (
    (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", True, "an SSH server answers there (SSH-2.0-OpenSSH_9.2p1", "usually 8006"),
    (b"220 mail.example.net ESMTP\r\n", True, "a mail or file server", "usually 8006"),
    (b"RFB 003.008\n", True, "a VNC server", "usually 8006"),
    (b"HTTP/1.1 200 OK\r\n\r\n<html>", False, "a plain web server answers there (HTTP/1.1 200 OK", "usually 8006"),
    (
        b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://pve1.example.net:8006/\r\n\r\n",
        False,
        "sends on to https://pve1.example.net:8006/",
        "pve1.example.net:8006",
    ),
    (b"\x00\x01\x02garbage", False, "something else answers there", "usually 8006"),
)  # fmt: skip


@pytest.mark.parametrize(("answer", "greets", "text", "cure"), PLAIN)
async def test_what_speaks_no_tls_is_named(
    answer: bytes, greets: bool, text: str, cure: str, server_at: MakeRegistered
) -> None:
    async with plain(answer, greets=greets) as address:
        stage = (await stages_of(server_at(address)))[StageName.TLS]
    assert stage.state is StageState.FAILED and not stage.silent
    assert text in stage.text and cure in stage.cure


async def test_tls_that_never_begins_is_silence(server_at: MakeRegistered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LOOK_TIMEOUT", 0.3)
    async with plain(b"", hangs=True) as address:
        stage = (await stages_of(server_at(address)))[StageName.TLS]
    assert "begins no TLS" in stage.text and "pveproxy" in stage.cure and stage.silent


async def test_a_connection_that_ends_when_tls_begins_is_told(server_at: MakeRegistered) -> None:
    async with plain(b"") as address:
        stage = (await stages_of(server_at(address)))[StageName.TLS]
    assert "ends the connection" in stage.text and "ALLOW_FROM" in stage.cure


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")  # it is what has to be refused
async def test_tls_too_old_is_told(authority: Authority, server_at: MakeRegistered) -> None:
    context = authority.issue().context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with Scripted(context=context) as old:
        stage = (await stages_of(server_at(old.address)))[StageName.TLS]
        await asyncio.sleep(0.05)  # the server hears late that nobody is there any more
    assert "1.2 or newer is needed" in stage.text and "/etc/default/pveproxy" in stage.cure


@pytest.mark.parametrize(
    ("error", "why", "text", "cure"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), Unreached.NAME_UNKNOWN, "no such name is known", "spelling"),
        (
            socket.gaierror(socket.EAI_AGAIN, "again"),
            Unreached.NAME_SERVER_SILENT,
            "name server does not",
            "resolvectl",
        ),
        (
            ConnectionRefusedError(111, "refused"),
            Unreached.REFUSED,
            "nothing listens there",
            "systemctl status pveproxy",
        ),
        (OSError(113, "No route to host"), Unreached.NO_ROUTE, "no way leads there", "ip route get"),
        (TimeoutError(), Unreached.SILENT, "a firewall drops", "firewalls between"),
    ],
)
async def test_names_and_ports_fail_in_ways_of_their_own(
    error: OSError, why: Unreached, text: str, cure: str, server_at: MakeRegistered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's own refusals, as the system tells them."""
    assert tls.kind_of(error) is why

    async def refuse(*_: object, **__: object) -> None:
        raise error

    if isinstance(error, socket.gaierror):
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", refuse)
    else:
        monkeypatch.setattr(asyncio, "open_connection", refuse)
    named = isinstance(error, socket.gaierror)
    stages = await stages_of(server_at("https://pve1.invalid:8006" if named else "https://127.0.0.1:8006"))
    stage = stages[StageName.NAME if named else StageName.TCP]
    assert stage.state is StageState.FAILED
    assert text in stage.text and cure in stage.cure


HOST = {"days": 365}
TRUST = (
    (TlsMode.SYSTEM, {}, "its CA is not known here", "Accept its fingerprint"),
    (TlsMode.CA, {"days": -1}, "it has expired", "pvecm updatecerts"),
    (TlsMode.CA, {"host": "10.0.0.1"}, "it is for another name", "not among its names"),
    (TlsMode.FINGERPRINT, {}, "not the fingerprint that was accepted", "accept it on the server's page"),
)


@pytest.mark.parametrize(("mode", "how", "text", "cure"), TRUST)
async def test_a_certificate_is_refused_for_a_reason_that_is_told(
    mode: TlsMode, how: dict[str, int], text: str, cure: str, authority: Authority, server_at: MakeRegistered
) -> None:
    async with Scripted(context=authority.issue(**how).context(), routes=good()) as server:  # pyright: ignore[reportArgumentType] # by name
        trusted = Tls(mode, authority.pem, {server.address: ":".join(["AB"] * 32)})
        stage = (await stages_of(server_at(server.address, tls=trusted)))[StageName.TLS]
    assert stage.state is StageState.FAILED and server.asked == []
    assert text in stage.text and cure in stage.cure


async def test_another_ca_and_a_self_signed_certificate_are_told_apart(
    authority: Authority, tmp_path: Path, server_at: MakeRegistered
) -> None:
    stranger = Authority(tmp_path)
    async with Scripted(context=stranger.issue().context(), routes=good()) as server:
        stage = (await stages_of(server_at(server.address, tls=Tls(TlsMode.CA, authority.pem))))[StageName.TLS]
    assert "CA" in stage.text and "another CA than the one that was given" in stage.cure


HTML = b"<html><head><title>Sign in to Example</title></head><input type='password'></html>"
HTTP: tuple[tuple[Answer, str, str], ...] = (
    (raw(HTML, content_type="text/html"), "A sign-in page stands in front of it (Sign in to Example)", "/api2/json"),
    (raw(b"<html><title>Welcome to nginx!</title>", content_type="text/html"), "A web page titled “Welcome to nginx!”", "the node itself"),
    (raw(b"", 302, "Found", "", "Location: https://sso.example.net/"), "it redirects to https://sso.example.net/. Nothing was followed",
     "the address that it leads to"),
    (raw(b"", 401, "No", "", "WWW-Authenticate: Basic"), "A sign-in page stands in front of it", "/api2/json"),
    (raw(b"<html>", 502, "Bad Gateway", "text/html"), "A proxy answers 502", "pveproxy runs behind it"),
    (raw(b"busy", 503, "Unavailable"), "A proxy answers 503", "that proxy"),
    (raw(b"not json", content_type="application/json"), "does not answer as a Proxmox VE does", "the node itself"),
    (close, "cut off before its answer was whole", "systemctl status pveproxy"),
    (silence, "did not answer in time", "pvesm status"),
    (reply(None, 500, "oops", message="oops\n"), "Proxmox failed on its side: oops", "journalctl"),
    (reply(None, 501, "no", message="Method not implemented\n"), "does not know this call", "pveversion"),
    (raw(b"", 595, "No route to host"), "cannot be reached from there: No route to host", "pvecm status"),
    (raw(b"", 596, "Broken pipe"), "was lost while it answered (596 Broken pipe)", "systemctl status pvedaemon"),
    (reply([{"realm": "pam"}, {"realm": "pbs"}]), "a Proxmox Backup Server that answers", "usually port 8006"),
    (reply([{"realm": "pam"}, {"realm": "pmg"}]), "a Proxmox Mail Gateway that answers", "usually port 8006"),
    (reply([{"realm": "pam"}, {"realm": "pdm"}]), "a Proxmox Datacenter Manager", "usually port 8006"),
)  # fmt: skip


@pytest.mark.parametrize(("answer", "text", "cure"), HTTP)
async def test_what_answers_instead_of_the_api_is_told(
    answer: Answer, text: str, cure: str, scripted: MakeServer, server_at: MakeRegistered
) -> None:
    async with scripted(routes=good(domains=answer)) as server:
        stages = await stages_of(server_at(server.address))
    stage = stages[StageName.HTTP]
    assert stage.state is StageState.FAILED, stage
    assert text in stage.text and cure in stage.cure, stage
    assert all("authorization" not in asked.headers for asked in server.asked)


LATER: tuple[tuple[dict[str, Answer], StageName, StageState, str, str], ...] = (
    ({"version": raw(b"", 401, "No ticket")}, StageName.TOKEN, StageState.FAILED, "refuses the token comserv", "pveum user token"),
    ({"version": reply({"version": "7.4-17"})}, StageName.VERSION, StageState.FAILED, "needs 8.4 or newer", "Upgrade"),
    ({"version": reply({"version": "unknown"})}, StageName.VERSION, StageState.FAILED, "cannot be read: unknown", "pveversion"),
    ({"permissions": reply({})}, StageName.RIGHTS, StageState.FAILED, "The token has no rights", "pveum acl modify"),
    ({"permissions": reply(None, 500, "x", message="x\n")}, StageName.RIGHTS, StageState.FAILED, "failed on its side", "journalctl"),
    ({"status": DENIED}, StageName.NODES, StageState.WARNING, "may not see whether there is a quorum", "Sys.Audit"),
    ({"status": reply([{"type": "cluster", "name": "rack", "quorate": 0}])}, StageName.NODES, StageState.WARNING,
     "no quorum", "pvecm status"),
    ({"resources": reply([])}, StageName.STORAGES, StageState.WARNING, "sees no storage", "Datastore.Audit"),
    ({"resources": reply([])}, StageName.GUESTS, StageState.OK, "sees no guests", ""),
)  # fmt: skip


@pytest.mark.parametrize(("changed", "name", "state", "text", "cure"), LATER)
async def test_what_the_server_itself_is_lacking_is_told(
    changed: dict[str, Answer], name: StageName, state: StageState, text: str, cure: str,
    scripted: MakeServer, server_at: MakeRegistered,
) -> None:  # fmt: skip
    async with scripted(routes=good(**changed)) as server:
        stage = (await stages_of(server_at(server.address)))[name]
    assert stage.state is state
    assert text in stage.text and cure in stage.cure, stage


async def test_a_nodes_own_clock_is_compared_too(scripted: MakeServer, server_at: MakeRegistered) -> None:
    ahead = int((datetime.now(UTC) + timedelta(minutes=10)).timestamp())
    routes = good() | {"GET /nodes/pve2/time": reply({"time": ahead, "timezone": "UTC"})}
    date = format_datetime(datetime.now(UTC), usegmt=True)
    routes["GET /version"] = raw(b'{"data":{"version":"9.1.6"}}', 200, "OK", "application/json", f"Date: {date}")
    async with scripted(routes=routes) as server:
        stage = (await stages_of(server_at(server.address)))[StageName.CLOCK]
    assert stage.state is StageState.WARNING and "on pve2" in stage.text and "ahead" in stage.text


def test_every_kind_of_failure_has_words_of_its_own() -> None:
    names = {judge_name("pve1", why, "x").text for why in (Unreached.NAME_UNKNOWN, Unreached.NAME_SERVER_SILENT)}
    kinds = (Unreached.REFUSED, Unreached.NO_ROUTE, Unreached.SILENT, Unreached.OTHER)
    ports = {judge_port("pve1", 8006, why, "x").text for why in kinds}
    assert len(names) == 2 and len(ports) == 4
