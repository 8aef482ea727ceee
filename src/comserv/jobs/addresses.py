"""Addresses of guests, read in the background within a budget: from cloud-init's configuration, and from running agents.

At most one guest per server at a time and a few a minute, so that a server hardly notices; whoever was asked longest ago is next.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from comserv.domain.errors import DatabaseUnavailable, NotFound, ProxmoxError, RequestRefused
from comserv.domain.guest import AddressSource, AgentReport, Guest, GuestStatus, GuestType
from comserv.domain.hardware import agent_enabled, cloud_init_addresses
from comserv.domain.lease import Lease
from comserv.domain.load import Purpose
from comserv.domain.picture import Picture
from comserv.domain.proof import reported
from comserv.jobs.clients import Clients
from comserv.persistence import guests, leases
from comserv.persistence.database import Database
from comserv.proxmox.client import Client

log = structlog.get_logger(__name__)

PAUSE = 0.8  # seconds between two guests of a server, one or two calls each: at most 150 of the 240 calls a minute that we allow ourselves
REST = 15.0
ASK_AGAIN = timedelta(minutes=10)


class Addresses:
    """A listener of the owner: a quiet loop per owned server."""

    def __init__(self, database: Database, clients: Clients, pause: float = PAUSE) -> None:
        self._db, self._clients, self._pause = database, clients, pause
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, tuple[int, deque[Guest]]] = {}  # by server, of a revision of its picture

    async def gained(self, lease: Lease) -> None:
        self._loops[lease.server] = asyncio.create_task(self._loop(lease), name=f"addresses {lease.server}")

    async def lost(self, server: str) -> None:
        loop = self._loops.pop(server, None)
        if loop:
            loop.cancel()
            await asyncio.wait([loop])

    async def _loop(self, lease: Lease) -> None:
        asked: dict[tuple[int, str], datetime] = {}
        with structlog.contextvars.bound_contextvars(server=lease.server):
            while True:
                try:
                    due = self._next(lease.server, asked)
                    if due:
                        asked[due.key.vmid, str(due.status)] = self._db.clock()
                        await self._read(lease, due)
                except ProxmoxError:
                    due = None  # the sweep tells how the server stands
                except (DatabaseUnavailable, NotFound) as error:
                    log.info("addresses were not read", detail=error.detail)
                    due = None
                except Exception:  # the outermost edge of this loop: it goes on, and the log tells
                    log.exception("reading addresses failed with a fault of ours")
                    due = None
                await asyncio.sleep(self._pause if due else REST)

    def _next(self, server: str, asked: dict[tuple[int, str], datetime]) -> Guest | None:
        """The guest that was asked longest ago, or never; a change of its state asks anew."""
        shown, now = self._db.shelf.of(server), self._db.clock()
        if shown is None or shown.picture.as_of is None or now - shown.picture.as_of > timedelta(seconds=45):
            return None
        revision, waiting = self._waiting.get(server, (0, deque()))
        if not waiting or revision != shown.picture.revision:
            waiting = deque(_due(shown.picture, asked, now))
            self._waiting[server] = shown.picture.revision, waiting
        return waiting.popleft() if waiting else None

    async def _read(self, lease: Lease, guest: Guest) -> None:
        client = (await self._clients.of(lease.server)).for_(Purpose.LOOK)
        config, live = await self._ask(client, guest)
        async with self._db.write() as tx:
            if not await leases.holds(tx, lease):
                return
            await guests.keep_addresses(tx, guest.key, AddressSource.CLOUD_INIT, config, tx.now)
            if live is not None:
                await guests.keep_addresses(tx, guest.key, AddressSource.AGENT, live, tx.now)

    async def _ask(self, client: Client, guest: Guest) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
        """(as cloud-init's configuration says, as the guest itself says; None where it does not answer)."""
        now = self._db.clock()
        node = client.node(guest.node)
        running = guest.status is GuestStatus.RUNNING
        if guest.type is GuestType.LXC:
            found = await node.lxc(guest.key.vmid).addresses() if running else ()
            return (), reported(AgentReport(now, found)) if running else None
        config = await node.qemu(guest.key.vmid).config()
        static = cloud_init_addresses(config)
        if not running or not agent_enabled(config):
            return static, None
        try:
            return static, reported(AgentReport(now, await node.qemu(guest.key.vmid).agent.addresses()))
        except RequestRefused:
            return static, None


def _due(picture: Picture, asked: Mapping[tuple[int, str], datetime], now: datetime) -> list[Guest]:
    """Those that may be asked again, who was asked longest ago first."""
    online = {node.name for node in picture.nodes if node.online}
    never = datetime.fromtimestamp(0, now.tzinfo)
    found = [
        (when, guest.key.vmid, guest)
        for guest in picture.guests
        if not guest.template and not guest.lock and guest.node in online
        if now - (when := asked.get((guest.key.vmid, str(guest.status)), never)) > ASK_AGAIN
    ]
    return [guest for _, _, guest in sorted(found, key=lambda one: one[:2])]
