"""Without a quorum everything can be read and nothing written, and each call says so in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Simulator, end, start
from .test_high_availability import guest, managed, service, waited


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    """Three nodes with a few guests."""
    simulator = start("--nodes", "3", "--guests", "4", "--templates", "1", "--speed", "100", "--node-ports")
    yield simulator
    end(simulator)


@pytest.fixture
def lost(shared: Simulator) -> Iterator[Simulator]:
    """The three nodes, for the test without a quorum."""
    if not [row for row in shared.control("GET", "world")["guests"] if row["vmid"] == 600]:
        shared.finished(shared.call("POST", "/nodes/pve1/qemu", vmid=600, memory=64, scsi0="local-lvm:1").data)
    shared.control("POST", "faults", [{"effect": "quorum_lost"}])
    yield shared
    shared.control("DELETE", "faults")


def quorate(simulator: Simulator, port: int = 0) -> int:
    """What a node tells of its quorum."""
    rows = simulator.send("GET", "/api2/json/cluster/status", None, simulator.token(), port).data
    return next(row["quorate"] for row in rows if row["type"] == "cluster")


VM = "/nodes/pve1/qemu/600"
LOCK = "cfs-lock 'file-user_cfg' error: no quorum!"


def test_reading_works_and_the_status_tells(lost: Simulator) -> None:
    assert quorate(lost) == 0
    for path in ("/cluster/resources", "/nodes", f"{VM}/config", "/access/users", "/storage", f"{VM}/status/current"):
        assert lost.call("GET", path).status == 200, path
    row = next(row for row in lost.call("GET", "/cluster/ha/status/current").data if row["id"] == "quorum")
    assert (row["quorate"], row["status"]) == (0, "No quorum on node 'pve1'!")


@pytest.mark.parametrize(
    ("method", "path", "parameters", "text"),
    [
        ("POST", "/nodes/pve1/qemu", {"vmid": 601}, "cluster not ready - no quorum?"),
        ("POST", f"{VM}/clone", {"newid": 601}, "cluster not ready - no quorum?"),
        ("POST", f"{VM}/status/start", {}, "cluster not ready - no quorum?"),
        ("POST", f"{VM}/migrate", {"target": "pve2"}, "cluster not ready - no quorum?"),
        ("GET", f"{VM}/migrate", {}, "cluster not ready - no quorum?"),
        ("POST", "/cluster/ha/resources", {"sid": "vm:600"}, "cluster not ready - no quorum?"),
        ("POST", "/pools", {"poolid": "x"}, f"create pool failed: {LOCK}"),
        ("POST", "/access/users", {"userid": "x@pve"}, f"create user failed: {LOCK}"),
        ("PUT", "/access/acl", {"path": "/", "users": "low@pve", "roles": "PVEAuditor"}, f"ACL update failed: {LOCK}"),
        ("PUT", "/cluster/options", {"keyboard": "de"}, "cfs-lock 'file-datacenter_cfg' error: no quorum!"),
        ("DELETE", "/nodes/pve1/storage/ceph-ssd/content/x", {}, "cfs-lock 'storage-ceph-ssd' error: no quorum!"),
    ],
)
def test_a_call_that_writes_is_refused_in_its_own_words(
    lost: Simulator, method: str, path: str, parameters: dict[str, Any], text: str
) -> None:
    answer = lost.call(method, path, **parameters)
    assert (answer.status, answer.reason) == (500, text)


def test_a_configuration_cannot_be_opened_for_writing(lost: Simulator) -> None:
    reason = lost.call("PUT", f"{VM}/config", description="x").reason
    assert reason.startswith("unable to open file '/etc/pve/nodes/pve1/qemu-server/600.conf.tmp.")
    assert reason.endswith("' - Permission denied")


def test_what_writes_it_in_a_task_fails_there(lost: Simulator) -> None:
    calls = [
        lost.call("POST", f"{VM}/config", description="x"),
        lost.call("POST", f"{VM}/snapshot", snapname="one"),
        lost.call("PUT", f"{VM}/resize", disk="scsi0", size="+1G"),
        lost.call("DELETE", VM),
    ]
    for answer in calls:
        assert lost.finished(answer.data)["exitstatus"].endswith("' - Permission denied")
    assert guest(lost, 600)["config"]["scsi0"].endswith("size=1G")


def test_a_wrong_parameter_and_a_lacking_right_are_told_first(lost: Simulator) -> None:
    assert lost.call("POST", "/nodes/pve1/qemu", vmid=1).status == 400
    assert lost.call("POST", "/pools", "low@pve!none", poolid="x").status == 403


def test_what_runs_can_be_stopped(lost: Simulator) -> None:
    running = next(
        row for row in lost.control("GET", "world")["guests"] if row["status"] == "running" and row["type"] == "qemu"
    )
    path = f"/nodes/{running['node']}/qemu/{running['vmid']}/status/stop"
    assert lost.finished(lost.call("POST", path).data)["exitstatus"] == "OK"


def test_one_node_may_be_on_the_side_without_a_majority(shared: Simulator) -> None:
    shared.control("POST", "faults", [{"match": {"node": "pve3"}, "effect": "quorum_lost"}])
    port = int(shared.told["nodes"]["pve3"].rpartition(":")[2])
    assert (quorate(shared), quorate(shared, port)) == (1, 0)
    assert {row["node"]: row["status"] for row in shared.call("GET", "/nodes").data}["pve3"] == "offline"
    assert shared.call("POST", "/nodes/pve3/qemu", vmid=602).reason == "cluster not ready - no quorum?"
    assert shared.call("PUT", "/cluster/options", keyboard="de").status == 200
    shared.control("DELETE", "faults")


def test_more_than_half_of_the_nodes_have_to_be_up_or_half_with_a_qdevice(starting: Callable[..., Simulator]) -> None:
    two = starting("--nodes", "2", "--guests", "0", "--templates", "0", "--speed", "20")
    two.control("POST", "faults", [{"match": {"node": "pve2"}, "effect": "node_down"}])
    assert quorate(two) == 1, "an even number of nodes has a QDevice beside it"
    three = starting("--nodes", "3", "--guests", "0", "--templates", "0", "--speed", "20")
    three.control("POST", "faults", [{"match": {"node": node}, "effect": "node_down"} for node in ("pve2", "pve3")])
    assert quorate(three) == 0
    assert three.call("POST", "/pools", poolid="x").status == 500


def test_high_availability_stops_without_a_quorum_and_nodes_with_services_are_reset(
    starting: Callable[..., Simulator],
) -> None:
    simulator = starting("--nodes", "3", "--guests", "0", "--templates", "0", "--speed", "200")
    managed(simulator, 700)
    simulator.control("POST", "faults", [{"effect": "quorum_lost"}])
    upid = simulator.call("POST", "/nodes/pve1/qemu/700/status/stop").data
    assert simulator.finished(upid)["exitstatus"].startswith("command 'ha-manager set vm:700 --state stopped' failed")
    waited(lambda: guest(simulator, 700)["status"] == "stopped")
    assert guest(simulator, 700)["node"] == "pve1", "nobody recovers it"
    simulator.control("DELETE", "faults")
    waited(lambda: service(simulator, 700)["state"] == "started" and guest(simulator, 700)["status"] == "running")
