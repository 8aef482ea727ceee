"""What people and programs may try at the door of a real process: addresses, headers, bodies, and sessions of others."""

import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import quote, urlencode, urlsplit

import anyio
import pytest
import uvicorn
from starlette.types import Send
from uvicorn.server import ServerState

from comserv.domain.concealment import spellings
from comserv.listening import protocol
from tests.processes import PASSWORD, Running, comserv_running
from tests.web.browsing import Client, Reply

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ELSEWHERE = (
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "///evil.example",
    "/\t/evil.example",
    "/\r\nX-Evil: 1",
    "\n//evil.example",
    "https:evil.example",
    "evil.example",
    "data:text/html,x",
    "/é",
    "/\u2028",
)
TRICKS = (
    "//people",
    "/./people",
    "/sign-in/../people",
    "/sign-in/..%2fpeople",
    "/sign-in/%2e%2e/people",
    "/%2fpeople",
    "/people/",
    "/people%2f",
    "/PEOPLE",
    "/People",
    "/people;x=1",
    "/people%00",
    "/people%20",
    "/people.json",
    "/people?x=/sign-in",
    "/people#/sign-in",
    "/static/../people",
    "/%252e%252e/people",
    "/people/%2e",
    "/api/v1/../../people",
    "/api/v1/%2e%2e/people",
    "/api/v1//people",
    "/api/v1/people/",
    "/API/v1/people",
    "/api/v1/PEOPLE",
    "/api/v1/health/../people",
    "/api/v1/health/..%2fpeople",
    "/api/v1/health%2f..%2fpeople",
    "/api//v1/people",
    "/api/v1/people%2f",
    "/api/v1/%70eople",
    "/api/v1;x/people",
    "/api/v1/people.json",
    "/%61pi/v1/people",
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Nothing may have gone wrong inside when all is over, and no password is in its log."""
    with comserv_running(tmp_path_factory.mktemp("door")) as found:
        yield found
        log = (found.data_dir / "serve.log").read_text()
        assert "Traceback" not in log and "fault of ours" not in log, log[-5000:]
        assert not any(one in log for one in spellings(PASSWORD))


@pytest.fixture
def nobody(running: Running) -> Client:
    return Client(port(running), cookie="")


def port(running: Running) -> int:
    return int(running.url.rpartition(":")[2])


def sign_in(client: Client, then: str = "/", **headers: str) -> Reply:
    return client.ask("POST", "/sign-in", urlencode({"user": "viewer", "password": PASSWORD, "then": then}), **headers)


def cookie(reply: Reply) -> str:
    return reply.headers["set-cookie"].partition("=")[2].partition(";")[0]


def raw(running: Running, *parts: bytes) -> bytes:
    """What comes back to bytes as they are, until the other side hangs up."""
    with socket.create_connection(("127.0.0.1", port(running)), timeout=30) as connection:
        told = b""
        try:
            for part in parts:
                connection.sendall(part)
            while more := connection.recv(65536):
                told += more
        except ConnectionError:
            pass  # it hung up while we were still sending
        return told


def head(path: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def test_a_sign_in_makes_a_new_session_and_ends_the_one_that_the_browser_had(running: Running, nobody: Client) -> None:
    planted = "planted-by-somebody-else"
    first = cookie(sign_in(Client(port(running), planted)))
    assert first != planted and Client(port(running), planted).get("/account").status == 303
    assert Client(port(running), first).get("/account").status == 200
    second = cookie(sign_in(Client(port(running), first)))
    assert second not in (first, planted)
    assert Client(port(running), second).get("/account").status == 200
    assert Client(port(running), first).get("/account").status == 303
    third = cookie(sign_in(nobody))
    assert Client(port(running), second).get("/account").status == 200, "another browser's session is left alone"
    assert third != second


def test_the_cookie_is_of_no_use_to_scripts_and_other_sites(nobody: Client) -> None:
    said = sign_in(nobody).headers["set-cookie"].lower().replace(" ", "").split(";")[1:]
    assert {"httponly", "samesite=lax", "path=/"} <= set(said) and not any(one.startswith("domain") for one in said)


@pytest.mark.parametrize("then", ELSEWHERE, ids=ascii)
def test_nobody_is_led_elsewhere_after_signing_in(nobody: Client, then: str) -> None:
    for more in ({}, {"hx_request": "true"}):
        reply = sign_in(nobody, then, **more)
        assert reply.status in (204, 303), reply.text
        assert reply.headers.get("location", reply.headers.get("hx-redirect")) == "/"
        assert "x-evil" not in reply.headers
    shown = nobody.get(f"/sign-in?then={quote(then, safe='')}")
    assert shown.status == 200 and "evil" not in shown.text


def test_no_address_becomes_a_header_of_its_own(running: Running) -> None:
    signed_in = Client(port(running), cookie(sign_in(Client(port(running), ""))))
    broken = "x%0d%0aX-Evil:%201%0d%0a%0d%0a<b>"
    for client in (signed_in, Client(port(running), "")):
        for path in (
            f"/guests/{broken}",
            f"/{broken}",
            f"/{broken}/",
            f"/guests/?text={broken}",
            f"/guests?status={broken}",
            f"/jobs/{broken}/bundle",
            f"/servers/{broken}/bundle",
            f"/guests.csv?text={broken}",
            f"/api/v1/jobs/{broken}/bundle",
            f"/api/v1/{broken}",
            f"/sign-in/link/{broken}",
            f"/set-up/{broken}",
            f"/find?q={broken}",
            f"/events?see={broken}~1",
        ):
            if client is signed_in and path.startswith("/events"):
                continue  # a stream, which does not end
            reply = client.get(path)
            assert "x-evil" not in reply.headers and reply.status < 500, (path, reply.status)


@pytest.mark.parametrize("path", TRICKS)
def test_no_spelling_of_an_address_goes_round_the_door(running: Running, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
        answer = raw(running, head(path.partition("#")[0], "Connection: close", "Content-Length: 0", method=method))
        status, said = int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[0].decode("latin-1").lower()
        assert status in (303, 307, 400, 401, 403, 404, 405), (method, path, answer)
        assert "admin</" not in answer.decode("latin-1") and '"role"' not in answer.decode("latin-1")
        where = next((line[10:] for line in said.splitlines() if line.startswith("location: ")), "")
        assert urlsplit(where).netloc in ("", "localhost"), (path, where)


@pytest.mark.parametrize(
    "name",
    [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-Method",
    ],
)
def test_no_header_changes_what_is_asked(running: Running, name: str) -> None:
    for value in ("DELETE", "/api/v1/people", "/people"):
        connection = HTTPConnection("127.0.0.1", port(running), timeout=20)
        headers = {"Authorization": f"Bearer {running.tokens['viewer']}", name: value}
        try:
            connection.request("GET", "/api/v1/account", headers=headers)
            reply = connection.getresponse()
            assert reply.status == 200 and b'"viewer"' in reply.read()
        finally:
            connection.close()


def test_no_made_up_client_and_no_other_host_is_believed(running: Running) -> None:
    for lines, status in (
        (("Host: evil.example",), 421),
        (("Host: localhost", "Host: evil.example"), 421),
        (("Host: evil.example", "X-Forwarded-Host: localhost"), 421),
        (("Host: localhost@evil.example",), 421),
        (("Host: localhost/evil.example",), 421),
        ((), 421),
        (("Host: localhost, evil.example",), 421),
    ):
        sent = "\r\n".join(["GET /sign-in HTTP/1.1", *lines, "Connection: close", "", ""]).encode()
        answer = raw(running, sent)
        assert int(answer.split(b" ", 2)[1]) == status, (lines, answer)
    answer = raw(
        running, head("/guests/", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "Connection: close")
    )
    assert b"evil" not in answer


def test_a_password_in_an_address_signs_nobody_in(running: Running, nobody: Client) -> None:
    told = urlencode({"user": "viewer", "password": PASSWORD})
    for reply in (nobody.get(f"/sign-in?{told}"), nobody.ask("POST", f"/sign-in?{told}", "x=1")):
        assert "set-cookie" not in reply.headers and reply.status in (200, 401)
        assert not any(one in reply.text for one in spellings(PASSWORD))
    for name in ("token", "access_token", "api_key"):
        assert nobody.get(f"/api/v1/account?{name}={running.tokens['viewer']}").status == 401
    assert nobody.get("/api/v1/account", authorization="Basic " + "dmlld2VyOng=").status == 401


@pytest.mark.parametrize(
    "framing",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Content-Length: 4", "Content-Length: 40"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
        ("Content-Length: +4",),
        ("Content-Length: -1",),
        ("Content-Length: 4, 4",),
        ("Transfer-Encoding:\x0bchunked",),
        (" Transfer-Encoding: chunked",),
        ("X: 1\nContent-Length: 4",),
    ],
    ids=ascii,
)
def test_a_request_whose_end_could_be_read_in_two_ways_is_refused(running: Running, framing: tuple[str, ...]) -> None:
    """Behind a proxy that reads it the other way a second request would be smuggled in."""
    smuggled = head("/api/v1/health", "Connection: close")
    lines = ("Content-Type: application/json", f"Authorization: Bearer {running.tokens['viewer']}", *framing)
    answer = raw(running, head("/api/v1/tokens", *lines, method="POST") + b"0\r\n\r\n" + smuggled)
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1 ") == 1, answer


def test_a_body_without_length_is_read_no_further_than_one_with_it(running: Running, nobody: Client) -> None:
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    bearer = f"Authorization: Bearer {running.tokens['viewer']}"
    for path, kind in (("/api/v1/tokens", "application/json"), ("/sign-in", "application/x-www-form-urlencoded")):
        lines = (f"Content-Type: {kind}", "Transfer-Encoding: chunked", "Connection: close", bearer)
        answer = raw(running, head(path, *lines, method="POST"), chunk * 20, b"0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413") or not answer, answer[:200]
    for fields in ("a&" * 5000, "a=1&" * 5000):
        assert nobody.ask("POST", "/sign-in", fields).status == 400
    assert nobody.get("/api/v1/health").status == 200


def test_a_head_without_end_is_refused_and_fills_no_memory(running: Running, nobody: Client) -> None:
    """A line that goes on, and lines that go on; also after a body in chunks."""
    start = b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\n"
    for endless in (start + b"X: ", start, b"GET /"):
        line = b"a" * 65536 if endless != start else b"X-Y: 1\r\n" * 8192
        told = raw(running, endless, *[line] * 40)
        assert told.startswith(b"HTTP/1.1 431") or not told  # what is still being sent may reset the connection first
    trailing = head("/sign-in", "Transfer-Encoding: chunked", method="POST") + b"0\r\nX: "
    raw(running, trailing, *[b"a" * 65536] * 200)
    assert nobody.get("/api/v1/health").status == 200


def test_whoever_hangs_up_in_the_middle_of_a_body_is_no_fault_of_ours(running: Running, nobody: Client) -> None:
    bearer = f"Authorization: Bearer {running.tokens['viewer']}"
    for path, kind in (("/api/v1/tokens", "application/json"), ("/sign-in", "application/x-www-form-urlencoded")):
        with socket.create_connection(("127.0.0.1", port(running)), timeout=30) as connection:
            lines = (f"Content-Type: {kind}", "Content-Length: 1000", bearer)
            connection.sendall(head(path, *lines, method="POST") + b"{")
    assert nobody.get("/api/v1/health").status == 200  # the log is looked at when all is over


class Hung:
    """A connection as the protocol sees it."""

    def __init__(self) -> None:
        self.ended = False

    def is_closing(self) -> bool:
        return self.ended

    def abort(self) -> None:
        self.ended = True

    close = abort

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None: ...


@pytest.mark.anyio
@pytest.mark.parametrize("sent", [b"", b"GET / HT", head("/x", "Content-Length: 9", method="POST") + b"abc"], ids=ascii)
async def test_whoever_does_not_finish_a_request_is_hung_up_on(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.05)
    monkeypatch.setattr(protocol, "BODY_WITHIN", 0.05)

    async def app(scope: object, receive: object, send: Send) -> None:
        with anyio.CancelScope() as waiting:
            scopes.append(waiting)
            await anyio.sleep(30)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    scopes: list[anyio.CancelScope] = []
    connection, ours = (
        Hung(),
        protocol.BoundedHttp(uvicorn.Config(app, lifespan="off", log_config=None), ServerState(), {}),
    )
    ours.connection_made(connection)  # pyright: ignore[reportArgumentType]
    if sent:
        ours.data_received(sent)
    began = time.monotonic()
    while not connection.ended:
        assert time.monotonic() - began < 10
        await anyio.sleep(0.01)
    ours.connection_lost(None)
    for waiting in scopes:
        waiting.cancel()
    while ours.tasks:
        await anyio.sleep(0.01)
