"""Toy processes for tests, and a wire to the database that can be cut."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.databases import KEY

ROOT = Path(__file__).parents[2]


def start_toy(url: str, folder: Path) -> subprocess.Popen[bytes]:
    log = (folder / f"log-{time.monotonic_ns()}").open("wb")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.toy", url, str(folder)],
            cwd=ROOT,
            env={**os.environ, "COMSERV_TEST_KEY": KEY},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def toy(url: str, folder: Path, *, wait: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """A toy process that is ended whatever becomes of the test, also while it is stopped."""
    process = start_toy(url, folder)
    try:
        if wait:
            wait_for(folder / f"ready-{process.pid}", process)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(path: Path, process: subprocess.Popen[bytes] | None = None, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process is None or process.poll() is None, logs(path.parent)
        assert time.monotonic() < end, f"{path.name} did not come\n{logs(path.parent)}"
        time.sleep(0.02)


def logs(folder: Path) -> str:
    return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(folder.glob("log-*")))


def world(folder: Path) -> list[tuple[str, int]]:
    """What was done to the server, by which process."""
    path = folder / "world"
    if not path.exists():
        return []
    return [(text, int(pid)) for text, pid in (line.split() for line in path.read_text().splitlines())]


class Wire:
    """A way to the database that can be cut: then nothing goes through any more, and no end is heard of it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Wire"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        try:
            await self._open.wait()
            there, back = await asyncio.open_connection(*self._target)
            writers.append(back)
            ways = [asyncio.ensure_future(self._carry(*way)) for way in ((reader, back), (there, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            for end in writers:
                end.close()
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
