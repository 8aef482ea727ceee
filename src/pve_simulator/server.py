"""One simulated Proxmox VE: its estate, and all that is at work in it."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from pve_simulator.authentication import Authentication
from pve_simulator.booting import boot
from pve_simulator.clock import Clock
from pve_simulator.faults import Faults
from pve_simulator.lives import Life, mortal
from pve_simulator.locks import Locks
from pve_simulator.proxies import Proxy
from pve_simulator.tasks import Tasks
from pve_simulator.tls import Certificates
from pve_simulator.world.estate import Estate

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
        self.tasks = Tasks(self)
        self.requests: collections.deque[Request] = collections.deque(maxlen=100_000)
        self.revision = 0  # raised by every change of the estate
        self.statistics: dict[str, Any] = {}  # what the last round of pvestatd saw
        self.written: dict[str, tuple[Any, bytes]] = {}  # rows of `/cluster/resources` as they were last written out
        self.round = 0
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
        mine = mortal(self.life(node), work) if node else work
        task = asyncio.get_running_loop().create_task(mine)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

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
        from pve_simulator.statistics import take

        self.tasks.bury()
        take(self)
        self._rounds = asyncio.get_running_loop().create_task(self._observe())

    async def _observe(self) -> None:
        from pve_simulator.qemu.highavailability import settle
        from pve_simulator.statistics import take

        while True:
            await self.clock.sleep(ROUND)
            self.watch()
            take(self)
            settle(self)

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
