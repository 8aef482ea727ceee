"""Keeps estates in a folder, so that a killed process finds its worlds again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from pathlib import Path

import msgspec

from pve_simulator.errors import SimulatorError
from pve_simulator.proxies import Proxy
from pve_simulator.server import Server
from pve_simulator.tls import Certificates
from pve_simulator.world.estate import Estate

PAUSE = 0.5  # seconds between two writings


class UnreadableState(SimulatorError):
    """A kept estate that this version cannot read; the text names the file and the cure."""


async def whole(writing: Coroutine[None, None, None]) -> None:
    """Waits for a writing, also where it is interrupted: nothing older may be written after the last one."""
    task = asyncio.ensure_future(writing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


class Keeper:
    """Writes what changed. Without a folder it keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.written: dict[int, tuple[int, int]] = {}  # by server: revision of the estate, generation of certificates

    def certificates(self, number: int) -> Certificates:
        """The certificates of a server, kept or new."""
        return Certificates.load(self.folder / f"server-{number}") if self.folder else Certificates.make()

    def proxies(self, number: int, server: Server) -> dict[str, Proxy]:
        """An address for every node, the first node's being the server's own; certificates kept or new."""
        server.proxy.node = server.estate.entry.name
        made = {server.estate.entry.name: server.proxy}
        for node in server.estate.nodes.values():
            if node.name not in made:
                held = server.certificates.another(self.node_folder(number, node.name))
                made[node.name] = Proxy(held, node.name)
        return made

    def node_folder(self, number: int, node: str) -> Path | None:
        """Where a node's certificate is kept."""
        return self.folder / f"server-{number}" / "nodes" / node if self.folder else None

    def save_certificates(self, number: int, server: Server) -> None:
        """Writes what the addresses of a server show."""
        if not self.folder:
            return
        server.certificates.save(self.folder / f"server-{number}")
        for name, proxy in server.proxies.items():
            folder = self.node_folder(number, name)
            if folder and proxy is not server.proxy:
                proxy.certificates.save(folder)

    def estate(self, number: int) -> Estate | None:
        """A server's estate as it was kept, or None; raises UnreadableState."""
        file = self.folder / f"server-{number}" / "estate.json" if self.folder else None
        if file is None or not file.exists():
            return None
        try:
            return msgspec.json.decode(file.read_bytes(), type=Estate)
        except msgspec.MsgspecError as fault:
            raise UnreadableState(f"{file} cannot be read ({fault}): remove it to begin with a fresh world") from None

    async def run(self, servers: list[Server]) -> None:
        """Writes whatever changed, at most every half second, for ever."""
        while self.folder:
            await asyncio.sleep(PAUSE)
            for number, server in enumerate(servers):
                now = server.revision, server.generation
                if self.written.get(number) == now:
                    continue
                renewed = self.written.get(number, now)[1] != now[1]
                self.written[number] = now
                data = msgspec.json.encode(server.estate)
                try:
                    await whole(asyncio.to_thread(self._write, number, data))
                    if renewed:
                        self.save_certificates(number, server)
                except OSError:
                    logging.getLogger(__name__).exception("state could not be written")

    def save(self, servers: list[Server]) -> None:
        """Writes everything now."""
        if self.folder:
            for number, server in enumerate(servers):
                self._write(number, msgspec.json.encode(server.estate))
                self.save_certificates(number, server)

    def _write(self, number: int, data: bytes) -> None:
        if self.folder is None:
            return
        folder = self.folder / f"server-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / "estate.json.new"
        with fresh.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / "estate.json")
