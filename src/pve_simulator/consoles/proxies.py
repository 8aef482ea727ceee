"""The proxies that wait for a viewer: each has a port between 5900 and 5999, a task and a ticket of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pve_simulator.errors import ApiError, TaskError

if TYPE_CHECKING:
    from pve_simulator.consoles.shell import Shell
    from pve_simulator.server import Server
    from pve_simulator.tasks import Run

FIRST_PORT, LAST_PORT = 5900, 5999
VIEWER_WAIT = 10.0  # seconds a proxy waits for its viewer
LEAST_WAIT = 3.0  # true seconds it waits at least: viewers are not sped up
GONE = 0.3  # true seconds between two looks whether the guest is still there


@dataclass
class Proxy:
    """A way to one console. `path` is what the ticket is for, e.g. `/vms/101`; counters tell what the viewer did."""

    port: int
    node: str
    kind: Literal["vnc", "term"]
    path: str
    user: str
    password: str
    vmid: int | None = None
    upid: str = ""
    keys: list[int] = field(default_factory=list)  # X key symbols that were pressed
    pointer: tuple[int, int, int] = (0, 0, 0)  # x, y, buttons
    clipboard: str = ""
    columns: int = 80
    rows: int = 24
    viewed: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    failure: str | None = None  # what the task ends with, where the console could not be reached


class Consoles:
    """The proxies and consoles of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.proxies: list[Proxy] = []
        self.shells: dict[str, Shell] = {}  # by `/vms/101` or `/nodes/pve1`, with the process they belong to

    def open(self, proxy: Proxy) -> Proxy:
        """Gives a proxy the lowest free port of its node; raises ApiError 500 where there is none."""
        taken = {other.port for other in self.proxies if other.node == proxy.node}
        port = next((port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in taken), None)
        if port is None:
            raise ApiError(500, "unable to find free port (5900-6000)")
        proxy.port = port
        self.proxies.append(proxy)
        return proxy

    async def serve(self, run: Run, proxy: Proxy) -> None:
        """The worker of vncproxy and vncshell: ends with its viewer, or fails where none comes."""
        try:
            wait = max(self.server.clock.scaled(VIEWER_WAIT), LEAST_WAIT)
            async with asyncio.timeout(wait):
                await proxy.arrived.wait()
        except TimeoutError:
            raise TaskError("connection timed out") from None
        else:
            await proxy.left.wait()
            if proxy.failure is not None:
                run.log(proxy.failure)
                raise TaskError("Failed to run vncproxy.")
        finally:
            self.proxies.remove(proxy)

    def at(self, node: str, port: int, path: str) -> Proxy | None:
        """The proxy that waits at a port for a viewer of this console."""
        found = (proxy for proxy in self.proxies if (proxy.node, proxy.port, proxy.path) == (node, port, path))
        return next((proxy for proxy in found if not proxy.viewed), None)

    def told(self) -> list[dict[str, object]]:
        """What viewers did so far, for tests (`GET /_sim/consoles`)."""
        return [
            {
                "upid": proxy.upid,
                "kind": proxy.kind,
                "path": proxy.path,
                "port": proxy.port,
                "viewed": proxy.viewed,
                "keys": proxy.keys,
                "pointer": proxy.pointer,
                "clipboard": proxy.clipboard,
                "size": (proxy.columns, proxy.rows),
                "text": shell.lines if (shell := self.shells.get(proxy.path)) else [],
            }
            for proxy in self.proxies
        ]
