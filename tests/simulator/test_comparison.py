"""`pve-simulator compare`: asks only, keeps no value, and sees what is different."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pve_simulator.comparison.readings import FILE, collect, recorded, text_of
from pve_simulator.comparison.shapes import Shape, additions, differences
from pve_simulator.testing import Simulator

RECORDINGS = Path(__file__).parent / "recordings"
KEPT = Path(__file__).parents[2] / "src" / "pve_simulator" / "comparison" / FILE


def compare(pve: Simulator, *options: str, token: str = "full") -> subprocess.CompletedProcess[str]:
    """The command against a simulator."""
    who = pve.tokens[token]
    command = [
        str(Path(sys.executable).with_name("pve-simulator")),
        "compare",
        "--url",
        pve.url,
        "--pause",
        "0",
        *options,
    ]
    environment = {**os.environ, "PVE_TOKEN": f"{who['id']}={who['secret']}"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_what_is_kept_was_made_from_the_recordings() -> None:
    assert text_of(collect(recorded(RECORDINGS))) == KEPT.read_text(), (
        "python -m pve_simulator.comparison.readings tests/simulator/recordings"
    )


def test_no_value_of_a_recorded_reply_is_kept() -> None:
    for row in json.loads(KEPT.read_text()):
        assert set(row) <= {"path", "query", "status", "shape", "message"}
    assert "10.99.0.2" not in KEPT.read_text()


@pytest.mark.pve(world="small", speed=20)
def test_a_faithful_server_differs_in_nothing_and_is_only_read(pve: Simulator) -> None:
    done = compare(pve, "--fingerprint", pve.fingerprint)
    assert (done.returncode, " 0 differ" in done.stdout) == (0, True), done.stdout + done.stderr
    assert {row["method"] for row in pve.requests()} == {"GET"}
    names = {guest["name"] for guest in pve.world()["guests"]}
    assert not [name for name in names if name in done.stdout], "a name of the server was printed"


@pytest.mark.pve(world="small", speed=20)
def test_another_status_and_another_message_are_seen(pve: Simulator) -> None:
    pve.fault("status", "/cluster/status$", status=500, text="something else")
    done = compare(pve, "--fingerprint", pve.fingerprint)
    assert done.returncode == 1
    assert "differs   GET /cluster/status\n          recorded 200, here 500 something else" in done.stdout


@pytest.mark.pve(world="small", speed=20)
def test_a_token_without_rights_is_told_as_what_it_is(pve: Simulator) -> None:
    done = compare(pve, "--fingerprint", pve.fingerprint, token="none")
    assert done.returncode == 1
    assert "here 403 Permission check failed" in done.stdout


@pytest.mark.pve(world="small", speed=20)
def test_nothing_is_sent_to_a_server_whose_certificate_is_another(pve: Simulator) -> None:
    done = compare(pve, "--fingerprint", "AA:" * 31 + "AA")
    assert (done.returncode, pve.requests()) == (2, [])
    assert pve.fingerprint in done.stderr
    done = compare(pve)
    assert (done.returncode, pve.requests()) == (2, [])
    assert "--fingerprint or --ca" in done.stderr


def shape(*values: object) -> Shape:
    """Of several values."""
    made = Shape()
    for value in values:
        made.add(value)
    return made


def test_shapes_tell_types_missing_keys_and_further_keys() -> None:
    known = shape(*[{"id": "a", "cpu": 0, "net0": "x"}] * 3, {"id": "b", "cpu": 0.5})
    assert list(differences(known, shape({"id": "c", "cpu": 1, "net7": "y"}))) == []
    assert list(differences(known, shape({"id": 7, "cpu": "1"}))) == [
        "data.cpu is text; recorded: number",
        "data.id is number; recorded: text",
    ]
    assert list(differences(known, shape({"cpu": 1}))) == ["data is without: id"]
    assert list(additions(known, shape({"id": "c", "cpu": 1, "tags": ""}))) == ["data has besides: tags"]
    assert Shape.read(known.told()) == known
