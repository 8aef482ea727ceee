"""Real processes for benchmarks: simulated servers and Comserv, each with a log of its own, all ended when the benchmark ends."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

BIN = Path(sys.executable).parent
ANSWERS_WITHIN = 60.0  # seconds
ENDS_WITHIN = 10.0
LOOK_EVERY = 0.02


class DidNotWork(Exception):
    """A process of the benchmark did not do what it was started for."""


def settings(**given: str) -> dict[str, str]:
    """The environment without anything of Comserv's but what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMSERV_")}
    return {**kept, **given}


@contextmanager
def process(command: Sequence[str | Path], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A child that ends with the block, and with this process (Linux)."""
    child = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent, **options)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout:
            child.stdout.close()


def _end_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)


@contextmanager
def simulator(*words: str) -> Iterator[dict[str, Any]]:
    """Its one line of JSON."""
    with process([BIN / "pve-simulator", "--port", "0", *words], stdout=subprocess.PIPE) as child:
        line = child.stdout.readline() if child.stdout else ""
        if not line:
            raise DidNotWork("pve-simulator printed nothing")
        yield json.loads(line)


@dataclass(frozen=True)
class Instance:
    """A Comserv that answers. token: of its administrator `bench`."""

    url: str
    folder: Path
    token: str
    pid: int
    answered_after: float

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used so far, of all its threads; exact to microseconds where the kernel tells it."""
        return cpu_of(self.pid)

    @property
    def memory(self) -> int:
        """Bytes of resident memory."""
        return psutil.Process(self.pid).memory_info().rss


def cpu_of(pid: int) -> float:
    """Seconds of CPU of all threads of a process (/proc/PID/task/*/schedstat is in ns; of ended threads it knows nothing)."""
    try:
        told = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(words[0]) for words in told) / 1e9
    except (OSError, IndexError):
        used = psutil.Process(pid).cpu_times()
        return used.user + used.system


def make_administrator(folder: Path, **more: str) -> str:
    """A person `bench`; its token. more: settings, as environment variables."""
    words = ("user", "create", "bench", "--role", "admin", "--password-stdin")
    command(folder, *words, given="correct horse battery\n", **more)
    return json.loads(command(folder, "token", "create", "--user", "bench", "--json", **more))["token"]


def sign_in_path(folder: Path) -> str:
    """The path of a link that signs the administrator in."""
    return json.loads(command(folder, "user", "sign-in-link", "bench", "--json"))["path"]


def command(folder: Path, *words: str, given: str = "", **more: str) -> str:
    """What a command on the data folder prints."""
    done = subprocess.run(
        [BIN / "comserv", *words],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env=settings(COMSERV_DATA_DIR=str(folder), **more),
    )
    if done.returncode:
        raise DidNotWork(f"comserv {' '.join(words[:2])}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def comserv(folder: Path, token: str, **more: str) -> Iterator[Instance]:
    """`comserv serve` on the folder, once it answers. more: settings, as environment variables."""
    port, log = free_port(), folder / "serve.log"
    given = settings(COMSERV_DATA_DIR=str(folder), COMSERV_LOG_LEVEL="WARNING", **more)
    began = time.perf_counter()
    with (
        log.open("a") as written,
        process(
            [BIN / "comserv", "serve", "--port", str(port)], stdout=written, stderr=subprocess.STDOUT, env=given
        ) as child,
    ):
        url = f"http://127.0.0.1:{port}"
        wait_for_health(child, f"{url}/api/v1/health", log)
        yield Instance(url, folder, token, child.pid, time.perf_counter() - began)


def wait_for_health(child: "subprocess.Popen[str]", url: str, log: Path) -> None:
    """Until it answers 200. Raises DidNotWork."""
    end = time.monotonic() + ANSWERS_WITHIN
    while time.monotonic() < end and child.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            if reply.status == 200:
                return
        time.sleep(LOOK_EVERY)
    raise DidNotWork(f"{url} does not answer: {log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
