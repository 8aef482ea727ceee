"""Servers: look, add, test, edit, disable, remove; and how they stand."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from comserv.domain.cluster import Version
from comserv.domain.connection import BEFORE_RIGHTS, CertificateSeen, Stage, StageState
from comserv.domain.errors import Conflict, ConnectionTestFailed, NotFound
from comserv.domain.guest import GuestStatus
from comserv.domain.outage import Outage, outage_of
from comserv.domain.person import Action, Actor
from comserv.domain.picture import Health, Picture, Storage
from comserv.domain.pveum import setup_lines
from comserv.domain.server import Server, ServerState, Tls, TlsMode, TokenId, parse_address
from comserv.domain.tokenrefused import NEVER_WORKED, Worked
from comserv.jobs.clients import Clients, resting
from comserv.persistence import jobs, servers
from comserv.persistence.database import Database
from comserv.persistence.servers import LastTest
from comserv.proxmox.probe import probe
from comserv.proxmox.tls import look, parse_ca
from comserv.services.estate import Estate, Known
from comserv.services.permission import permit, write_audit

__all__ = ["LastTest", "NewServer", "ServerEdit", "ServerView", "Servers"]

FIRST_SWEEP_WITHIN = 9.5  # seconds that adding waits for the first picture; the interface promises an answer within 10
TEST_WITHIN = 8.0
TESTS_AT_ONCE = 4


@dataclass(frozen=True)
class NewServer:
    """What it takes to register one; already parsed (domain/server.py). token_secret is a secret."""

    id: str
    name: str
    addresses: tuple[str, ...]
    token_id: TokenId
    token_secret: str
    tls: Tls
    default_node: str = ""

    def server(self) -> Server:
        return Server(self.id, self.name or self.id, self.addresses, self.token_id, self.tls, self.default_node)


@dataclass(frozen=True)
class ServerEdit:
    """None: stays as it is. Addresses, TLS and token are tested before they count."""

    name: str | None = None
    addresses: tuple[str, ...] | None = None
    token_id: TokenId | None = None
    token_secret: str | None = None
    tls: Tls | None = None
    default_node: str | None = None

    @property
    def touches_connection(self) -> bool:
        return any(value is not None for value in (self.addresses, self.token_id, self.token_secret, self.tls))

    def apply(self, server: Server) -> Server:
        changes = {
            "name": self.name,
            "addresses": self.addresses,
            "token_id": self.token_id,
            "tls": self.tls,
            "default_node": self.default_node,
        }
        return replace(server, **{name: value for name, value in changes.items() if value is not None})

    def words(self) -> str:
        """For the audit: what is changed, never a secret."""
        told = [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]
        return ", ".join(name.replace("_", " ") for name in told)


@dataclass(frozen=True)
class ServerView:
    """A server as it is shown. stale: its picture is old, or it does not answer. Sums over its nodes (bytes, cpu 0 to 1)."""

    server: Server
    health: Health
    picture: Picture
    stale: bool
    last_test: LastTest | None
    guests: int
    running: int
    cpu: float | None
    memory: int | None
    memory_used: int | None
    disk: int | None
    disk_used: int | None

    @property
    def outage(self) -> Outage | None:
        """Why what is shown is old; None where it is fresh."""
        return outage_of(self.server, self.health, self.picture, stale=self.stale)


class Servers:
    def __init__(self, database: Database, estate: Estate, clients: Clients) -> None:
        self._db, self._estate, self._clients = database, estate, clients
        self._tests = asyncio.Semaphore(TESTS_AT_ONCE)

    async def list(self, actor: Actor) -> tuple[ServerView, ...]:
        """All servers by id. Needs SEE."""
        await permit(self._db, actor, Action.SEE, "servers")
        now = self._db.clock()
        return tuple(view_of(known, now) for known in self._estate.servers())

    async def get(self, actor: Actor, server_id: str) -> ServerView:
        """Raises NotFound."""
        await permit(self._db, actor, Action.SEE, f"server {server_id}")
        async with self._db.read() as tx:
            server = await servers.get(tx, server_id)
            last_test = await servers.last_test(tx, server_id)
        try:
            known = replace(self._estate.server(server_id), server=server)
        except NotFound:  # registered a moment ago, and not heard of here yet
            known = Known(server, Picture(server_id, None), Health(server_id))
        return view_of(known, self._db.clock(), last_test)

    async def look(self, actor: Actor, address: str) -> CertificateSeen:
        """The certificate that stands at an address, before anything is trusted. Raises Invalid, ServerUnreachable."""
        await permit(self._db, actor, Action.TEST_SERVER, f"address {address[:200]}")
        self._none_rests(parsed := parse_address(address))
        return await look(parsed)

    def _none_rests(self, *addresses: str) -> None:
        """Raises ServerInMaintenance where one of the addresses is that of such a server."""
        for known in self._estate.servers():
            if known.server.maintenance and set(addresses) & set(known.server.addresses):
                raise resting(known.server)

    async def test_new(self, actor: Actor, new: NewServer) -> AsyncIterator[Stage]:
        """The stages of the connection test as they end; nothing is kept."""
        await permit(self._db, actor, Action.TEST_SERVER, f"server {new.id}")
        self._none_rests(*new.addresses)
        async for stage in self.probe(new.server(), new.token_secret):
            yield stage

    async def add(self, actor: Actor, new: NewServer) -> ServerView:
        """After the test and the first sweep, at the latest after 10 s. Raises Conflict (id taken), ConnectionTestFailed.

        A server that does not answer at all is kept, as `unreached`: it may be off for the night. One that answers, and is not what
        it should be, is not.
        """
        await permit(self._db, actor, Action.MANAGE_SERVERS, f"server {new.id}")
        await self._free(new.id)
        deadline = time.monotonic() + FIRST_SWEEP_WITHIN
        stages = await self._stages(new.server(), new.token_secret)
        self._refuse_failed(stages)
        async with self._db.write() as tx:
            await servers.add(tx, new.server(), new.token_secret)
            await servers.keep_test(tx, new.id, stages)
            await write_audit(tx, actor, "add_server", f"server {new.id}", detail=", ".join(new.addresses))
        await self._estate.seen(new.id, max(0.5, deadline - time.monotonic()))
        return await self.get(actor, new.id)

    async def _free(self, server_id: str) -> None:
        async with self._db.read() as tx:
            if any(server.id == server_id for server in await servers.every(tx)):
                raise Conflict(
                    f"There is a server {server_id} already.", cure="Choose another id, or edit that server."
                )

    async def _stages(self, server: Server, secret: str) -> tuple[Stage, ...]:
        """Those that ended in time: a server that is silent is not waited for much longer than its first picture would be."""
        if server.tls.mode is TlsMode.CA:
            parse_ca(server.tls.ca_pem)  # also where no address is reached, and nothing would try it
        stages = []

        async def gather() -> None:
            async for stage in self.probe(server, secret):
                stages.append(stage)

        try:
            await asyncio.wait_for(gather(), TEST_WITHIN)
        except TimeoutError:
            return tuple(stages)
        return tuple(stages)

    def _refuse_failed(self, stages: Iterable[Stage], silence_is_one: bool = False) -> None:
        """One that answers but fails before the rights are looked at is refused; silence is not an answer, unless told so."""
        failed = next((stage for stage in stages if stage.state is StageState.FAILED), None)
        if failed is None and silence_is_one and BEFORE_RIGHTS[-1] not in {stage.stage for stage in stages}:
            raise ConnectionTestFailed(tuple(stages), f"The test did not end within {TEST_WITHIN:.0f} s.")
        if failed is None or failed.stage not in BEFORE_RIGHTS:
            return
        if (failed.stage in BEFORE_RIGHTS[:2] or failed.silent) and not silence_is_one:
            return
        raise ConnectionTestFailed(tuple(stages), failed.text)

    async def test(self, actor: Actor, server_id: str) -> AsyncIterator[Stage]:
        """The stages as they end; kept as the last test. Raises ServerInMaintenance, also where that begins meanwhile."""
        await permit(self._db, actor, Action.TEST_SERVER, f"server {server_id}")
        async with self._db.read() as tx:
            server = await servers.get(tx, server_id)
            secret = await servers.token_secret(tx, server_id)
        if server.maintenance:
            raise resting(server)
        stages = []
        async for stage in self.probe(server, secret, self._worked(server)):
            stages.append(stage)
            yield stage
            self._none_rests(*server.addresses)
        async with self._db.write() as tx:
            await servers.keep_test(tx, server_id, stages)

    async def probe(self, server: Server, secret: str, worked: Worked = NEVER_WORKED) -> AsyncIterator[Stage]:
        """The stages of a test, a few tests at once at most. For services that checked who asks. worked: as in `probe`."""
        async with self._tests:
            meter = self._clients.meter(server.id)
            async for stage in probe(server, secret, now=self._db.clock, meter=meter, worked=worked):
                yield stage

    def _worked(self, server: Server) -> Worked:
        """Every look at the rights and every sweep since was an answer to this token."""
        try:
            known = self._estate.server(server.id)
        except NotFound:
            return NEVER_WORKED
        if known.rights is None or known.rights.token != str(server.token_id):
            return NEVER_WORKED
        last = max(known.rights.as_of, known.health.last_good or known.rights.as_of)
        return Worked(last, known.rights.token_facts)

    async def edit(
        self,
        actor: Actor,
        server_id: str,
        edit: ServerEdit,
        *,
        action: str = "edit_server",
        detail: str = "",
        pems: Mapping[str, str] | None = None,
    ) -> ServerView:
        """What touches the connection is tested before it counts, except in maintenance, when nothing is sent.

        action, detail: as the audit tells it. pems: certificates that are trusted by it, by address, kept for the next
        change. Raises ConnectionTestFailed, NotFound.
        """
        await permit(self._db, actor, Action.MANAGE_SERVERS, f"server {server_id}")
        async with self._db.read() as tx:
            before = await servers.get(tx, server_id)
            secret = edit.token_secret or await servers.token_secret(tx, server_id)
        wanted, stages = edit.apply(before), None
        if edit.touches_connection and not before.maintenance:
            stages = await self._stages(wanted, secret)
            self._refuse_failed(stages, silence_is_one=self._answers(server_id))
        async with self._db.write() as tx:
            current = await servers.get(tx, server_id)
            await servers.change(tx, edit.apply(current), edit.token_secret)
            if stages is not None:
                await servers.keep_test(tx, server_id, stages)
            if pems:
                await servers.keep_certificates(tx, server_id, pems)
            await write_audit(tx, actor, action, f"server {server_id}", detail=detail or edit.words())
        return await self.get(actor, server_id)

    def _answers(self, server_id: str) -> bool:
        """Now, as it is registered: an edit that would end that is not made. One that is off anyway may be edited blindly."""
        try:
            return self._estate.server(server_id).health.state in (ServerState.UP, ServerState.SLOW)
        except NotFound:
            return False

    async def remove(self, actor: Actor, server_id: str) -> None:
        """Nothing on the server itself changes. Raises Conflict while jobs run there."""
        await permit(self._db, actor, Action.MANAGE_SERVERS, f"server {server_id}")
        async with self._db.write() as tx:
            await servers.get(tx, server_id)
            running = await jobs.count_open(tx, server_id)
            if running:
                text = f"{running} job{'s' if running > 1 else ''} of this server has not ended."
                raise Conflict(text, cure="Wait for them, or cancel them; then remove the server.")
            await servers.remove(tx, server_id)
            await write_audit(tx, actor, "remove_server", f"server {server_id}")

    def pveum_lines(self, version: str, user: str, token: str) -> str:
        """The lines that make a role of our own, a user, a token and the ACLs on a server, ready to copy."""
        name, _, realm = user.partition("@")
        return "\n".join(setup_lines(Version(version, version), TokenId(name, realm or "pve", token)))


def view_of(known: Known, now: datetime, last_test: LastTest | None = None) -> ServerView:
    picture = known.picture
    guests = [guest for guest in picture.guests if not guest.template]
    online = [node for node in picture.nodes if node.online and node.memory is not None]
    cores = sum(node.cores or 0 for node in online)
    busy = sum((node.cpu or 0.0) * (node.cores or 0) for node in online)
    disks = list(_each_once(picture.storages))
    health = replace(known.health, state=ServerState.MAINTENANCE) if known.server.maintenance else known.health
    return ServerView(
        server=known.server,
        health=health,
        picture=picture,
        stale=known.stale(now),
        last_test=last_test,
        guests=len(guests),
        running=sum(guest.status in (GuestStatus.RUNNING, GuestStatus.PAUSED) for guest in guests),
        cpu=busy / cores if cores else None,
        memory=sum(node.memory or 0 for node in online) if online else None,
        memory_used=sum(node.memory_used or 0 for node in online) if online else None,
        disk=sum(one.total or 0 for one in disks) if disks else None,
        disk_used=sum(one.used or 0 for one in disks) if disks else None,
    )


def _each_once(storages: Iterable[Storage]) -> Iterable[Storage]:
    """Shared storages are seen from every node, and count once."""
    seen = set()
    for storage in storages:
        if storage.total is None or (storage.shared and storage.name in seen):
            continue
        seen.add(storage.name)
        yield storage
