"""Where Comserv listens: loopback, or with a certificate, or behind a proxy; anything else is refused with the way to choose."""

import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import structlog
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from comserv import listening
from comserv.api.requestids import RequestIds
from comserv.domain.errors import ConfigurationError
from comserv.settings import Settings
from tests.processes import BIN, comserv_running, ended, environment, run_comserv
from tests.proxmox.certificates import Authority


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "127.9.9.9"])
def test_loopback_needs_nothing(host: str) -> None:
    listening.check(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "comserv.example.org"])
def test_any_other_address_is_refused_and_the_ways_are_told(host: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        listening.check(Settings(host=host))
    for way in ("--tls self-signed", "--tls CERTIFICATE.pem,KEY.pem", "--behind-proxy CIDR"):
        assert way in refused.value.cure
    listening.check(Settings(host=host, tls="self-signed"))
    listening.check(Settings(host=host, behind_proxy="10.0.0.0/24", public_url="https://comserv.example.org"))


@pytest.mark.parametrize(
    ("cidr", "url"), [("proxy", "https://c.example"), ("10.0.0.1/32", "http://c.example"), ("10.0.0.1/32", "")]
)
def test_behind_a_proxy_its_network_and_our_address_have_to_be_known(cidr: str, url: str) -> None:
    with pytest.raises(ConfigurationError):
        listening.check(Settings(host="10.0.0.5", behind_proxy=cidr, public_url=url))


def test_a_certificate_of_our_own_is_made_once_for_nobody_elses_eyes(tmp_path: Path) -> None:
    settings = Settings(host="127.0.0.1", tls="self-signed", data_dir=tmp_path)
    one, two = listening.certificate(settings), listening.certificate(settings)
    assert one and one == two and len(one.fingerprint) == 95
    assert one.key.stat().st_mode & 0o777 == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(one.chain, one.key)


def test_files_that_cannot_be_used_are_named_before_anything_starts(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good = str(authority.issue("one").file)
    (tmp_path / "none").write_text("x")
    names = {"chain": good, "key": good, "none": str(tmp_path / "none")}
    assert listening.certificate(Settings(tls=f"{names['chain']},{names['key']}"))
    for pair in (("chain", "none"), ("none", "none"), ("none", "key")):
        with pytest.raises(ConfigurationError) as refused:
            listening.certificate(Settings(tls=",".join(names[one] for one in pair)))
        assert names[pair[0]] in refused.value.detail
    for text in (names["chain"], f"{names['chain']},{tmp_path}/away"):
        with pytest.raises(ConfigurationError):
            listening.certificate(Settings(tls=text))


async def _served(client: tuple[str, int] | None, cidr: str) -> tuple[int, object]:
    """The status for a peer that says it forwards for 203.0.113.7, and whom the application then sees."""
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["client"])
        await PlainTextResponse("in")(scope, receive, send)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    headers = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": client, "scheme": "http"}
    settings = Settings(host="10.0.0.5", behind_proxy=cidr, public_url="https://c.example")
    await listening.behind_proxy(app, settings)(scope, receive, send)
    return sent[0]["status"], seen[0][0] if seen else None  # pyright: ignore[reportIndexIssue]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("peer", "cidr", "told"),
    [
        ("10.0.0.1", "10.0.0.0/29", (200, "203.0.113.7")),
        ("::ffff:10.0.0.1", "10.0.0.0/29", (200, "203.0.113.7")),
        ("fd00::7", "fd00::/64", (200, "203.0.113.7")),
        ("127.0.0.1", "10.0.0.0/29", (200, "127.0.0.1")),
        ("::1", "10.0.0.0/29", (200, "::1")),
        ("10.0.0.9", "10.0.0.0/29", (403, None)),
        ("fd00::7", "10.0.0.0/29", (403, None)),
        ("203.0.113.7", "10.0.0.0/29", (403, None)),
        ("nobody", "10.0.0.0/29", (403, None)),
    ],
)
async def test_behind_a_proxy_nobody_else_is_served_in_the_clear(peer: str, cidr: str, told: object) -> None:
    assert await _served((peer, 1), cidr) == told
    assert (await _served(None, cidr))[0] == 403


@pytest.mark.slow
def test_a_set_up_link_leads_to_where_comserv_was_last_served(tmp_path: Path) -> None:
    """Whatever the settings of the command say: `serve` may have been given another port."""
    given = {"COMSERV_DATA_DIR": str(tmp_path), "COMSERV_PORT": "8123"}
    assert run_comserv("setup-link", **given).out.startswith("http://127.0.0.1:8123/set-up/")
    process = subprocess.Popen(
        [BIN / "comserv", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment(**given)
    )
    try:
        assert process.stdout is not None
        base = process.stdout.readline().split()[-1]
        link = run_comserv("setup-link", **given).out.strip()
        assert link.startswith(f"{base}/set-up/") and ":8123" not in link
        with urllib.request.urlopen(link, timeout=10) as page:
            assert page.status == 200
    finally:
        ended(process)


def _own_addresses() -> list[str]:
    """Of this machine, but loopback: what it would speak from to another. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return []
        return [asking.getsockname()[0]]


@pytest.mark.slow
def test_a_process_behind_a_proxy_still_answers_this_machine_and_nobody_else(tmp_path: Path) -> None:
    """A machine without a network has only loopback to ask from; the others ask from their own address too."""
    proxy = {"COMSERV_BEHIND_PROXY": "198.51.100.77/32", "COMSERV_PUBLIC_URL": "https://c.example"}
    with comserv_running(tmp_path, COMSERV_HOST="0.0.0.0", **proxy) as running:
        port = running.url.rpartition(":")[2]
        for address in _own_addresses():
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://{address}:{port}/api/v1/health", timeout=5)
            assert refused.value.code == 403 and b"proxy" in refused.value.read()


@pytest.mark.anyio
async def test_a_crash_is_logged_with_the_id_that_its_page_shows_and_without_the_path() -> None:
    async def crashes(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        raise ZeroDivisionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/set-up/one-time", "headers": []}
    with (
        structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logged,
        pytest.raises(ZeroDivisionError),
    ):
        await RequestIds(RequestIds(crashes))(scope, receive, send)
    shown = dict(sent[0]["headers"])[b"x-request-id"].decode()
    assert len(logged) == 1 and shown == scope["state"]["request_id"] and "one-time" not in str(logged)
    assert logged[0]["request_id"] == shown
