"""The pages on a real socket, over services that tell a sample estate; and a real browser that looks at them."""

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from comserv.web.router import application
from tests.web.services import TOKEN, Told, services

ROOT = Path(__file__).parents[2]
AXE = ROOT / "build/frontend/axe.min.js"


class Site:
    """The pages, served from a thread of their own."""

    def __init__(self, told: Told) -> None:
        self.told, self._started = told, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(20)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
            self.address = f"http://127.0.0.1:{self.port}"
            app = application(services(self.told), port=self.port, stopping=self._stopping)
            self.server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
            serving = asyncio.create_task(self.server.serve([listener]))
            while not self.server.started:
                await asyncio.sleep(0.01)
            self._started.set()
            await serving

    @property
    def cookie(self) -> dict[str, str]:
        return {f"comserv-{self.port}": TOKEN}

    def tell(self, topic: str, key: str = "") -> None:
        self._loop.call_soon_threadsafe(self.told.tell, topic, key)

    def stop(self) -> float:
        """Ends it as Ctrl-C does; seconds that it took."""
        import time

        began = time.monotonic()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self.server.should_exit = True
        self._thread.join(20)
        return time.monotonic() - began


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def site(told: Told) -> Iterator[Site]:
    site = Site(told)
    yield site
    site.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium; where it is missing, `make test` says the line that brings it.

    Of one module: Playwright's loop runs in this thread as long as it lives, and no other could then.
    """
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A tab of somebody who is signed in; a script error or a refusal by the content policy fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.add_cookies([{"name": f"comserv-{site.port}", "value": TOKEN, "url": site.address}])
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    assert not faults
