"""Anything may come back from what claims to be Proxmox: thirty villains at once, each with another evil, beside one good server.

Time and memory stay bounded, the good server's picture stays fresh, every villain's reason is told, and no page breaks.
"""

import gzip
import json
import statistics
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.hostile.villain import RESOURCES, Villain, Villains, endless, hang_up, json_reply, rows, vm, written
from tests.processes import PASSWORD, Running, comserv_running, simulator
from tests.proxmox.certificates import Authority
from tests.proxmox.scripted import Answer, raw, silence

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

JSON = "Content-Type: application/json;charset=UTF-8"
HEAD = f"HTTP/1.1 200 OK\r\n{JSON}\r\n"
BOMB = gzip.compress(b'{"data":"' + b"a" * (200 * 1024 * 1024) + b'"}', 1)
GROWS_AT_MOST = 200 * 1024 * 1024  # bytes of memory, while replies of 32 MiB of several servers are under way
STRUCK_WITHIN = 90.0  # seconds; what keeps us waiting is old after some thirty
UNREADABLE = "not one that Proxmox VE gives"
NOT_ASKED = "other-certificate"
STALE = "stale"  # nothing came yet that could be told as a reason: what is known is told as old
MARKUP = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
BIDI, ANSI, CONTROL = "evil\u202egnp.exe", "\x1b[31mred\x1b[0m\x07", "line\r\nSet-Cookie: a=b\x00\x08"


def said(body: bytes, *headers: str) -> bytes:
    return raw(body, 200, "OK", "application/json", *headers)


@dataclass(frozen=True)
class Evil:
    """`told`: a part of the reason that the server's page then gives; empty where it can be lived with."""

    answer: Answer
    told: str = ""
    on: str = RESOURCES
    guests: int | None = None  # how many the list then has of it, where that is certain


EVILS: dict[str, Evil] = {
    "html": Evil(raw(b"<html>Sign in</html>", 200, "OK", "text/html"), "not JSON"),
    "invalid-utf8": Evil(
        said(b'{"data":[{"id":"qemu/900","type":"qemu","vmid":900,"name":"\xff\xfe","node":"pve"}]}'), UNREADABLE
    ),
    "no-json": Evil(said(b"\x00\x01\x02"), UNREADABLE),
    "deep": Evil(said(b'{"data":[{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}"), UNREADABLE),
    "wrong-shape": Evil(json_reply({"data": {"a": 1}}), UNREADABLE),
    "null": Evil(json_reply({"data": None}), UNREADABLE),
    "a-number": Evil(said(b"7"), UNREADABLE),
    "redirect": Evil(raw(b"", 302, "Found", "", "Location: https://127.0.0.1:1/steal"), "redirects"),
    "wants-password": Evil(raw(b"", 401, "No", "", "WWW-Authenticate: Basic realm=x"), "password of its own"),
    "gateway": Evil(raw(b"<h1>Bad</h1>", 502, "Bad Gateway", "text/html"), "not JSON"),
    "strange-status": Evil(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
    "no-http": Evil(written(b"SSH-2.0-OpenSSH_9.2\r\n", hang_up), "HTTP"),
    "silent": Evil(silence, STALE),
    "cut-off": Evil(written(f"{HEAD}Content-Length: 5000\r\n\r\n".encode() + b'{"data":[', hang_up)),
    "drip": Evil(endless(f"{HEAD}Content-Length: 100000\r\n\r\n".encode(), b" ", 1.0), STALE),
    "200-mb": Evil(
        endless(f"{HEAD}Content-Length: {200 << 20}\r\n\r\n".encode(), b" " * 65536, 0, 200 << 20), "more than"
    ),
    "endless-chunks": Evil(
        endless(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), b"10000\r\n" + b" " * 65536 + b"\r\n"),
        "more than",
    ),
    "bad-chunks": Evil(written(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + b"zz\r\n", hang_up)),
    "gzip-bomb": Evil(said(BOMB, "Content-Encoding: gzip"), "more than"),
    "deflate-bomb": Evil(said(zlib.compress(b" " * (200 << 20)), "Content-Encoding: deflate"), "more than"),
    "no-gzip": Evil(said(b"not packed at all", "Content-Encoding: gzip")),
    "endless-headers": Evil(endless(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 4000 + b"\r\n", 0.001)),
    "one-long-header": Evil(endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65536, 0.001)),
    "endless-100": Evil(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0.01)),
    "header-injection": Evil(raw(b'{"data":[]}', 500, "Bad\x1b[31m" + "\u202e", "application/json")),
    "odd-ids": Evil(
        rows(
            *(
                vm(id=f"qemu/{i}", vmid=i, name="odd")
                for i in (-5, 0, 10**30, "abc", "101/config?x=", "../../etc", True, None, 1.5)
            )
        )
    ),
    "odd-figures": Evil(
        rows(
            *(
                vm(vmid=900 + n, id=f"qemu/{900 + n}", cpu=v, mem=v, maxmem=v, uptime=v, maxdisk=v)
                for n, v in enumerate((-1, 1e308, "NaN", "Infinity", "-Infinity", "", None, 2**70, "12abc"))
            )
        )
    ),
    "odd-types": Evil(
        rows(
            vm(name=["a"], tags={"a": 1}), vm(vmid=901, status=7), vm(vmid=902, node=None), vm(vmid=903, template="yes")
        )
    ),
    "missing": Evil(
        rows({"type": "qemu"}, {"type": "qemu", "vmid": 905}, {"id": "x"}, {}, {"type": "node"}, {"type": "storage"})
    ),
    "paths": Evil(
        rows(
            vm(vmid=910, id="qemu/910", node="../../access", name="a/../b"),
            {"type": "node", "node": "..", "id": "node/.."},
            {"type": "storage", "storage": "../x", "node": "pve/../..", "id": "storage/../x"},
        )
    ),
    "twice": Evil(rows(*[vm(vmid=920, id="qemu/920", name=f"twin-{n}") for n in range(3)])),
    "markup": Evil(
        rows(
            *(
                vm(vmid=930 + n, id=f"qemu/{930 + n}", name=name, tags=name, pool=name, status="running", lock=name)
                for n, name in enumerate(
                    (MARKUP, BIDI, ANSI, CONTROL, "x" * 100_000, "{{7*7}}", "javascript:alert(1)", "\ud83d\ude00" * 50)
                )
            )
        ),
        guests=8,
    ),
    "version-lies": Evil(json_reply({"data": {"version": MARKUP, "release": ANSI, "repoid": None}}), on="/version"),
    "status-lies": Evil(
        json_reply(
            {
                "data": [
                    {"type": "cluster", "name": MARKUP, "nodes": "many", "quorate": "maybe"},
                    {"type": "node", "ip": MARKUP},
                ]
            }
        ),
        on="/cluster/status",
    ),
    NOT_ASKED: Evil(said(b'{"data":[]}'), "fingerprint"),
}


def ask(running: Running, method: str, path: str, body: Any = None, base: str = "/api/v1") -> tuple[int, Any, float]:
    """Status, JSON or text, seconds."""
    headers = {"Authorization": f"Bearer {running.tokens['admin']}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{running.url}{base}{path}", data, headers, method=method)
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            text, status = reply.read().decode(), reply.status
    except urllib.error.HTTPError as refused:
        with refused:
            text, status = refused.read().decode(), refused.code
    return status, json.loads(text), time.monotonic() - began


def memory(running: Running) -> int:
    """Bytes that the process holds, at most so far."""
    return _status(running, "VmHWM")


def _status(running: Running, name: str) -> int:
    pid = int((running.data_dir / "serve.pid").read_text())
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


@dataclass(frozen=True)
class Struck:
    """All evils have been answered. `grew`: bytes beyond what it held before; `usual`: seconds of a question about the good server,
    the median of those asked meanwhile."""

    running: Running
    villains: Villains
    servers: dict[str, dict[str, Any]]
    grew: int
    usual: float


@pytest.fixture(scope="module")
def struck(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Struck]:
    folder = tmp_path_factory.mktemp("hostile")
    with (
        simulator("--guests", "6", "--speed", "20") as told,
        Villains(authority, told) as villains,
        comserv_running(folder, COMSERV_SWEEP_SECONDS="2") as running,
    ):
        for name in EVILS:
            villains.add(name)
        good = {**villains.registration("html"), "id": "good", "name": "good", "addresses": [told["url"]]}
        good["tls"] = {"mode": "fingerprint", "fingerprint": told["fingerprint"]}
        bodies = [good, *(villains.registration(name) for name in EVILS)]
        with ThreadPoolExecutor(4) as pool:
            for status, answer, _ in pool.map(lambda body: ask(running, "POST", "/servers", body), bodies):
                assert status == 201, answer
        before, asked = memory(running), list[float]()
        for name, evil in EVILS.items():
            if name != NOT_ASKED:
                villains.by_name[name].on, villains.by_name[name].evil = evil.on, evil.answer
        villains.with_another_certificate(NOT_ASKED)
        end = time.monotonic() + STRUCK_WITHIN
        while time.monotonic() < end and not all(_arrived(running, name, villains.by_name[name]) for name in EVILS):
            status, _, seconds = ask(running, "GET", "/guests?server=good&limit=10")
            assert status == 200
            asked.append(seconds)
        servers = {row["id"]: row for row in ask(running, "GET", "/servers?limit=100")[1]["items"]}
        yield Struck(running, villains, servers, memory(running) - before, statistics.median(asked))


def _arrived(running: Running, name: str, villain: Villain) -> bool:
    """Whether the evil came, and what it came to is known."""
    if name == NOT_ASKED:
        return _failing(running, name)
    if not villain.struck:
        return False
    if EVILS[name].told == STALE:
        return ask(running, "GET", f"/servers/{name}")[1]["stale"]
    return _failing(running, name) or (not EVILS[name].told and villain.struck > 1)


def _failing(running: Running, name: str) -> bool:
    return ask(running, "GET", f"/servers/{name}")[1]["health"]["failures"] > 0


def test_every_evil_was_done(struck: Struck) -> None:
    assert not [name for name, villain in struck.villains.by_name.items() if not villain.struck and name != NOT_ASKED]
    assert not struck.villains.by_name[NOT_ASKED].struck, "it is refused before anything is asked"


def test_memory_stays_bounded(struck: Struck) -> None:
    assert struck.grew < GROWS_AT_MOST, f"{struck.grew >> 20} MiB"


def test_the_good_server_is_as_fresh_and_as_quick_as_ever(struck: Struck) -> None:
    status, server, _ = ask(struck.running, "GET", "/servers/good")
    assert (status, server["state"], server["health"]["failures"]) == (200, "up", 0)
    assert not any(row["stale"] for row in ask(struck.running, "GET", "/guests?server=good")[1]["items"])
    assert struck.usual < 2.0, f"{struck.usual:.1f} s"


@pytest.mark.parametrize("name", [name for name, evil in EVILS.items() if evil.told not in ("", STALE)])
def test_the_reason_is_told_with_a_cure(struck: Struck, name: str) -> None:
    _, server, _ = ask(struck.running, "GET", f"/servers/{name}")
    trouble = server["health"]["trouble"]
    assert trouble and trouble["title"] and trouble["cure"], server
    assert EVILS[name].told.lower() in json.dumps(trouble).lower(), trouble
    assert server["state"] in ("down", "slow", "unreached"), "what failed is not told as good"


@pytest.mark.parametrize("name", [name for name, evil in EVILS.items() if evil.told == STALE])
def test_what_keeps_us_waiting_is_told_as_old(struck: Struck, name: str) -> None:
    server = ask(struck.running, "GET", f"/servers/{name}")[1]
    assert server["stale"], (server["state"], server["as_of"], server["health"])
    assert all(row["stale"] for row in ask(struck.running, "GET", f"/guests?server={name}&limit=100")[1]["items"])


def test_no_token_went_anywhere_else(struck: Struck) -> None:
    secret = struck.villains.registration("html")["token_secret"]
    for name, villain in struck.villains.by_name.items():
        assert all(asked.path.startswith("/") for asked in villain.asked), name
        assert secret not in "".join(asked.target + asked.body for asked in villain.asked), name


@pytest.mark.parametrize("name", [name for name, evil in EVILS.items() if evil.guests])
def test_what_can_be_lived_with_is_lived_with(struck: Struck, name: str) -> None:
    rows = ask(struck.running, "GET", f"/guests?server={name}&limit=100")[1]["items"]
    assert len(rows) == EVILS[name].guests


def test_every_answer_about_them_is_an_answer(struck: Struck) -> None:
    """No 500, whatever the names are; a guest is found by what the list calls it."""
    for name in EVILS:
        assert ask(struck.running, "GET", f"/servers/{name}")[0] == 200
        for row in ask(struck.running, "GET", f"/guests?server={name}&limit=100")[1]["items"]:
            status, answer, _ = ask(struck.running, "GET", f"/guests/{name}/{row['vmid']}")
            assert status in (200, 404, 409, 502, 503, 504), (name, row["vmid"], status, answer)
    for path in ("/overview", "/find?q=odd", "/jobs", "/servers"):
        assert ask(struck.running, "GET", path)[0] == 200, path


def test_a_terminal_is_not_obeyed_by_names_of_guests(struck: Struck) -> None:
    told = struck.running.command("guest", "list", "--server", "markup")
    assert told.code == 0 and "odd" not in told.err
    assert not set("\x1b\u202e\x00\x07\r") & set(told.out + told.err), told.out
    assert "\\x1b[31mred" in told.out


def test_the_log_has_no_control_characters_and_no_secret(struck: Struck) -> None:
    log = (struck.running.data_dir / "serve.log").read_text()
    assert "\x1b[31m" not in log and "\u202e" not in log and "\x00" not in log
    assert struck.villains.registration("html")["token_secret"] not in log
    assert "Traceback" not in log, log[-4000:]


WIDEST = """[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth).slice(0, 5)
    .map(e => e.outerHTML.slice(0, 120))"""  # what stands out on the right


@pytest.fixture(scope="module")
def page(browser: Browser, struck: Struck) -> Iterator[Page]:
    """Signed in as an administrator, over the villains."""
    made = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    made.goto(f"{struck.running.url}/sign-in")
    made.fill("[name=user]", "admin")
    made.fill("[name=password]", PASSWORD)
    made.click("button[type=submit]")
    made.wait_for_url(f"{struck.running.url}/")
    yield made
    made.context.close()


def test_pages_show_names_as_text_and_stay_in_shape(page: Page, struck: Struck) -> None:
    faults: list[str] = []
    page.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda told: faults.append(str(told)))
    guests = [f"/guests/markup/{930 + number}" for number in range(8)]
    servers = [
        f"/servers/{name}" for name in ("markup", "paths", "version-lies", "status-lies", "header-injection", "html")
    ]
    for path in ("/", "/guests?server=markup", "/guests?server=paths", "/servers", "/find?q=img", *guests, *servers):
        page.goto(struck.running.url + path)
        page.wait_for_timeout(200)
        assert page.locator("nav").count() and page.title() != "owned", path
        assert page.locator("img[src=x]").count() == 0, path
        assert page.evaluate("document.documentElement.scrollWidth") <= 1440, (path, page.evaluate(WIDEST))
    page.goto(f"{struck.running.url}/guests?server=markup")
    assert "<script>document.title='owned'</script>" in page.locator("main").inner_text()
    assert not [fault for fault in faults if "Content Security Policy" in fault or "Error:" in fault], faults
