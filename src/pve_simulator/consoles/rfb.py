"""A small RFB server (RFC 6143): password, a picture in raw pixels that changes, keys, pointer and clipboard."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from pve_simulator.consoles.proxies import Proxy
from pve_simulator.consoles.screen import CELL_HEIGHT, HEIGHT, WIDTH, picture
from pve_simulator.consoles.shell import ROWS, Shell
from pve_simulator.consoles.websocket import WebSocket

VERSION = b"RFB 003.008\n"
VNC_PASSWORD = 2  # the one kind of security that QEMU offers with a password
CLIPBOARD = 1024 * 1024  # bytes a viewer may send
BLINK = 0.5  # true seconds for which the cursor is shown, and for which it is not
KEYS = {0xFF0D: "\r", 0xFF8D: "\r", 0xFF08: "\x7f", 0xFF09: "\t"}  # X key symbols: Return, Enter of the keypad, ...
CONTROLS = (0xFFE3, 0xFFE4)
DOT = struct.Struct(">BBBBHHHBBB3x")  # the pixel format


class Left(Exception):
    """The viewer has gone, or speaks another language."""


class Viewer:
    """One viewer of a screen."""

    def __init__(self, socket: WebSocket, proxy: Proxy, shell: Shell, name: str) -> None:
        self.socket = socket
        self.proxy = proxy
        self.shell = shell
        self.name = name
        self.buffer = bytearray()
        self.wanted: tuple[bool, int] | None = None  # an update was asked for: only what changed, from which line on
        self.asked = asyncio.Event()
        self.shown: list[bytes] = []
        self.format = DOT.pack(32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
        self.held: set[int] = set()

    async def serve(self) -> None:
        """Speaks with the viewer until it leaves."""
        with contextlib.suppress(Left, ConnectionError):
            if not await self.greet():
                return
            drawing = asyncio.get_running_loop().create_task(self.draw())
            try:
                while True:
                    await self.message()
            finally:
                drawing.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await drawing

    async def read(self, count: int) -> bytes:
        """Exactly so many bytes; raises Left."""
        while len(self.buffer) < count:
            data = await self.socket.receive()
            if data is None:
                raise Left
            self.buffer += data
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    async def greet(self) -> bool:
        """Version, password and the screen's size; whether the viewer may look."""
        await self.socket.send(VERSION)
        theirs = await self.read(12)
        if theirs not in (b"RFB 003.007\n", VERSION):
            raise Left
        await self.socket.send(bytes([1, VNC_PASSWORD]))
        if await self.read(1) != bytes([VNC_PASSWORD]):
            raise Left
        challenge = secrets.token_bytes(16)
        await self.socket.send(challenge)
        if not secrets.compare_digest(await self.read(16), answer(challenge, self.proxy.password)):
            reason = b"Authentication failed"
            told = struct.pack(">I", 1)
            await self.socket.send(told + struct.pack(">I", len(reason)) + reason if theirs == VERSION else told)
            return False
        await self.socket.send(struct.pack(">I", 0))
        await self.read(1)  # whether others may look too: they may
        title = self.name.encode()
        size = struct.pack(">HH", WIDTH, HEIGHT)
        await self.socket.send(size + self.format + struct.pack(">I", len(title)) + title)
        return True

    async def message(self) -> None:
        """One message of the viewer; raises Left for an unknown one."""
        kind = (await self.read(1))[0]
        if kind == 0:
            self.format = (await self.read(19))[3:]
        elif kind == 2:
            (count,) = struct.unpack(">xH", await self.read(3))
            await self.read(4 * count)
        elif kind == 3:
            only_changes, _, top, _, _ = struct.unpack(">BHHHH", await self.read(9))
            self.wanted = (bool(only_changes), top)
            self.asked.set()
        elif kind == 4:
            down, symbol = struct.unpack(">BxxI", await self.read(7))
            self.key(bool(down), symbol)
        elif kind == 5:
            buttons, x, y = struct.unpack(">BHH", await self.read(5))
            self.proxy.pointer = (x, y, buttons)
        elif kind == 6:
            (length,) = struct.unpack(">xxxI", await self.read(7))
            if length > CLIPBOARD:
                raise Left
            self.proxy.clipboard = (await self.read(length)).decode("latin-1")
        else:
            raise Left

    def key(self, down: bool, symbol: int) -> None:
        """A key went down or up."""
        if not down:
            self.held.discard(symbol)
            return
        self.held.add(symbol)
        self.proxy.keys.append(symbol)
        letter = KEYS.get(symbol) or (chr(symbol) if 0x20 <= symbol < 0x100 else "")
        if letter and self.held & set(CONTROLS):
            letter = chr(ord(letter.upper()) & 0x1F)
        if letter:
            self.shell.feed(letter)

    async def draw(self) -> None:
        """Sends what changed, whenever the viewer has asked and something did."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            while self.wanted is not None:
                blink = asyncio.get_running_loop().time() % (2 * BLINK) < BLINK
                news = self.shell.changed
                strips = picture(self.shell, blink)
                if await self.update(strips):
                    self.wanted = None
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), BLINK)

    async def update(self, strips: list[bytes]) -> bool:
        """Sends the lines that are not shown yet; whether there were any."""
        only_changes = self.wanted is not None and self.wanted[0] and bool(self.shown)
        fresh = [row for row in range(ROWS) if not only_changes or strips[row] != self.shown[row]]
        if not fresh:
            return False
        told = [struct.pack(">BxH", 0, len(fresh))]
        for row in fresh:
            told.append(struct.pack(">HHHHi", 0, row * CELL_HEIGHT, WIDTH, CELL_HEIGHT, 0))
            told.append(pixels(strips[row], self.format))
        self.shown = strips
        await self.socket.send(b"".join(told))
        return True


def pixels(strip: bytes, form: bytes) -> bytes:
    """Pixels in the form that the viewer wants; ours are blue, green, red and one unused byte."""
    bits, _, big, true, *limits = DOT.unpack(form)
    if not true:
        raise Left
    maxima, shifts = limits[:3], limits[3:]
    if (bits, big, maxima, shifts) == (32, 0, [255, 255, 255], [16, 8, 0]):
        return strip
    order = ">" if big else "<"
    code = {8: "B", 16: "H", 32: "I"}.get(bits)
    if code is None:
        raise Left
    made: dict[bytes, bytes] = {}
    for dot in {strip[at : at + 4] for at in range(0, len(strip), 4)}:
        value = sum(dot[2 - index] * maxima[index] // 255 << shifts[index] for index in range(3))
        made[dot] = struct.pack(order + code, value & (1 << bits) - 1)
    return b"".join(made[strip[at : at + 4]] for at in range(0, len(strip), 4))


def answer(challenge: bytes, password: str) -> bytes:
    """What a viewer answers to a challenge: DES with the first eight letters, each byte's bits reversed."""
    key = bytes(int(f"{letter:08b}"[::-1], 2) for letter in password.encode()[:8].ljust(8, b"\0"))
    cipher = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # noqa: S305 - what RFC 6143 asks for
    return cipher.update(challenge)
