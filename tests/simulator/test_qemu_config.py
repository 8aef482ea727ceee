"""A VM's configuration: what is filled in, how values are kept, who may change which, and what cloud-init writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pve_simulator.qemu.drives import Drive, default_boot, format_size, parse_size

from .conftest import Simulator, end, start

QEMU = "/nodes/pve1/qemu"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG2k1nXh6Vt3s6B1M2QxQ0V9q0T8Jm3lqz7b5uF5m5dY me@host"


@pytest.fixture(scope="module")
def lab() -> Iterator[Simulator]:
    """The recorded world at speed 20."""
    simulator = start("--world", "recorded", "--speed", "20")
    yield simulator
    end(simulator)


@pytest.fixture
def vm(lab: Simulator) -> Iterator[str]:
    """The path of a small stopped VM."""
    number = lab.call("GET", "/cluster/nextid").data
    assert lab.finished(lab.call("POST", QEMU, vmid=number, memory=64).data)["exitstatus"] == "OK"
    path = f"{QEMU}/{number}"
    yield path
    lab.finished(lab.call("POST", f"{path}/status/stop").data)
    assert lab.finished(lab.call("DELETE", path).data)["exitstatus"] == "OK"


def config(lab: Simulator, path: str, **asked: Any) -> dict[str, Any]:
    """A VM's configuration."""
    return lab.call("GET", f"{path}/config", **asked).data


@given(some.integers(0, 2**50))
def test_a_size_is_told_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(some.dictionaries(some.sampled_from(["cache=none", "discard=on", "iothread=1", "size=2G"]), some.none()))
def test_a_drive_is_kept_with_its_options_sorted(options: dict[str, None]) -> None:
    text = ",".join(["local:101/vm-101-disk-0.raw", *options])
    assert str(Drive.parse("scsi0", text)) == ",".join(["local:101/vm-101-disk-0.raw", *sorted(options)])


def test_without_an_order_the_first_disk_cdrom_and_card_boot() -> None:
    drives = {"scsi1": "local:1/vm-1-disk-0.raw", "sata0": "local:1/vm-1-disk-1.raw", "ide2": "none,media=cdrom"}
    assert default_boot({**drives, "net1": "virtio", "ide0": "local:1/vm-1-cloudinit.qcow2,media=cdrom"}) == (
        "order=scsi1;ide2;net1"
    )
    assert default_boot({}) == " "


def test_what_nobody_says_is_filled_in(lab: Simulator, vm: str) -> None:
    told = config(lab, vm)
    assert told["boot"] == " "
    assert told["memory"] == "64"
    assert told["smbios1"].startswith("uuid=")
    assert told["meta"].startswith("creation-qemu=10.0.13,ctime=")


def test_cards_get_addresses_and_tags_an_order(lab: Simulator, vm: str) -> None:
    lab.call("PUT", f"{vm}/config", net0="virtio,bridge=vmbr0,firewall=1", tags="b;A,b")
    told = config(lab, vm)
    assert told["tags"] == "a;b"
    assert told["net0"].startswith("virtio=BC:24:11:")
    assert told["net0"].endswith(",bridge=vmbr0,firewall=1")


def test_numbers_are_numbers_only_where_the_description_says_so(lab: Simulator, vm: str) -> None:
    lab.call("PUT", f"{vm}/config", cores=2, agent=1, onboot=1)
    told = config(lab, vm)
    assert (told["cores"], told["onboot"], told["agent"], told["memory"]) == (2, 1, "1", "64")


@pytest.mark.parametrize(
    ("asked", "errors"),
    [
        ({"delete": "foo"}, {"delete": "unknown option 'foo'"}),
        ({"name": "x", "delete": "name"}, {"delete": "you can't use '-name' and -delete name' at the same time"}),
        ({"skiplock": 1, "memory": 65}, {"skiplock": "Only root may use this option."}),
    ],
)
def test_contradictions_are_refused_before_anything_happens(
    lab: Simulator, vm: str, asked: dict[str, Any], errors: dict[str, str]
) -> None:
    before = config(lab, vm)["digest"]
    assert lab.call("PUT", f"{vm}/config", **asked).errors == errors
    assert config(lab, vm)["digest"] == before


def test_every_option_has_its_own_privilege(lab: Simulator, vm: str) -> None:
    who, number = "low@pve!none", vm.rpartition("/")[2]
    lab.call("POST", "/access/roles", roleid="MemoryOnly", privs="VM.Config.Memory")
    lab.call("PUT", "/access/acl", path=f"/vms/{number}", roles="MemoryOnly", users="low@pve")
    try:
        assert lab.call("PUT", f"{vm}/config", who=who, memory=65).status == 200
        refused = lab.call("PUT", f"{vm}/config", who=who, cores=2)
        assert (refused.status, refused.reason) == (403, f"Permission check failed (/vms/{number}, VM.Config.CPU)")
        refused = lab.call("PUT", f"{vm}/config", who=who, memory=66, scsi0="local:1")
        assert refused.reason == f"Permission check failed (/vms/{number}, VM.Config.Disk)"
        assert config(lab, vm)["memory"] == "65", "all or nothing"
    finally:
        lab.call("PUT", "/access/acl", path=f"/vms/{number}", roles="MemoryOnly", users="low@pve", delete=1)
        lab.call("DELETE", "/access/roles/MemoryOnly")


@pytest.mark.parametrize("name", ["args", "lock", "hookscript"])
def test_some_options_are_roots_alone(lab: Simulator, vm: str, name: str) -> None:
    asked: dict[str, Any] = {name: "backup" if name == "lock" else "x:snippets/y"}
    answer = lab.call("PUT", f"{vm}/config", **asked)
    assert answer.status in (400, 500)
    assert name not in config(lab, vm)


def test_cloud_init_tells_what_the_guest_will_read(lab: Simulator, vm: str) -> None:
    lab.call("PUT", f"{vm}/config", ide2="local:cloudinit", net0="virtio,bridge=vmbr0", name="web-01")
    settings: dict[str, Any] = {"ciuser": "joe", "cipassword": "secret", "sshkeys": quote(KEY, safe="")}
    settings |= {"ipconfig0": "ip=10.0.0.5/24,gw=10.0.0.1,ip6=auto", "nameserver": "1.1.1.1"}
    assert lab.call("PUT", f"{vm}/config", **settings).status == 200
    user = lab.call("GET", f"{vm}/cloudinit/dump", type="user").data
    assert "hostname: web-01\n" in user
    assert f"  - {KEY}\n" in user
    assert "secret" not in user
    network = lab.call("GET", f"{vm}/cloudinit/dump", type="network").data
    for line in ("address: '10.0.0.5'", "netmask: '255.255.255.0'", "gateway: '10.0.0.1'", "type: ipv6_slaac"):
        assert line in network
    assert config(lab, vm)["cipassword"] == "**********"
    rows = {row["key"]: row for row in lab.call("GET", f"{vm}/cloudinit").data}
    assert rows["ciuser"] == {"key": "ciuser", "value": "joe"}
    assert rows["cipassword"]["value"] == "**********"


def test_a_running_vm_keeps_the_cloud_init_drive_it_was_started_with(lab: Simulator, vm: str) -> None:
    lab.call("PUT", f"{vm}/config", ide2="local:cloudinit", ciuser="joe")
    lab.finished(lab.call("POST", f"{vm}/status/start").data)
    lab.call("PUT", f"{vm}/config", ciuser="ann")
    assert lab.call("GET", f"{vm}/cloudinit").data == [{"key": "ciuser", "value": "joe", "pending": "ann"}]
    assert lab.call("PUT", f"{vm}/cloudinit").status == 200
    assert lab.call("GET", f"{vm}/cloudinit").data == [{"key": "ciuser", "value": "ann"}]


def test_what_is_no_ssh_key_is_refused(lab: Simulator, vm: str) -> None:
    assert lab.call("PUT", f"{vm}/config", sshkeys=quote("not a key")).reason == "SSH public key validation error"


def test_protection_keeps_disks_and_vm(lab: Simulator, vm: str) -> None:
    lab.call("PUT", f"{vm}/config", scsi0="local:1", boot="order=scsi0", protection=1)
    assert lab.call("PUT", f"{vm}/config", delete="scsi0").reason == (
        "can't remove drive 'scsi0' - protection mode enabled"
    )
    assert config(lab, vm)["boot"] == "order=scsi0", "nothing was changed"
    refused = lab.call("DELETE", vm)
    assert refused.reason == f"can't remove VM {vm.rpartition('/')[2]} - protection mode enabled"
    assert lab.call("PUT", f"{vm}/config", protection=0).status == 200


def test_a_bridge_that_is_not_there_is_told_by_the_start(lab: Simulator, vm: str) -> None:
    assert lab.call("PUT", f"{vm}/config", net0="virtio,bridge=nobr9").status == 200
    assert lab.finished(lab.call("POST", f"{vm}/status/start").data)["exitstatus"] == "bridge 'nobr9' does not exist"
