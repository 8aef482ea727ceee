"""How long starting takes: `comserv serve` until it answers, and `comserv --help`, beside programs that do next to nothing with the
same packages."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import running
from benchmarks.figures import Comparison, Goal

SERVE_NO_MORE_THAN = 3.0  # times a FastAPI application with one path
HELP_NO_MORE_THAN = 2.0  # times a Typer application with one command

BARE_SERVER = """
import sys, fastapi, uvicorn, aiohttp, sqlalchemy.ext.asyncio, aiosqlite, alembic.command, jinja2, argon2
app = fastapi.FastAPI()
@app.get("/api/v1/health")
async def health(): return {"status": "ok"}
uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""
BARE_COMMAND = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str = "you"): "Says hello."
@app.command()
def bye(): "Says goodbye."
app()
"""


def measure(rounds: int, help_rounds: int) -> list[Comparison]:
    with TemporaryDirectory(prefix="comserv-bench-") as made:
        folder = Path(made)
        token = running.make_administrator(folder)
        bare, serve = [], []
        for _ in range(rounds):
            with bare_server(folder) as seconds:
                bare.append(seconds)
            with running.comserv(folder, token) as instance:
                serve.append(instance.answered_after)
    typer, ours = [], []
    for _ in range(help_rounds):
        typer.append(_seconds([sys.executable, "-c", BARE_COMMAND, "--help"]))
        ours.append(_seconds([running.BIN / "comserv", "--help"]))
    return [
        Comparison(
            "comserv serve until /health answers",
            "s",
            tuple(serve),
            tuple(bare),
            "the same packages, one path",
            Goal.RATIO,
            SERVE_NO_MORE_THAN,
        ),
        Comparison(
            "comserv --help", "s", tuple(ours), tuple(typer), "typer, two commands", Goal.RATIO, HELP_NO_MORE_THAN
        ),
    ]


@contextmanager
def bare_server(folder: Path) -> Iterator[float]:
    """Seconds until it answered."""
    port, log = running.free_port(), folder / "bare.log"
    began = time.perf_counter()
    with (
        log.open("a") as written,
        running.process([sys.executable, "-c", BARE_SERVER, str(port)], stderr=written) as child,
    ):
        running.wait_for_health(child, f"http://127.0.0.1:{port}/api/v1/health", log)
        yield time.perf_counter() - began


def _seconds(command: list[str | Path]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began
