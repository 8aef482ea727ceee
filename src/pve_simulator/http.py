"""HTTP/1.x as pveproxy speaks it: hand-written, because its oddities are the point."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import time
import zlib
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pve_simulator.replies import Reply, empty, text
from pve_simulator.requests import answer

if TYPE_CHECKING:
    from pve_simulator.proxies import Proxy
    from pve_simulator.server import Server

METHODS = ("GET", "POST", "PUT", "DELETE")
IDLE = 5.0  # seconds until an idle connection is closed
FIRST = 2.0  # true seconds that a new connection has at least, whatever the speed: clients are not sped up
REQUESTS_PER_CONNECTION = 100
HEADER_LINES, HEADER_BYTES = 64, 8192
BODY_BYTES = 512 * 1024
UPLOAD_BYTES = 256 * 1024 * 1024
COMPRESS_ABOVE = 1024
LINGER = 2.0  # seconds for which a refused body is still taken
NEVER = 3600.0  # how long a request that is never answered is kept


class Flood(Exception):
    """More header than the server takes: it then never answers."""


class Refused(Exception):
    """A request that gets its answer from the HTTP layer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.reason)
        self.reply = reply


@dataclass
class Head:
    """Request line and headers; header names in lower case, of repeated ones the last."""

    method: str
    target: str
    version: str = "HTTP/1.0"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return self.target.partition("?")[2]

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to go on with the connection."""
        told = self.headers.get("connection", "").lower()
        return "close" not in told if self.version == "HTTP/1.1" else "keep-alive" in told


class Connection:
    """One connection, request after request."""

    def __init__(
        self,
        server: Server,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        secure: bool,
        peer: str,
        proxy: Proxy,
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.secure = secure
        self.peer = peer
        self.proxy = proxy
        self.generation = proxy.generation
        self.served = 0
        self.unread = 0  # bytes of a body that was announced and not read

    @property
    def node(self) -> str:
        """The node that answers here."""
        return self.proxy.node or self.server.estate.entry.name

    async def run(self) -> None:
        """Serves until either side has enough."""
        while await self._serve_one():
            pass

    async def _serve_one(self) -> bool:
        head = Head("", "")
        try:
            head = await self._head()
            reply = self._early(head) or await answer(self, head)
        except Refused as refused:
            reply = refused.reply
        except Flood:
            await self.silence()
            return False
        if reply is None:
            return False
        return await self._send(head, reply)

    async def silence(self) -> None:
        """Waits until the client gives up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NEVER):
                while await self.reader.read(65536):
                    pass

    async def _head(self) -> Head:
        idle = self.server.clock.scaled(IDLE)
        async with asyncio.timeout(idle if self.served else max(idle, FIRST)):
            line = await self._line()
            while line == "":
                line = await self._line()
        told = re.fullmatch(r"(\S+)\s+(\S+)\s+HTTP/(\d+)\.(\d+)", line)
        if not told:
            raise Refused(text(400, "bad request"))
        if told[3] != "1":
            raise Refused(text(506, f"http protocol version {told[3]}.{told[4]} not supported"))
        target = re.sub(r"^https?://[^/]*", "", told[2])
        head = Head(told[1], target, f"HTTP/1.{told[4]}")
        size, lines = len(line), 0
        while line := await self._line():
            lines, size = lines + 1, size + len(line) + 2
            if lines > HEADER_LINES or size > HEADER_BYTES:
                raise Flood
            name, _, value = line.partition(":")
            head.headers[name.strip().lower()] = value.strip()
        length = head.headers.get("content-length", "")
        self.unread = int(length) if length.isdigit() and len(length) < 12 else 0
        return head

    async def _line(self) -> str:
        try:
            line = await self.reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise Flood from None
        if len(line) > HEADER_BYTES:
            raise Flood
        return line.decode("latin-1").rstrip("\r\n")

    def _early(self, head: Head) -> Reply | None:
        """What is answered by the head alone, before anybody asks who it is."""
        if not self.secure:
            moved = head.method == "GET"
            reason = "Moved Permanently" if moved else "Permanent Redirect"
            reply = text(301 if moved else 308, reason)
            host = head.headers.get("host", f"127.0.0.1:{self.proxy.port}")
            reply.headers.append(("Location", f"https://{host}{head.target}"))
            return reply
        if head.method not in METHODS:
            return empty(501, f"method '{head.method}' not available")
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            return text(501, "chunked transfer encoding not supported")
        return None

    async def body(self, head: Head, limit: int = BODY_BYTES) -> bytes:
        """The body as long as told; raises Refused above the limit."""
        told = head.headers.get("content-length", "0")
        if not told.isdigit():
            raise Refused(text(400, "bad request"))
        if int(told) > limit:
            raise Refused(text(501, "for data too large"))
        body = await self.reader.readexactly(int(told))
        self.unread = 0
        return body

    async def linger(self) -> None:
        """Takes what a client is still sending, so that it comes to read why it was refused."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while self.unread > 0 and (part := await self.reader.read(65536)):
                    self.unread -= len(part)

    async def _send(self, head: Head, reply: Reply) -> bool:
        self.served += 1
        stay = (
            self.secure
            and reply.status < 400
            and head.keep_alive
            and self.served < REQUESTS_PER_CONNECTION
            and self.generation == self.proxy.generation
        )
        if reply.upgrade is not None:
            lines = [
                f"{head.version} {reply.status} {reply.reason}",
                *(f"{name}: {told}" for name, told in reply.headers),
            ]
            self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1", "replace"))
            await self.writer.drain()
            await reply.upgrade(self)
            return False
        self.writer.write(self._bytes(head, reply, stay))
        await self.writer.drain()
        if self.unread:
            await self.linger()
            return False
        return stay

    def _bytes(self, head: Head, reply: Reply, stay: bool) -> bytes:
        body = reply.body
        coding = None
        if body is not None and len(body) > COMPRESS_ABOVE:
            body, coding = compressed(body, head.headers.get("accept-encoding", ""))
        date = formatdate(time.time(), usegmt=True)
        announced = "Keep-Alive" if stay or reply.status in (301, 308) else "close"
        reason = re.sub(r"[\r\n]", " ", reply.reason)
        lines = [f"{head.version} {reply.status} {reason}", "Cache-Control: max-age=0"]
        if reply.privileged and reply.status < 400:
            lines.append("Connection: close")
        lines += [f"Connection: {announced}", f"Date: {date}", "Pragma: no-cache"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        lines.append("Server: pve-api-daemon/3.0")
        if coding:
            lines.append(f"Content-Encoding: {coding}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        if reply.content_type:
            lines.append(f"Content-Type: {reply.content_type}")
        lines.append(f"Expires: {date}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + (body or b"")


def compressed(body: bytes, accepted: str) -> tuple[bytes, str | None]:
    """The body in the coding that both sides know; gzip is preferred to deflate."""
    if "gzip" in accepted:
        return gzip.compress(body, 1, mtime=0), "gzip"
    if "deflate" in accepted:
        return zlib.compress(body, 1), "deflate"
    return body, None
