"""Real processes for acceptance: a simulated server, and a Comserv that can be killed, stopped, cut off and started again.

Nothing here knows a creation. Ports are chosen by the processes themselves; each child dies with this process, however that ends.
"""

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from tests.processes import BIN, PASSWORD, environment

T = TypeVar("T")
SPEED = 10  # of the simulated server; the outcome wait is shortened alike
SETTINGS = {"COMSERV_OUTCOME_WAIT": "7", "COMSERV_PROOF_WAIT": "60"}
STARTED_WITHIN = 90.0
SHOWN_LINES = 120
WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
"""The kernel ends the child when this process ends: also one that is stopped, and also after a SIGKILL of this one."""


class Trouble(AssertionError):
    """Something did not become so in time."""


async def until(what: str, check: Callable[[], Awaitable[T]], limit: float, pause: float = 0.02) -> T:
    """What `check` brings, as soon as that is true. Raises Trouble after `limit` seconds."""
    end = time.monotonic() + limit
    while not (found := await check()):
        if time.monotonic() > end:
            raise Trouble(f"not within {limit:.0f} s: {what}")
        await asyncio.sleep(pause)
    return found


def surroundings(**given: str) -> dict[str, str]:
    """Of a child. Compiled modules may be kept, else each of many starts compiles all of them anew."""
    kept = environment(**given)
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept


def started(command: list[str], log: Path, **settings: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as written:
        return subprocess.Popen(
            [*WITH_US, *command],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=surroundings(**settings),
        )


def killed(process: "subprocess.Popen[bytes] | None") -> None:
    """SIGKILL, also to a process that is stopped. Does nothing where it has ended."""
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def said(process: "subprocess.Popen[bytes]", log: Path, start: str, past: int = 0) -> str:
    """The first line of its log, after `past` bytes, that begins so."""

    async def look() -> str:
        text = log.read_bytes()[past:].decode("utf-8", "replace")
        found = next((line for line in text.splitlines(keepends=True) if line.startswith(start)), "")
        if not found.endswith("\n") and process.poll() is not None:
            raise Trouble(f"ended with {process.returncode} before it was ready:\n{text}")
        return found if found.endswith("\n") else ""

    return (await until(f"{start!r} in {log}", look, STARTED_WITHIN, 0.05)).strip()


@dataclass
class Simulated:
    """A simulated Proxmox VE. told: the line that it printed."""

    told: dict[str, Any]
    process: "subprocess.Popen[bytes]"
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return self.told["url"]

    @property
    def templates(self) -> list[int]:
        return self.told["templates"]

    async def control(self, method: str, what: str, body: Any = None) -> Any:
        async with self.session.request(method, f"{self.url}/_sim/{what}", json=body, ssl=False) as reply:
            told = await reply.json(content_type=None)
            assert reply.status == 200, told
            return told

    async def world(self) -> dict[str, Any]:
        return await self.control("GET", "world")

    async def requests(self) -> list[dict[str, Any]]:
        return await self.control("GET", "requests")

    async def sent(self) -> Counter[tuple[str, str]]:
        """How often each (method, path) was sent and came to an end, one way or another."""
        return Counter((row["method"], row["path"]) for row in await self.requests())

    async def break_with(self, *rules: Mapping[str, Any]) -> None:
        if rules:
            await self.control("POST", "faults", list(rules))

    async def unspent(self) -> set[str]:
        """The tags of the rules that have not struck as often as they may."""
        return {rule["tag"] for rule in await self.control("GET", "faults") if "tag" in rule}

    async def mend(self) -> None:
        await self.control("DELETE", "faults")


@asynccontextmanager
async def simulated(folder: Path, *options: str) -> AsyncIterator[Simulated]:
    """A `pve-simulator` that keeps its world in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "simulator.log"
    command = [str(BIN / "pve-simulator"), "--port", "0", "--speed", str(SPEED), "--state", str(folder / "world")]
    process = started([*command, *options], log)
    try:
        told = json.loads(await said(process, log, '{"url"'))
        async with aiohttp.ClientSession() as session:
            yield Simulated(told, process, session)
    finally:
        killed(process)


@dataclass
class Instance:
    """One Comserv process over a data folder, and a client of it. `base` changes with each start."""

    folder: Path
    settings: dict[str, str]
    session: aiohttp.ClientSession
    name: str = "comserv"
    token: str = ""
    base: str = ""
    process: "subprocess.Popen[bytes] | None" = None
    starts: int = field(default=0)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    async def command(self, *words: str, given: str = "") -> str:
        """A command on the data folder; what it printed."""
        process = await asyncio.create_subprocess_exec(
            *(str(BIN / "comserv"), *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=surroundings(**self.settings),
        )
        out, err = await process.communicate(given.encode())
        assert process.returncode == 0, f"{words}: {err.decode()}"
        return out.decode()

    async def start(self) -> None:
        past = self.log.stat().st_size if self.log.exists() else 0
        self.process = started([str(BIN / "comserv"), "serve", "--port", "0"], self.log, **self.settings)
        self.starts += 1
        line = await said(self.process, self.log, "Comserv listens on ", past)
        self.base = line.split()[-1]

    def kill(self) -> None:
        killed(self.process)

    def stop(self) -> None:
        """Not a moment of processor time from now on; the kernel keeps its connections."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One REST call: (status, JSON). Raises aiohttp.ClientError where the process is gone."""
        given = {
            "Authorization": f"Bearer {self.token}",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        async with self.session.request(method, f"{self.base}/api/v1{path}", json=body, headers=given) as reply:
            return reply.status, await reply.json(content_type=None)

    async def get(self, path: str) -> Any:
        status, told = await self.ask("GET", path)
        assert status == 200, told
        return told

    async def every(self, path: str) -> list[dict[str, Any]]:
        """All items of a list, page after page."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.get(f"{path}?limit=500{cursor}")
            found += page["items"]
            if not page["next_cursor"]:
                return found
            cursor = f"&cursor={page['next_cursor']}"


@asynccontextmanager
async def instance(folder: Path, name: str = "comserv", token: str = "", **settings: str) -> AsyncIterator[Instance]:
    """A Comserv that is not started yet. Without a token a person and a token are made by its own commands."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = {"COMSERV_DATA_DIR": str(folder), "COMSERV_LOG_FORMAT": "json", **SETTINGS, **settings}
    connector = aiohttp.TCPConnector(force_close=True)  # no connection outlives a killed process
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
        made = Instance(folder, settings, session, name, token)
        try:
            if not token:
                await made.command(
                    "user", "create", "ada", "--role", "admin", "--password-stdin", given=PASSWORD + "\n"
                )
                made.token = json.loads(await made.command("token", "create", "--user", "ada", "--json"))["token"]
            yield made
        finally:
            made.kill()


async def register(comserv: Instance, server: Simulated, name: str = "lab") -> None:
    token = server.told["tokens"]["full"]
    body = {
        "id": name,
        "name": name,
        "addresses": [server.url],
        "token_id": token["id"],
        "token_secret": token["secret"],
        "tls": {"mode": "fingerprint", "fingerprint": server.told["fingerprint"]},
    }
    status, told = await comserv.ask("POST", "/servers", body)
    assert status == 201, told


@contextlib.contextmanager
def logs_shown(*folders: Path):
    """What the processes logged stands with a failure."""
    try:
        yield
    except BaseException:
        for log in sorted(log for folder in folders for log in folder.rglob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            print(
                f"\n--- {log.parent.name}/{log.name}, the last of {len(lines)} lines", *lines[-SHOWN_LINES:], sep="\n"
            )
        raise


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a database's URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432
