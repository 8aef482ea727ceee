"""What Proxmox's termproxy speaks: `user:ticket`, then `0:LENGTH:data`, `1:columns:rows:` and the ping `2`."""

from __future__ import annotations

import asyncio
import contextlib
import re

from pve_simulator.consoles.proxies import Proxy
from pve_simulator.consoles.shell import Shell
from pve_simulator.consoles.websocket import WebSocket

LONGEST = 256 * 1024  # bytes of one message


async def credentials(socket: WebSocket) -> tuple[str, str, bytes]:
    """User, ticket and what came after the first line; both empty where none came."""
    came = b""
    while b"\n" not in came and len(came) < 4096:
        data = await socket.receive()
        if data is None:
            return "", "", b""
        came += data
    line, _, rest = came.partition(b"\n")
    user, _, ticket = line.decode("utf-8", "replace").partition(":")
    return user, ticket, rest


async def serve(socket: WebSocket, proxy: Proxy, shell: Shell, rest: bytes) -> None:
    """Speaks with a viewer whose ticket was right, until it leaves or logs out."""
    await socket.send(b"OK")
    await socket.send("\r\n".join(shell.lines).encode())
    buffer = bytearray(rest)
    with contextlib.suppress(ConnectionError):
        while True:
            while (told := take(buffer)) is not None:
                if not await carry_out(socket, proxy, shell, told):
                    return
            data = await socket.receive()
            if data is None or len(buffer) > LONGEST:
                return
            buffer += data


async def carry_out(socket: WebSocket, proxy: Proxy, shell: Shell, told: tuple[str, bytes]) -> bool:
    """One message; whether to go on."""
    kind, data = told
    if kind == "1":
        columns, rows = data.split(b":")
        proxy.columns, proxy.rows = int(columns), int(rows)
        shell.size = (proxy.columns, proxy.rows)
    elif kind == "0":
        shell.ended = False
        text = data.decode("utf-8", "replace")
        proxy.keys += [ord(letter) for letter in text]
        await socket.send(shell.feed(text).encode())
        return not (shell.ended and proxy.vmid is None)  # a node's login ends with its shell
    return kind != "?"


def take(buffer: bytearray) -> tuple[str, bytes] | None:
    """The next whole message, None until there is one; `?` where what came is none."""
    if not buffer:
        return None
    if buffer[:1] == b"2":
        del buffer[:1]
        return "2", b""
    size = re.match(rb"1:(\d{1,5}):(\d{1,5}):", buffer)
    if size:
        told = bytes(size[1]) + b":" + bytes(size[2])
        del buffer[: size.end()]
        return "1", told
    head = re.match(rb"0:(\d{1,7}):", buffer)
    if head:
        end = head.end() + int(head[1])
        if len(buffer) < end:
            return None
        data = bytes(buffer[head.end() : end])
        del buffer[:end]
        return "0", data
    if re.match(rb"[01](:\d{0,7}){0,2}$", buffer):
        return None  # its head is still to come
    return "?", b""


async def refuse(socket: WebSocket, text: str) -> None:
    """What a terminal shows whose program ends at once."""
    await socket.send(b"OK")
    await socket.send(text.encode() + b"\r\n")
    await asyncio.sleep(0)
