"""Bundles for a report: everything that tells how a job or a server fared, in one .zip, with every secret gone."""

import asyncio
import io
import json
import platform
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import msgspec

from comserv.domain.concealment import Concealment, without_secrets
from comserv.domain.job import CallRecord, Job
from comserv.domain.outage import outage_of
from comserv.domain.person import Action, Actor
from comserv.domain.server import Server
from comserv.persistence import jobcalls, jobs, jobsecrets, people, servers
from comserv.persistence.database import Database, Transaction
from comserv.persistence.jobs import JobFilter
from comserv.services.estate import Estate, Known
from comserv.services.load import Loads
from comserv.services.permission import permit, write_audit

PACKAGES = (
    "comserv",
    "aiohttp",
    "sqlalchemy",
    "fastapi",
    "starlette",
    "uvicorn",
    "msgspec",
    "pydantic",
    "cryptography",
)
MOST_CALLS, MOST_JOBS, MOST_LINES = 2000, 30, 1500
README = """A bundle of Comserv for a report, made at {at} about {subject}.

Secrets are masked (•••), by name and by value: tokens, passwords, tickets, keys.{names}
Look through it before you send it: what people wrote into names and descriptions is in it as it is.
"""


@dataclass(frozen=True)
class Bundle:
    """name: of the file. content: a .zip."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Surroundings:
    """What an installation tells of itself. settings: without secrets. secrets: values that must not be in any bundle.

    log: the last lines of this process's log, each JSON.
    """

    settings: Mapping[str, str]
    secrets: tuple[str, ...]
    log: Callable[[], Iterable[str]]


class Bundles:
    def __init__(self, database: Database, estate: Estate, loads: Loads, around: Surroundings) -> None:
        self._db, self._estate, self._loads, self._around = database, estate, loads, around

    async def of_job(self, actor: Actor, job_id: str, *, anonymous: bool = False) -> Bundle:
        """Job, steps, calls with the replies that were kept, its server, the log. Raises NotFound."""
        await permit(self._db, actor, Action.TAKE_BUNDLE, f"job {job_id[:40]}")
        async with self._db.write() as tx:
            job = await jobs.get(tx, job_id)
            calls = await _calls(tx, job_id)
            secrets, persons = await self._hidden(tx)
            await self._audited(tx, actor, f"job {job_id}", anonymous)
        files: dict[str, Any] = {"job.json": job, "calls.json": calls}
        known = self._estate.find(job.server)
        if known:
            files |= await self._about_server(actor, known)
        lines = self._lines(job.id, *({job.server} if known is None else ()))
        concealment = Concealment(secrets, self._names(persons, (job,)) if anonymous else None)
        return await self._pack(f"job-{job_id}", files, lines, concealment, anonymous)

    async def of_server(self, actor: Actor, server_id: str, *, anonymous: bool = False) -> Bundle:
        """Registration without the token's value, health, load, picture, last test, its last jobs, the log. Raises NotFound."""
        await permit(self._db, actor, Action.TAKE_BUNDLE, f"server {server_id[:40]}")
        known = self._estate.server(server_id)
        async with self._db.write() as tx:
            recent = (await jobs.page(tx, JobFilter(server=server_id), limit=MOST_JOBS)).items
            secrets, persons = await self._hidden(tx)
            await self._audited(tx, actor, f"server {server_id}", anonymous)
        files = await self._about_server(actor, known) | {"jobs.json": recent}
        concealment = Concealment(secrets, self._names(persons, recent) if anonymous else None)
        return await self._pack(f"server-{server_id}", files, self._lines(server_id), concealment, anonymous)

    async def _audited(self, tx: Transaction, actor: Actor, subject: str, anonymous: bool) -> None:
        await write_audit(tx, actor, str(Action.TAKE_BUNDLE), subject, detail="anonymous" if anonymous else "")

    async def _hidden(self, tx: Transaction) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Every secret that we hold, and the names of people."""
        tokens = [await servers.token_secret(tx, server.id) for server in await servers.every(tx)]
        names = tuple(person.name for person in await people.every(tx))
        return (*tokens, *await jobsecrets.every(tx), *self._around.secrets), names

    async def _about_server(self, actor: Actor, known: Known) -> dict[str, Any]:
        now = self._db.clock()
        stale = known.stale(now)
        return {
            "server.json": known.server,
            "health.json": known.health,
            "outage.json": outage_of(known.server, known.health, known.picture, stale=stale),
            "load.json": await self._loads.get(actor, known.server.id),
            "picture.json": known.picture,
            "last-test.json": known.last_test,
        }

    def _lines(self, *words: str) -> list[str]:
        """Of the log: those that name it."""
        return [line for line in self._around.log() if any(word in line for word in words)][-MOST_LINES:]

    def _names(self, persons: Iterable[str], about: Iterable[Job]) -> dict[str, list[str]]:
        found = self._estate.servers()
        guests = [guest.name for known in found for guest in known.picture.guests]
        return {
            "server": [text for known in found for text in (known.server.id, known.server.name)],
            "host": [host for known in found for host in _hosts(known.server)],
            "node": [node.name for known in found for node in known.picture.nodes],
            "guest": [*guests, *(str(job.request.get("hostname", "")) for job in about)],
            "cluster": [known.picture.cluster for known in found],
            "pool": [guest.pool for known in found for guest in known.picture.guests],
            "person": [*persons, *(job.requested_by for job in about)],
        }

    async def _pack(
        self, name: str, files: Mapping[str, Any], lines: list[str], concealment: Concealment, anonymous: bool
    ) -> Bundle:
        now = self._db.clock()
        more = {"versions.json": versions(), "settings.json": dict(self._around.settings)}
        names = (
            "\nNames, addresses and people stand as words like guest-3, the same everywhere in it." if anonymous else ""
        )
        texts = {
            "README.txt": README.format(at=f"{now:%Y-%m-%d %H:%M} UTC", subject=name.replace("-", " ", 1), names=names)
        }
        texts |= {path: _json(value) for path, value in {**files, **more}.items()}
        texts["log.jsonl"] = "\n".join(lines) + "\n"
        content = await asyncio.to_thread(_zip, {path: concealment.clean(text) for path, text in texts.items()}, now)
        public = concealment.clean(name).replace("/", "-")
        return Bundle(f"comserv-{public}-{now:%Y%m%d-%H%M%S}.zip", content)


async def _calls(tx: Transaction, job_id: str) -> list[CallRecord]:
    """The first ones, oldest first."""
    page = await jobcalls.page(tx, job_id, limit=500)
    calls = list(page.items)
    while page.next_cursor and len(calls) < MOST_CALLS:
        page = await jobcalls.page(tx, job_id, limit=500, cursor=page.next_cursor)
        calls += page.items
    return calls


def versions() -> dict[str, str]:
    """Of Comserv, of what it stands on, and of the machine."""
    told = {name: version(name) for name in PACKAGES}
    return told | {"python": platform.python_version(), "system": platform.platform()}


def _hosts(server: Server) -> list[str]:
    bare = [address.removeprefix("https://") for address in server.addresses]
    return [*bare, *(one.rpartition(":")[0].strip("[]") for one in bare)]


def _json(value: Any) -> str:
    return json.dumps(without_secrets(msgspec.to_builtins(value, str_keys=True)), indent=1, ensure_ascii=False) + "\n"


def _zip(texts: Mapping[str, str], at: datetime) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in texts.items():
            entry = zipfile.ZipInfo(path, at.timetuple()[:6])
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
            archive.writestr(entry, text)
    return made.getvalue()
