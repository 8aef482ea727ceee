"""Clones and templates in a cluster: locks, storages that fill, what is inherited, and what comes up in the guest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from .conftest import Answer, Simulator

MIB = 1024**2


@pytest.fixture
def template(cluster: Simulator) -> tuple[str, int]:
    """Path and VMID of the first template."""
    vmid = cluster.told["templates"][0]
    return f"/nodes/{guest(cluster, vmid)['node']}/qemu", vmid


@pytest.fixture
def newid(cluster: Simulator, template: tuple[str, int]) -> Iterator[int]:
    """A free VMID; what becomes of it is removed after the test."""
    number = int(cluster.call("GET", "/cluster/nextid").data)
    yield number
    cluster.control("DELETE", "faults")
    if known(cluster, number):
        path = f"/nodes/{guest(cluster, number)['node']}/qemu/{number}"
        finish(cluster, cluster.call("POST", f"{path}/status/stop"))
        assert finish(cluster, cluster.call("DELETE", path)) == "OK"


def known(cluster: Simulator, vmid: int) -> bool:
    """Whether a guest is there."""
    return any(guest["vmid"] == vmid for guest in cluster.control("GET", "world")["guests"])


def guest(cluster: Simulator, vmid: int) -> dict[str, Any]:
    """A guest as the world holds it."""
    return next(guest for guest in cluster.control("GET", "world")["guests"] if guest["vmid"] == vmid)


def finish(cluster: Simulator, answer: Answer) -> str:
    """How the task ended that a call began."""
    assert answer.status == 200, answer.body
    return cluster.finished(answer.data)["exitstatus"]


def log(cluster: Simulator, upid: str) -> list[str]:
    """The lines of a task's log."""
    path = f"/nodes/{upid.split(':')[1]}/tasks/{quote(upid, safe='')}/log"
    return [line["t"] for line in cluster.call("GET", path, limit=0).data]


def volumes(cluster: Simulator, vmid: int) -> list[dict[str, Any]]:
    """The volumes that belong to a VM."""
    return [volume for volume in cluster.control("GET", "world")["volumes"] if volume["vmid"] == vmid]


def test_a_target_is_there_and_locked_while_it_is_made(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    cloning = cluster.call("POST", f"{path}/{vmid}/clone", newid=newid, full=1, name="copy", bwlimit=500_000)
    assert guest(cluster, newid)["lock"] == "clone"
    assert guest(cluster, vmid)["lock"] is None, "the source is not locked"
    again = cluster.call("POST", f"{path}/{vmid}/clone", newid=newid, full=1)
    assert again.reason == f"unable to create VM {newid}: config file already exists"
    starting = cluster.call("POST", f"{path}/{newid}/status/start")
    assert finish(cluster, cloning) == "OK"
    assert finish(cluster, starting) == "OK"
    assert log(cluster, starting.data)[:2] == ["trying to acquire lock...", " OK"]
    assert (guest(cluster, newid)["lock"], guest(cluster, newid)["name"]) == (None, "copy")


def test_a_clone_inherits_what_it_is_not_given_and_has_an_identity_of_its_own(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    assert finish(cluster, cluster.call("POST", f"{path}/{vmid}/clone", newid=newid)) == "OK"
    old, new = guest(cluster, vmid)["config"], guest(cluster, newid)["config"]
    for name in ("tags", "memory", "cores", "meta", "ostype", "description"):
        assert new.get(name) == old.get(name), name
    for name in ("net0", "smbios1", "vmgenid", "scsi0", "ide2"):
        assert new[name] != old[name], name
    assert new["name"] == f"Copy-of-VM-{old['name']}"
    assert "template" not in new


def test_a_template_stays_while_linked_clones_stand_on_it(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    assert finish(cluster, cluster.call("POST", f"{path}/{vmid}/clone", newid=newid)) == "OK"
    base = guest(cluster, vmid)["config"]["scsi0"].split(",")[0]
    ended = finish(cluster, cluster.call("DELETE", f"{path}/{vmid}"))
    assert ended == f"base volume '{base}' is still in use by linked cloned"
    assert known(cluster, vmid)


def test_a_storage_that_fills_ends_a_full_clone_in_the_middle_and_nothing_stays(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    cloning = cluster.call("POST", f"{path}/{vmid}/clone", newid=newid, full=1, bwlimit=400_000)
    storage = guest(cluster, vmid)["config"]["scsi0"].partition(":")[0]
    end = time.monotonic() + 5
    while not any(volume["used"] > 0 for volume in volumes(cluster, newid) if "disk-0" in volume["volid"]):
        assert time.monotonic() < end
    cluster.control("POST", "faults", [{"effect": "storage_full", "storage": storage}])
    ended = finish(cluster, cloning)
    assert ended.startswith("clone failed: copy failed: command '/usr/bin/qemu-img convert")
    assert ended.endswith("failed: exit code 1")
    lines = log(cluster, cloning.data)
    assert lines[-2].startswith("qemu-img: error while writing at byte")
    assert lines[-2].endswith("No space left on device")
    assert not known(cluster, newid)
    assert volumes(cluster, newid) == []


def test_a_stopped_clone_leaves_nothing(cluster: Simulator, template: tuple[str, int], newid: int) -> None:
    path, vmid = template
    cloning = cluster.call("POST", f"{path}/{vmid}/clone", newid=newid, full=1, bwlimit=100_000)
    end = time.monotonic() + 5
    while not any(line.startswith("transferred") for line in log(cluster, cloning.data)):
        assert time.monotonic() < end
    node = cloning.data.split(":")[1]
    assert cluster.call("DELETE", f"/nodes/{node}/tasks/{quote(cloning.data, safe='')}").status == 200
    assert finish(cluster, cloning).endswith("failed: interrupted by signal")
    assert not known(cluster, newid)
    assert volumes(cluster, newid) == []


def test_a_delete_of_a_target_waits_and_removes_the_finished_clone(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    cloning = cluster.call("POST", f"{path}/{vmid}/clone", newid=newid, full=1)
    deleting = cluster.call("DELETE", f"{path}/{newid}")
    assert finish(cluster, cloning) == "OK"
    assert finish(cluster, deleting) == "OK"
    assert not known(cluster, newid)


def test_a_fault_rule_makes_a_clone_fail_with_its_text_and_without_a_trace(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    rule = {"match": {"path": "/clone"}, "effect": "task_fail", "exitstatus": "out of luck", "times": 1}
    cluster.control("POST", "faults", [rule])
    assert finish(cluster, cluster.call("POST", f"{path}/{vmid}/clone", newid=newid)) == "out of luck"
    assert not known(cluster, newid)


def test_a_started_clone_reports_the_static_address_and_name_it_was_given(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    finish(cluster, cluster.call("POST", f"{path}/{vmid}/clone", newid=newid, name="web-01"))
    static = "ip=10.20.30.40/24,gw=10.20.30.1,ip6=2001:db8::40/64"
    finish(cluster, cluster.call("POST", f"{path}/{newid}/config", ipconfig0=static, ciuser="joe"))
    starting = cluster.call("POST", f"{path}/{newid}/status/start")
    assert finish(cluster, starting) == "OK"
    assert "generating cloud-init ISO" in log(cluster, starting.data)
    end = time.monotonic() + 5
    while (answer := cluster.call("GET", f"{path}/{newid}/agent/network-get-interfaces")).status != 200:
        assert time.monotonic() < end, answer.reason
    told = {address["ip-address"]: address["prefix"] for address in answer.data["result"][1]["ip-addresses"]}
    assert (told["10.20.30.40"], told["2001:db8::40"]) == (24, 64)
    assert cluster.call("GET", f"{path}/{newid}/agent/get-host-name").data == {"result": {"host-name": "web-01"}}
    assert cluster.call("GET", f"{path}/{newid}/agent/get-osinfo").data["result"]["pretty-name"]


def test_addresses_by_dhcp_are_of_the_bridge_and_nobody_elses(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    finish(cluster, cluster.call("POST", f"{path}/{vmid}/clone", newid=newid))
    finish(cluster, cluster.call("POST", f"{path}/{newid}/config", ipconfig0="ip=dhcp"))
    finish(cluster, cluster.call("POST", f"{path}/{newid}/status/start"))
    mine = guest(cluster, newid)["addresses"]
    others = [one["addresses"] for one in cluster.control("GET", "world")["guests"] if one["vmid"] != newid]
    assert len(mine) == 1
    assert all(mine[0] not in told for told in others)


def test_only_shared_disks_can_be_cloned_to_another_node(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    shared = {storage["id"] for storage in cluster.control("GET", "world")["storages"] if storage["shared"]}
    on_shared = guest(cluster, vmid)["config"]["scsi0"].partition(":")[0] in shared
    target = next(name for name in ("pve1", "pve2", "pve3") if name not in path)
    answer = cluster.call("POST", f"{path}/{vmid}/clone", newid=newid, target=target)
    if on_shared:
        assert finish(cluster, answer) == "OK"
        assert guest(cluster, newid)["node"] == target
        assert cluster.call("GET", f"/nodes/{target}/qemu/{newid}/config").status == 200
    else:
        assert answer.reason == f"can't clone VM to node '{target}' (VM uses local storage)"


def test_a_vm_of_another_node_is_not_found_on_this_one(cluster: Simulator, template: tuple[str, int]) -> None:
    path, vmid = template
    wrong = next(name for name in ("pve1", "pve2", "pve3") if name not in path)
    answer = cluster.call("GET", f"/nodes/{wrong}/qemu/{vmid}/config")
    assert answer.reason == f"Configuration file 'nodes/{wrong}/qemu-server/{vmid}.conf' does not exist"


def test_a_copied_disk_takes_its_place_on_the_storage(
    cluster: Simulator, template: tuple[str, int], newid: int
) -> None:
    path, vmid = template
    finish(cluster, cluster.call("POST", f"{path}/{vmid}/clone", newid=newid, full=1))
    source = next(volume for volume in volumes(cluster, vmid) if "disk-0" in volume["volid"])
    copy = next(volume for volume in volumes(cluster, newid) if "disk-0" in volume["volid"])
    assert copy["size"] == source["size"]
    assert source["used"] <= copy["used"] <= source["used"] + MIB


@pytest.mark.slow
def test_at_speed_1_clones_starts_and_agents_keep_their_times(starting: Callable[..., Simulator]) -> None:
    lab = starting("--guests", "2")
    vmid = lab.told["templates"][0]
    path = f"/nodes/{guest(lab, vmid)['node']}/qemu"
    began = time.monotonic()
    cloning = lab.call("POST", f"{path}/{vmid}/clone", newid=700, full=0)
    assert guest(lab, 700)["config"] == {"lock": "clone", "description": " qmclone temporary file"}
    assert finish(lab, cloning) == "OK"
    assert time.monotonic() - began < 2
    assert timed(lab, f"{path}/{vmid}/clone", newid=701, full=1) < 15
    began = time.monotonic()
    assert 0.5 < timed(lab, f"{path}/700/status/start") < 2
    while lab.call("POST", f"{path}/700/agent/ping").status != 200:
        assert time.monotonic() < began + 10, "the agent answers within 10 s after the start"
    assert timed(lab, f"{path}/700/status/stop") < 2


def timed(lab: Simulator, path: str, **parameters: Any) -> float:
    """How many seconds a task took that ended well."""
    began = time.monotonic()
    assert finish(lab, lab.call("POST", path, **parameters)) == "OK"
    return time.monotonic() - began
