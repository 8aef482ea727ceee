"""The server's end of a websocket (RFC 6455), once pveproxy has switched protocols."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

from pve_simulator.errors import ApiError

if TYPE_CHECKING:
    import asyncio

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455
PAYLOAD = 128 * 1024  # bytes that pveproxy takes in one frame


def agreed(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers of a reply 101; raises ApiError 500 where the client asked for no websocket, or for an old one."""
    if headers.get("upgrade", "").lower() != "websocket":
        raise ApiError(500, f"unable to upgrade to protocol '{headers.get('upgrade', '')}'")
    if "upgrade" not in headers.get("connection", "").lower() or "sec-websocket-key" not in headers:
        raise ApiError(500, "missing Sec-Websocket-Key")
    if headers.get("sec-websocket-version") != "13":
        raise ApiError(500, "websocket_version mismatch")
    key = headers["sec-websocket-key"] + GUID
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324 - the standard's own choice
    told = [("Upgrade", "websocket"), ("Connection", "upgrade"), ("Sec-WebSocket-Accept", accept)]
    wanted = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    return [*told, ("Sec-WebSocket-Protocol", "binary")] if "binary" in wanted else told


class WebSocket:
    """Bytes in and out; frames, pings and farewells are nobody else's business."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.protocol = Protocol(SERVER, state=State.OPEN, max_size=PAYLOAD)

    async def receive(self) -> bytes | None:
        """What came next; None once the client has gone."""
        while self.protocol.state is State.OPEN:
            data = await self.reader.read(65536)
            self.protocol.receive_data(data) if data else self.protocol.receive_eof()
            came = [
                bytes(event.data)
                for event in self.protocol.events_received()
                if isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT)
            ]
            await self._flush()
            if any(came):
                return b"".join(came)
        return None

    async def send(self, data: bytes) -> None:
        """Sends bytes in one binary frame; nothing once the client has gone."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_binary(data)
            await self._flush()

    async def close(self) -> None:
        """Says farewell."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(1000)
            await self._flush()

    async def _flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.writer.write(data)
        await self.writer.drain()
