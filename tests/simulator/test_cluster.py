"""What is told of the whole: lists as old as the last round, numbers to be had, options, backup jobs, HA."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Simulator

UNSEEN = {"id", "vmid", "node", "type", "status"}


def resources(simulator: Simulator, who: str = "admin@pve!full", **parameters: Any) -> dict[str, dict[str, Any]]:
    """Rows of `/cluster/resources` by id."""
    return {row["id"]: row for row in simulator.call("GET", "/cluster/resources", who, **parameters).data}


@pytest.fixture(scope="module")
def small() -> Iterator[Simulator]:
    """One node, a handful of guests; tests of this module may change it."""
    from .conftest import end, start

    simulator = start("--guests", "6", "--templates", "1", "--speed", "10")
    yield simulator
    end(simulator)


def test_one_list_tells_of_guests_nodes_storages_pools_and_networks(cluster: Simulator) -> None:
    kinds = {row["type"] for row in resources(cluster).values()}
    assert kinds == {"qemu", "lxc", "node", "storage", "pool", "network"}


def test_a_kind_can_be_asked_for_alone(cluster: Simulator) -> None:
    assert {row["type"] for row in resources(cluster, type="vm").values()} == {"qemu", "lxc"}
    assert {row["type"] for row in resources(cluster, type="node").values()} == {"node"}
    assert {row["type"] for row in resources(cluster, type="storage").values()} == {"storage"}
    assert resources(cluster, type="sdn") == {}


def test_a_running_guest_is_told_with_its_figures(cluster: Simulator) -> None:
    row = next(row for row in resources(cluster, type="vm").values() if row["status"] == "running")
    assert 0 < row["cpu"] <= 1
    assert 0 < row["mem"] < row["maxmem"]
    assert row["uptime"] > 0


def test_a_new_guest_is_listed_at_once_but_told_of_only_after_a_round(small: Simulator) -> None:
    small.call("POST", "/nodes/pve/qemu", vmid=700, name="fresh", memory=64)
    assert resources(small)["qemu/700"].keys() - {"lock"} == UNSEEN
    assert resources(small)["qemu/700"]["status"] == "unknown"
    end = time.monotonic() + 3
    while resources(small)["qemu/700"]["status"] == "unknown":
        assert time.monotonic() < end
        time.sleep(0.1)
    row = resources(small)["qemu/700"]
    assert (row["name"], row["status"], row["maxmem"], row["template"]) == ("fresh", "stopped", 64 << 20, 0)
    upid = small.call("DELETE", "/nodes/pve/qemu/700").data
    assert small.finished(upid)["exitstatus"] == "OK"
    assert "qemu/700" not in resources(small), "a deleted guest vanishes at once"


def test_tags_pool_and_lock_are_of_this_moment(small: Simulator) -> None:
    vmid = next(row["vmid"] for row in resources(small, type="vm").values() if row["type"] == "qemu")
    small.call("PUT", f"/nodes/pve/qemu/{vmid}/config", tags="blue")
    assert resources(small)[f"qemu/{vmid}"]["tags"] == "blue"
    small.call("POST", "/pools", poolid="moment")
    small.call("PUT", "/pools/moment", vms=vmid, allow__move=1)
    assert resources(small)[f"qemu/{vmid}"]["pool"] == "moment"


def test_figures_stay_the_same_until_the_next_round(starting: Callable[..., Simulator]) -> None:
    simulator = starting("--guests", "4")
    first = resources(simulator)["node/pve"]
    time.sleep(1.2)
    assert resources(simulator)["node/pve"] == first
    assert simulator.call("GET", "/nodes/pve/status").data["uptime"] > first["uptime"], "a node's own status is live"


def test_rows_come_in_no_stable_order(cluster: Simulator) -> None:
    orders = {tuple(row["id"] for row in cluster.call("GET", "/cluster/resources").data) for _ in range(5)}
    assert len(orders) > 1


def test_who_may_nothing_sees_the_nodes_without_their_figures(cluster: Simulator) -> None:
    rows = resources(cluster, "low@pve!none")
    assert {row["type"] for row in rows.values()} == {"node"}
    assert rows["node/pve1"].keys() == {"id", "node", "type", "level", "cgroup-mode", "status"}


def test_an_entry_for_one_guest_shows_that_guest_alone(small: Simulator) -> None:
    vmid = next(row["vmid"] for row in resources(small, type="vm").values())
    entry: dict[str, Any] = {"path": f"/vms/{vmid}", "roles": "PVEAuditor", "users": "low@pve"}
    small.call("PUT", "/access/acl", **entry)
    assert [row["vmid"] for row in resources(small, "low@pve!none", type="vm").values()] == [vmid]
    small.call("PUT", "/access/acl", **entry, delete=1)
    assert resources(small, "low@pve!none", type="vm") == {}


def test_a_pool_sums_up_its_running_guests(cluster: Simulator) -> None:
    rows = resources(cluster)
    pool = next(row for row in rows.values() if row["type"] == "pool" and "mem" in row)
    inside = [row for row in rows.values() if row.get("pool") == pool["pool"] and row["type"] != "pool"]
    assert pool["mem"] == sum(row.get("mem", 0) for row in inside)


def test_a_node_that_is_down_is_offline_and_its_guests_are_still_told_as_they_were(faulty: Simulator) -> None:
    before = {id: row for id, row in resources(faulty, type="vm").items() if row["node"] == "pve2"}
    faulty.control("POST", "faults", [{"match": {"node": "pve2"}, "effect": "node_down"}])
    time.sleep(1.2)
    rows = resources(faulty)
    assert rows["node/pve2"]["status"] == "offline"
    assert "cpu" not in rows["node/pve2"]
    assert {id: rows[id]["status"] for id in before} == {id: row["status"] for id, row in before.items()}
    status = {row["name"]: row.get("online") for row in faulty.call("GET", "/cluster/status").data}
    assert (status["pve1"], status["pve2"]) == (1, 0)


def test_a_cluster_tells_its_name_and_quorum_and_a_single_node_has_neither(
    cluster: Simulator, recorded: Simulator
) -> None:
    rows = cluster.call("GET", "/cluster/status").data
    whole = next(row for row in rows if row["type"] == "cluster")
    assert (whole["nodes"], whole["quorate"]) == (3, 1)
    assert [row["type"] for row in recorded.call("GET", "/cluster/status").data] == ["node"]
    assert recorded.call("GET", "/cluster/config/join").status == 424


def test_the_next_number_is_the_lowest_free_one_within_the_bounds(small: Simulator) -> None:
    taken = {row["vmid"] for row in resources(small, type="vm").values()}
    lowest = next(vmid for vmid in range(100, 1000) if vmid not in taken)
    assert small.call("GET", "/cluster/nextid").data == str(lowest)
    small.call("PUT", "/cluster/options", next__id="lower=400,upper=410")
    assert small.call("GET", "/cluster/nextid").data == "400"
    assert small.call("GET", "/cluster/options").data["next-id"] == {"lower": "400", "upper": "410"}
    small.call("PUT", "/cluster/options", delete="next-id")
    assert small.call("GET", "/cluster/nextid").data == str(lowest)


def test_a_number_that_is_taken_is_refused(small: Simulator) -> None:
    vmid = next(iter(resources(small, type="vm").values()))["vmid"]
    assert small.call("GET", "/cluster/nextid", vmid=vmid).errors == {"vmid": f"VM {vmid} already exists"}


def test_the_log_tells_what_tasks_began_and_ended(small: Simulator) -> None:
    upid = small.call("POST", "/nodes/pve/startall", vms="9000").data
    small.finished(upid)
    texts = [row["msg"] for row in small.call("GET", "/cluster/log").data]
    assert f"starting task {upid}" in texts
    assert f"end task {upid} OK" in texts
    assert small.call("GET", "/cluster/log", "low@pve!none").data == []


def test_a_backup_job_is_kept_and_says_when_it_comes_next(small: Simulator) -> None:
    assert small.call("POST", "/cluster/backup", id="night", schedule="mon..fri 02:30", all=1).status == 200
    job = next(job for job in small.call("GET", "/cluster/backup").data if job["id"] == "night")
    assert job["next-run"] > time.time()
    assert small.call("GET", "/cluster/backup-info/not-backed-up").data == []
    assert small.call("DELETE", "/cluster/backup/night").status == 200
    assert small.call("DELETE", "/cluster/backup/night").reason == "400 Parameter verification failed."


def test_a_guest_under_ha_is_marked_in_the_list(small: Simulator) -> None:
    vmid = next(row["vmid"] for row in resources(small, type="vm").values() if row["type"] == "qemu")
    small.call("POST", "/cluster/ha/resources", sid=f"vm:{vmid}", state="ignored")
    assert resources(small)[f"qemu/{vmid}"]["hastate"] == "ignored"
    assert small.call("POST", "/cluster/ha/resources", sid=f"vm:{vmid}").reason.endswith("already defined")
    small.call("DELETE", f"/cluster/ha/resources/vm:{vmid}")
    assert "hastate" not in resources(small)[f"qemu/{vmid}"]


def test_firewall_rules_come_first_when_new_and_can_be_moved(small: Simulator) -> None:
    rules = "/cluster/firewall/rules"
    small.call("POST", rules, type="in", action="ACCEPT", proto="tcp", dport="22")
    small.call("POST", rules, type="in", action="DROP", source="10.0.0.0/8")
    assert [rule["action"] for rule in small.call("GET", rules).data] == ["DROP", "ACCEPT"]
    small.call("PUT", f"{rules}/0", moveto=2)
    assert [rule["action"] for rule in small.call("GET", rules).data] == ["ACCEPT", "DROP"]
    assert small.call("GET", f"{rules}/9").reason == "no rule at position 9"
