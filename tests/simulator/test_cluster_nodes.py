"""What a node tells of itself, and its network that changes only once the changes are applied."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from .conftest import Simulator, end, start


@pytest.fixture(scope="module")
def node() -> Iterator[Simulator]:
    """One node whose settings the tests of this module change."""
    simulator = start("--guests", "3", "--templates", "1", "--speed", "10")
    yield simulator
    end(simulator)


def test_a_nodes_memory_and_disk_add_up(node: Simulator) -> None:
    status = node.call("GET", "/nodes/pve/status").data
    assert status["memory"]["used"] + status["memory"]["free"] == status["memory"]["total"]
    assert status["rootfs"]["used"] < status["rootfs"]["total"]
    assert len(status["loadavg"]) == 3


def test_all_nodes_show_the_fingerprint_of_the_certificate_that_is_served(node: Simulator) -> None:
    assert node.call("GET", "/nodes").data[0]["ssl_fingerprint"] == node.told["fingerprint"]
    files = {row["filename"]: row for row in node.call("GET", "/nodes/pve/certificates/info").data}
    assert files["pve-ssl.pem"]["fingerprint"] == node.told["fingerprint"]


def test_a_new_bridge_waits_until_the_network_is_applied(node: Simulator) -> None:
    made = {"iface": "vmbr7", "type": "bridge", "address": "10.7.0.1", "netmask": "255.255.255.0", "autostart": 1}
    assert node.call("POST", "/nodes/pve/network", **made).status == 200
    assert node.call("POST", "/nodes/pve/network", **made).errors == {"iface": "interface already exists"}
    bridge = node.call("GET", "/nodes/pve/network/vmbr7").data
    assert (bridge["cidr"], bridge["method"]) == ("10.7.0.1/24", "static")
    assert "active" not in bridge
    assert "+iface vmbr7 inet static" in node.call("GET", "/nodes/pve/network").json["changes"]
    node.finished(node.call("PUT", "/nodes/pve/network").data)
    assert node.call("GET", "/nodes/pve/network/vmbr7").data["active"] == 1
    assert "changes" not in node.call("GET", "/nodes/pve/network").json


def test_pending_changes_of_the_network_can_be_taken_back(node: Simulator) -> None:
    node.call("DELETE", "/nodes/pve/network/vmbr1")
    assert node.call("GET", "/nodes/pve/network/vmbr1").errors == {"iface": "interface does not exist"}
    node.call("DELETE", "/nodes/pve/network")
    assert node.call("GET", "/nodes/pve/network/vmbr1").status == 200


def test_bridges_can_be_asked_for_alone(node: Simulator) -> None:
    found = node.call("GET", "/nodes/pve/network", type="any_bridge").data
    assert {"vmbr0", "vmbr1"} <= {interface["iface"] for interface in found}
    assert all(interface["type"] == "bridge" for interface in found)


def test_a_time_zone_moves_the_local_time_only(node: Simulator) -> None:
    assert node.call("PUT", "/nodes/pve/time", timezone="Asia/Kolkata").status == 200
    told = node.call("GET", "/nodes/pve/time").data
    assert told["localtime"] - told["time"] == 19800


def test_history_has_a_row_a_minute_for_an_hour(node: Simulator) -> None:
    rows = node.call("GET", "/nodes/pve/rrddata", timeframe="hour").data
    assert [later["time"] - earlier["time"] for earlier, later in itertools.pairwise(rows)] == [60] * 59
    assert all(0 <= row["cpu"] <= 1 for row in rows)


def test_starting_all_leaves_templates_and_guests_without_onboot_alone(node: Simulator) -> None:
    node.finished(node.call("POST", "/nodes/pve/qemu", vmid=800, name="boots", memory=64, onboot=1).data)
    node.finished(node.call("POST", "/nodes/pve/qemu", vmid=801, name="stays", memory=64).data)
    assert node.finished(node.call("POST", "/nodes/pve/startall").data)["exitstatus"] == "OK"
    states = {vmid: node.call("GET", f"/nodes/pve/qemu/{vmid}/status/current").data["status"] for vmid in (800, 801)}
    assert states == {800: "running", 801: "stopped"}


def test_a_web_server_that_refuses_is_told_in_the_words_of_the_real_one(node: Simulator) -> None:
    answer = node.call("GET", "/nodes/pve/query-url-metadata", url="http://127.0.0.1:1/x.iso")
    assert answer.reason == "invalid server response: '500 Can't connect to 127.0.0.1:1 (Connection refused)'"
