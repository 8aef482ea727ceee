"""The recordings are the judge: files 01 to 15, replayed in order against one fresh world, values compared."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Simulator

HERE = Path(__file__).parent
FILES = sorted((HERE / "recordings").glob("*.jsonl"))
GOAL = 98.5  # percent of the replies that are the same, values included; a second real server reaches 99.7


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_files_01_to_15_are_answered_as_the_real_one_answered(
    starting: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = starting("--world", "recorded", "--speed", "10")
    credentials, settings, report = tmp_path / "credentials.json", tmp_path / "map.json", tmp_path / "report.json"
    credentials.write_text(json.dumps(simulator.told["credentials"]))
    settings.write_text(json.dumps({"pace": 0.15}))
    command = [sys.executable, str(HERE / "replay.py"), "--url", simulator.told["url"]]
    command += ["--credentials", str(credentials), "--map", str(settings), "--json", str(report), *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_text())
    grades = Counter(row["grade"] for row in rows)
    share = 100 * grades["same"] / (len(rows) - grades["skipped"])
    assert len(rows) > 1700, "all fifteen files were replayed"
    assert grades["error"] == 0, done.stdout
    assert share >= GOAL, done.stdout
