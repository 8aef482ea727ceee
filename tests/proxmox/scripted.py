"""A server on loopback that says, byte for byte, what a test wants to be said, and keeps what it was asked."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request as it arrived. connection: which connection it came on, from 1 on."""

    method: str
    target: str
    headers: dict[str, str]
    body: str
    connection: int

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path.removeprefix("/api2/json"))

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body, keep_blank_values=True))


Act = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
Answer = bytes | Act


def reply(data: Any = None, status: int = 200, reason: str = "OK", **more: Any) -> bytes:
    """As Proxmox answers: JSON, and the connection is kept unless it is an error."""
    return raw(json.dumps({"data": data, **more}).encode(), status, reason, "application/json;charset=UTF-8")


def raw(body: bytes, status: int = 200, reason: str = "OK", content_type: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", "Server: pve-api-daemon/3.0", *headers]
    lines.append(f"Connection: {'close' if status >= 400 else 'Keep-Alive'}")
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def close(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The connection ends without a reply."""
    writer.close()


async def reset(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def silence(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
    """Nothing is ever said."""
    await asyncio.sleep(3600)


def after(seconds: float, answer: bytes) -> Act:
    async def act(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(answer)

    return act


@dataclass
class Scripted:
    """Gives `answers` in turn, the last one for ever; or what `routes` has for "METHOD /path"."""

    answers: list[Answer] = field(default_factory=list)
    routes: dict[str, Answer] = field(default_factory=dict)
    context: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    address: str = ""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self.context)
        self.address = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            while asked := await self._read(reader, self.connections):
                self.asked.append(asked)
                await self._answer(asked, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Asked | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
        return Asked(method, target, headers, body, connection)

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self._chosen(asked)
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(asked, writer)
            await writer.drain()
        finally:
            self.at_once -= 1

    def _chosen(self, asked: Asked) -> Answer:
        if answer := self.routes.get(f"{asked.method} {asked.path}"):
            return answer
        if not self.answers:
            return reply(None, 501, f"Method '{asked.method} {asked.path}' not implemented", message="not implemented")
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
