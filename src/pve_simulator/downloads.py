"""Files fetched from web servers, truly asked, with wget's own words; and what a look at their first bytes tells.

Nothing of a file is kept but its length, its head and its checksums.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import socket
import ssl
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pve_simulator.errors import TaskError
from pve_simulator.tasks import Run

ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
USUAL = {"sha256", "sha512"}  # what publishers tell: of large files only these, and what was asked for, are computed
LARGE = 64 * 1024**2
QCOW2, VMDK, VMDK_TEXT, ZSTD = b"QFI\xfb", b"KDMV", b"# Disk DescriptorFile", b"\x28\xb5\x2f\xfd"
MIB = 1024**2
CHUNK, HEAD = MIB, 4096
DOTS = 32  # dots, each a MiB, in a line of progress: four times eight
TRIES, LONGEST_PAUSE = 20, 10  # of wget, seconds
REDIRECTS = 20
TIMEOUT = 30.0  # true seconds for a web server to answer


@dataclass
class File:
    """A file that came: bytes in all, the first of them, and its checksums by algorithm."""

    length: int = 0
    head: bytes = b""
    digests: dict[str, str] = field(default_factory=dict)
    unpacked: int = 0  # bytes after decompression, where that was asked for
    broken: bool = False  # it is no archive of the kind that was told

    @classmethod
    def of(cls, data: bytes) -> File:
        """The same of bytes at hand."""
        digests = {name: hashlib.new(name, data).hexdigest() for name in ALGORITHMS}
        return cls(len(data), data[:HEAD], digests, len(data))

    @property
    def backing(self) -> bool:
        """Whether it is a qcow2 file that stands on another file."""
        return self.head.startswith(QCOW2) and int.from_bytes(self.head[8:16], "big") != 0

    @property
    def virtual(self) -> int:
        """Bytes of the disk that the file holds."""
        if self.head.startswith(QCOW2):
            return int.from_bytes(self.head[24:32], "big")
        return int.from_bytes(self.head[12:20], "little") * 512 if self.head.startswith(VMDK) else self.length

    def check_image(self, path: str, form: str) -> None:
        """Raises TaskError where a file is not what its name says, in qemu-img's words."""
        if form == "qcow2" and not self.head.startswith(QCOW2):
            raise TaskError(f"qemu-img: Could not open '{path}': Image is not in qcow2 format")
        if form == "vmdk" and not self.head.startswith((VMDK, VMDK_TEXT)):
            raise TaskError(f"qemu-img: Could not open '{path}': invalid VMDK image descriptor")
        if self.backing:
            raise TaskError(f"backing file not allowed for untrusted image '{path}'!")


class Unpacker:
    """Counts what decompression gives."""

    def __init__(self, kind: str | None) -> None:
        self.kind = kind
        self.gzip = zlib.decompressobj(wbits=31) if kind == "gz" else None
        self.length = 0
        self.head = b""
        self.broken = False

    def take(self, data: bytes, first: bool) -> None:
        """The next bytes of the file."""
        if self.gzip is not None and not self.broken:
            try:
                came = self.gzip.decompress(data)
            except zlib.error:
                self.broken = True
                return
            self.length += len(came)
            self.head = self.head or came[:HEAD]
        elif self.kind == "zst" and first:
            self.broken = not data.startswith(ZSTD)
            self.length = zstd_size(data)


def zstd_size(head: bytes) -> int:
    """The content's size as a zstd frame tells it; 0 where it does not."""
    if len(head) < 14:
        return 0
    descriptor = head[4]
    single, kind, dictionary = descriptor >> 5 & 1, descriptor >> 6, (0, 1, 2, 4)[descriptor & 3]
    width = (1 if single else 0, 2, 4, 8)[kind]
    at = 5 + (0 if single else 1) + dictionary
    return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)


class Wget:
    """One run of wget, in a thread of its own; `say` takes its lines."""

    def __init__(
        self,
        url: str,
        path: str,
        say: Callable[[str], None],
        pause: Callable[[float], float],
        verify: bool = True,
        unpack: str | None = None,
        wanted: str | None = None,
    ) -> None:
        self.url = url
        self.path = path
        self.say = say
        self.pause = pause  # how long here so many seconds of the real server last
        self.verify = verify
        self.unpack = unpack
        self.wanted = wanted
        self.stopped = threading.Event()

    def run(self) -> File:
        """The file; raises TaskError as Proxmox words wget's failures."""
        for number in range(1, TRIES + 1):
            self.say(f"--{stamp()}--  {f'(try:{number:2d})  ' if number > 1 else ''}{self.url}")
            found = self._once(self.url)
            if isinstance(found, File):
                return found
            rate, came = found
            last = number == TRIES
            told = "Giving up." if last else "Retrying."
            self.say(f"{stamp()} ({rate}) - Connection closed at byte {came}. {told}")
            if not last and self.stopped.wait(self.pause(min(number, LONGEST_PAUSE))):
                raise TaskError("download failed: received interrupt")
        raise TaskError("download failed: exit code 4")

    def _once(self, url: str, redirected: int = 0) -> File | tuple[str, int]:
        where = urllib.parse.urlsplit(url)
        connection = self._connected(where)
        try:
            query = f"?{where.query}" if where.query else ""
            connection.request("GET", (where.path or "/") + query, headers={"User-Agent": "Wget", "Accept": "*/*"})
            reply = connection.getresponse()
            self.say(f"HTTP request sent, awaiting response... {reply.status} {reply.reason}")
            if reply.status in (301, 302, 303, 307, 308) and reply.getheader("Location"):
                return self._follow(url, str(reply.getheader("Location")), redirected)
            if reply.status >= 300:
                self.say(f"{stamp()} ERROR {reply.status}: {reply.reason}.")
                raise TaskError("download failed: exit code 8")
            return self._read(reply)
        except (http.client.HTTPException, OSError) as fault:
            raise TaskError("download failed: exit code 4") from fault
        finally:
            connection.close()

    def _follow(self, url: str, location: str, redirected: int) -> File | tuple[str, int]:
        if redirected >= REDIRECTS:
            self.say(f"{REDIRECTS} redirections exceeded.")
            raise TaskError("download failed: exit code 8")
        self.say(f"Location: {location} [following]")
        target = urllib.parse.urljoin(url, location)
        if urllib.parse.urlsplit(target).scheme not in ("http", "https"):
            raise TaskError("download failed: exit code 1")
        self.say(f"--{stamp()}--  {target}")
        return self._once(target, redirected + 1)

    def _connected(self, where: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        host, port = where.hostname or "", where.port or (443 if where.scheme == "https" else 80)
        shown = f"{host}:{port}"
        if not host.replace(".", "").isdigit() and ":" not in host:
            shown = f"{host} ({host})|{self._resolved(host)}|:{port}"
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        if where.scheme == "https":
            context = ssl.create_default_context()
            if not self.verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError:
            connection.close()
            self.say(f"Connecting to {shown}... connected.")
            self.say(f"ERROR: The certificate of '{host}' is not trusted.")
            text = f"ERROR: The certificate of '{host}' doesn't have a known issuer."
            raise TaskError(f"download failed: {text}") from None
        except OSError as fault:
            connection.close()
            reason = "Connection refused" if isinstance(fault, ConnectionRefusedError) else fault.strerror or str(fault)
            raise TaskError(f"download failed: Connecting to {shown}... failed: {reason}.") from None
        self.say(f"Connecting to {shown}... connected.")
        return connection

    def _resolved(self, host: str) -> str:
        try:
            found = list(
                dict.fromkeys(str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
            )
        except OSError:
            self.say(f"Resolving {host} ({host})... failed: Temporary failure in name resolution.")
            raise TaskError(f"download failed: wget: unable to resolve host address '{host}'") from None
        self.say(f"Resolving {host} ({host})... {', '.join(found)}")
        return found[0]

    def _read(self, reply: http.client.HTTPResponse) -> File | tuple[str, int]:
        """Takes the body; the rate and the bytes that came where it ends too early."""
        told = reply.getheader("Content-Length")
        length, kind = int(told) if told else None, reply.getheader("Content-Type")
        size = f"{length} ({human(length)})" if length is not None else "unspecified"
        self.say(f"Length: {size}" + (f" [{kind.partition(';')[0]}]" if kind else ""))
        self.say(f"Saving to: '{self.path}'")
        names = ALGORITHMS if length is None or length < LARGE else {*USUAL, self.wanted or "sha256"}
        digests, unpacker = {name: hashlib.new(name) for name in names}, Unpacker(self.unpack)
        file, progress = File(), Progress(length, self.say)
        for data in self._parts(reply):
            unpacker.take(data, first=not file.length)
            file.head = file.head or data[:HEAD]
            file.length += len(data)
            for digest in digests.values():
                digest.update(data)
            progress.take(len(data))
        rate = progress.end()
        if length is not None and file.length < length:
            return rate, file.length
        self.say(f"{stamp()} ({rate}) - '{self.path}' saved [{file.length}/{length or file.length}]")
        file.digests = {name: digest.hexdigest() for name, digest in digests.items()}
        file.broken, file.unpacked = unpacker.broken, unpacker.length or file.length
        if self.unpack == "gz":
            file.head = unpacker.head
        return file

    def _parts(self, reply: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            if self.stopped.is_set():
                raise TaskError("download failed: received interrupt")
            try:
                data = reply.read1(CHUNK)
            except (http.client.IncompleteRead, ConnectionError):
                return
            if not data:
                return
            yield data


class Progress:
    """wget's dots: 32 MiB a line, with percent, rate and the time that is left."""

    def __init__(self, length: int | None, say: Callable[[str], None]) -> None:
        self.length = length
        self.say = say
        self.came = 0
        self.rows = 0
        self.began = self.row_began = time.monotonic()

    def take(self, count: int) -> None:
        """Some bytes came."""
        self.came += count
        while self.came >= (self.rows + 1) * DOTS * MIB:
            now = time.monotonic()
            spent = max(1e-6, now - self.began)
            left = (self.length - self.came) * spent / self.came if self.length else 0
            self._row(DOTS, speed(DOTS * MIB, now - self.row_began), f" {left:.0f}s")
            self.rows, self.row_began = self.rows + 1, now

    def end(self) -> str:
        """The last line; the rate of the whole, as wget's summary tells it."""
        now = time.monotonic()
        part = self.came - self.rows * DOTS * MIB
        self._row(part // MIB, speed(part, now - self.row_began), f"={seconds(now - self.began)}s")
        amount = speed(self.came, now - self.began)
        return f"{amount[:-1]} {amount[-1].strip()}B/s"

    def _row(self, dots: int, rate: str, time_left: str) -> None:
        drawn = ("." * dots).ljust(DOTS)
        groups = "".join(" " + drawn[at : at + 8] for at in range(0, DOTS, 8))
        percent = f"{100 * self.came // self.length if self.length else 0:3d}%"
        self.say(f"{self.rows * DOTS * 1024:6d}K{groups}{percent} {rate:>5}{time_left}")


def speed(count: int, spent: float) -> str:
    """Bytes in a second, as wget shows them: ` 496M`, `2.08G`, `0.00 `."""
    rate = count / max(spent, 1e-6)
    units = " KMGT"
    at = 0
    while rate >= 1024 and at < len(units) - 1:
        rate, at = rate / 1024, at + 1
    digits = 2 if rate < 10 else 1 if rate < 100 else 0
    return f"{rate:.{digits}f}{units[at]}"


def seconds(spent: float) -> str:
    """A duration in as few digits as tell it."""
    digits = next((digits for digits in (1, 2, 3) if spent >= 10**-digits), 0)
    return f"{spent:.{digits}f}"


def human(size: int) -> str:
    """`41M`, `192K`, `9.3M`."""
    if size < 1024:
        return str(size)
    value = float(size)
    for unit in "KMGT":
        value /= 1024
        if value < 1024 or unit == "T":
            return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"
    raise AssertionError("the last unit ends the loop")


def stamp() -> str:
    """The time as wget writes it."""
    return time.strftime("%Y-%m-%d %H:%M:%S")


async def fetch(run: Run, url: str, path: str, verify: bool, unpack: str | None, wanted: str | None) -> File:
    """Fetches a file with wget's lines in the task's log; raises TaskError."""
    loop = asyncio.get_running_loop()

    def say(line: str) -> None:
        loop.call_soon_threadsafe(run.log, line)

    wget = Wget(url, path, say, lambda pause: run.server.clock.scaled(pause * run.factor), verify, unpack, wanted)
    try:
        return await asyncio.to_thread(wget.run)
    except asyncio.CancelledError:
        wget.stopped.set()
        raise TaskError("download failed: received interrupt") from None
