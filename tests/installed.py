"""Comserv within a test, over a simulated Proxmox VE in a process of its own: services, engine, sweeps, SQLite, all real.

Only what would have to be waited for is shorter: pauses of ours, and the simulator's own times by `--speed`.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from comserv import app
from comserv.domain import lostreply
from comserv.domain.guest import GuestKey
from comserv.domain.job import Job
from comserv.domain.person import Actor, Role
from comserv.domain.server import Tls, TlsMode, parse_token_id
from comserv.domain.vmrequest import parse_vm_request
from comserv.jobs import addresses, calls, cloning, power, proving, sweep
from comserv.persistence import jobs, jobsecrets
from comserv.persistence.changes import Topic
from comserv.services.estate import GuestView
from comserv.services.servers import NewServer
from comserv.settings import Settings
from tests.proxmox.simulated import Simulated

ADMIN = Actor("mara", Role.ADMIN, "api", 1)
OPERATOR = Actor("olaf", Role.OPERATOR, "api", 2)
VIEWER = Actor("vera", Role.VIEWER, "api", 3)
SPEED = "20"
_numbers = itertools.count(1)


def unique(word: str = "vm") -> str:
    """A name that no other test uses."""
    return f"{word}-{next(_numbers):03d}"


def free_address() -> str:
    return f"10.20.30.{next(_numbers) % 240 + 5}"


class Pve(Simulated):
    """The simulator, and another person who works on it: root@pam by a ticket."""

    def __init__(self, *options: str) -> None:
        super().__init__("--speed", SPEED, *options)
        self._headers: dict[str, str] = {}

    def other(self, method: str, path: str, /, **parameters: Any) -> Any:
        """A call by root@pam, its `data`; fails where it was refused."""
        status, answer = self.tried(method, path, **parameters)
        assert status == 200, (method, path, status, answer)
        return answer["data"]

    def tried(self, method: str, path: str, /, **parameters: Any) -> tuple[int, Any]:
        if not self._headers:
            status, told = self._call("POST", "/access/ticket", {"username": "root@pam", "password": "pveroot123"})
            assert status == 200, told
            ticket = told["data"]
            self._headers = {
                "Cookie": f"PVEAuthCookie={ticket['ticket']}",
                "CSRFPreventionToken": ticket["CSRFPreventionToken"],
            }
        return self._call(method, path, parameters)

    def _call(self, method: str, path: str, parameters: Mapping[str, Any]) -> tuple[int, Any]:
        text = urlencode({name.replace("__", "-"): value for name, value in parameters.items()})
        inline = method in ("GET", "DELETE") and text
        headers = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}
        url = f"/api2/json{path}" + (f"?{text}" if inline else "")
        return self.request(method, url, None if inline or method == "GET" else text, headers)

    def done(self, method: str, path: str, /, **parameters: Any) -> str:
        """A call by root@pam that begins a task, which is waited for; how that ended."""
        upid = self.other(method, path, **parameters)
        at = f"/nodes/{upid.split(':')[1]}/tasks/{upid}/status"
        return self.wait(lambda: self.other("GET", at).get("exitstatus"))

    def task(self, upid: str) -> dict[str, Any]:
        return next(task for task in self.world()["tasks"] if task["upid"] == upid)

    def tasks(self, kind: str, vmid: int | None = None) -> list[dict[str, Any]]:
        found = [task for task in self.world()["tasks"] if task["type"] == kind]
        return [task for task in found if vmid is None or task["id"] == str(vmid)]

    def wait(self, condition: Callable[[], Any], seconds: float = 10) -> Any:
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.03)
        return found

    def the(self, vmid: int) -> dict[str, Any]:
        """The guest, which has to be there."""
        found = self.guest(vmid)
        assert found is not None, f"no guest {vmid}"
        return found

    def named(self, name: str) -> list[dict[str, Any]]:
        return [guest for guest in self.world()["guests"] if guest["name"] == name]


class Installed:
    """Comserv with one server, `lab`, which is the simulator."""

    def __init__(self, installation: app.Installation, pve: Pve) -> None:
        self.installation, self.pve = installation, pve
        self.services, self.database = installation.services, installation.database

    # --- asking

    def body(self, **given: Any) -> dict[str, Any]:
        """What is asked for where a test says nothing else: a linked clone of the first template, not started."""
        body = {
            "server": "lab",
            "hostname": unique(),
            "template": {"server": "lab", "vmid": self.pve.template},
            "start_after_creation": False,
        }
        return {**body, **given}

    async def create(self, **given: Any) -> Job:
        """The job as it was asked for."""
        return await self.services.vms.create(OPERATOR, parse_vm_request(self.body(**given)))

    async def created(self, **given: Any) -> Job:
        """A VM of a job that succeeded."""
        job = await self.ended(await self.create(**given))
        assert job.state == "succeeded", job
        return job

    async def plan(self, **given: Any) -> dict[str, Any]:
        """Findings by code."""
        plan = await self.services.vms.plan(OPERATOR, parse_vm_request(self.body(**given)))
        return {finding.code: finding for finding in plan.findings}

    # --- what came of it

    async def get(self, job: Job) -> Job:
        async with self.database.read() as tx:
            return await jobs.get(tx, job.id)

    async def until(self, job: Job, condition: Callable[[Job], object], seconds: float = 25) -> Job:
        """The job as soon as it is so; fails after `seconds` and shows the job."""
        now = job
        try:
            async with asyncio.timeout(seconds), self.database.changes.subscribe(Topic.JOB) as changes:
                while not condition(now := await self.get(job)):
                    await changes.get()
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s: {now}") from None
        return now

    async def ended(self, job: Job, seconds: float = 25) -> Job:
        return await self.until(job, lambda now: now.state.ended, seconds)

    async def waiting(self, job: Job, reason: str) -> Job:
        """As soon as it waits for this; a job that ends before fails the test."""
        job = await self.until(
            job, lambda now: now.state.ended or (now.waiting is not None and now.waiting.reason == reason)
        )
        assert job.waiting is not None and job.waiting.reason == reason, job
        return job

    async def sent(self, job: Job, step: str) -> Job:
        """As soon as this step's task is known."""
        job = await self.until(job, lambda now: now.state.ended or now.step(step).upid)
        assert not job.state.ended, job
        return job

    async def eventually(self, condition: Callable[[], Any], seconds: float = 10) -> Any:
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "it did not come to that"
            await asyncio.sleep(0.05)
        return found

    def key(self, job: Job) -> GuestKey:
        assert job.guest is not None
        return job.guest

    def view(self, job: Job) -> GuestView:
        """As the list shows the job's guest."""
        return self.installation.estate.guest(self.key(job), self.database.clock())

    async def secret(self, job: Job) -> str | None:
        async with self.database.read() as tx:
            return await jobsecrets.read(tx, job.id, "cloud_init.password")

    async def seen(self, key: GuestKey) -> None:
        """Until the list shows it."""

        def shown() -> bool:
            now = self.database.clock()
            return any(view.guest.key == key for view in self.installation.estate.views(now))

        await self.eventually(shown)

    async def everything_written(self) -> str:
        """The whole database as text, for secrets that must not be in it."""
        async with self.database.read() as tx:
            names = await tx.connection.run_sync(lambda sync: _tables(sync))
            rows = [str((await tx.connection.exec_driver_sql(f'SELECT * FROM "{name}"')).all()) for name in names]
        return "\n".join(rows)


def _tables(connection: Any) -> list[str]:
    from sqlalchemy import inspect

    return inspect(connection).get_table_names()


def a_server(pve: Simulated, server_id: str = "lab", token: str = "full", **given: Any) -> NewServer:
    values = {
        "id": server_id,
        "name": "",
        "addresses": (pve.url,),
        "token_id": parse_token_id(pve.told["tokens"][token]["id"]),
        "token_secret": pve.told["tokens"][token]["secret"],
        "tls": Tls(TlsMode.FINGERPRINT, fingerprints={pve.url: pve.told["fingerprint"]}),
    }
    return NewServer(**{**values, **given})


@contextmanager
def quick() -> Iterator[None]:
    """Our own pauses, shorter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lostreply, "AFTER_ERROR", lostreply.timedelta(seconds=0.3))
        patch.setattr(calls, "TRY_LATER", 0.4)
        patch.setattr(calls, "LOOK_EVERY", 0.3)
        patch.setattr(proving, "ASK_EVERY", 0.2)
        patch.setattr(cloning, "LOOKED_LATELY", lostreply.timedelta())
        patch.setattr(power, "LOOK_AGAIN", 0.2)
        patch.setattr(sweep, "RETRY_WHILE_CLOSED", 0.4)
        patch.setattr(addresses, "PAUSE", 0.1)
        patch.setattr(addresses, "REST", 0.3)
        yield


@asynccontextmanager
async def installed(pve: Pve, folder: Path, **settings: Any) -> AsyncIterator[Installed]:
    """Running, with the server `lab`."""
    given = {"outcome_wait": 1.0, "proof_wait": 3.0, "sweep_seconds": 1.0, **settings}
    installation = app.wire(Settings(data_dir=folder, **given))
    made = Installed(installation, pve)
    with quick():
        try:
            async with app.running(installation):
                known = {view.server.id for view in await made.services.servers.list(ADMIN)}
                if "lab" not in known:
                    await made.services.servers.add(ADMIN, a_server(pve))
                yield made
        finally:
            await installation.close()


def static(address: str) -> dict[str, Any]:
    return {"type": "static", "ip_address": address, "subnet_mask": 24, "gateway": "10.20.30.1"}


@pytest.fixture(scope="module")
def pve() -> Iterator[Pve]:
    """One simulator for a module's tests: a cluster of two nodes, three templates, few guests."""
    with Pve("--guests", "4", "--templates", "3", "--nodes", "2") as made:
        yield made


@pytest.fixture(scope="module")
async def shared(pve: Pve, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installed]:
    """One Comserv over it, for a module's tests."""
    async with installed(pve, tmp_path_factory.mktemp("comserv")) as made:
        yield made


@pytest.fixture
async def comserv(shared: Installed) -> AsyncIterator[Installed]:
    """The shared one, without a fault of the test before and without one for the next."""
    yield shared
    shared.pve.heal()
    estate = shared.installation.estate
    await shared.eventually(lambda: estate.server("lab").health.state in ("up", "slow"), 20)
