"""A VM's life in the recorded world's rules: made, changed, switched, snapshotted, removed, and who has to wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from .conftest import Answer, Simulator, end, start

QEMU = "/nodes/pve1/qemu"
GIB = 1024**3


@pytest.fixture(scope="module")
def lab() -> Iterator[Simulator]:
    """The recorded world at speed 20: what takes a second there takes 50 ms here."""
    simulator = start("--world", "recorded", "--speed", "20")
    yield simulator
    end(simulator)


@pytest.fixture
def vmid(lab: Simulator) -> Iterator[int]:
    """A free VMID; what becomes of it is removed after the test."""
    number = int(lab.call("GET", "/cluster/nextid").data)
    yield number
    lab.control("DELETE", "faults")
    remove(lab, number)


def remove(lab: Simulator, number: int) -> None:
    """Takes a VM away, whatever state it is in."""
    if any(guest["vmid"] == number for guest in lab.control("GET", "world")["guests"]):
        finish(lab, lab.call("POST", f"{QEMU}/{number}/status/stop", overrule__shutdown=1))
        assert finish(lab, lab.call("DELETE", f"{QEMU}/{number}")) == "OK"


def finish(lab: Simulator, answer: Answer) -> str:
    """How the task ended that a call began."""
    assert answer.status == 200, answer.body
    return lab.finished(answer.data)["exitstatus"]


def make(lab: Simulator, vmid: int, **options: Any) -> str:
    """Creates a VM and gives its path."""
    assert finish(lab, lab.call("POST", QEMU, vmid=vmid, **options)) == "OK"
    return f"{QEMU}/{vmid}"


def log(lab: Simulator, upid: str) -> list[str]:
    """The lines of a task's log."""
    lines = lab.call("GET", f"/nodes/pve1/tasks/{quote(upid, safe='')}/log", limit=0).data
    return [line["t"] for line in lines]


def guest(lab: Simulator, vmid: int) -> dict[str, Any]:
    """A guest as the world holds it."""
    return next(guest for guest in lab.control("GET", "world")["guests"] if guest["vmid"] == vmid)


def volumes(lab: Simulator, vmid: int) -> list[str]:
    """The volumes that belong to a VM."""
    return sorted(volume["volid"] for volume in lab.control("GET", "world")["volumes"] if volume["vmid"] == vmid)


def booted(lab: Simulator, vmid: int, **options: Any) -> str:
    """A running VM whose system has a guest agent that answers."""
    options = {"agent": 1, "ide2": "local:iso/mini.iso,media=cdrom", "boot": "order=ide2", **options}
    path = make(lab, vmid, **options)
    assert finish(lab, lab.call("POST", f"{path}/status/start")) == "OK"
    end = time.monotonic() + 10
    while lab.call("POST", f"{path}/agent/ping").status != 200:
        assert time.monotonic() < end, "the agent never answered"
    return path


def test_a_failed_creation_leaves_neither_vm_nor_disk(lab: Simulator, vmid: int) -> None:
    ended = finish(lab, lab.call("POST", QEMU, vmid=vmid, scsi0="local:1", scsi1="offstore:1"))
    assert ended == f"unable to create VM {vmid} - storage 'offstore' is disabled"
    assert lab.call("GET", f"{QEMU}/{vmid}/config").status == 500
    assert volumes(lab, vmid) == []


def test_a_vmid_is_taken_from_the_moment_of_the_reply(lab: Simulator, vmid: int) -> None:
    first = lab.call("POST", QEMU, vmid=vmid, scsi0="local:1")
    second = lab.call("POST", QEMU, vmid=vmid)
    assert second.reason == f"unable to create VM {vmid} - VM {vmid} already exists on node 'pve1'"
    assert finish(lab, first) == "OK"


def test_a_digest_holds_until_the_next_write(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, memory=64)
    digest = lab.call("GET", f"{path}/config").data["digest"]
    assert lab.call("PUT", f"{path}/config", memory=65, digest=digest).status == 200
    refused = lab.call("PUT", f"{path}/config", memory=66, digest=digest)
    assert (refused.status, refused.reason) == (500, "checksum mismatch (file change by other user?)")
    assert guest(lab, vmid)["config"]["memory"] == "65"


def test_a_running_vm_takes_some_changes_at_once_and_others_at_its_next_stop(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, memory=64, name="before")
    assert finish(lab, lab.call("POST", f"{path}/status/start")) == "OK"
    lab.call("PUT", f"{path}/config", memory=128, name="after")
    assert lab.call("GET", f"{path}/config", current=1).data["memory"] == "64"
    assert lab.call("GET", f"{path}/config").data["memory"] == "128"
    assert lab.call("GET", f"{path}/status/current").data["name"] == "after"
    assert {"key": "memory", "value": "64", "pending": "128"} in lab.call("GET", f"{path}/pending").data
    assert finish(lab, lab.call("POST", f"{path}/status/reset")) == "OK"
    assert guest(lab, vmid)["pending"] == {"memory": "128"}
    assert finish(lab, lab.call("POST", f"{path}/status/stop")) == "OK"
    assert (guest(lab, vmid)["pending"], guest(lab, vmid)["config"]["memory"]) == ({}, "128")


def test_a_refused_unplugging_is_queued_all_the_same(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, scsi0="local:1")
    assert finish(lab, lab.call("POST", f"{path}/status/start")) == "OK"
    refused = lab.call("PUT", f"{path}/config", delete="scsi0")
    assert refused.errors == {"scsi0": "hotplug problem - can't unplug bootdisk 'scsi0'\n"}
    assert finish(lab, lab.call("POST", f"{path}/status/stop")) == "OK"
    config = guest(lab, vmid)["config"]
    assert config["unused0"] == f"local:{vmid}/vm-{vmid}-disk-0.raw"
    assert "scsi0" not in config


def test_a_revert_takes_the_queued_change_back(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, scsi0="local:1")
    finish(lab, lab.call("POST", f"{path}/status/start"))
    assert lab.call("PUT", f"{path}/config", delete="scsi0").status == 400
    assert lab.call("PUT", f"{path}/config", revert="scsi0,boot").status == 200
    finish(lab, lab.call("POST", f"{path}/status/stop"))
    assert "scsi0" in guest(lab, vmid)["config"]


def test_deleting_an_unused_disk_destroys_it(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, scsi0="local:1")
    assert lab.call("PUT", f"{path}/config", delete="scsi0").status == 200
    assert volumes(lab, vmid) == [f"local:{vmid}/vm-{vmid}-disk-0.raw"]
    assert lab.call("PUT", f"{path}/config", delete="unused0").status == 200
    assert volumes(lab, vmid) == []


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("reboot", "VM {} not running"),
        ("reset", "VM {} not running"),
        ("suspend", "VM {} not running"),
        ("resume", "VM {} not running"),
    ],
)
def test_a_stopped_vm_refuses_before_any_task(lab: Simulator, vmid: int, call: str, text: str) -> None:
    path = make(lab, vmid)
    answer = lab.call("POST", f"{path}/status/{call}")
    assert (answer.status, answer.reason) == (500, text.format(vmid))


@pytest.mark.parametrize("call", ["stop", "shutdown"])
def test_stopping_a_stopped_vm_is_fine(lab: Simulator, vmid: int, call: str) -> None:
    assert finish(lab, lab.call("POST", f"{make(lab, vmid)}/status/{call}")) == "OK"


def test_of_two_starts_the_second_waits_and_fails(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid)
    slow = {"match": {"path": f"/{vmid}/status/start$"}, "effect": "task_slow", "factor": 10, "times": 1}
    lab.control("POST", "faults", [slow])
    first, second = (lab.call("POST", f"{path}/status/start") for _ in range(2))
    assert finish(lab, first) == "OK"
    assert finish(lab, second) == f"VM {vmid} already running"
    assert log(lab, second.data)[:2] == ["trying to acquire lock...", " OK"]


def test_a_paused_vm_does_not_shut_down_but_stops(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid)
    finish(lab, lab.call("POST", f"{path}/status/start"))
    assert finish(lab, lab.call("POST", f"{path}/status/suspend")) == "OK"
    now = lab.call("GET", f"{path}/status/current").data
    assert (now["status"], now["qmpstatus"]) == ("running", "paused")
    assert lab.call("POST", f"{path}/status/shutdown").reason == "VM is paused - cannot shutdown"
    assert finish(lab, lab.call("POST", f"{path}/status/stop")) == "OK"


def test_a_system_shuts_down_when_asked_and_an_empty_disk_does_not(lab: Simulator, vmid: int) -> None:
    path = booted(lab, vmid)
    assert finish(lab, lab.call("POST", f"{path}/status/shutdown", timeout=10)) == "OK"
    assert guest(lab, vmid)["status"] == "stopped"
    lab.call("PUT", f"{path}/config", delete="ide2")
    finish(lab, lab.call("POST", f"{path}/status/start"))
    ended = finish(lab, lab.call("POST", f"{path}/status/shutdown", timeout=2))
    assert ended == "VM quit/powerdown failed - got timeout"
    assert guest(lab, vmid)["status"] == "running"
    forced = lab.call("POST", f"{path}/status/shutdown", timeout=1, forceStop=1)
    assert finish(lab, forced) == "OK"
    assert "VM still running - terminating now with SIGTERM" in log(lab, forced.data)


def test_a_stop_can_overrule_the_shutdown_that_holds_the_lock(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid)
    finish(lab, lab.call("POST", f"{path}/status/start"))
    waiting = lab.call("POST", f"{path}/status/shutdown", timeout=600)
    stopping = lab.call("POST", f"{path}/status/stop", overrule__shutdown=1)
    assert finish(lab, stopping) == "OK"
    assert log(lab, stopping.data)[0] == f"overruled qmshutdown tasks: {waiting.data}"
    assert finish(lab, waiting) == "unexpected status"


def test_a_reboot_ends_with_a_start_of_its_own_and_applies_what_waits(lab: Simulator, vmid: int) -> None:
    path = booted(lab, vmid, memory=64)
    lab.call("PUT", f"{path}/config", memory=128)
    assert finish(lab, lab.call("POST", f"{path}/status/reboot")) == "OK"
    end = time.monotonic() + 5
    while guest(lab, vmid)["status"] != "running":
        assert time.monotonic() < end
        time.sleep(0.02)
    tasks = lab.call("GET", "/nodes/pve1/tasks", vmid=vmid, source="all").data
    assert any(task["type"] == "qmstart" and task["user"] == "root@pam" for task in tasks)
    assert guest(lab, vmid)["config"]["memory"] == "128"


def test_a_hibernated_vm_is_stopped_and_locked_until_it_is_started(lab: Simulator, vmid: int) -> None:
    path = booted(lab, vmid)
    digest = lab.call("GET", f"{path}/config").data["digest"]
    assert finish(lab, lab.call("POST", f"{path}/status/suspend", todisk=1)) == "OK"
    assert (guest(lab, vmid)["status"], guest(lab, vmid)["lock"]) == ("stopped", "suspended")
    assert lab.call("PUT", f"{path}/config", memory=128).reason == "VM is locked (suspended)"
    assert finish(lab, lab.call("POST", f"{path}/status/start")) == "OK"
    assert lab.call("GET", f"{path}/config").data["digest"] == digest
    assert lab.call("POST", f"{path}/agent/ping").status == 200, "it did not have to boot"


def test_a_locked_vm_refuses_what_the_real_one_refuses(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, scsi0="local:1")
    lock(lab, path)
    text = "VM is locked (backup)"
    assert finish(lab, lab.call("POST", f"{path}/status/start")) == text
    assert finish(lab, lab.call("DELETE", path)) == text
    assert finish(lab, lab.call("PUT", f"{path}/resize", disk="scsi0", size="+1G")) == text
    assert lab.call("PUT", f"{path}/config", memory=64).reason == text
    assert lab.call("POST", f"{path}/clone", newid=vmid + 1, full=1).reason == text
    assert lab.call("PUT", f"{path}/config", delete="lock", skiplock=1).errors == {
        "skiplock": "Only root may use this option."
    }
    unlock(lab, path)
    assert finish(lab, lab.call("POST", f"{path}/status/start")) == "OK"


def lock(lab: Simulator, path: str) -> None:
    """Locks a VM's configuration as root."""
    as_root(lab, path, "lock=backup")


def unlock(lab: Simulator, path: str) -> None:
    """Takes the lock away as root."""
    as_root(lab, path, "delete=lock&skiplock=1")


def as_root(lab: Simulator, path: str, body: str) -> None:
    """Changes a configuration with a ticket of root@pam."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    password = quote(lab.told["credentials"]["root@pam"])
    told = lab.send("POST", "/api2/json/access/ticket", f"username=root@pam&password={password}", form).data
    headers = {"Cookie": f"PVEAuthCookie={quote(told['ticket'], safe='')}", **form}
    headers["CSRFPreventionToken"] = told["CSRFPreventionToken"]
    assert lab.send("PUT", f"/api2/json{path}/config", body, headers).status == 200


def test_a_writer_waits_ten_seconds_for_the_file_lock_and_then_gives_up(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid)
    finish(lab, lab.call("POST", f"{path}/status/start"))
    waiting = lab.call("POST", f"{path}/status/shutdown", timeout=300)
    refused = lab.call("PUT", f"{path}/config", memory=64)
    assert refused.reason == f"can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout"
    assert 0.5 <= refused.seconds < 2
    lab.call("DELETE", f"/nodes/pve1/tasks/{quote(waiting.data, safe='')}")
    assert finish(lab, waiting) == "unexpected status"


def test_snapshots_come_and_go_and_bring_the_configuration_back(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, scsi0="local:1,format=qcow2", memory=64)
    assert finish(lab, lab.call("POST", f"{path}/snapshot", snapname="one", description="first")) == "OK"
    lab.call("PUT", f"{path}/config", memory=128)
    assert finish(lab, lab.call("POST", f"{path}/snapshot", snapname="two")) == "OK"
    parents = {row["name"]: row.get("parent") for row in lab.call("GET", f"{path}/snapshot").data}
    assert parents == {"one": None, "two": "one", "current": "two"}
    assert finish(lab, lab.call("POST", f"{path}/snapshot/one/rollback")) == "OK"
    assert guest(lab, vmid)["config"]["memory"] == "64"
    assert lab.call("POST", f"{path}/template").reason == "unable to create template, because VM contains snapshots"
    assert finish(lab, lab.call("DELETE", f"{path}/snapshot/one")) == "OK"
    parents = {row["name"]: row.get("parent") for row in lab.call("GET", f"{path}/snapshot").data}
    assert parents == {"two": None, "current": None}


def test_raw_files_cannot_be_snapshotted(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, scsi0="local:1")
    ended = finish(lab, lab.call("POST", f"{path}/snapshot", snapname="one"))
    assert ended == "snapshot feature is not available"
    assert guest(lab, vmid)["lock"] is None


def test_a_disk_grows_and_never_shrinks(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, scsi0="local:2")
    assert finish(lab, lab.call("PUT", f"{path}/resize", disk="scsi0", size="+1G")) == "OK"
    assert finish(lab, lab.call("PUT", f"{path}/resize", disk="scsi0", size="2G")) == "shrinking disks is not supported"
    assert guest(lab, vmid)["config"]["scsi0"].endswith("size=3G")
    assert lab.call("GET", f"{path}/status/current").data["maxdisk"] == 3 * GIB


def test_a_moved_disk_leaves_its_volume_behind_unless_told_otherwise(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid, scsi0="local:1")
    assert finish(lab, lab.call("POST", f"{path}/move_disk", disk="scsi0", storage="store2")) == "OK"
    config = guest(lab, vmid)["config"]
    assert config["scsi0"].startswith(f"store2:{vmid}/vm-{vmid}-disk-0.raw")
    assert config["unused0"] == f"local:{vmid}/vm-{vmid}-disk-0.raw"
    moved = lab.call("POST", f"{path}/move_disk", disk="scsi0", storage="local", delete=1)
    assert finish(lab, moved) == "OK"
    assert volumes(lab, vmid) == [f"local:{vmid}/vm-{vmid}-disk-{number}.raw" for number in (0, 1)]


def test_a_vm_that_ha_looks_after_is_only_requested_and_started_later(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid)
    assert lab.call("POST", "/cluster/ha/resources", sid=f"vm:{vmid}", state="stopped").status == 200
    asked = lab.call("POST", f"{path}/status/start")
    assert asked.data.split(":")[5] == "hastart"
    assert finish(lab, asked) == "OK"
    assert log(lab, asked.data) == [f"Requesting HA start for VM {vmid}", "TASK OK"]
    end = time.monotonic() + 5
    while guest(lab, vmid)["status"] != "running":
        assert time.monotonic() < end, "the manager never started it"
        time.sleep(0.02)
    refused = lab.call("DELETE", path)
    assert refused.reason == f"unable to remove VM {vmid} - used in HA resources and purge parameter not set."
    assert lab.call("DELETE", f"/cluster/ha/resources/vm:{vmid}").status == 200


def test_a_fault_rule_fails_a_task_before_it_does_anything(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid)
    rule = {"match": {"path": "/status/start"}, "effect": "task_fail", "exitstatus": "out of luck", "times": 1}
    lab.control("POST", "faults", [rule])
    assert finish(lab, lab.call("POST", f"{path}/status/start")) == "out of luck"
    assert guest(lab, vmid)["status"] == "stopped"


def test_the_agent_answers_only_after_the_boot_and_not_when_it_is_silenced(lab: Simulator, vmid: int) -> None:
    path = make(
        lab, vmid, agent=1, ide2="local:iso/mini.iso,media=cdrom", boot="order=ide2", net0="virtio,bridge=vmbr0"
    )
    assert lab.call("POST", f"{path}/agent/ping").reason == f"VM {vmid} is not running"
    finish(lab, lab.call("POST", f"{path}/status/start"))
    assert lab.call("POST", f"{path}/agent/ping").reason == "QEMU guest agent is not running"
    end = time.monotonic() + 5
    while (answer := lab.call("GET", f"{path}/agent/network-get-interfaces")).status != 200:
        assert time.monotonic() < end
    card = answer.data["result"][1]
    assert card["hardware-address"] == guest(lab, vmid)["config"]["net0"].split(",")[0].partition("=")[2].lower()
    assert card["ip-addresses"][0]["ip-address"].startswith("10.99.0.")
    lab.control("POST", "faults", [{"effect": "agent_silent"}])
    assert lab.call("POST", f"{path}/agent/ping").reason == "QEMU guest agent is not running"


def test_many_tasks_are_listed_by_source_and_filter(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid)
    finish(lab, lab.call("POST", f"{path}/status/start"))
    waiting = lab.call("POST", f"{path}/status/shutdown", timeout=300)
    active = lab.call("GET", "/nodes/pve1/tasks", source="active", vmid=vmid).data
    assert [(task["upid"], task["status"]) for task in active] == [(waiting.data, "RUNNING")]
    archive = lab.call("GET", "/nodes/pve1/tasks", vmid=vmid)
    assert [task["type"] for task in archive.data[:2]] == ["qmstart", "qmcreate"], "newest first, ended ones only"
    one = lab.call("GET", "/nodes/pve1/tasks", vmid=vmid, start=1, limit=1)
    assert ([task["type"] for task in one.data], one.json["total"]) == (["qmcreate"], archive.json["total"])
    running = [task for task in lab.call("GET", "/cluster/tasks").data if task["upid"] == waiting.data]
    assert "status" not in running[0]
    lab.call("DELETE", f"/nodes/pve1/tasks/{quote(waiting.data, safe='')}")
    failed = lab.call("GET", "/nodes/pve1/tasks", vmid=vmid, errors=1).data
    assert (failed[0]["upid"], failed[0]["status"]) == (waiting.data, "unexpected status")


def test_a_change_waits_for_a_start_at_the_same_time_and_then_holds(lab: Simulator, vmid: int) -> None:
    path = make(lab, vmid)
    answers: list[Answer] = []
    starting = lab.call("POST", f"{path}/status/start")
    writer = threading.Thread(target=lambda: answers.append(lab.call("PUT", f"{path}/config", description="late")))
    writer.start()
    writer.join()
    assert finish(lab, starting) == "OK"
    assert answers[0].status == 200
    assert guest(lab, vmid)["config"]["description"] == "late"
