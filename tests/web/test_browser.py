"""A real browser looks at every page and uses what only works with script: live parts, dialogs, keyboard, copying."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import pytest
from msgspec import structs
from playwright.sync_api import Browser, Page, expect

from comserv.domain.guest import GuestKey
from comserv.domain.job import JobState
from comserv.domain.power import PowerAction
from tests.web import estate
from tests.web.conftest import AXE, Site
from tests.web.services import TOKEN, Told

pytestmark = pytest.mark.slow
GUEST, JOB = "/guests/lab/131", f"/jobs/{estate.RUNNING.id}"
LOOKED_AT = (
    "/", "/guests", "/guests?q=nobody", GUEST, "/guests/branch/101", f"{GUEST}/change", f"{GUEST}/delete", f"{GUEST}/power/stop",
    "/guests/new?hostname=web-01", "/guests/new?like=lab/131",
    "/jobs", JOB, f"/jobs/{estate.FAILED.id}", f"/jobs/{estate.DONE.id}", f"/jobs/{estate.LOOKING.id}",
    "/servers", "/servers/rack", "/servers/branch", "/servers/lab/edit", "/servers/lab/certificate",
    "/servers/rack/addresses", "/servers/lab/token", "/servers/new", "/people",
    "/people/mara", "/audit", "/account", "/find?q=shop", "/guests/lab/4711", "/sign-in/link/bad",
)  # fmt: skip
VIEWS: dict[str, tuple[int, int, Literal["light", "dark"]]] = {
    "desk": (1440, 900, "light"),
    "dark": (1440, 900, "dark"),
    "phone": (390, 844, "light"),
    "phone-dark": (390, 844, "dark"),
}


def settle(page: Page) -> None:
    """Until the stream has brought what the page began without."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_is_without_a_finding_of_axe_and_fits_its_screen(browser: Browser, site: Site, view: str) -> None:
    width, height, scheme = VIEWS[view]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )  # pyright: ignore[reportArgumentType]
    context.add_cookies([{"name": f"comserv-{site.port}", "value": TOKEN, "url": site.address}])
    page, found, axe = context.new_page(), [], AXE.read_text()
    for path in LOOKED_AT:
        page.goto(site.address + path)
        settle(page)
        page.evaluate(axe)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found += [(path, one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in result["violations"]]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append((path, "wider than the screen", []))
    context.close()
    assert not found


def test_parts_that_ask_a_server_arrive_by_themselves(page: Page, site: Site) -> None:
    page.goto(site.address + GUEST)
    expect(page.locator("#p-guest-agent")).to_contain_text("10.20.0.31/24")
    expect(page.locator("#p-guest-live")).to_contain_text("2 changes wait for a restart")
    expect(page.locator("#p-guest-tasks")).to_contain_text("Back up")


def test_a_job_is_watched_to_its_end_without_a_reload(page: Page, site: Site, told: Told) -> None:
    page.goto(site.address + JOB)
    expect(page.locator(".pill")).to_have_text("Running, step 2 of 6")
    told.jobs = (
        replace(estate.RUNNING, state=JobState.SUCCEEDED, ended=estate.NOW, steps=estate.steps(*["done"] * 6)),
        *estate.JOBS[1:],
    )
    site.tell("job", estate.RUNNING.id)
    expect(page.locator(".pill")).to_have_text("Succeeded")
    expect(page.locator(".time .glyph")).to_have_count(6)


def test_rows_change_in_place_and_new_ones_are_offered(page: Page, site: Site, told: Told) -> None:
    page.goto(site.address + "/guests")
    page.check("#g-lab-131 .pick input")
    first = page.locator("#p-guests tr").first.get_attribute("id")
    busier = replace(estate.GUESTS[0], guest=structs.replace(estate.WEB, cpu=0.77))
    told.guests = (busier, *estate.GUESTS[2:], estate.view(estate.guest("lab", 777, "aaa-new", "pve1")))
    site.tell("guests", "lab")
    expect(page.locator("#g-lab-131")).to_contain_text("77 %")
    expect(page.locator("#news")).to_have_text("1 new, 1 gone, show")
    assert page.locator("#p-guests tr").first.get_attribute("id") == first and page.locator("#g-lab-777").count() == 0
    page.click("#news button")
    expect(page.locator("#g-lab-777")).to_be_visible()
    assert page.is_checked("#g-lab-131 .pick input") and page.locator("#g-lab-132").count() == 0


def test_a_row_that_changes_while_others_are_offered_is_shown_now_and_afterwards(
    page: Page, site: Site, told: Told
) -> None:
    page.goto(site.address + "/guests")
    told.guests = (*estate.GUESTS, estate.view(estate.guest("lab", 777, "aaa-new", "pve1")))
    site.tell("guests", "lab")
    expect(page.locator("#news")).to_have_text("1 new, show")
    busier = replace(estate.GUESTS[0], guest=structs.replace(estate.WEB, cpu=0.77))
    told.guests = (busier, *told.guests[1:])
    site.tell("guests", "lab")
    expect(page.locator("#g-lab-131")).to_contain_text("77 %")
    page.click("#news button")
    expect(page.locator("#g-lab-777")).to_be_visible()
    expect(page.locator("#g-lab-131")).to_contain_text("77 %")


def test_a_list_under_the_pointer_waits_until_the_pointer_has_left(page: Page, site: Site, told: Told) -> None:
    page.goto(site.address + "/")
    page.hover("#p-overview-attention li >> nth=0")
    told.summary = replace(estate.SUMMARY, attention=estate.ATTENTION[1:])
    site.tell("server", "branch")
    page.wait_for_timeout(600)
    assert page.locator("#p-overview-attention li").count() == 3
    page.hover("h1")
    expect(page.locator("#p-overview-attention li")).to_have_count(2)


def test_a_selection_offers_what_fits_and_does_it_to_those_alone(page: Page, site: Site, told: Told) -> None:
    page.goto(site.address + "/guests")
    for row in ("#g-lab-131", "#g-lab-135", "#g-rack-203"):
        page.check(f"{row} .pick input")
    expect(page.locator("[data-selected]")).to_have_text("3 selected")
    expect(page.locator("[data-verb=start]")).to_have_text("Start 1")
    expect(page.locator("[data-verb=resume]")).to_be_hidden()
    page.click("[data-verb=shutdown]")
    expect(page.locator("h1")).to_contain_text("Shut down")
    assert told.asked == [("power_many", (GuestKey("rack", 203), GuestKey("lab", 131)), PowerAction.SHUTDOWN)]


def test_deleting_asks_in_a_dialog_for_the_name(page: Page, site: Site, told: Told) -> None:
    page.goto(site.address + GUEST)
    settle(page)
    page.click("[popovertarget=more]")
    page.click("text=Delete shop-01")
    expect(page.locator("#sure")).to_be_focused()
    page.fill("#sure", "shop-02")
    page.click("#dialog .btn-danger")
    expect(page.locator("#sure")).to_have_attribute("aria-invalid", "true")
    assert not told.asked
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    page.click("[popovertarget=more]")
    page.click("text=Delete shop-01")
    page.fill("#sure", "shop-01")
    page.click("#dialog .btn-danger")
    page.wait_for_url(f"**/jobs/{estate.CANCELLED.id}")
    assert told.asked == [("delete", GuestKey("lab", 131))]


def test_the_plan_follows_what_is_typed(page: Page, site: Site, told: Told) -> None:
    told.plan = estate.BLOCKED
    page.goto(site.address + "/guests/new")
    page.fill("#f-hostname", "web-01")
    page.click("text=Fixed >> nth=0")
    page.fill("#f-ip", "10.20.0.31/24")
    expect(page.locator("#plan")).to_contain_text("10.20.0.31 is in use by shop-01")
    expect(page.locator("#f-ip")).to_have_attribute("aria-invalid", "true")
    page.click("aside .btn-primary", force=True)
    assert page.url.endswith("/guests/new")
    told.plan = estate.PLAN
    page.fill("#f-ip", "10.20.0.33/24")
    expect(page.locator("#f-ip")).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("aside .btn-primary")).to_have_text("Create web-01 on lab / pve1")
    page.click("aside .btn-primary")
    page.wait_for_url(f"**{JOB}")
    assert told.asked[-1][0] == "create"


def test_another_server_keeps_what_was_typed(page: Page, site: Site) -> None:
    page.goto(site.address + "/guests/new")
    page.fill("#f-hostname", "web-01")
    page.select_option("#f-server", "rack")
    expect(page.locator("#plan")).to_contain_text("Calls to lab")
    assert page.input_value("#f-server") == "rack" and page.input_value("#f-hostname") == "web-01"


def test_the_stages_of_a_test_appear_one_by_one(page: Page, site: Site, told: Told) -> None:
    page.goto(site.address + "/servers/new")
    page.fill("#addr", "edge-brn.example.net")
    page.click("text=Look")
    page.click("text=They are the same, accept")
    page.fill("#f-token_secret", "5f0c9d2e-1111-2222-3333-444455556666")
    page.click("#go")
    expect(page.locator("#test")).to_contain_text("runs")
    expect(page.locator("#test")).to_contain_text("edge-brn is in.")
    assert told.asked[-1][0] == "add"


def test_find_or_do_goes_by_keys_alone(page: Page, site: Site) -> None:
    page.goto(site.address + "/")
    page.keyboard.press("Control+k")
    page.keyboard.type("shop")
    expect(page.locator("#found [aria-selected=true]")).to_contain_text("shop-01")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/guests/lab/135")


def test_a_table_is_worked_by_keys_alone(page: Page, site: Site) -> None:
    page.goto(site.address + "/")
    page.keyboard.press("g")
    page.keyboard.press("g")
    page.wait_for_url("**/guests")
    for key in ("ArrowDown", "x", "ArrowDown", "x"):
        page.keyboard.press(key)
    expect(page.locator("[data-selected]")).to_have_text("2 selected")
    page.keyboard.press("Escape")
    expect(page.locator(".selbar")).to_be_hidden()
    page.keyboard.press("Enter")
    page.wait_for_url("**/guests/*/*")


def test_an_identifier_is_copied_at_one_click(page: Page, site: Site) -> None:
    page.goto(site.address + GUEST)
    settle(page)
    page.click("#p-guest-agent [data-copy='10.20.0.31/24']")
    expect(page.locator("#toasts")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "10.20.0.31/24"


def test_the_end_of_a_job_is_told_on_any_page(page: Page, site: Site, told: Told) -> None:
    page.goto(site.address + "/audit")
    expect(page.locator("#live")).to_contain_text("Live,")
    told.jobs = (replace(estate.RUNNING, state=JobState.FAILED, ended=datetime.now(UTC)), *estate.JOBS[1:])
    site.tell("job", estate.RUNNING.id)
    expect(page.locator("#toasts a")).to_have_text("Create web-01: failed")


def test_a_dialog_stays_as_it_is_while_parts_change(page: Page, site: Site) -> None:
    page.goto(site.address + JOB)
    page.click("text=Cancel")
    page.check("#dialog [value=stop]")
    site.tell("job", estate.RUNNING.id)
    site.tell("guests", "lab")
    page.wait_for_timeout(500)
    expect(page.locator("#dialog")).to_be_visible()
    assert page.is_checked("#dialog [value=stop]")


def test_a_lost_stream_says_so(browser: Browser, told: Told) -> None:
    own = Site(told)
    context = browser.new_context()
    context.add_cookies([{"name": f"comserv-{own.port}", "value": TOKEN, "url": own.address}])
    page = context.new_page()
    page.goto(own.address + "/")
    expect(page.locator("#live")).to_contain_text("Live,")
    own.stop()
    expect(page.locator("#live")).to_contain_text("Not live since", timeout=20000)
    context.close()


def test_ticks_and_what_was_typed_stay_when_another_template_or_server_is_chosen(page: Page, site: Site) -> None:
    page.goto(site.address + "/guests/new?like=lab/131")
    page.check("input[name=ssh_key_2]")
    page.uncheck("input[name=ssh_key_1]")
    page.select_option("#f-server", "rack")
    expect(page.locator("#f-server")).to_have_value("rack")
    expect(page.locator("input[name=ssh_key_2]")).to_be_checked()
    expect(page.locator("input[name=ssh_key_1]")).not_to_be_checked()
    expect(page.locator("#f-hostname")).to_have_value("shop-02")


def test_a_plan_is_made_at_once_for_another_one_and_the_keyboard_gets_everywhere(page: Page, site: Site) -> None:
    page.goto(site.address + "/guests/new?like=lab/131")
    expect(page.locator("#plan .btn-primary")).to_have_text("Create shop-02 on lab / pve1")
    page.focus("#f-password")
    for name in ("ssh_key_1", "ssh_key_2", "ssh_keys"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == name
    page.focus("input[name=ssh_key_2]")
    page.keyboard.press("Space")
    assert page.is_checked("input[name=ssh_key_2]")


def test_another_look_is_tried_at_once_and_kept_without_a_flash(page: Page, site: Site, told: Told) -> None:
    page.goto(site.address + "/account")
    page.check("input[name=theme][value=dark]", force=True)
    assert page.evaluate("document.documentElement.dataset.bsTheme") == "dark" and told.theme == ""
    page.click("text=Keep this look")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    assert told.theme == "dark"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    first = page.request.get(site.address + "/guests").text()
    assert 'data-bs-theme="dark"' in first[: first.index("<head>")] and dark != "rgb(255, 255, 255)"
