"""The port: takes connections, and tells TLS from plain HTTP by their first byte."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING

from pve_simulator.http import Connection

if TYPE_CHECKING:
    from pve_simulator.proxies import Proxy
    from pve_simulator.server import Server

TLS_HANDSHAKE = 0x16
BACKLOG = 512
FIRST_BYTE = 10.0  # seconds a new connection may stay silent


class Listener:
    """Serves one address of a server on one port, given as a listening socket."""

    def __init__(self, server: Server, proxy: Proxy, bound: socket.socket) -> None:
        self.server = server
        self.proxy = proxy
        self.socket = bound
        self.socket.setblocking(False)
        proxy.port = self.socket.getsockname()[1]
        self.connections: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to take connections."""
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def stop(self) -> None:
        """Closes the port and every connection."""
        tasks = [*self.connections, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)
        self.socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(self.socket)
            task = loop.create_task(self._serve(accepted))
            self.connections.add(task)
            task.add_done_callback(self.connections.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = accepted.getpeername()[0]
        writer = None
        try:
            first = await asyncio.wait_for(first_byte(accepted), FIRST_BYTE)
            if not first:
                return
            secure = first[0] == TLS_HANDSHAKE
            reader, writer = await streams(accepted, self.proxy if secure else None)
            await Connection(self.server, reader, writer, secure, peer, self.proxy).run()
        except asyncio.CancelledError:  # the port is closed: nobody waits for the client's farewell
            if writer is not None:
                writer.transport.abort()
            raise
        except (OSError, TimeoutError, EOFError):
            logging.getLogger(__name__).debug("connection ended early", exc_info=True)
        except Exception:  # the outermost edge of a connection: the others go on
            logging.getLogger(__name__).exception("a connection broke")
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                    await asyncio.wait_for(writer.wait_closed(), 2)
            else:
                accepted.close()


async def first_byte(accepted: socket.socket) -> bytes:
    """Looks at the first byte without taking it; empty at the end of the connection."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(BlockingIOError):
            return accepted.recv(1, socket.MSG_PEEK)
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(accepted.fileno(), lambda ready=ready: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(accepted.fileno())


async def streams(accepted: socket.socket, secure: Proxy | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Reader and writer of an accepted connection, with TLS of `secure` where given."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, accepted, ssl=secure.context if secure else None
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
