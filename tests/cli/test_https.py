"""HTTPS for real: our own certificate, given files that are renewed, and a proxy that ends TLS, each over real sockets."""

import datetime as dates
import hashlib
import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import structlog

from comserv import listening
from comserv.domain.errors import ConfigurationError
from comserv.listening import certificates
from comserv.settings import Settings
from tests.processes import BIN, PASSWORD, Running, comserv_running, ended, environment, free_port, run_comserv
from tests.proxmox.certificates import Authority, Certificate
from tests.proxy import OUR_ADDRESS, Proxy, proxy

NAME = "comserv.example.org"
PUBLIC = f"https://{NAME}"


# --- our own certificate


def _own(folder: Path, **settings: Any) -> listening.Certificate:
    found = listening.certificate(Settings(data_dir=folder, tls="self-signed", **settings))
    assert found and found.own
    return found


def test_our_own_certificate_names_where_comserv_is_reached(tmp_path: Path) -> None:
    found = _own(tmp_path, host="10.0.0.5", public_url=f"{PUBLIC}:8443")
    assert {"10.0.0.5", NAME, "localhost", "127.0.0.1", socket.gethostname().lower()} <= set(found.names)
    assert _own(tmp_path, host="10.0.0.5").fingerprint == found.fingerprint
    assert _own(tmp_path, host="0.0.0.0").fingerprint == found.fingerprint
    with structlog.testing.capture_logs() as logged:
        again = _own(tmp_path, host="10.0.0.6")
    assert again.fingerprint != found.fingerprint and "10.0.0.6" in logged[0]["why"]


def test_our_own_certificate_is_made_anew_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _own(tmp_path)
    assert dates.timedelta(days=800) < found.ends - certificates.now() < dates.timedelta(days=825)
    for left, same in ((31, True), (29, False)):
        monkeypatch.setattr(certificates, "now", lambda left=left: found.ends - dates.timedelta(days=left))
        assert (_own(tmp_path).fingerprint == found.fingerprint) is same


def test_a_running_comserv_renews_its_own_certificate_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path, tls="self-signed")
    found = _own(tmp_path)
    tls = listening.Tls(settings, found)
    tls.look()
    assert tls.certificate == found
    soon = found.ends - dates.timedelta(days=20)
    monkeypatch.setattr(certificates, "now", lambda: soon)
    tls.look()
    assert tls.certificate.ends > found.ends


def test_half_a_certificate_after_a_crash_is_made_anew_and_others_cannot_read_it(tmp_path: Path) -> None:
    found = _own(tmp_path)
    (tmp_path / "tls.key").write_text("")
    again = _own(tmp_path)
    assert again.fingerprint != found.fingerprint
    assert [path.stat().st_mode & 0o077 for path in (again.chain, again.key)] == [0, 0]


def test_the_doctor_makes_no_certificate(tmp_path: Path) -> None:
    assert listening.look(Settings(data_dir=tmp_path, tls="self-signed")) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"public_url": "comserv.example.org"}, "browser"),
        ({"public_url": "https://a@b/"}, "browser"),
        ({"public_url": "https://c.example/comserv"}, "path"),
        ({"public_url": "https://c.example:port"}, "read"),
        ({"public_url": "http://c.example", "tls": "self-signed"}, "TLS"),
        ({"behind_proxy": "10.0.0.1/32,0.0.0.0/0", "public_url": PUBLIC}, "everybody"),
        ({"behind_proxy": "10.0.0.1/32,proxy", "public_url": PUBLIC}, "proxy"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_in_words(given: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        listening.check(Settings(**given))  # pyright: ignore[reportArgumentType]
    assert word in refused.value.detail and refused.value.cure


# --- served by Comserv itself


@contextmanager
def _serving(folder: Path, *options: str) -> Iterator[tuple[int, str]]:
    """`comserv serve` with TLS; the port, and the fingerprint that it prints."""
    port = free_port()
    process = subprocess.Popen(
        [BIN / "comserv", "serve", "--port", str(port), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(COMSERV_DATA_DIR=str(folder)),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Comserv listens on https://")
        yield port, process.stdout.readline().split()[-1]
    finally:
        ended(process)


def _served(port: int, **limits: Any) -> str:
    """The fingerprint of what is served. Raises SSLError where no handshake comes about."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    for name, value in limits.items():
        setattr(context, name, value)
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as safe,
    ):
        return hashlib.sha256(safe.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_self_signed_is_served_with_the_fingerprint_that_was_printed_and_the_doctor_tells(tmp_path: Path) -> None:
    with _serving(tmp_path, "--tls", "self-signed") as (port, fingerprint):
        plain = fingerprint.replace(":", "").lower()
        assert _served(port) == plain
        assert _served(port, maximum_version=ssl.TLSVersion.TLSv1_2) == plain
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _served(port, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
        trusting = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=10)
        connection.request("GET", "/sign-in")
        reply = connection.getresponse()
        assert reply.status == 200 and reply.getheader("strict-transport-security") is None  # an address has no HSTS
        connection.request("GET", "/sign-in", headers={"Host": "evil.example"})
        reply.read()
        assert connection.getresponse().status == 421
        connection.close()
        given = {"COMSERV_DATA_DIR": str(tmp_path), "COMSERV_PORT": str(port), "COMSERV_TLS": "self-signed"}
        checks = {one["name"]: one for one in run_comserv("doctor", "--json", **given).json["checks"]}
        assert fingerprint in checks["certificate"]["text"] and checks["certificate"]["state"] == "ok"
        assert "answers, version" in checks["serve"]["text"]
        pinned = {"COMSERV_URL": f"https://127.0.0.1:{port}", "COMSERV_TOKEN": "x", "COMSERV_FINGERPRINT": fingerprint}
        assert "token" in run_comserv("guest", "list", **pinned).err.lower()


def _put(target: Path, source: Certificate) -> None:
    fresh = target.with_suffix(".fresh")
    fresh.write_bytes(source.file.read_bytes())
    fresh.replace(target)


@pytest.mark.slow
def test_renewed_files_are_taken_without_a_restart_and_half_renewed_ones_are_not(tmp_path: Path) -> None:
    authority, folder = Authority(tmp_path), tmp_path / "data"
    folder.mkdir()
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    one, two = authority.issue("one"), authority.issue("two")
    _put(chain, one)
    _put(key, one)
    with _serving(folder, "--tls-cert", str(chain), "--tls-key", str(key)) as (port, printed):
        assert printed == one.fingerprint
        _put(chain, two)
        time.sleep(certificates.LOOK + 1)
        assert _served(port) == one.fingerprint.replace(":", "").lower()
        _put(key, two)
        until = time.monotonic() + 3 * certificates.LOOK
        while _served(port) != two.fingerprint.replace(":", "").lower():
            assert time.monotonic() < until
            time.sleep(0.2)


# --- behind a proxy


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Proxy, Authority]]:
    folder = tmp_path_factory.mktemp("behind")
    authority = Authority(folder)
    given = {"COMSERV_BEHIND_PROXY": f"198.51.100.0/24, {OUR_ADDRESS}/32", "COMSERV_PUBLIC_URL": PUBLIC}
    with (
        comserv_running(folder, COMSERV_HOST="0.0.0.0", **given) as running,
        proxy(int(running.url.rpartition(":")[2]), authority.issue(NAME)) as made,
    ):
        yield running, made, authority


def _ask(
    behind: tuple[Running, Proxy, Authority],
    method: str,
    path: str,
    body: str = "",
    source: str = "127.0.0.1",
    **headers: str,
) -> tuple[http.client.HTTPResponse, str]:
    """By HTTPS through the proxy. source: which client asks."""
    _, made, authority = behind
    context = ssl.create_default_context(cadata=authority.pem)
    connection = http.client.HTTPSConnection(
        "127.0.0.1", made.port, context=context, timeout=20, source_address=(source, 0)
    )
    own = {"Host": NAME, **{name.replace("_", "-"): value for name, value in headers.items()}}
    own |= {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    try:
        connection.request(method, path, body or None, own)
        reply = connection.getresponse()
        return reply, reply.read().decode()
    finally:
        connection.close()


def _sign_in(
    behind: tuple[Running, Proxy, Authority], user: str, password: str, **more: str
) -> http.client.HTTPResponse:
    form = urlencode({"user": user, "password": password})
    return _ask(behind, "POST", "/sign-in", form, Origin=PUBLIC, **more)[0]


def _audited(behind: tuple[Running, Proxy, Authority], **query: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {behind[0].tokens['admin']}"}
    return json.loads(_ask(behind, "GET", f"/api/v1/audit?{urlencode(query)}", **headers)[1])["items"]


@pytest.mark.slow
def test_through_the_proxy_cookies_are_secure_and_the_clients_own_address_is_audited(
    behind: tuple[Running, Proxy, Authority],
) -> None:
    reply = _sign_in(behind, "viewer", PASSWORD, source="127.0.0.21", X_Forwarded_For="203.0.113.7, 198.51.100.3")
    cookie = reply.getheader("set-cookie") or ""
    assert reply.status == 303 and cookie.startswith("__Host-comserv=") and "Secure" in cookie and "HttpOnly" in cookie
    assert (reply.getheader("strict-transport-security") or "").startswith("max-age=")
    entry = _audited(behind, action="sign_in", who="viewer")[0]
    assert (entry["address"], entry["outcome"]) == (
        "127.0.0.21",
        "done",
    )  # what the client says of itself is not believed


@pytest.mark.slow
def test_sign_ins_are_counted_by_the_client_behind_the_proxy(behind: tuple[Running, Proxy, Authority]) -> None:
    tries = [
        _sign_in(
            behind, f"nobody{n}", "wrong wrong wrong", source="127.0.0.31", X_Forwarded_For=f"203.0.113.{n}"
        ).status
        for n in range(13)
    ]
    assert tries[:10] == [401] * 10 and 429 in tries
    assert _sign_in(behind, "operator", PASSWORD, source="127.0.0.32").status == 303


@pytest.mark.slow
def test_only_known_names_are_served(behind: tuple[Running, Proxy, Authority]) -> None:
    for host, status in (
        (NAME, 200),
        (f"{NAME.upper()}:443", 200),
        ("evil.example", 421),
        ("10.0.0.5", 421),
        ("a b", 421),
    ):
        assert _ask(behind, "GET", "/sign-in", Host=host)[0].status == status, host
    reply, told = _ask(behind, "GET", "/api/v1/guests", Host="evil.example")
    assert reply.status == 421 and json.loads(told)["cure"] == f"Open {PUBLIC}"
    assert _ask(behind, "GET", "/api/v1/health", Host="10.0.0.5")[0].status == 200
    made = behind[1]
    made.says |= {"Host": "127.0.0.1:8080", "X-Forwarded-Host": "evil.example"}
    try:
        assert _ask(behind, "GET", "/sign-in")[0].status == 421
        made.says |= {"X-Forwarded-Host": NAME}
        assert _ask(behind, "GET", "/sign-in")[0].status == 200
    finally:
        made.says.pop("Host")
        made.says.pop("X-Forwarded-Host")


@pytest.mark.slow
def test_what_came_to_the_proxy_in_the_clear_is_not_served(behind: tuple[Running, Proxy, Authority]) -> None:
    made = behind[1]
    for said, status in (("http", 403), ("https", 200), ("", 200)):
        made.says["X-Forwarded-Proto"] = said
        reply, told = _ask(behind, "GET", "/sign-in")
        assert reply.status == status and (status == 200 or PUBLIC in told)
    made.says["X-Forwarded-Proto"] = "https"


@pytest.mark.slow
def test_nobody_but_the_proxy_is_believed(behind: tuple[Running, Proxy, Authority]) -> None:
    """Straight from loopback: served, as what it is, whatever it says."""
    port = int(behind[0].url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    lies = {"X-Forwarded-For": "203.0.113.99", "X-Forwarded-Proto": "https", "X-Forwarded-Host": NAME}
    form = urlencode({"user": "liar", "password": "wrong wrong wrong"})
    connection.request("POST", "/sign-in", form, {"Content-Type": "application/x-www-form-urlencoded", **lies})
    reply = connection.getresponse()
    assert reply.status == 401 and reply.getheader("strict-transport-security") is None
    connection.close()
    assert _audited(behind, who="liar")[0]["address"] == "127.0.0.1"


@pytest.mark.slow
def test_the_live_stream_comes_through_at_once(behind: tuple[Running, Proxy, Authority]) -> None:
    _, made, authority = behind
    cookie = (_sign_in(behind, "admin", PASSWORD, source="127.0.0.41").getheader("set-cookie") or "").split(";")[0]
    context = ssl.create_default_context(cadata=authority.pem)
    connection = http.client.HTTPSConnection("127.0.0.1", made.port, context=context, timeout=10)
    connection.request("GET", "/events", headers={"Host": NAME, "Cookie": cookie})
    began = time.monotonic()
    reply = connection.getresponse()
    assert reply.status == 200 and reply.getheader("x-accel-buffering") == "no"
    assert "no-store" in (reply.getheader("cache-control") or "")
    assert b"tick" in reply.readline() and time.monotonic() - began < 3
    connection.close()


@pytest.mark.slow
def test_on_loopback_a_page_of_another_name_is_not_served(tmp_path: Path) -> None:
    """DNS rebinding: the other site's name leads to 127.0.0.1, and the browser takes us for that site."""
    with comserv_running(tmp_path) as running:
        port = int(running.url.rpartition(":")[2])
        for host, status in (
            (f"127.0.0.1:{port}", 200), (f"localhost:{port}", 200), (f"comserv.localhost:{port}", 200), ("[::1]", 200),
            ("localhost:9999", 200), (f"rebound.example:{port}", 421), ("localhost.evil.example", 421), ("127.0.0.1.nip.io", 421),
        ):  # fmt: skip
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/sign-in", headers={"Host": host})
            assert connection.getresponse().status == status, host
            connection.close()
