"""The command: its line, its worlds, several servers in one process, and a state that outlives it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pve_simulator.command import main

from .conftest import Simulator


def test_the_line_tells_all_that_a_program_needs(cluster: Simulator) -> None:
    told = cluster.told
    assert re.fullmatch(r"https://127\.0\.0\.1:\d+", told["url"])
    assert re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", told["fingerprint"])
    assert set(told["tokens"]) == {"full", "sep", "none"}
    for token in told["tokens"].values():
        assert told["credentials"][token["id"]] == token["secret"]
    assert told["templates"] == [9000, 9001]
    assert told["servers"][0] == {key: value for key, value in told.items() if key != "servers"}


def test_the_tokens_may_all_little_or_nothing(cluster: Simulator) -> None:
    assert "VM.Allocate" in cluster.call("GET", "/access/permissions").data["/"]
    assert cluster.call("GET", "/access/permissions", who="admin@pve!sep").data == {}
    assert cluster.call("GET", "/access/permissions", who="low@pve!none").data == {}


def test_several_servers_stand_on_consecutive_ports_with_worlds_of_their_own(
    starting: Callable[..., Simulator],
) -> None:
    simulator = starting("--servers", "3", "--guests", "3", "--templates", "1")
    ports = [int(server["url"].rpartition(":")[2]) for server in simulator.told["servers"]]
    assert ports == [ports[0], ports[0] + 1, ports[0] + 2]
    assert len({server["fingerprint"] for server in simulator.told["servers"]}) == 3
    secrets = {server["tokens"]["full"]["secret"] for server in simulator.told["servers"]}
    assert len(secrets) == 3
    for port in ports:
        assert simulator.call("GET", "/version", port=port).status == 200
        assert len(simulator.control("GET", "world", port=port)["guests"]) == 4


def test_the_world_is_found_again_after_kill_9(starting: Callable[..., Simulator], tmp_path: Path) -> None:
    options = ("--world", "recorded", "--speed", "10", "--state", str(tmp_path))
    first = starting(*options)
    assert first.call("POST", "/pools", poolid="kept").status == 200
    time.sleep(1.2)
    first.kill()
    second = starting(*options)
    assert second.told["credentials"] == first.told["credentials"]
    assert second.told["fingerprint"] == first.told["fingerprint"]
    assert "kept" in {pool["id"] for pool in second.control("GET", "world")["pools"]}


def test_an_orderly_end_keeps_everything_and_takes_no_time(starting: Callable[..., Simulator], tmp_path: Path) -> None:
    first = starting("--guests", "5", "--state", str(tmp_path))
    with first.connect():
        first.call("POST", "/pools", poolid="kept")
        began = time.monotonic()
        assert first.stop() == 0
        assert time.monotonic() - began < 3
    second = starting("--guests", "5", "--state", str(tmp_path))
    assert "kept" in {pool["id"] for pool in second.control("GET", "world")["pools"]}


def test_a_task_at_an_orderly_end_comes_to_its_own_end(starting: Callable[..., Simulator], tmp_path: Path) -> None:
    options = ("--guests", "0", "--templates", "1", "--state", str(tmp_path))
    first = starting(*options)
    upid = first.call("POST", "/nodes/pve/qemu/9000/clone", newid=100, full=1).data
    time.sleep(0.2)
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 4
    second = starting(*options)
    assert second.call("GET", f"/nodes/pve/tasks/{upid}/status").data["exitstatus"] == "OK"
    assert "lock" not in second.call("GET", "/nodes/pve/qemu/100/config").data


def test_twenty_vms_of_twenty_gib_fit(starting: Callable[..., Simulator]) -> None:
    simulator = starting("--guests", "0", "--templates", "1", "--speed", "50")
    for vmid in range(500, 520):
        path = f"/nodes/pve/qemu/{vmid}"
        clone = simulator.call("POST", "/nodes/pve/qemu/9000/clone", newid=vmid, full=1).data
        assert simulator.finished(clone)["exitstatus"] == "OK"
        assert (
            simulator.finished(simulator.call("PUT", f"{path}/resize", disk="scsi0", size="20G").data)["exitstatus"]
            == "OK"
        )
        assert simulator.call("PUT", f"{path}/config", memory=1024).status == 200
        assert simulator.finished(simulator.call("POST", f"{path}/status/start").data)["exitstatus"] == "OK"


def test_a_task_that_died_with_the_process_has_ended_after_the_restart(
    starting: Callable[..., Simulator], tmp_path: Path
) -> None:
    options = ("--world", "recorded", "--state", str(tmp_path))
    first = starting(*options)
    assert first.finished(first.call("POST", "/nodes/pve1/qemu", vmid=100, memory=64).data)
    first.control("POST", "faults", [{"match": {}, "effect": "task_slow", "factor": 1000}])
    upid = first.call("POST", "/nodes/pve1/qemu/100/status/start").data
    time.sleep(1.2)
    first.kill()
    status = starting(*options).call("GET", f"/nodes/pve1/tasks/{upid}/status").data
    assert (status["status"], status["exitstatus"]) == ("stopped", "unexpected status")


def test_nothing_but_the_line_is_printed(starting: Callable[..., Simulator]) -> None:
    simulator = starting("--guests", "2")
    simulator.call("GET", "/version")
    simulator.call("GET", "/nosuch")
    simulator.stop()
    assert simulator.process.stdout
    assert simulator.process.stdout.read() == ""


def test_two_simulators_of_one_port_are_told_apart(starting: Callable[..., Simulator]) -> None:
    simulator = starting("--guests", "1")
    command = [str(part) for part in simulator.process.args]  # type: ignore[union-attr]
    command[command.index("--port") + 1] = str(simulator.port)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "in use" in done.stderr


@pytest.mark.parametrize("option", ["--speed=0", "--nodes=0", "--servers=0", "--world=none", "--guests=many"])
def test_options_that_make_no_sense_are_refused(option: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--port", "0", option])
    assert ended.value.code == 2


def test_a_state_that_cannot_be_read_is_named_with_the_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "server-0").mkdir()
    (tmp_path / "server-0" / "estate.json").write_text("{")
    assert main(["--port", "0", "--state", str(tmp_path)]) == 1
    assert "remove it to begin with a fresh world" in capsys.readouterr().err


def test_a_renewed_certificate_is_kept_over_kill_9(starting: Callable[..., Simulator], tmp_path: Path) -> None:
    options = ("--guests", "1", "--state", str(tmp_path))
    first = starting(*options)
    time.sleep(0.7)
    first.control("POST", "faults", [{"match": {}, "effect": "certificate_renewed"}])
    renewed = first.control("GET", "world")["fingerprint"]
    assert renewed != first.told["fingerprint"]
    time.sleep(1.2)
    first.kill()
    assert starting(*options).told["fingerprint"] == renewed
