"""Guests go to other nodes as the real ones do: what is told before, what is refused, what the log says, what stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from .conftest import Simulator, end, start

TEN_MIB = 10 * 1024**2


@pytest.fixture(scope="module")
def trio() -> Iterator[Simulator]:
    """Three nodes; the tests of this module make and move their own guests."""
    simulator = start("--nodes", "3", "--guests", "0", "--templates", "3", "--speed", "20")
    yield simulator
    end(simulator)


@pytest.fixture
def nodes(trio: Simulator) -> Iterator[Simulator]:
    """The three nodes without fault rules after the test."""
    yield trio
    trio.control("DELETE", "faults")


def made(simulator: Simulator, vmid: int, node: str = "pve1", **options: Any) -> str:
    """A fresh VM's path."""
    upid = simulator.call("POST", f"/nodes/{node}/qemu", vmid=vmid, memory=512, **options).data
    assert simulator.finished(upid)["exitstatus"] == "OK"
    return f"/nodes/{node}/qemu/{vmid}"


def running(simulator: Simulator, vmid: int, **options: Any) -> str:
    """A fresh VM's path; it runs."""
    path = made(simulator, vmid, **options)
    assert simulator.finished(simulator.call("POST", f"{path}/status/start").data)["exitstatus"] == "OK"
    return path


def ended(simulator: Simulator, upid: str) -> tuple[str, list[str]]:
    """Exit status and log of a task."""
    status = simulator.finished(upid)["exitstatus"]
    node = upid.split(":")[1]
    log = simulator.call("GET", f"/nodes/{node}/tasks/{quote(upid, safe='')}/log", limit=0).data
    return status, [row["t"] for row in log]


def said(log: list[str]) -> list[str]:
    """A log without times."""
    return [line[20:] if line[:4].isdigit() and line[10:11] == " " else line for line in log]


def where(simulator: Simulator, vmid: int) -> dict[str, Any]:
    """A guest, told by the control."""
    return next(guest for guest in simulator.control("GET", "world")["guests"] if guest["vmid"] == vmid)


def volumes(simulator: Simulator, vmid: int) -> set[tuple[str, str]]:
    """Node and id of a guest's volumes."""
    rows = simulator.control("GET", "world")["volumes"]
    return {(row["node"], row["volid"]) for row in rows if row["vmid"] == vmid}


def test_a_stopped_vm_on_shared_storage_only_changes_its_place(nodes: Simulator) -> None:
    path = made(nodes, 300, scsi0="ceph-ssd:4")
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve2").data)
    assert status == "OK"
    assert said(log)[0].startswith("starting migration of VM 300 to node 'pve2' (10.0.0.")
    assert "copying local disk images" not in said(log)
    assert log[-2].endswith(")") and " migration finished successfully (duration 00:00:0" in log[-2]
    assert (where(nodes, 300)["node"], where(nodes, 300)["lock"]) == ("pve2", None)
    assert volumes(nodes, 300) == {("", "ceph-ssd:vm-300-disk-0")}
    assert nodes.call("GET", f"{path}/config").status == 500
    assert nodes.finished(nodes.call("POST", "/nodes/pve2/qemu/300/status/start").data)["exitstatus"] == "OK"


def test_what_is_shared_is_there_once_and_seen_from_every_node(nodes: Simulator) -> None:
    made(nodes, 301, scsi0="ceph-ssd:1,discard=on")
    for node in ("pve1", "pve2", "pve3"):
        found = nodes.call("GET", f"/nodes/{node}/storage/ceph-ssd/content", vmid=301).data
        assert [row["volid"] for row in found] == ["ceph-ssd:vm-301-disk-0"]
    rows = [row for row in nodes.call("GET", "/cluster/resources", type="storage").data if row["storage"] == "ceph-ssd"]
    assert {row["node"] for row in rows} == {"pve1", "pve2", "pve3"}
    assert {row["shared"] for row in rows} == {1}


def test_local_disks_are_copied_and_the_source_goes(nodes: Simulator) -> None:
    path = made(nodes, 302, scsi0="local-lvm:8", ide2="local-lvm:cloudinit")
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve3").data)
    assert status == "OK"
    lines = said(log)
    assert "found local disk 'local-lvm:vm-302-disk-0' (attached)" in lines
    assert "found generated disk 'local-lvm:vm-302-cloudinit' (in current VM config)" in lines
    assert lines.index("copying local disk images") < lines.index("successfully imported 'local-lvm:vm-302-disk-0'")
    assert any(line.startswith("8589934592 bytes (8.6 GB, 8.0 GiB) copied, ") for line in lines)
    assert "volume 'local-lvm:vm-302-disk-0' is 'local-lvm:vm-302-disk-0' on the target" in lines
    assert '  Logical volume "vm-302-disk-0" successfully removed.' in lines
    assert volumes(nodes, 302) == {("pve3", "local-lvm:vm-302-disk-0"), ("pve3", "local-lvm:vm-302-cloudinit")}


def test_a_running_vm_goes_on_at_the_target_with_its_disks(nodes: Simulator) -> None:
    path = running(nodes, 303, scsi0="local-lvm:2", net0="virtio,bridge=vmbr0")
    asked = {"target": "pve2", "online": 1, "with-local-disks": 1}
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", **asked).data)
    assert status == "OK"
    lines = said(log)
    order = [
        "conntrack state migration not supported or disabled, active connections might get dropped",
        "found local disk 'local-lvm:vm-303-disk-0' (attached)",
        "starting VM 303 on remote node 'pve2'",
        "start remote tunnel",
        "starting storage migration",
        "drive mirror is starting for drive-scsi0",
        "all 'mirror' jobs are ready",
        "starting online/live migration on unix:/run/qemu-server/303.migrate",
        "migration status: completed",
        "mirror-scsi0: Completed successfully.",
    ]
    places = [lines.index(line) for line in order]
    assert places == sorted(places)
    assert any(" - downtime " in line for line in lines)
    guest = where(nodes, 303)
    assert (guest["node"], guest["status"], guest["lock"]) == ("pve2", "running", None)
    assert volumes(nodes, 303) == {("pve2", "local-lvm:vm-303-disk-0")}
    assert nodes.call("GET", "/nodes/pve2/qemu/303/status/current").data["qmpstatus"] == "running"


def test_a_larger_vm_takes_longer_and_a_limit_slows_it_down(nodes: Simulator) -> None:
    path = running(nodes, 304, scsi0="ceph-ssd:1")
    nodes.finished(nodes.call("POST", f"{path}/migrate", target="pve2", online=1).data)
    began = time.monotonic()
    options = {"target": "pve1", "online": 1, "bwlimit": 20480}
    status, log = ended(nodes, nodes.call("POST", "/nodes/pve2/qemu/304/migrate", **options).data)
    assert status == "OK"
    assert time.monotonic() - began > 1.2, "512 MiB at 20 MiB/s take 25 s of the real server"
    active = [line for line in said(log) if line.startswith("migration active, transferred ")]
    assert len(active) >= 20
    assert active[0] == "migration active, transferred 20.0 MiB of 512.0 MiB VM-state, 20.0 MiB/s"
    assert "migration speed limit: 20.0 MiB/s" in said(log)


def test_a_migrating_vm_is_locked_and_told_so(nodes: Simulator) -> None:
    path = running(nodes, 305, scsi0="ceph-ssd:1")
    upid = nodes.call("POST", f"{path}/migrate", target="pve2", online=1, bwlimit=20480).data
    time.sleep(0.4)
    assert nodes.call("GET", f"{path}/status/current").data["lock"] == "migrate"
    assert nodes.call("POST", f"{path}/migrate", target="pve3", online=1).reason == "VM is locked (migrate)"
    assert nodes.call("GET", f"{path}/migrate").reason == "VM is locked (migrate)"
    assert nodes.finished(upid)["exitstatus"] == "OK"


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        ({"target": "pve1"}, 400, "target is local node."),
        ({"target": "nowhere"}, 500, "no such cluster node 'nowhere'"),
        ({"target": "pve2", "targetstorage": "nostore"}, 500, "storage 'nostore' does not exist"),
        ({"target": "pve2", "targetstorage": "local"}, 500, "storage 'local' does not support vm images"),
        ({"target": "pve2", "targetstorage": "a:b,a:c"}, 400, "duplicate mapping for source 'a'"),
        ({"target": "pve2", "force": 1}, 400, "Only root may use this option."),
        ({"target": "pve2", "migration_type": "insecure"}, 400, "Only root may use this option."),
    ],
)
def test_a_move_that_makes_no_sense_is_refused_at_once(
    nodes: Simulator, options: dict[str, Any], status: int, text: str
) -> None:
    if where_or_none(nodes, 310) is None:
        made(nodes, 310, scsi0="local-lvm:1")
    answer = nodes.call("POST", "/nodes/pve1/qemu/310/migrate", **options)
    assert answer.status == status
    assert text in (answer.reason if status == 500 else str(answer.errors))


def where_or_none(simulator: Simulator, vmid: int) -> dict[str, Any] | None:
    """A guest, if it is there."""
    return next((guest for guest in simulator.control("GET", "world")["guests"] if guest["vmid"] == vmid), None)


def test_a_running_vm_is_moved_only_online_and_its_local_disks_only_when_asked(nodes: Simulator) -> None:
    path = running(nodes, 311, scsi0="local-lvm:1")
    assert nodes.call("POST", f"{path}/migrate", target="pve2").reason == "can't migrate running VM without --online"
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve2", online=1).data)
    assert status == "migration aborted"
    text = "can't live migrate attached local disks without with-local-disks option"
    assert f"can't migrate local disk 'local-lvm:vm-311-disk-0': {text}" in said(log)
    problem = "Problem found while scanning volumes - can't migrate VM - check log"
    assert said(log)[-4:-1] == [
        f"ERROR: {problem}",
        "aborting phase 1 - cleanup resources",
        f"ERROR: migration aborted (duration 00:00:00): {problem}",
    ]
    guest = where(nodes, 311)
    assert (guest["node"], guest["status"], guest["lock"]) == ("pve1", "running", None)


def test_a_local_image_in_the_cd_drive_keeps_a_vm(nodes: Simulator) -> None:
    path = made(nodes, 312, scsi0="ceph-ssd:1", ide2="local:iso/debian-12.8.0-amd64-netinst.iso,media=cdrom")
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve2").data)
    assert status == "migration aborted"
    iso = "local:iso/debian-12.8.0-amd64-netinst.iso"
    assert f"can't migrate local disk '{iso}': local cdrom image" in said(log)
    disks = nodes.call("GET", f"{path}/migrate").data["local_disks"]
    assert [(disk["volid"], disk["cdrom"]) for disk in disks] == [(iso, 1)]


def test_a_device_of_the_host_keeps_a_vm_and_is_told_before(nodes: Simulator) -> None:
    path = made(nodes, 313, scsi0="ceph-ssd:1", serial0="socket")
    headers = login(nodes)
    nodes.send("PUT", f"/api2/json{path}/config?serial1=/dev/ttyS0", None, headers)
    assert nodes.call("GET", f"{path}/migrate").data["local_resources"] == ["serial1"]
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve2").data)
    assert status == "migration aborted"
    assert said(log)[0].endswith("can't migrate VM which uses local devices: serial1")


def login(simulator: Simulator) -> dict[str, str]:
    """Headers of root's own ticket."""
    body = "username=root%40pam&password=pveroot123"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    told = simulator.send("POST", "/api2/json/access/ticket", body, kind).data
    return {"Cookie": f"PVEAuthCookie={told['ticket']}", "CSRFPreventionToken": told["CSRFPreventionToken"]}


def test_snapshots_on_storage_that_cannot_copy_them_keep_a_vm(nodes: Simulator) -> None:
    path = made(nodes, 314, scsi0="local-lvm:1")
    assert nodes.finished(nodes.call("POST", f"{path}/snapshot", snapname="one").data)["exitstatus"] == "OK"
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve2").data)
    assert status == "migration aborted"
    assert "can't migrate local disk 'local-lvm:vm-314-disk-0': non-migratable snapshot exists" in said(log)


def test_a_template_with_linked_clones_stays_where_its_base_is(nodes: Simulator) -> None:
    template = next(
        guest
        for guest in nodes.control("GET", "world")["guests"]
        if guest["template"] and guest["config"]["scsi0"].startswith("local-lvm:")
    )
    path = f"/nodes/{template['node']}/qemu/{template['vmid']}"
    nodes.finished(nodes.call("POST", f"{path}/clone", newid=315).data)
    other = next(node for node in ("pve1", "pve2", "pve3") if node != template["node"])
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target=other).data)
    assert status == "migration aborted"
    assert any(line.endswith("referenced by linked clone(s)") for line in said(log))


def test_a_bridge_that_the_target_lacks_fails_a_running_vm_which_goes_on(nodes: Simulator) -> None:
    nodes.call("POST", "/nodes/pve1/network", iface="vmbr9", type="bridge", autostart=1)
    nodes.finished(nodes.call("PUT", "/nodes/pve1/network").data)
    path = running(nodes, 316, scsi0="ceph-ssd:1", net0="virtio,bridge=vmbr9")
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve2", online=1).data)
    assert status == "migration problems"
    assert "[pve2] bridge 'vmbr9' does not exist" in said(log)
    assert "ERROR: online migrate failure - remote command failed with exit code 255" in said(log)
    guest = where(nodes, 316)
    assert (guest["node"], guest["status"], guest["lock"]) == ("pve1", "running", None)


def test_the_precondition_tells_of_storages_that_a_node_lacks(nodes: Simulator) -> None:
    nodes.call("POST", "/storage", storage="two", type="dir", path="/srv/two", content="images", nodes="pve1,pve2")
    path = made(nodes, 317, scsi0="two:1")
    told = nodes.call("GET", f"{path}/migrate").data
    assert told["allowed_nodes"] == ["pve2"]
    assert told["not_allowed_nodes"] == {"pve2": {}, "pve3": {"unavailable_storages": ["two"]}}
    assert told["running"] == 0
    assert told["local_disks"][0] | {"size": 1 << 30, "is_attached": 1} == told["local_disks"][0]
    refused = nodes.call("POST", f"{path}/migrate", target="pve3")
    assert refused.reason == "storage 'two' is not available on node 'pve3'"
    status, _ = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve3", targetstorage="local-lvm").data)
    assert status == "OK"
    assert volumes(nodes, 317) == {("pve3", "local-lvm:vm-317-disk-0")}
    assert where(nodes, 317)["config"]["scsi0"].startswith("local-lvm:vm-317-disk-0")


def test_a_target_that_is_offline_is_found_out_in_the_task(nodes: Simulator) -> None:
    path = made(nodes, 318, scsi0="ceph-ssd:1")
    nodes.control("POST", "faults", [{"match": {"node": "pve3"}, "effect": "node_down"}])
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve3").data)
    assert status == "migration aborted"
    assert any(line.endswith("port 22: No route to host") for line in log)
    assert "Can't connect to destination address using public key" in log[-2]
    assert where(nodes, 318)["lock"] is None


def test_a_target_that_dies_under_a_copy_keeps_what_was_copied_and_the_vm_stays(nodes: Simulator) -> None:
    path = filled(nodes, 319)
    upid = nodes.call("POST", f"{path}/migrate", target="pve2", bwlimit=TEN_MIB // 1024).data
    waited(nodes, lambda: ("pve2", "local-lvm:vm-319-disk-0") in volumes(nodes, 319))
    nodes.control("POST", "faults", [{"match": {"node": "pve2"}, "effect": "node_down", "dies": True}])
    status, log = ended(nodes, upid)
    assert status == "migration aborted"
    assert any("storage migration for 'local-lvm:vm-319-disk-0' to storage 'local-lvm' failed" in line for line in log)
    guest = where(nodes, 319)
    assert (guest["node"], guest["lock"]) == ("pve1", None)
    assert {node for node, volid in volumes(nodes, 319) if volid.endswith("disk-0")} == {"pve1", "pve2"}


def filled(simulator: Simulator, vmid: int) -> str:
    """A VM on pve1 with data on its local disk: a full clone of a template."""
    world = simulator.control("GET", "world")
    template = next(guest for guest in world["guests"] if guest["template"] and guest["node"] == "pve1")
    path = f"/nodes/pve1/qemu/{template['vmid']}/clone"
    upid = simulator.call("POST", path, newid=vmid, full=1, storage="local-lvm").data
    assert simulator.finished(upid)["exitstatus"] == "OK"
    return f"/nodes/pve1/qemu/{vmid}"


def waited(simulator: Simulator, what: Any, seconds: float = 10) -> None:
    """Waits until something is true."""
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_source_that_dies_leaves_its_lock_and_the_half_copy(nodes: Simulator) -> None:
    path = filled(nodes, 320)
    upid = nodes.call("POST", f"{path}/migrate", target="pve2", bwlimit=TEN_MIB // 1024).data
    waited(nodes, lambda: ("pve2", "local-lvm:vm-320-disk-0") in volumes(nodes, 320))
    nodes.control("POST", "faults", [{"match": {"node": "pve1"}, "effect": "node_down", "dies": True}])
    nodes.control("DELETE", "faults")
    assert nodes.finished(upid)["exitstatus"] == "unexpected status"
    guest = where(nodes, 320)
    assert (guest["node"], guest["lock"], guest["status"]) == ("pve1", "migrate", "stopped")
    assert {node for node, volid in volumes(nodes, 320) if volid.endswith("disk-0")} == {"pve1", "pve2"}


def test_a_full_target_ends_the_copy_and_takes_it_away(nodes: Simulator) -> None:
    path = filled(nodes, 321)
    rule = {"match": {"node": "pve2"}, "effect": "storage_full", "storage": "local-lvm"}
    upid = nodes.call("POST", f"{path}/migrate", target="pve2", bwlimit=TEN_MIB // 1024).data
    waited(nodes, lambda: ("pve2", "local-lvm:vm-321-disk-0") in volumes(nodes, 321))
    nodes.control("POST", "faults", [rule])
    status, log = ended(nodes, upid)
    assert status == "migration aborted"
    assert any("No space left on device" in line for line in log)
    assert {node for node, _ in volumes(nodes, 321)} == {"pve1"}


def test_a_stopped_migration_is_undone(nodes: Simulator) -> None:
    path = filled(nodes, 322)
    upid = nodes.call("POST", f"{path}/migrate", target="pve2", bwlimit=TEN_MIB // 1024).data
    waited(nodes, lambda: ("pve2", "local-lvm:vm-322-disk-0") in volumes(nodes, 322))
    nodes.call("DELETE", f"/nodes/pve1/tasks/{quote(upid, safe='')}")
    status, log = ended(nodes, upid)
    assert status == "migration aborted"
    assert log[-2].endswith("interrupted by signal")
    assert where(nodes, 322)["lock"] is None
    assert {node for node, _ in volumes(nodes, 322)} == {"pve1"}


def test_a_clone_may_be_made_for_another_node_where_all_is_shared(nodes: Simulator) -> None:
    path = made(nodes, 330, scsi0="ceph-ssd:1")
    assert nodes.finished(nodes.call("POST", f"{path}/clone", newid=331, target="pve3").data)["exitstatus"] == "OK"
    assert where(nodes, 331)["node"] == "pve3"
    local = made(nodes, 332, scsi0="local-lvm:1")
    answer = nodes.call("POST", f"{local}/clone", newid=333, target="pve3")
    assert answer.reason == "can't clone VM to node 'pve3' (VM uses local storage)"


def container(simulator: Simulator, vmid: int, storage: str) -> str:
    """A fresh container's path."""
    template = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
    upid = simulator.call("POST", "/nodes/pve1/lxc", vmid=vmid, ostemplate=template, rootfs=f"{storage}:4").data
    assert simulator.finished(upid)["exitstatus"] == "OK"
    return f"/nodes/pve1/lxc/{vmid}"


def test_a_container_is_moved_stopped_or_by_a_restart(nodes: Simulator) -> None:
    path = container(nodes, 340, "ceph-ssd")
    assert nodes.call("GET", f"{path}/migrate").data == {
        "running": 0,
        "allowed-nodes": ["pve2", "pve3"],
        "not-allowed-nodes": {},
    }
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve2").data)
    assert status == "OK"
    assert f"volume 'ceph-ssd:{where(nodes, 340)['config']['rootfs'].split(':')[1].split(',')[0]}' is on shared" in str(
        log
    )
    path = "/nodes/pve2/lxc/340"
    nodes.finished(nodes.call("POST", f"{path}/status/start").data)
    refused = nodes.call("POST", f"{path}/migrate", target="pve1")
    assert refused.reason == "can't migrate running container without --online or --restart"
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve1", online=1).data)
    assert (status, said(log)[0]) == ("migration aborted", said(log)[0])
    assert "lxc live migration is currently not implemented" in log[-2]
    status, log = ended(nodes, nodes.call("POST", f"{path}/migrate", target="pve1", restart=1).data)
    assert status == "OK"
    assert [line for line in said(log) if "CT 340" in line][:2] == [
        "shutdown CT 340",
        f"starting migration of CT 340 to node 'pve1' ({address(nodes, 'pve1')})",
    ]
    assert "start container on target node" in said(log)
    assert (where(nodes, 340)["node"], where(nodes, 340)["status"]) == ("pve1", "running")


def address(simulator: Simulator, node: str) -> str:
    """A node's address."""
    return {row["name"]: row.get("ip") for row in simulator.call("GET", "/cluster/status").data}[node]


def test_a_containers_local_disk_goes_along_to_another_storage(nodes: Simulator) -> None:
    path = container(nodes, 341, "local-lvm")
    options: dict[str, Any] = {"target": "pve2", "target-storage": "local-lvm:ceph-ssd"}
    status, _ = ended(nodes, nodes.call("POST", f"{path}/migrate", **options).data)
    assert status == "OK"
    assert {volid.partition(":")[0] for _, volid in volumes(nodes, 341)} == {"ceph-ssd"}
    assert where(nodes, 341)["config"]["rootfs"].startswith("ceph-ssd:")


def test_a_node_is_emptied_and_what_cannot_go_is_told(nodes: Simulator) -> None:
    ours = {350: running(nodes, 350, scsi0="ceph-ssd:1"), 351: running(nodes, 351, scsi0="local-lvm:1")}
    no_workers = nodes.call("POST", "/nodes/pve1/migrateall", target="pve2", vms="350,351")
    assert no_workers.reason == "either 'max-workers' parameter or max_workers in datacenter.cfg must be set!"
    options = {"target": "pve2", "vms": "350,351", "max-workers": 2}
    status, log = ended(nodes, nodes.call("POST", "/nodes/pve1/migrateall", **options).data)
    assert status == "OK"
    assert "  Has local disks: local-lvm:vm-351-disk-0" in log
    assert log[-2] == "All jobs finished, used 1 workers in total."
    assert {vmid: where(nodes, vmid)["node"] for vmid in ours} == {350: "pve2", 351: "pve1"}
    options = {"target": "pve2", "vms": "351", "max-workers": 2, "with-local-disks": 1}
    assert ended(nodes, nodes.call("POST", "/nodes/pve1/migrateall", **options).data)[0] == "OK"
    assert where(nodes, 351)["node"] == "pve2"


def test_without_the_right_nothing_is_moved_or_told(nodes: Simulator) -> None:
    made(nodes, 360, scsi0="ceph-ssd:1")
    for method in ("GET", "POST"):
        parameters: dict[str, Any] = {"target": "pve2"} if method == "POST" else {}
        answer = nodes.call(method, "/nodes/pve1/qemu/360/migrate", "low@pve!none", **parameters)
        assert answer.reason == "Permission check failed (/vms/360, VM.Migrate)"
