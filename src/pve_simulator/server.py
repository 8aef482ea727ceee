"""One simulated Proxmox VE: its estate, and all that is at work in it."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from pve_simulator.authentication import Authentication
from pve_simulator.booting import boot
from pve_simulator.clock import Clock
from pve_simulator.consoles.proxies import Consoles
from pve_simulator.faults import Faults
from pve_simulator.lives import Life, mortal
from pve_simulator.locks import Locks
from pve_simulator.proxies import Proxy
from pve_simulator.quorum import Quorum
from pve_simulator.tasks import Tasks
from pve_simulator.tls import Certificates
from pve_simulator.world.estate import Estate

T = TypeVar("T")
ROUND = 10.0  # seconds between two rounds of pvestatd


@dataclass
class Request:
    """A row of `GET /_sim/requests`: `path` is decoded, `status` -1 where the connection ended without a reply."""

    method: str
    path: str
    query: str
    who: str
    status: int
    milliseconds: float
    at: float


class Server:
    """An installation at work. `estate` is what is kept; everything else here lives as long as the process."""

    def __init__(self, estate: Estate, clock: Clock, certificates: Certificates) -> None:
        self.estate = estate
        self.clock = clock
        self.proxy = Proxy(certificates)
        self.proxies: dict[str, Proxy] = {}  # addresses of single nodes, where they have some
        self.authentication = Authentication(estate, clock)
        self.faults = Faults()
        self.locks = Locks(clock)
        self.quorum = Quorum(self)
        self.tasks = Tasks(self)
        self.consoles = Consoles(self)
        self.requests: collections.deque[Request] = collections.deque(maxlen=100_000)
        self.revision = 0  # raised by every change of the estate
        self.seen: dict[str, Any] = {}  # what the last round of pvestatd saw, but for one that is still due
        self._due: float | None = None
        self._memory: dict[Any, Any] = {}  # what was made of the world at the revision beside it
        self._memory_of = -1
        self.neighbours: dict[int, tuple[Server, Proxy]] = {}  # servers of this process by port, for remote migration
        self.lives: dict[str, Life] = {}
        self.fallen: set[str] = set()  # nodes that crashed and have not come back
        self._rounds: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[None]] = set()

    def changed(self) -> None:
        """Marks the estate as to be written."""
        self.revision += 1

    def later(self, work: Coroutine[Any, Any, None], node: str | None = None) -> None:
        """Does something beside the calls and tasks: what qmeventd and the high availability managers do.

        With a `node` it dies with that.
        """
        self.observe()
        mine = mortal(self.life(node), work) if node else work
        task = asyncio.get_running_loop().create_task(mine)
        self._later.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        self.changed()

    def life(self, node: str) -> Life:
        """The life that a node now leads."""
        if node not in self.lives:
            self.lives[node] = Life()
        return self.lives[node]

    @property
    def certificates(self) -> Certificates:
        """Those of the first address."""
        return self.proxy.certificates

    def certificates_of(self, node: str) -> Certificates:
        """What a node shows; without addresses of their own all show the same."""
        return self.proxies.get(node, self.proxy).certificates

    @property
    def generation(self) -> int:
        """Raised by every new certificate."""
        return sum(proxy.generation for proxy in {self.proxy, *self.proxies.values()})

    def note(self, method: str, path: str, query: str, who: str, status: int, began: float) -> None:
        """Remembers a request; `began` is of time.perf_counter()."""
        milliseconds = round((time.perf_counter() - began) * 1000, 2)
        self.requests.append(Request(method, path, query, who, status, milliseconds, self.clock.time()))

    def start(self) -> None:
        """Begins the rounds of pvestatd; tasks whose worker died with an earlier process are ended."""
        self.tasks.bury()
        self._due = self.clock.time()
        self._rounds = asyncio.get_running_loop().create_task(self._observe())

    async def _observe(self) -> None:
        from pve_simulator import backupjobs
        from pve_simulator.highavailability import manager

        while True:
            before = self.clock.time()
            await self.clock.sleep(ROUND)
            self._due = self.clock.time()
            await backupjobs.look(self, before, self._due)
            if not self._still():
                self.observe()
            self.watch()
            await manager.look(self)

    def _still(self) -> bool:
        """Whether nothing is at work that could change the world without a call."""
        online = all(node.online for node in self.estate.nodes.values())
        return online and not (self.tasks.workers or self._later or self.faults.rules)

    def remembered(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` gives, from memory as long as the world stands still. For what is made of the world alone."""
        if not self._still():
            return make()
        if self._memory_of != self.revision:
            self._memory, self._memory_of = {}, self.revision
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    def observe(self) -> None:
        """Takes the round that is due. To be called before the world changes: as long as it stands still, a round can be
        taken afterwards, and one that nobody asks for costs nothing."""
        if self._due is not None:
            from pve_simulator.statistics import take

            at, self._due = self._due, None
            self.seen = take(self, at)

    @property
    def statistics(self) -> dict[str, Any]:
        """What the last round of pvestatd saw: rows by `qemu/101`, `node/pve1`, `storage/pve1/local`."""
        self.observe()
        return self.seen

    async def stop(self) -> None:
        """Ends the rounds, and lets tasks come to their end at once: the real server would have gone on without us."""
        for task in (self._rounds, *self._later):
            if task:
                task.cancel()
        self.clock.hurry()
        await self.tasks.finish()

    def node_down(self, node: str) -> bool:
        """Whether nobody answers for a node."""
        known = self.estate.nodes.get(node)
        return known is None or not known.online or self.faults.down(node)

    def crash(self, node: str) -> None:
        """A node dies: its tasks and processes are gone, configurations stay as they were, locks in them too."""
        self.observe()
        life = self.lives.pop(node, None)
        if life:
            life.end()
        self.tasks.lose(node)
        for guest in self.estate.guests.values():
            if guest.node == node:
                guest.process = None
                self.locks.forget(guest.vmid)
        self.fallen.add(node)
        self.changed()

    def watch(self) -> None:
        """Looks which nodes died by a fault rule, and which are back: those boot."""
        for name in self.estate.nodes:
            if self.faults.down(name, dying=True):
                self.crash(name)
            elif name in self.fallen and not self.node_down(name):
                self.fallen.discard(name)
                boot(self, name)

    def renew_certificate(self, proxy: Proxy | None = None) -> None:
        """A new certificate from now on, at one address."""
        (proxy or self.proxy).renew()
