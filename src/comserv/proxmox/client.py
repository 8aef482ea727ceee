"""The client of one server. The API's path decides the shape: `client.node("pve1").qemu(105).clone(newid=…)`."""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from comserv.domain.cluster import Version
from comserv.domain.errors import ProxmoxError
from comserv.domain.load import Purpose
from comserv.domain.plan import PlannedCall
from comserv.domain.server import Server
from comserv.domain.task import Upid
from comserv.proxmox.access import Access
from comserv.proxmox.cluster import Cluster
from comserv.proxmox.connections import Connections, Timeouts
from comserv.proxmox.exchange import Exchange, Observer
from comserv.proxmox.limits import Limits
from comserv.proxmox.meter import Meter
from comserv.proxmox.nodes import Node
from comserv.proxmox.storage import Storages
from comserv.proxmox.tasks import Task


class Client:
    """Speaks to one server with one token; to be closed. Views of it made by `observed` share its connections and limits.

    Every call raises errors under ProxmoxError: ServerUnreachable (nothing was carried out), OutcomeUnknown (a change was
    sent and no usable answer came), TokenRefused, PermissionMissing, RequestRefused and its kinds, ReplyUnreadable.
    """

    def __init__(
        self,
        server: Server,
        secret: str,
        timeouts: Timeouts | None = None,
        meter: Meter | None = None,
        on_refusal: Callable[[str], None] | None = None,
    ) -> None:
        """on_refusal: told the server's id when a change was refused for a right that is missing."""
        self._on_refusal = on_refusal
        self._connections, self._limits = Connections(server, secret, timeouts), Limits(server.pace)
        self.meter = meter or Meter()
        self._exchange = Exchange(self._connections, self._limits, meter=self.meter, on_refusal=on_refusal)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connections of this client and of all its views."""
        await self._connections.close()

    def observed(self, observer: Observer, secrets: Iterable[str] = ()) -> "Client":
        """A light view for a job that reports each call to `observer`; `secrets` are masked wherever they stand in a record."""
        return self._viewed(
            Exchange(
                self._connections,
                self._limits,
                observer,
                secrets,
                meter=self.meter,
                purpose=Purpose.JOB,
                on_refusal=self._on_refusal,
            )
        )

    def for_(self, purpose: Purpose) -> "Client":
        """A light view whose calls count as sent for this; else they are of a page."""
        return self._viewed(Exchange(self._connections, self._limits, meter=self.meter, purpose=purpose))

    def _viewed(self, exchange: Exchange) -> "Client":
        view = copy(self)
        view._exchange = exchange
        return view

    @property
    def server(self) -> Server:
        """As it is registered now."""
        return self._connections.server

    def update(self, server: Server, secret: str) -> None:
        """The same server with another registration: addresses, token and TLS count from the next call on, in every view
        too. Nothing that is under way is interrupted."""
        self._connections.update(server, secret)
        self._limits.follow(server.pace)

    def node(self, name: str) -> Node:
        return Node(self._exchange, name)

    def task(self, upid: Upid) -> Task:
        return Task(self._exchange, upid)

    @property
    def cluster(self) -> Cluster:
        return Cluster(self._exchange)

    @property
    def access(self) -> Access:
        return Access(self._exchange)

    @property
    def storages(self) -> Storages:
        return Storages(self._exchange)

    async def begin(self, call: PlannedCall, *, heavy_on: str = "") -> Upid:
        """Sends a planned call that begins a task. Raises OutcomeUnknown where it may have begun; never sent twice."""
        return await self._exchange.task(call.method, call.path, call.parameters, heavy_on=heavy_on)

    async def change(self, call: PlannedCall) -> None:
        """Sends a planned call that is done when it is answered."""
        await self._exchange.change(call.method, call.path, call.parameters)

    async def version(self) -> Version:
        return await self.cluster.version()

    async def now(self) -> datetime:
        """What time it is there. Asks for the version where no reply has told it yet; ours where none tells it."""
        if self._connections.time.now() is None:
            await self.version()
        return self._connections.time.now() or datetime.now(UTC)

    @property
    def requests_last_minute(self) -> int:
        return self._connections.rate.last_minute()

    @property
    def failing_addresses(self) -> Mapping[str, ProxmoxError]:
        """Addresses whose last try failed, with the error; others of the server may answer meanwhile."""
        return self._connections.failures

    @property
    def address_in_use(self) -> str:
        """The address that answered last, empty before the first answer."""
        return self._connections.address_in_use

    @property
    def certificates(self) -> Mapping[str, bytes]:
        """DER of the certificate on which each address last answered: a fingerprint does not check expiry, so it is shown."""
        return self._connections.certificates
