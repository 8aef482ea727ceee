"""Real processes for tests: a simulated Proxmox VE, and Comserv over an empty data folder."""

import asyncio
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comserv.domain.person import Actor, Role
from comserv.installation import open_installation
from comserv.settings import Settings

BIN = Path(sys.executable).parent
PASSWORD = "correct horse battery staple"
STARTED_WITHIN = 60


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def environment(**given: str) -> dict[str, str]:
    """COMSERV_… of the tests' own surroundings do not count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMSERV_")}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", **given}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run_comserv(*arguments: str, stdin: str = "", **given: str) -> Ended:
    done = subprocess.run(
        [BIN / "comserv", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=150,
        env=environment(**given),
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def simulator(*arguments: str) -> Iterator[dict[str, Any]]:
    """A `pve-simulator` on a free port; the line that it prints."""
    process = subprocess.Popen([BIN / "pve-simulator", "--port", "0", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        ended(process)


def ended(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@dataclass(frozen=True)
class Running:
    """A Comserv that answers. tokens: by role."""

    url: str
    data_dir: Path
    tokens: dict[str, str]

    def command(self, *arguments: str, role: str = "admin", stdin: str = "", **given: str) -> Ended:
        """A command against it, or on its data folder."""
        known = {"COMSERV_URL": self.url, "COMSERV_TOKEN": self.tokens.get(role, ""), **self.settings()}
        return run_comserv(*arguments, stdin=stdin, **{**known, **given})

    def typed(self, *arguments: str, answers: list[tuple[str, str]], role: str = "admin") -> Ended:
        """A command against it at a terminal."""
        known = {"COMSERV_URL": self.url, "COMSERV_TOKEN": self.tokens[role], **self.settings()}
        return at_a_terminal(*arguments, answers=answers, **known)

    def settings(self) -> dict[str, str]:
        port = self.url.rpartition(":")[2]
        return {"COMSERV_DATA_DIR": str(self.data_dir), "COMSERV_PORT": port}


async def _make_people(data_dir: Path) -> dict[str, str]:
    local = Actor("local", Role.ADMIN, "local")
    async with open_installation(Settings(data_dir=data_dir)) as services:
        for role in Role:
            await services.people.create(local, str(role), role, PASSWORD)
        return {str(role): await services.people.create_token(local, "test", name=str(role)) for role in Role}


def make_people(data_dir: Path) -> dict[str, str]:
    """A person for each role, by name of the role; their tokens. In this process: six commands take their time."""
    return asyncio.run(_make_people(data_dir))


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v1/health", timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def comserv_running(data_dir: Path, **given: str) -> Iterator[Running]:
    """`comserv serve` with a person for each role. Its log is shown where it does not start."""
    tokens, port = make_people(data_dir), free_port()
    url, log = f"http://127.0.0.1:{port}", data_dir / "serve.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [BIN / "comserv", "serve", "--port", str(port)],
            stdout=written,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(COMSERV_DATA_DIR=str(data_dir), **given),
        )
    (data_dir / "serve.pid").write_text(str(process.pid))
    try:
        until = time.monotonic() + STARTED_WITHIN
        while not answers(url):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield Running(url, data_dir, tokens)
    finally:
        ended(process)


def at_a_terminal(*arguments: str, answers: list[tuple[str, str]], **given: str) -> Ended:
    """A command at a terminal of its own. answers: what is typed when a text has been shown, in this order.

    The text before a hidden answer ends in `: `: what is typed before that blank is thrown away by the prompt.
    """
    ours, its = pty.openpty()
    command = ["setsid", "--ctty", "--wait", BIN / "comserv", *arguments]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment(**given))
    os.close(its)
    shown, place = "", 0
    try:
        for question, answer in answers:
            while question not in shown[place:]:
                chunk = _read(ours)
                assert chunk, f"It ended without asking {question!r}:\n{shown}"
                shown += chunk
            place = len(shown)
            os.write(ours, answer.encode() + b"\n")
        while chunk := _read(ours):
            shown += chunk
    finally:
        os.close(ours)  # hangs up, which ends what still waits there
        code = process.wait(60)
    return Ended(code, shown, "")


def _read(terminal: int) -> str:
    """What comes next; empty once the command has ended and its terminal is closed."""
    ready, _, _ = select.select([terminal], [], [], STARTED_WITHIN)
    assert ready, f"Nothing came for {STARTED_WITHIN} s."
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:
        return ""
