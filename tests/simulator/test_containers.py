"""Containers: created, changed, snapshotted, cloned, grown, moved, backed up, restored and destroyed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Answer, Simulator, end, start

NODE = "/nodes/pve1"
TEMPLATE = "local:vztmpl/mini.tar.gz"


@pytest.fixture(scope="module")
def world() -> Iterator[Simulator]:
    """One node, and beside its directories a thin pool, where containers can be snapshotted."""
    simulator = start("--world", "recorded", "--speed", "30")
    try:
        thin: dict[str, Any] = {
            "storage": "thin",
            "type": "lvmthin",
            "content": "rootdir,images",
            "vgname": "pve",
            "thinpool": "data",
        }
        assert simulator.call("POST", "/storage", who="admin@pve!full", **thin).status == 200
        yield simulator
    finally:
        end(simulator)


@pytest.fixture
def vmid(world: Simulator) -> Iterator[int]:
    """A container on the thin pool; whatever a test leaves under its number and the next two goes."""
    number = int(world.call("GET", "/cluster/nextid").data)
    yield made(world, number)
    for left in (number, number + 1, number + 2):
        world.control("DELETE", "faults")
        if world.call("GET", f"{NODE}/lxc/{left}/config").status == 200:
            world.call("PUT", f"{NODE}/lxc/{left}/config", protection=0)
            done(world, world.call("DELETE", f"{NODE}/lxc/{left}", force=1))


def made(world: Simulator, number: int, **more: Any) -> int:
    """Creates a container."""
    wanted: dict[str, Any] = {"ostemplate": TEMPLATE, "rootfs": "thin:1", "hostname": f"ct{number}", "unprivileged": 1}
    wanted |= {"net0": "name=eth0,bridge=vmbr0,ip=dhcp"} | more
    assert done(world, world.call("POST", f"{NODE}/lxc", vmid=number, **wanted)) == "OK"
    return number


def done(world: Simulator, answer: Answer) -> str:
    """How the task of a call ended."""
    assert answer.status == 200, answer.body
    return world.finished(answer.data)["exitstatus"]


def log(world: Simulator, answer: Answer) -> list[str]:
    """The log of a call's task once it ended."""
    done(world, answer)
    return [row["t"] for row in world.call("GET", f"{NODE}/tasks/{answer.data}/log", limit=0).data]


def config(world: Simulator, number: int, **more: Any) -> dict[str, Any]:
    return world.call("GET", f"{NODE}/lxc/{number}/config", **more).data


def volumes(world: Simulator, number: int) -> set[str]:
    return {volume["volid"] for volume in world.control("GET", "world")["volumes"] if volume["vmid"] == number}


def test_a_container_is_made_of_a_template_and_its_log_tells_how(world: Simulator) -> None:
    number = int(world.call("GET", "/cluster/nextid").data)
    wanted = {"ostemplate": TEMPLATE, "rootfs": "local:1", "mp0": "thin:2,mp=/data,backup=1", "tags": "B;a", "start": 1}
    answer = world.call("POST", f"{NODE}/lxc", vmid=number, unprivileged=1, **wanted)
    lines = log(world, answer)
    assert (
        lines[0].startswith("Formatting '/var/lib/vz/images/")
        and "Creating filesystem with 262144 4k blocks" in lines[1]
    )
    assert "\t32768, 98304, 163840, 229376" in lines
    assert "extracting archive '/var/lib/vz/template/cache/mini.tar.gz'" in lines and lines[-1] == "TASK OK"
    told = config(world, number)
    assert told["rootfs"] == f"local:{number}/vm-{number}-disk-0.raw,size=1G"
    assert told["mp0"] == f"thin:vm-{number}-disk-0,backup=1,mp=/data,size=2G" and told["tags"] == "a;b"
    assert world.call("GET", f"{NODE}/lxc/{number}/status/current").data["status"] == "running"
    assert done(world, world.call("DELETE", f"{NODE}/lxc/{number}", force=1)) == "OK"
    assert not volumes(world, number)


@pytest.mark.parametrize(
    ("wrong", "end_text"),
    [
        ({"ostemplate": "local:vztmpl/no.tar.gz"}, "volume 'local:vztmpl/no.tar.gz' does not exist"),
        ({"rootfs": "store2:1"}, "storage 'store2' does not support content-type 'rootdir'"),
        ({"rootfs": "offstore:1"}, "storage 'offstore' is disabled"),
    ],
)
def test_a_creation_that_fails_leaves_nothing(world: Simulator, wrong: dict[str, str], end_text: str) -> None:
    number = int(world.call("GET", "/cluster/nextid").data)
    wanted: dict[str, Any] = {"ostemplate": TEMPLATE, "rootfs": "local:1"} | wrong
    assert (
        done(world, world.call("POST", f"{NODE}/lxc", vmid=number, **wanted))
        == f"unable to create CT {number} - {end_text}"
    )
    assert world.call("GET", f"{NODE}/lxc/{number}/config").status == 500 and not volumes(world, number)


def test_a_taken_number_is_refused_at_once(world: Simulator, vmid: int) -> None:
    answer = world.call("POST", f"{NODE}/lxc", vmid=vmid, ostemplate=TEMPLATE)
    assert answer.reason == f"unable to create CT {vmid} - CT {vmid} already exists on node 'pve1'"


def test_a_running_container_takes_some_changes_at_once_and_others_at_its_next_start(
    world: Simulator, vmid: int
) -> None:
    path = f"{NODE}/lxc/{vmid}"
    assert done(world, world.call("POST", f"{path}/status/start")) == "OK"
    assert world.call("PUT", f"{path}/config", memory=1024, tty=3, mp0="thin:1,mp=/more").status == 200
    rows = {row["key"]: row for row in world.call("GET", f"{path}/pending").data}
    assert rows["memory"]["value"] == 1024 and "pending" not in rows["memory"]
    assert rows["tty"]["pending"] == 3 and "value" not in rows["tty"]
    assert config(world, vmid)["tty"] == 3 and "tty" not in config(world, vmid, current=1)
    assert rows["mp0"]["value"].startswith(f"thin:vm-{vmid}-disk-1,")
    world.call("PUT", f"{path}/config", delete="mp0")
    assert config(world, vmid, current=1)["mp0"], "a mount point of a running container goes later"
    assert done(world, world.call("POST", f"{path}/status/reboot")) == "OK"
    told = config(world, vmid, current=1)
    assert told["tty"] == 3 and "mp0" not in told and told["unused0"] == f"thin:vm-{vmid}-disk-1"
    world.call("PUT", f"{path}/config", delete="unused0")
    assert volumes(world, vmid) == {f"thin:vm-{vmid}-disk-0"}


def test_what_cannot_be_changed_is_refused_in_its_own_words(world: Simulator, vmid: int) -> None:
    path = f"{NODE}/lxc/{vmid}/config"
    assert world.call("PUT", path).reason == "no options specified"
    assert world.call("PUT", path, unprivileged=0).reason == "unable to modify read-only option: 'unprivileged'"
    assert world.call("PUT", path, delete="rootfs").reason == "unable to delete required option 'rootfs'"
    assert world.call("PUT", path, delete="foo").errors == {"delete": "unknown option 'foo'"}
    assert world.call("PUT", path, memory=256, digest="0" * 40).status == 500
    bind = world.call("PUT", path, mp1="/srv,mp=/srv")
    assert bind.reason == "Permission check failed (mount point type bind is only allowed for root@pam)"
    fuse = world.call("PUT", path, features="fuse=1")
    assert (
        fuse.reason == "Permission check failed (changing feature flags (except nesting) is only allowed for root@pam)"
    )
    assert world.call("PUT", path, features="nesting=1").status == 200


def test_power_follows_the_state(world: Simulator, vmid: int) -> None:
    path = f"{NODE}/lxc/{vmid}/status"
    assert world.call("POST", f"{path}/stop").reason == f"CT {vmid} not running"
    assert world.call("POST", f"{path}/shutdown").reason == f"CT {vmid} not running"
    assert done(world, world.call("POST", f"{path}/start")) == "OK"
    assert world.call("POST", f"{path}/start").reason == f"CT {vmid} already running"
    assert world.call("DELETE", f"{NODE}/lxc/{vmid}").reason == f"unable to destroy CT {vmid} - container is running"
    shown = world.call("GET", f"{NODE}/lxc/{vmid}/interfaces").data
    assert [one["name"] for one in shown] == ["lo", "eth0"] and shown[1]["inet"].startswith("10.99.0.")
    assert done(world, world.call("POST", f"{path}/shutdown")) == "OK"
    assert world.call("GET", f"{path}/current").data["status"] == "stopped"
    world.call("PUT", f"{NODE}/lxc/{vmid}/config", net0="name=eth0,bridge=nobr9")
    assert done(world, world.call("POST", f"{path}/start")) == f"startup for container '{vmid}' failed"


def test_snapshots_are_taken_gone_back_to_and_deleted(world: Simulator, vmid: int) -> None:
    path = f"{NODE}/lxc/{vmid}/snapshot"
    assert world.call("GET", f"{NODE}/lxc/{vmid}/feature", feature="snapshot").data == {"hasFeature": 1}
    assert done(world, world.call("POST", path, snapname="one", description="first")) == "OK"
    world.call("PUT", f"{NODE}/lxc/{vmid}/config", memory=2048)
    assert done(world, world.call("POST", path, snapname="one")) == "snapshot name 'one' already used"
    assert done(world, world.call("POST", path, snapname="two")) == "OK"
    rows = {row["name"]: row for row in world.call("GET", path).data}
    assert rows["two"]["parent"] == "one" and rows["current"]["parent"] == "two"
    assert rows["one"]["description"] == "first"
    assert world.call("GET", f"{path}/one/config").data["memory"] == 512
    assert done(world, world.call("POST", f"{path}/one/rollback", start=1)) == "OK"
    assert config(world, vmid)["memory"] == 512 and config(world, vmid)["parent"] == "one"
    assert world.call("GET", f"{NODE}/lxc/{vmid}/status/current").data["status"] == "running"
    assert done(world, world.call("DELETE", f"{path}/one")) == "OK"
    assert done(world, world.call("POST", f"{path}/one/rollback")) == "snapshot 'one' does not exist"
    assert world.call("POST", path, snapname="current").reason.startswith("unable to use snapshot name 'current'")


def test_a_container_in_a_directory_cannot_be_snapshotted(world: Simulator, vmid: int) -> None:
    number = made(world, vmid + 1, rootfs="local:1")
    answer = world.call("POST", f"{NODE}/lxc/{number}/snapshot", snapname="one")
    assert done(world, answer) == "snapshot feature is not available"


def test_clones_are_full_or_stand_on_a_template(world: Simulator, vmid: int) -> None:
    path = f"{NODE}/lxc/{vmid}"
    linked = world.call("POST", f"{path}/clone", newid=vmid + 1, full=0)
    assert linked.reason.startswith("Linked clone feature is not supported")
    slow = {"match": {"path": "/clone"}, "effect": "task_slow", "factor": 40, "times": 1}
    world.control("POST", "faults", slow)
    answer = world.call("POST", f"{path}/clone", newid=vmid + 1, hostname="copy", full=1, storage="local")
    assert config(world, vmid)["lock"] == "disk", "the source is locked meanwhile"
    assert world.call("PUT", f"{path}/config", memory=256).reason == "CT is locked (disk)"
    assert done(world, answer) == "OK"
    copy = config(world, vmid + 1)
    assert copy["rootfs"].startswith(f"local:{vmid + 1}/vm-{vmid + 1}-disk-0.raw") and copy["hostname"] == "copy"
    assert re.findall("hwaddr=[^,]+", copy["net0"]) != re.findall("hwaddr=[^,]+", config(world, vmid)["net0"])
    assert world.call("POST", f"{path}/template").data is None
    assert config(world, vmid)["rootfs"].startswith(f"thin:base-{vmid}-disk-0")
    assert world.call("POST", f"{path}/template").reason == "you can't convert a template to a template"
    assert done(world, world.call("POST", f"{path}/status/start")) == "you can't start a CT if it's a template"
    assert done(world, world.call("POST", f"{path}/clone", newid=vmid + 2)) == "OK"
    assert done(world, world.call("DELETE", path)).endswith("is still in use by linked cloned")
    assert done(world, world.call("DELETE", f"{NODE}/lxc/{vmid + 2}")) == "OK"


def test_a_clone_that_fails_leaves_nothing_and_unlocks_its_source(world: Simulator, vmid: int) -> None:
    world.control("POST", "faults", {"effect": "storage_full", "storage": "local"})
    answer = world.call("POST", f"{NODE}/lxc/{vmid}/clone", newid=vmid + 1, full=1, storage="local")
    assert done(world, answer).startswith("clone failed: ")
    assert world.call("GET", f"{NODE}/lxc/{vmid + 1}/config").status == 500 and "lock" not in config(world, vmid)


def test_disks_grow_and_move(world: Simulator, vmid: int) -> None:
    path = f"{NODE}/lxc/{vmid}"
    assert world.call("PUT", f"{path}/resize", disk="rootfs", size="512M").reason == "unable to shrink disk size"
    assert world.call("PUT", f"{path}/resize", disk="mp7", size="+1G").status in (400, 500)
    assert done(world, world.call("PUT", f"{path}/resize", disk="rootfs", size="+1G")) == "OK"
    assert config(world, vmid)["rootfs"].endswith("size=2G")
    assert done(world, world.call("POST", f"{path}/move_volume", volume="rootfs", storage="local")) == "OK"
    told = config(world, vmid)
    assert told["rootfs"].startswith("local:") and told["unused0"] == f"thin:vm-{vmid}-disk-0"
    world.call("PUT", f"{path}/config", mp0="thin:1,mp=/data")
    made(world, vmid + 1)
    moved = world.call("POST", f"{path}/move_volume", volume="mp0", target__vmid=vmid + 1, target__volume="mp3")
    assert done(world, moved) == "OK"
    assert "mp0" not in config(world, vmid) and "mp3" in config(world, vmid + 1)


def test_a_backup_holds_the_container_and_gives_it_back(world: Simulator, vmid: int) -> None:
    path = f"{NODE}/lxc/{vmid}"
    world.call("PUT", f"{path}/config", mp0="thin:1,mp=/scratch", description="kept")
    assert done(world, world.call("POST", f"{path}/status/start")) == "OK"
    saved = world.call("POST", f"{NODE}/vzdump", vmid=vmid, storage="local", mode="stop", compress="zstd")
    lines = log(world, saved)
    assert "INFO: including mount point rootfs ('/') in backup" in lines
    assert "INFO: excluding volume mount point mp0 ('/scratch') from backup (disabled)" in lines
    assert "INFO: restarting vm" in lines and lines[-1] == "TASK OK"
    [archive] = list(world.call("GET", f"{NODE}/storage/local/content", content="backup", vmid=vmid).data)
    assert archive["subtype"] == "lxc" and archive["format"] == "tar.zst" and "vzdump-lxc-" in archive["volid"]
    again = world.call("POST", f"{NODE}/lxc", vmid=vmid, ostemplate=archive["volid"], restore=1)
    assert again.reason == f"unable to restore CT {vmid} - CT {vmid} already exists on node 'pve1'"
    forced = world.call("POST", f"{NODE}/lxc", vmid=vmid, ostemplate=archive["volid"], restore=1, force=1)
    assert done(world, forced) == f"unable to restore CT {vmid} - CT {vmid} is running"
    other = world.call(
        "POST", f"{NODE}/lxc", vmid=vmid + 1, ostemplate=archive["volid"], restore=1, storage="local", unique=1
    )
    assert done(world, other) == "OK"
    told = config(world, vmid + 1)
    assert told["description"].strip() == "kept" and told["rootfs"].startswith(f"local:{vmid + 1}/")
    assert done(world, world.call("DELETE", f"{NODE}/storage/local/content/{archive['volid']}")) == "OK"


def test_consoles_and_graphs_of_containers_answer(world: Simulator, vmid: int) -> None:
    assert world.call("POST", f"{NODE}/lxc/{vmid}/termproxy").data["port"].isdigit()
    assert world.call("GET", f"{NODE}/lxc/{vmid}/rrd", ds="cpu", timeframe="hour").data["filename"]
