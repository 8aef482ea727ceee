"""The Comserv of a batch: its database, one or three processes, and a client that asks any of those that live."""

import asyncio
import contextlib
import json
import shutil
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from campaign.draw import PROCESSES
from campaign.rows import Rows
from tests.acceptance.harness import Instance, Simulated, said, started, until
from tests.databases import Cluster
from tests.processes import PASSWORD

COMMAND = [sys.executable, "-m", "campaign.hurried"]
SETTINGS = {
    "COMSERV_LOG_FORMAT": "json",
    "COMSERV_OUTCOME_WAIT": "5",  # Proxmox's inner limit is 1.5 s at twenty times the speed; the rest is for a busy machine
    "COMSERV_PROOF_WAIT": "12",
    "COMSERV_SWEEP_SECONDS": "2",
}
LOOK_EVERY = 0.2  # seconds between two looks at the jobs, for all runs of a batch
ENDS_WITHIN = 120.0  # seconds; generous, for a machine that does other things besides
ROOT = Path(__file__).parents[1]


class NoAnswer(Exception):
    """No process answered: it was killed, or is being started."""


@dataclass(frozen=True)
class Prepared:
    """An installation with one person and one API token, to be copied for each batch."""

    folder: Path
    token: str
    template: str  # of PostgreSQL

    def copy(self, folder: Path, database: str, cluster: Cluster | None) -> str:
        """Its key and, with SQLite, its database; the database's URL."""
        folder.mkdir(parents=True, mode=0o700)
        shutil.copy2(self.folder / "key", folder / "key")
        if database == "sqlite" or cluster is None:
            for path in self.folder.glob("comserv.db*"):
                shutil.copy2(path, folder / path.name)
            return f"sqlite+aiosqlite:///{folder / 'comserv.db'}"
        return cluster.new_database(self.template)


async def prepare(folder: Path, cluster: Cluster | None) -> Prepared:
    """Once for a campaign; both engines get the same key and person."""
    folder.mkdir(parents=True, mode=0o700)
    made = {"COMSERV_DATA_DIR": str(folder)}
    async with aiohttp.ClientSession() as session:
        token = await _person(Instance(folder, made, session))
        if cluster is None:
            return Prepared(folder, token, "")
        url = cluster.new_database()
        # the same token in both: a token is a row, and rows are copied by asking the same of both and keeping the second's
        other = await _person(Instance(folder, {**made, "COMSERV_DATABASE_URL": url}, session))
    return Prepared(folder, f"{token} {other}", url.rpartition("/")[2])


async def _person(instance: Instance) -> str:
    await instance.command("user", "create", "ada", "--role", "admin", "--password-stdin", given=PASSWORD + "\n")
    return json.loads(await instance.command("token", "create", "--user", "ada", "--json"))["token"]


class Process(Instance):
    """One hurried Comserv. `up`: it answers, as far as is known."""

    up: bool = False

    async def start(self) -> None:
        past = self.log.stat().st_size if self.log.exists() else 0
        self.process = started([*COMMAND, "serve", "--port", "0"], self.log, **self.settings, PYTHONPATH=str(ROOT))
        self.starts += 1
        self.base = (await said(self.process, self.log, "Comserv listens on ", past)).split()[-1]
        self.up = True

    def kill(self) -> None:
        self.up = False
        super().kill()


@dataclass
class Installation:
    """jobs: those that have not ended, by server, as the database tells every 0.2 s."""

    processes: list[Process]
    rows: Rows
    random: Random
    open_jobs: frozenset[str] = frozenset()
    looked: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Any process that is up. Raises NoAnswer."""
        up = [one for one in self.processes if one.up]
        if not up:
            raise NoAnswer
        try:
            return await self.random.choice(up).ask(method, path, body, **headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(repr(error)) from error
        except ValueError:  # no JSON: DELETE /servers/… answers 204 with nothing
            return 204, {}

    async def ask_patiently(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Again for as long as nobody answers."""
        while True:
            try:
                return await self.ask(method, path, body, **headers)
            except NoAnswer:
                await asyncio.sleep(0.2)

    async def register(self, name: str, server: Simulated, patient: bool = False) -> None:
        """patient: what is refused is asked for again, for a while."""
        status, told = 0, None
        for _ in range(40 if patient else 1):
            status, told = await self.ask_patiently("POST", "/servers", await registration(name, server))
            if status in (201, 409):
                return
            await asyncio.sleep(0.5)
        raise AssertionError(f"{name} was not registered: {status} {told}")

    async def trust(self, name: str, server: Simulated) -> None:
        """The certificate that the server has now, as a person would after having compared it."""
        body = {"tls": (await registration(name, server))["tls"]}
        for _ in range(20):
            status, _ = await self.ask_patiently("PATCH", f"/servers/{name}", body)
            if status in (200, 404):
                return
            await asyncio.sleep(0.5)

    async def ended(self, job: str, within: float = ENDS_WITHIN) -> Any:
        """The job, once it has ended. Raises Trouble."""

        async def over() -> bool:
            return not await self.busy([job])

        await until(f"job {job} ended", over, within)
        status, told = await self.ask_patiently("GET", f"/jobs/{job}")
        if status != 200:
            raise AssertionError(f"job {job}: {status} {told}")
        return told

    async def busy(self, jobs: Collection[str]) -> bool:
        """Whether one of these has not ended, by a look made from now on."""
        async with self.looked:
            await self.looked.wait()  # it may have begun before
            await self.looked.wait()
        return not self.open_jobs.isdisjoint(jobs)

    async def watch(self) -> None:
        """Looks at the jobs for all runs."""
        while True:
            self.open_jobs = await asyncio.to_thread(self.rows.open_jobs)
            async with self.looked:
                self.looked.notify_all()
            await asyncio.sleep(LOOK_EVERY)


async def registration(name: str, server: Simulated) -> Mapping[str, Any]:
    """The body that registers a simulated server, with the certificate that it has now."""
    token, pin = server.told["tokens"]["full"], (await server.world())["fingerprint"]
    return {
        "id": name,
        "addresses": [server.url],
        "token_id": token["id"],
        "token_secret": token["secret"],
        "tls": {"mode": "fingerprint", "fingerprint": pin},
    }


@asynccontextmanager
async def installed(
    prepared: Prepared, folder: Path, database: str, cluster: Cluster | None, random: Random
) -> AsyncIterator[Installation]:
    """Started, without any server."""
    url = prepared.copy(folder, database, cluster)
    tokens = prepared.token.split()
    token = tokens[0] if database == "sqlite" else tokens[-1]
    settings = {**SETTINGS, "COMSERV_DATA_DIR": str(folder)}
    if database != "sqlite":
        settings["COMSERV_DATABASE_URL"] = url
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(40)) as session:
        names = [f"comserv-{number}" for number in range(PROCESSES[database])]
        processes = [Process(folder, settings, session, name, token) for name in names]
        made = Installation(processes, Rows(url), random)
        try:
            await asyncio.gather(*(one.start() for one in processes))
            watching = asyncio.create_task(made.watch())
            try:
                yield made
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
        finally:
            for one in processes:
                one.kill()
            made.rows.close()
            if cluster and database != "sqlite":
                cluster.drop(url)
