"""One of four servers dies while a browser watches: no row vanishes, sums say of what they are, ages count, and it comes back."""

import json
import os
import shutil
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.processes import PASSWORD, Running, comserv_running, simulator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SHOTS = os.environ.get("COMSERV_TEST_SHOTS", "")
"""A folder for screenshots; empty: none are taken."""
VIEWS: tuple[tuple[int, Literal["light", "dark"]], ...] = (
    (1440, "light"),
    (1440, "dark"),
    (390, "light"),
    (390, "dark"),
)


def call(method: str, url: str, body: Any = None, token: str = "") -> Any:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body is not None else None, headers, method=method
    )
    unverified = (
        ssl._create_unverified_context()
    )  # the simulator's own certificate; Comserv itself is told its fingerprint
    with urllib.request.urlopen(request, timeout=30, context=unverified) as reply:
        return json.loads(reply.read() or b"null")


@pytest.fixture(scope="module")
def estate() -> Iterator[list[dict[str, Any]]]:
    with simulator("--speed", "10", "--servers", "4", "--guests", "4", "--templates", "1") as told:
        yield told["servers"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, estate: list[dict[str, Any]]) -> Iterator[Running]:
    with comserv_running(tmp_path_factory.mktemp("comserv"), COMSERV_SWEEP_SECONDS="1") as found:
        for name, told in zip(("fra", "lab", "rack", "shed"), estate, strict=True):
            token, pin = told["tokens"]["full"], {"mode": "fingerprint", "fingerprint": told["fingerprint"]}
            body = {
                "id": name,
                "addresses": [told["url"]],
                "token_id": token["id"],
                "token_secret": token["secret"],
                "tls": pin,
            }
            call("POST", f"{found.url}/api/v1/servers", body, found.tokens["admin"])
        yield found


@pytest.fixture(scope="module")
def browser(running: Running) -> Iterator[Browser]:
    """After Comserv's people were made: Playwright's loop runs in this thread as long as it lives, and no other could then."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    made = context.new_page()
    made.goto(f"{running.url}/sign-in")
    made.fill("#u", "admin")
    made.fill("#p", PASSWORD)
    made.click("button[type=submit]")
    expect(made.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
    yield made
    context.close()


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        for width, scheme in VIEWS:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(400)
            page.screenshot(path=Path(SHOTS) / f"{name}-{width}-{scheme}.png", full_page=True)
        page.set_viewport_size({"width": 1440, "height": 900})
        page.emulate_media(color_scheme="light")


def test_no_row_vanishes_and_every_page_says_what_is_old(
    page: Page, running: Running, estate: list[dict[str, Any]]
) -> None:
    page.goto(f"{running.url}/guests")
    rows = page.locator("#p-guests tr")
    expect(rows).to_have_count(16)
    expect(page.locator("#p-guests-count")).not_to_contain_text("fresh for")
    page.evaluate(
        """() => { const body = document.querySelector("#p-guests"); window.fewest = body.rows.length;
        new MutationObserver(() => { window.fewest = Math.min(window.fewest, body.rows.length); }).observe(body, {childList: true}); }"""
    )
    call("POST", f"{estate[2]['url']}/_sim/faults", [{"match": {}, "effect": "server_down"}])
    try:
        expect(page.locator("#p-guests-count")).to_contain_text("fresh for 3 of 4 servers", timeout=20_000)
        expect(page.locator("#p-guests tr.stale")).to_have_count(4)
        expect(rows).to_have_count(16)
        line = page.locator("#o-rack")
        expect(line).to_contain_text("Next try in")
        age = line.locator("time[data-ago]")
        before = age.inner_text()
        expect(age).not_to_have_text(before, timeout=5_000)
        shoot(page, "guests-outage")
        page.goto(f"{running.url}/guests?state=stale")
        expect(rows).to_have_count(4)
        page.goto(f"{running.url}/")
        expect(page.locator("#p-overview-line")).to_contain_text("Figures are fresh for 3 of 4 servers")
        expect(page.locator("#p-overview-attention")).to_contain_text("rack does not answer.")
        expect(page.locator("#tile-rack")).to_contain_text("next try")
        shoot(page, "overview-outage")
        page.goto(f"{running.url}/servers")
        expect(page.locator("#s-rack")).to_contain_text("Next try")
        shoot(page, "servers-outage")
        page.goto(f"{running.url}/servers/rack")
        shoot(page, "server-outage")
        page.goto(f"{running.url}/find?q=rack")
        expect(page.locator("#o-rack")).to_contain_text("is shown as of")
        page.goto(f"{running.url}/guests/new?server=rack")
        expect(page.locator("#f-server option[value=rack]")).to_contain_text("does not answer")
        guests = call("GET", f"{running.url}/api/v1/guests?template=false", token=running.tokens["viewer"])
        assert (guests["total"], guests["servers"]) == (16, 4)
        (missing,) = guests["incomplete"]
        assert missing["server"] == "rack" and missing["since"] and missing["reason"] and missing["next_try"], missing
        told = running.command("guest", "list", "--no-templates")
        assert "Fresh for 3 of 4 servers:" in told.err and "rack: as of" in told.err and told.out.count("rack/") == 4
        page.goto(f"{running.url}/guests")
        expect(rows).to_have_count(16)
    finally:
        call("DELETE", f"{estate[2]['url']}/_sim/faults")
    expect(page.locator("#p-guests-count")).not_to_contain_text("fresh for", timeout=40_000)
    expect(page.locator("#p-guests tr.stale")).to_have_count(0)


def test_while_it_happens_the_list_never_has_a_row_less(
    page: Page, running: Running, estate: list[dict[str, Any]]
) -> None:
    page.goto(f"{running.url}/guests")
    expect(page.locator("#p-guests tr")).to_have_count(16)
    page.evaluate(
        """() => { const body = document.querySelector("#p-guests"); window.fewest = body.rows.length;
        new MutationObserver(() => { window.fewest = Math.min(window.fewest, body.rows.length); }).observe(body, {childList: true}); }"""
    )
    call("POST", f"{running.url}/api/v1/servers/shed/maintenance", {"why": "new disks"}, running.tokens["admin"])
    expect(page.locator("#p-guests-count")).to_contain_text("fresh for 3 of 4 servers", timeout=20_000)
    expect(page.locator("#o-shed")).to_contain_text("In maintenance: new disks.")
    shoot(page, "guests-maintenance")
    page.goto(f"{running.url}/servers/shed") if SHOTS else None
    shoot(page, "server-maintenance")
    page.goto(f"{running.url}/guests") if SHOTS else None
    call("DELETE", f"{running.url}/api/v1/servers/shed/maintenance", token=running.tokens["admin"])
    expect(page.locator("#p-guests-count")).not_to_contain_text("fresh for", timeout=20_000)
    assert SHOTS or page.evaluate("window.fewest") == 16
