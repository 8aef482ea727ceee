"""The high availability managers keep guests running, move them by rules, and recover those of dead nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Simulator, end, start


@pytest.fixture(scope="module")
def trio() -> Iterator[Simulator]:
    """Three nodes, fast: a round of the managers takes 0.05 s."""
    simulator = start("--nodes", "3", "--guests", "0", "--templates", "0", "--speed", "200")
    yield simulator
    end(simulator)


@pytest.fixture
def nodes(trio: Simulator) -> Iterator[Simulator]:
    """The three nodes; afterwards nothing is managed and nothing goes wrong."""
    yield trio
    trio.control("DELETE", "faults")
    for rule in trio.call("GET", "/cluster/ha/rules").data:
        trio.call("DELETE", f"/cluster/ha/rules/{rule['rule']}")
    for row in trio.call("GET", "/cluster/ha/resources").data:
        trio.call("DELETE", f"/cluster/ha/resources/{row['sid']}")


def waited(what: Callable[[], Any], seconds: float = 15) -> Any:
    """What comes to be true."""
    limit = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < limit, f"not within {seconds} s"
        time.sleep(0.03)
    return found


def managed(simulator: Simulator, vmid: int, storage: str = "ceph-ssd", **options: Any) -> str:
    """A fresh VM on pve1 that the managers started; its resource."""
    upid = simulator.call("POST", "/nodes/pve1/qemu", vmid=vmid, memory=64, scsi0=f"{storage}:1").data
    assert simulator.finished(upid)["exitstatus"] == "OK"
    assert simulator.call("POST", "/cluster/ha/resources", sid=f"vm:{vmid}", **options).status == 200
    waited(lambda: service(simulator, vmid)["state"] == "started")
    return f"vm:{vmid}"


def service(simulator: Simulator, vmid: int) -> dict[str, Any]:
    """A resource's row in the managers' status."""
    rows = simulator.call("GET", "/cluster/ha/status/current").data
    return next((row for row in rows if row["id"] == f"service:vm:{vmid}"), {"state": "gone"})


def guest(simulator: Simulator, vmid: int) -> dict[str, Any]:
    """A guest, told by the control."""
    return next(row for row in simulator.control("GET", "world")["guests"] if row["vmid"] == vmid)


def tasks(simulator: Simulator, kind: str, vmid: int) -> list[dict[str, Any]]:
    """Tasks of a kind about a guest."""
    return [row for row in simulator.control("GET", "world")["tasks"] if (row["type"], row["id"]) == (kind, str(vmid))]


def test_a_managed_vm_is_started_by_root_in_a_later_round(nodes: Simulator) -> None:
    managed(nodes, 200)
    assert [row["user"] for row in tasks(nodes, "qmstart", 200)] == ["root@pam"]
    upid = nodes.call("POST", "/nodes/pve1/qemu/200/status/stop").data
    assert ":hastop:" in upid
    assert nodes.finished(upid)["exitstatus"] == "OK"
    waited(lambda: service(nodes, 200)["state"] == "stopped")
    assert guest(nodes, 200)["status"] == "stopped"


def test_the_status_tells_of_master_nodes_and_services(nodes: Simulator) -> None:
    managed(nodes, 201, comment="kept")
    rows = {row["id"]: row for row in nodes.call("GET", "/cluster/ha/status/current").data}
    assert {"quorum", "master", "fencing", "lrm:pve1", "lrm:pve2", "lrm:pve3", "service:vm:201"} <= rows.keys()
    assert rows["lrm:pve1"]["status"].startswith("pve1 (active, watchdog active, ")
    assert rows["lrm:pve3"]["status"].startswith("pve3 (idle, watchdog standby, ")
    assert rows["service:vm:201"]["comment"] == "kept"
    told = nodes.call("GET", "/cluster/ha/status/manager_status").data
    assert told["manager_status"]["service_status"]["vm:201"]["state"] == "started"
    assert told["manager_status"]["node_status"]["pve2"] == "online"


def test_a_migration_of_a_managed_vm_is_only_requested(nodes: Simulator) -> None:
    managed(nodes, 202)
    upid = nodes.call("POST", "/nodes/pve1/qemu/202/migrate", target="pve2", online=1).data
    assert nodes.finished(upid)["exitstatus"] == "OK"
    row = tasks(nodes, "hamigrate", 202)[0]
    assert row["log"] == ["Requesting HA migration for VM 202 to node pve2", "TASK OK"]
    waited(lambda: guest(nodes, 202)["node"] == "pve2")
    assert [row["user"] for row in tasks(nodes, "qmigrate", 202)] == ["root@pam"]
    waited(lambda: service(nodes, 202)["state"] == "started")
    assert guest(nodes, 202)["status"] == "running"


def test_a_relocation_stops_the_vm_and_starts_it_elsewhere(nodes: Simulator) -> None:
    sid = managed(nodes, 203)
    told = nodes.call("POST", f"/cluster/ha/resources/{sid}/relocate", node="pve3").data
    assert told == {"sid": sid, "requested-node": "pve3"}
    waited(lambda: guest(nodes, 203)["node"] == "pve3" and guest(nodes, 203)["status"] == "running")
    assert tasks(nodes, "qmshutdown", 203)


def test_a_rule_of_affinity_to_nodes_moves_what_stands_elsewhere(nodes: Simulator) -> None:
    sid = managed(nodes, 204)
    rule: dict[str, Any] = {"rule": "there", "type": "node-affinity", "resources": sid, "nodes": "pve2:2,pve3:1"}
    assert nodes.call("POST", "/cluster/ha/rules", **rule).status == 200
    waited(lambda: guest(nodes, 204)["node"] == "pve2" and guest(nodes, 204)["status"] == "running")
    assert nodes.call("GET", "/cluster/ha/rules/there").data["nodes"] == "pve2:2,pve3:1"
    twice = nodes.call("POST", "/cluster/ha/rules", **{**rule, "rule": "again"})
    assert "already used in another node affinity rule" in twice.errors["resources"]


def test_a_rule_may_keep_two_vms_apart_and_the_precondition_tells(nodes: Simulator) -> None:
    one, two = managed(nodes, 205), managed(nodes, 206)
    rule: dict[str, Any] = {
        "rule": "apart",
        "type": "resource-affinity",
        "affinity": "negative",
        "resources": f"{one},{two}",
    }
    assert nodes.call("POST", "/cluster/ha/rules", **rule).status == 200
    waited(lambda: guest(nodes, 205)["node"] != guest(nodes, 206)["node"])
    waited(lambda: {service(nodes, 205)["state"], service(nodes, 206)["state"]} == {"started"})
    here, there = guest(nodes, 205)["node"], guest(nodes, 206)["node"]
    told = nodes.call("GET", f"/nodes/{here}/qemu/205/migrate").data
    assert told["not_allowed_nodes"][there]["blocking-ha-resources"] == [{"sid": two, "cause": "resource-affinity"}]
    assert told["dependent-ha-resources"] == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (
            {"type": "node-affinity", "resources": "vm:4242", "nodes": "pve1"},
            "cannot use unmanaged resource(s) vm:4242.",
        ),
        ({"type": "node-affinity", "resources": "vm:207", "nodes": "nope"}, "cannot use non-existent node(s) nope."),
    ],
)
def test_a_rule_that_cannot_be_is_refused(nodes: Simulator, rule: dict[str, Any], text: str) -> None:
    if not [row for row in nodes.control("GET", "world")["guests"] if row["vmid"] == 207]:
        nodes.finished(nodes.call("POST", "/nodes/pve1/qemu", vmid=207, memory=64).data)
    nodes.call("POST", "/cluster/ha/resources", sid="vm:207", state="stopped")
    assert nodes.call("POST", "/cluster/ha/rules", rule="bad", **rule).reason == text


def test_a_dead_nodes_vm_is_fenced_recovered_and_started_elsewhere(nodes: Simulator) -> None:
    managed(nodes, 208)
    began = time.monotonic()
    nodes.control("POST", "faults", [{"match": {"node": "pve1"}, "effect": "node_down", "dies": True}])
    waited(lambda: service(nodes, 208)["state"] == "fence")
    assert guest(nodes, 208)["node"] == "pve1"
    waited(lambda: guest(nodes, 208)["node"] != "pve1")
    assert time.monotonic() - began >= 120 / 200, "its lock has to run out first"
    waited(lambda: service(nodes, 208)["state"] == "started")
    assert guest(nodes, 208)["status"] == "running"
    rows = {row["id"]: row for row in nodes.call("GET", "/cluster/ha/status/current").data}
    assert "old timestamp - dead?" in rows["lrm:pve1"]["status"]


def test_a_recovered_vm_without_its_local_disk_ends_in_error_until_it_is_disabled(nodes: Simulator) -> None:
    sid = managed(nodes, 209, "local-lvm")
    nodes.control("POST", "faults", [{"match": {"node": "pve1"}, "effect": "node_down", "dies": True}])
    waited(lambda: service(nodes, 209)["state"] == "error", 30)
    answer = nodes.call("POST", f"/cluster/ha/resources/{sid}/migrate", node="pve2")
    assert answer.reason == f"service '{sid}' in error state, must be disabled and fixed first"
    assert nodes.call("PUT", f"/cluster/ha/resources/{sid}", state="disabled").status == 200
    waited(lambda: service(nodes, 209)["crm_state"] == "stopped")


def test_a_node_that_is_only_cut_off_is_reset_by_its_watchdog(nodes: Simulator) -> None:
    managed(nodes, 210)
    nodes.control("POST", "faults", [{"match": {"node": "pve1"}, "effect": "node_down"}])
    waited(lambda: guest(nodes, 210)["status"] == "stopped")
    waited(lambda: guest(nodes, 210)["node"] != "pve1" and guest(nodes, 210)["status"] == "running")


def test_groups_have_been_migrated_to_rules(nodes: Simulator) -> None:
    assert nodes.call("GET", "/cluster/ha/groups").reason.endswith("ha groups have been migrated to rules")
    managed(nodes, 211)
    refused = nodes.call("PUT", "/cluster/ha/resources/vm:211", group="any")
    assert refused.reason == "invalid parameter 'group': ha groups have been migrated to rules"
