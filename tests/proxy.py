"""A little reverse proxy that ends TLS, in a thread of its own: it appends whom it heard to `X-Forwarded-For`, as nginx does.

It buffers nothing and holds one request a connection.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.proxmox.certificates import Certificate

OUR_ADDRESS = "127.0.0.9"  # from where it speaks to Comserv


@dataclass
class Proxy:
    """port: where browsers come. says: headers that it sets, beside `X-Forwarded-For`; an empty one is left out."""

    upstream: int
    certificate: Certificate
    says: dict[str, str] = field(default_factory=lambda: {"X-Forwarded-Proto": "https"})
    port: int = 0

    async def serve(self, started: threading.Event, stopping: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self.certificate.context())
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        async with server:
            await stopping.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of the two hung up
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        client = writer.get_extra_info("peername")[0]
        there, back = await asyncio.open_connection("127.0.0.1", self.upstream, local_addr=(OUR_ADDRESS, 0))
        back.write(self._head(head.decode("latin1"), client).encode("latin1"))
        sending = asyncio.create_task(_copy(reader, back))
        try:
            await _copy(there, writer)
        finally:
            sending.cancel()
            back.close()

    def _head(self, head: str, client: str) -> str:
        first, *lines = head.rstrip("\r\n").split("\r\n")
        fields = [tuple(line.split(": ", 1)) for line in lines]
        told = ", ".join([value for name, value in fields if name.lower() == "x-forwarded-for"] + [client])
        own = {"X-Forwarded-For": told, "Connection": "close", **self.says}
        kept = [(name, value) for name, value in fields if name.lower() not in {one.lower() for one in own}]
        sent = [*kept, *((name, value) for name, value in own.items() if value)]
        return "\r\n".join([first, *(f"{name}: {value}" for name, value in sent), "", ""])


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()


@contextmanager
def proxy(upstream: int, certificate: Certificate) -> Iterator[Proxy]:
    made, started, stopping = Proxy(upstream, certificate), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await made.serve(started, stopping)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(10)
    try:
        yield made
    finally:
        loops[0].call_soon_threadsafe(stopping.set)
        thread.join(10)
