"""`make demo` as a person lives it: one link, a VM created and watched, changed, stopped, started, another one deleted, Ctrl-C."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.processes import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"http://127\.0\.0\.1:\d+/\S+")
STOP_WITHIN = 5.0  # seconds, the promise


@dataclass
class Demo:
    process: "subprocess.Popen[str]"
    link: str

    @property
    def address(self) -> str:
        return "/".join(self.link.split("/")[:3])

    def stop(self) -> float:
        """Ctrl-C; how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        if self.process.stdout:
            self.process.stdout.close()
        return time.monotonic() - began


def start(folder: Path) -> Demo:
    with (folder / "said").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "demo" / "demo.py")],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            env=environment(COMSERV_DEMO_DIR=str(folder / "demo"), COMSERV_PORT="0"),
        )
    assert process.stdout is not None
    return Demo(process, link_of(process.stdout))


def link_of(said: IO[str]) -> str:
    for line in said:
        if found := LINK.search(line):
            return found[0]
    raise AssertionError("the demo ended without a link")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert chromium, "chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def tab(browser: Browser, demo: Demo) -> tuple[Page, list[str]]:
    page, faults = browser.new_page(viewport={"width": 1440, "height": 900}), list[str]()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.goto(demo.link)
    return page, faults


def test_the_demo_is_lived_through_and_found_again(browser: Browser, folder: Path) -> None:
    """Done means 1, in a real browser; no part of it by the API."""
    began = time.monotonic()
    demo = start(folder)
    try:
        assert time.monotonic() - began < 60
        page, faults = tab(browser, demo)
        the_estate_is_there(page)
        create_and_watch(page, demo)
        change_memory(page, demo)
        power(page, demo, "stop", "Stopped")
        power(page, demo, "start", "Running")
        power(page, demo, "reboot", "Running")
        delete_another(page, demo)
        assert len(faults) == 1 and "404" in faults[0]  # the page of the guest that is gone, and nothing else
        page.goto(demo.address + "/guests")  # its stream is open while the demo is stopped
        expect(page.get_by_text("Live, heard")).to_be_visible()
        assert len(faults) == 1
    finally:
        took = demo.stop()
    assert took < STOP_WITHIN
    assert demo.process.returncode == 0
    again = start(folder)
    try:
        page, _ = tab(browser, again)
        the_same_world_is_there(page, again)
    finally:
        assert again.stop() < STOP_WITHIN
    assert secrets_are_nowhere(folder)


def the_estate_is_there(page: Page) -> None:
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    for name in ("Lab", "Rack", "Branch"):
        expect(page.locator("main")).to_contain_text(name)
    expect(page.locator("main")).to_contain_text("branch does not answer")


def create_and_watch(page: Page, demo: Demo) -> None:
    page.goto(demo.address + "/guests/new?server=lab")
    page.get_by_label("Name", exact=True).fill("web-01")
    page.get_by_label("Memory").fill("1")
    page.get_by_label("Disk").fill("8")
    page.get_by_label("User in the guest").fill("debian")
    page.get_by_label("Password").fill("a-secret-of-the-demo")
    page.get_by_text("Fixed", exact=True).first.click()
    page.get_by_label("Address", exact=True).fill("10.20.30.41/24")
    page.get_by_label("Gateway").first.fill("10.20.30.1")
    button = page.get_by_role("button", name="Create web-01 on lab / pve").first
    expect(button).to_be_enabled()
    expect(page.locator("#plan")).to_contain_text("ip=10.20.30.41/24")
    button.click()
    expect(page.get_by_role("heading", name="Create web-01")).to_be_visible()
    expect(page.locator(".pill")).to_have_text("Succeeded", timeout=60_000)
    expect(page.locator("main")).to_contain_text("10.20.30.41")
    page.get_by_role("link", name="Go to the guest").click()
    expect(page.get_by_role("heading", name="web-01")).to_be_visible()
    expect(page.locator("#p-guest-agent")).to_contain_text("10.20.30.41/24")


def guest(page: Page) -> str:
    return page.url.split("?")[0]


def change_memory(page: Page, demo: Demo) -> None:
    here = guest(page)
    page.get_by_role("link", name="Change", exact=True).first.click()
    page.get_by_label("Memory").fill("2")
    send(page, page.get_by_role("button", name="Change web-01"))
    ended_well(page, demo, "Change web-01")
    page.goto(here)
    expect(page.locator("main")).to_contain_text("2 GiB")


def send(page: Page, button: Locator) -> None:
    """Presses it and waits for the page that follows."""
    with page.expect_navigation():
        button.click()


def ended_well(page: Page, demo: Demo, title: str) -> None:
    """The newest job of this title, watched in the list until it has ended, without a reload."""
    page.goto(demo.address + "/jobs")
    row = page.locator("main tr", has_text=title).first
    expect(row).to_contain_text("Succeeded", timeout=60_000)


def power(page: Page, demo: Demo, action: str, state: str) -> None:
    """Starting is asked at once; what is hard asks once more, naming the guest."""
    here = guest(page)
    if action == "stop":
        page.goto(f"{here}/power/stop")
        send(page, page.locator("main").get_by_role("button", name=re.compile("web-01")))
    else:
        send(page, page.locator("header.head").get_by_role("button", name=action.capitalize(), exact=True))
    ended_well(page, demo, f"{action.capitalize()} web-01")
    page.goto(here)
    expect(page.locator(".pill").first).to_contain_text(state)


def delete_another(page: Page, demo: Demo) -> None:
    here = guest(page)
    page.goto(demo.address + "/guests?state=stopped&server=rack")
    name = page.locator("#p-guests tr a").first
    told = name.inner_text()
    name.click()
    expect(page.get_by_role("heading", name=told)).to_be_visible()
    gone = guest(page)
    page.goto(gone + "/delete")
    expect(page.locator("main")).to_contain_text("disk")
    page.locator("main").get_by_role("textbox").fill(told)
    send(page, page.locator("main").get_by_role("button", name=re.compile("^Delete")))
    ended_well(page, demo, f"Delete {told}")
    page.goto(gone)
    expect(page.locator("main")).to_contain_text("There is no guest")
    page.goto(here)


def the_same_world_is_there(page: Page, demo: Demo) -> None:
    page.goto(demo.address + "/guests?q=web-01")
    expect(page.locator("#p-guests")).to_contain_text("web-01")
    page.goto(demo.address + "/jobs")
    for title in ("Create web-01", "Change web-01", "Reboot web-01"):
        expect(page.locator("main")).to_contain_text(title)


def secrets_are_nowhere(folder: Path) -> bool:
    """The cloud-init password is in no log and no file of Comserv's; what the demo keeps for itself is its own."""
    state = json.loads((folder / "demo" / "demo.json").read_text())
    for path in [*folder.glob("demo/*.log"), *(folder / "demo" / "comserv").iterdir()]:
        assert b"a-secret-of-the-demo" not in path.read_bytes(), path
        assert state["token"].encode() not in path.read_bytes(), path
    return True
