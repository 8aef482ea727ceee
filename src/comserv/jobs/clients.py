"""One Proxmox client per server in this process; it takes up a changed registration, and those who hold it go on with that."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from comserv.domain.errors import ServerInMaintenance
from comserv.domain.server import Server
from comserv.persistence import servers
from comserv.persistence.changes import Topic
from comserv.persistence.database import Database
from comserv.proxmox.client import Client
from comserv.proxmox.meter import Meter

CALLS_END_WITHIN = 120.0  # seconds; no call of ours is waited for longer


class Clients:
    """Shared by sweeps, stories and plans, so that the limits per server hold for all of them together."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._clients: dict[str, Client] = {}
        self._meters: defaultdict[str, Meter] = defaultdict(Meter)
        self._old: set[Client] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._making = asyncio.Lock()
        self.on_refusal: Callable[[str], None] = lambda _server: None
        """Told the server's id when Proxmox refused a change for a right that is missing."""

    async def of(self, server_id: str) -> Client:
        """Raises NotFound, and ServerInMaintenance."""
        client = self._clients.get(server_id)
        if client is None:
            async with self._making:
                client = self._clients.get(server_id) or await self._make(server_id)
        if client.server.maintenance:
            raise resting(client.server)
        return client

    async def _make(self, server_id: str) -> Client:
        async with self._db.read() as tx:
            server = await servers.get(tx, server_id)
            secret = await servers.token_secret(tx, server_id)
        client = self._clients[server_id] = Client(
            server, secret, meter=self.meter(server_id), on_refusal=lambda refused: self.on_refusal(refused)
        )
        return client

    def meter(self, server_id: str) -> Meter:
        """What this process sends there; shared by clients and tests of the connection."""
        return self._meters[server_id]

    async def follow(self) -> None:
        """Brings registrations that changed to the clients; runs until it is cancelled. Calls that are under way end as they
        began, and the next one of whoever holds the client goes to the new addresses with the new token."""
        async with self._db.changes.subscribe(Topic.SERVER) as changes:
            await self._refresh_all()
            async for change in changes:
                if change.topic is Topic.ALL:
                    await self._refresh_all()
                else:
                    await self.refresh(change.key)

    async def _refresh_all(self) -> None:
        for server_id in list(self._clients):
            await self.refresh(server_id)

    async def refresh(self, server_id: str) -> None:
        """As the server is registered now; for one in maintenance, no client of ours sends anything from here on."""
        async with self._db.read() as tx:
            current: Server | None = next((s for s in await servers.every(tx) if s.id == server_id), None)
            secret = await servers.token_secret(tx, server_id) if current else ""
        client = self._clients.get(server_id)
        if client is None:
            return
        if current is None:
            self._retire(self._clients.pop(server_id))
            self._meters.pop(server_id, None)
        elif current.revision != client.server.revision:
            client.update(current, secret)

    def _retire(self, client: Client) -> None:
        """Closed once the calls that are under way have had their time."""

        async def close_later() -> None:
            await asyncio.sleep(CALLS_END_WITHIN)
            self._old.discard(client)
            await client.close()

        self._old.add(client)
        closing = asyncio.create_task(close_later())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Ends all connections."""
        for closing in self._closing:
            closing.cancel()
        for client in [*self._clients.values(), *self._old]:
            await client.close()
        self._clients.clear()
        self._old.clear()


def resting(server: Server) -> ServerInMaintenance:
    """What every call to a server in maintenance ends with."""
    return ServerInMaintenance(server.maintenance.words if server.maintenance else "", server=server.id)
