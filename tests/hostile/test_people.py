"""Markup in every text that a person can fill, sent to a real process, is text on every page that shows it, in a real browser."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import BrowserContext, Page

from tests.api.conftest import register
from tests.processes import PASSWORD, Running, comserv_running, simulator
from tests.web.conftest import browser  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def evil(place: str) -> str:
    """Breaks out of text, attribute, script and style; tells where it was put."""
    return f"{place}\"'><img src=x onerror=\"window.broken='{place}'\"></title></script><script>window.broken=1</script>{{{{7*7}}}}"


def public_key() -> str:
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@dataclass
class Site:
    running: Running
    estate: dict[str, Any]
    job: str = ""
    vmid: int = 0
    faults: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.running.tokens['admin']}", "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.running.url}/api/v1{path}", sent, headers, method=method)  # our own
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Every text of a person is hostile that may be; where a text has a form of its own, it is refused."""
    with (
        simulator("--speed", "20", "--guests", "3") as estate,
        comserv_running(tmp_path_factory.mktemp("people"), COMSERV_LOG_LEVEL="WARNING") as running,
    ):
        register(running, "rack", estate)
        found = Site(running, estate)
        fill(found)
        yield found
        log = (running.data_dir / "serve.log").read_text()
        assert "Traceback" not in log and "fault of ours" not in log, log[-5000:]


def fill(site: Site) -> None:
    template = {"server": "rack", "vmid": site.estate["templates"][0]}
    wish = {"server": "rack", "template": template, "start_after_creation": False}
    taken = (
        ("PATCH", "/servers/rack", {"name": evil("servername")[:100]}),
        ("POST", "/tokens", {"name": evil("tokenname")[:60]}),
        ("POST", "/account/ssh-keys", {"key": f"{public_key()} {evil('keycomment')}"}),
    )
    for method, path, body in taken:
        status, told = site.ask(method, path, body)
        assert status < 300, told
    status, job = site.ask("POST", "/vms", {**wish, "hostname": "marked-up", "description": evil("description")})
    assert status == 202, job
    site.job = job["id"]
    for _ in range(120):
        job = site.ask("GET", f"/jobs/{site.job}")[1]
        if job["state"] in ("succeeded", "failed"):
            break
        time.sleep(0.25)
    assert job["state"] == "succeeded", job
    site.vmid = job["guest"]["vmid"] if "guest" in job else job["vmid"]
    for path, body in (
        ("/people", {"name": evil("person"), "role": "viewer", "password": PASSWORD}),
        ("/vms", {**wish, "hostname": evil("hostname")}),
        ("/vms", {**wish, "hostname": "tagged", "tags": [evil("tag")]}),
        ("/vms", {**wish, "hostname": "used", "cloud_init": {"user": evil("user")}}),
        ("/servers/look", {"address": evil("address")}),
        ("/account/ssh-keys", {"key": evil("nokey")}),
    ):
        status, told = site.ask("POST", path, body)
        assert status == 422, (path, told)
    status, told = site.ask("POST", "/servers/rack/maintenance", {"why": evil("why")[:200]})
    assert status in (200, 201, 204), told


@pytest.fixture(scope="module")
def signed_in(site: Site, browser: Any) -> Iterator[BrowserContext]:  # noqa: F811
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.add_init_script(
        "window.reports = []; document.addEventListener('securitypolicyviolation',"
        "seen => window.reports.push(seen.violatedDirective + ' ' + seen.blockedURI))"
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{site.running.url}/sign-in")
    page.fill("[name=user]", "admin")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{site.running.url}/")
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(signed_in: BrowserContext, site: Site) -> Iterator[Page]:
    """What the browser complains of fails the test, but for what a status of its own says."""
    page = signed_in.new_page()
    page.on("pageerror", lambda error: site.faults.append(str(error)))
    page.on("console", lambda said: site.faults.append(said.text) if said.type == "error" else None)
    yield page
    page.close()
    told = [one for one in site.faults if "status of 4" not in one and "status of 502" not in one]
    site.faults.clear()
    assert not told


def unharmed(page: Page) -> None:
    assert page.evaluate("window.reports") == [], page.url
    assert page.evaluate("window.broken") is None, page.url
    assert page.locator("img[src=x], [onerror]").count() == 0, page.url
    assert "49" not in page.title()


def pages_of(site: Site) -> tuple[str, ...]:
    guest, job = f"/guests/rack/{site.vmid}", f"/jobs/{site.job}"
    odd = quote(evil("address"), safe="")
    return (
        "/",
        "/guests",
        "/jobs",
        "/servers",
        "/people",
        "/audit",
        "/account",
        "/find",
        "/servers/rack",
        "/servers/rack/edit",
        "/servers/rack/remove",
        "/servers/rack/maintenance",
        "/servers/rack/token",
        "/servers/rack/addresses",
        "/servers/rack/certificate",
        "/servers/new",
        "/people/viewer",
        "/guests/new?server=rack",
        f"/guests/new?like=rack/{site.vmid}",
        guest,
        f"{guest}/change",
        f"{guest}/delete",
        f"{guest}/power/stop",
        job,
        f"/find?q={odd}",
        f"/guests?text={odd}",
        f"/guests?tag={odd}&server={odd}&status={odd}&sort={odd}&cursor={odd}",
        f"/jobs?text={odd}&state={odd}",
        f"/audit?who={odd}&action={odd}&subject={odd}&cursor={odd}",
        f"/people/{odd}",
        f"/servers/{odd}",
        f"/jobs/{odd}",
        f"/guests/{odd}/1",
        f"/servers/new?address={odd}",
        f"/guests/new?server={odd}&template={odd}",
        f"/{odd}",
        f"/sign-in/link/{odd}",
        f"/set-up/{odd}",
    )


def test_no_page_runs_what_people_wrote_and_none_breaks_the_content_policy(page: Page, site: Site) -> None:
    for path in pages_of(site):
        reply = page.goto(f"{site.running.url}{path}", wait_until="load")
        assert reply and (reply.status < 500 or reply.status == 502), path  # in maintenance a server is not asked
        page.wait_for_timeout(50)
        unharmed(page)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/servers", "servername"),
        ("/servers/rack", "servername"),
        ("/servers/rack/edit", "servername"),
        ("/", "servername"),
        ("/account", "tokenname"),
        ("/audit", "tokenname"),
        ("/account", "keycomment"),
        ("/servers/rack", "why"),
        ("/servers", "why"),
        ("/audit", "why"),
    ],
)
def test_what_was_written_is_read_as_it_was_written(page: Page, site: Site, path: str, place: str) -> None:
    page.goto(f"{site.running.url}{path}")
    shown = page.locator("body").inner_text() + " ".join(
        page.locator("input").evaluate_all("all => all.map(one => one.value)")
    )
    assert f"{place}\"'><img src=x" in shown, shown
    unharmed(page)


def test_what_a_form_refuses_is_shown_again_as_text(page: Page, site: Site) -> None:
    """Each form of a page is filled with markup and sent as it stands."""
    for path, inputs in (
        ("/people", {"name": "person", "password": PASSWORD}),
        ("/account", {"token_name": "t" * 70}),
        ("/account", {"key": "ssh-rsa"}),
        ("/servers/new", {"address": "a"}),
        ("/servers/rack/edit", {"default_node": "n", "addresses": "x"}),
    ):
        page.goto(f"{site.running.url}{path}")
        for name, text in inputs.items():
            page.locator(f"[name={name}]").first.fill(text if name == "password" else evil(text))
        page.locator(f"[name={next(iter(inputs))}]").first.evaluate(
            "one => { one.form.noValidate = true; one.form.requestSubmit() }"
        )
        page.wait_for_timeout(600)
        unharmed(page)


def test_finding_shows_what_is_typed_as_text(page: Page, site: Site) -> None:
    page.goto(f"{site.running.url}/find")
    box = page.locator("main [name=q]").first
    box.fill(evil("typed"))
    box.press("Enter")
    page.wait_for_timeout(500)
    unharmed(page)
