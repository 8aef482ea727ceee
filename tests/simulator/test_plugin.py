"""The pytest plugin, as somebody else's project uses it: a marker, fixtures, shared simulators, and workers of pytest-xdist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFTEST = 'pytest_plugins = ["pve_simulator.testing"]\n'
TESTS = """
import pytest
from pve_simulator.testing import Simulator

@pytest.mark.pve(world="minimal")
def test_the_marker_chooses_the_world_and_a_fault_strikes(pve: Simulator):
    assert [guest["template"] for guest in pve.world()["guests"]] == [True]
    pve.fault("status", "/version", status=503, text="busy", times=1)
    assert (pve.call("GET", "/version").status, pve.call("GET", "/version").status) == (503, 200)
    pve.fault("status", "/version", status=503)
    with open("{log}", "a") as log:
        log.write(f"{{pve.process.pid}} {{pve.url}}\\n")

@pytest.mark.pve(world="minimal")
def test_faults_and_requests_are_gone_and_the_simulator_is_the_same(pve: Simulator):
    assert pve.call("GET", "/version").status == 200
    assert [row["path"] for row in pve.requests()] == ["/api2/json/version"]
    assert pve.call("GET", "/cluster/resources", token="none").data != pve.call("GET", "/cluster/resources").data

@pytest.mark.pve(world="minimal", fresh=True)
def test_a_fresh_one_is_of_the_test_alone(pve: Simulator):
    template = pve.templates[0]
    upid = pve.call("POST", f"/nodes/pve/qemu/{{template}}/clone", newid=100).data
    assert pve.finished(upid) == "OK"
    assert {{guest["vmid"] for guest in pve.world()["guests"]}} == {{100, template}}

@pytest.mark.pve(world="estate")
def test_an_estate_has_several_servers(pve: Simulator):
    assert len({{server.url for server in pve.servers}}) == 4

@pytest.mark.pve(world="trouble")
def test_trouble_stays(pve: Simulator):
    assert pve.call("GET", "/nodes/pve3/status").status == 595
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A foreign project's test run."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_mine.py").write_text(TESTS.format(log=folder / "log"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--strict-markers",
        "-W",
        "error",
        *options,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150)


def test_the_plugin_serves_another_project_and_its_workers_do_not_meet(tmp_path: Path) -> None:
    done = run(tmp_path, "-n", "2")
    assert "5 passed" in done.stdout, done.stdout + done.stderr
    pids = {line.split()[0] for line in (tmp_path / "log").read_text().splitlines()}
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids), "a simulator outlived its session"
