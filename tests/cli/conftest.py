"""The command line as a person's shell runs it: a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

COMSERV = Path(sys.executable).with_name("comserv")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


def run_comserv(*arguments: str, stdin: str = "", **environment: str) -> Ended:
    """COMSERV_… of the tests' own surroundings do not count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMSERV_")}
    environment = {**kept, "COLUMNS": "200", "NO_COLOR": "1", **environment}
    done = subprocess.run(
        [COMSERV, *arguments], input=stdin, capture_output=True, text=True, timeout=90, env=environment, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def comserv() -> Run:
    return run_comserv
