"""Before a guest is deleted it is said what goes, what stays, and what stands against it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from comserv.domain.guest import Guest, GuestConfig, GuestState, GuestStatus, GuestType
from comserv.domain.plan import Level
from comserv.domain.removal import Removal, RemovalFacts, identity, plan_removal, removal_call
from tests.domain.strategies import a_guest, template_configs

CONFIG = GuestConfig(
    {
        "scsi0": "local:110/base-110-disk-0.qcow2/101/vm-101-disk-0.qcow2,size=20G",
        "ide2": "local:101/vm-101-cloudinit.qcow2,media=cdrom,size=4M",
        "ide0": "isos:iso/debian.iso,media=cdrom,size=600M",
        "unused0": "ceph:vm-101-disk-7",
        "smbios1": "uuid=7DD589F5-9baf-400a-a091-9feb06677563",
    },
    "d1",
)
VM = a_guest(101, name="web-01")


def removal(guest: Guest = VM, config: GuestConfig | None = CONFIG, **more: Any) -> Removal:
    return plan_removal(RemovalFacts(guest, config, **more))


def blockers(found: Removal) -> set[str]:
    return {finding.code for finding in found.findings if finding.level == Level.BLOCKER}


def test_disks_that_are_in_no_use_go_too() -> None:
    goes = " ".join(removal().goes)
    assert "The disk scsi0: local:110/base-110-disk-0.qcow2/101/vm-101-disk-0.qcow2 (20 GiB)." in goes
    assert "The disk unused0, not in use: ceph:vm-101-disk-7." in goes
    assert "The cloud-init drive ide2" in goes


def test_an_iso_and_the_templates_disk_stay() -> None:
    stays = " ".join(removal().stays)
    assert "isos:iso/debian.iso, which ide0 refers to." in stays
    assert "The template's disk local:110/base-110-disk-0.qcow2" in stays
    assert "isos:iso/debian.iso" not in " ".join(removal().goes)


def test_a_stopped_vm_can_go() -> None:
    assert not removal().blocked


@pytest.mark.parametrize(
    ("code", "guest", "more"),
    [
        ("running", {"status": GuestStatus.RUNNING}, {}),
        ("running", {}, {"state": GuestState(GuestStatus.PAUSED)}),
        ("locked", {"lock": "backup"}, {}),
        ("protected", {}, {"config": GuestConfig({"protection": "1"}, "")}),
        ("ha_managed", {"hastate": "started"}, {}),
        ("ha_managed", {}, {"state": GuestState(GuestStatus.STOPPED, ha_managed=True)}),
        ("linked_clones", {"template": True}, {"linked_clones": (a_guest(120),)}),
    ],
)
def test_what_stands_against_it(code: str, guest: dict[str, Any], more: dict[str, Any]) -> None:
    assert blockers(removal(structs.replace(VM, **guest), **more)) == {code}


def test_a_hibernated_vm_can_go_and_its_saved_memory_is_named() -> None:
    found = removal(state=GuestState(GuestStatus.SUSPENDED, lock="suspended"))
    assert not found.blocked
    assert "hibernated" in {finding.code for finding in found.findings}


@given(
    st.sampled_from(GuestType),
    st.sampled_from(GuestStatus),
    st.booleans(),
    st.none() | template_configs(),
    st.none() | st.just(("one", "two")),
    st.booleans(),
)
def test_every_finding_has_a_cure_whatever_is_known(
    type: GuestType,
    status: GuestStatus,
    template: bool,
    config: GuestConfig | None,
    snapshots: tuple[str, ...] | None,
    stale: bool,
) -> None:
    guest = structs.replace(VM, type=type, status=status, template=template)
    found = removal(guest, config, snapshots=snapshots, stale=stale)
    assert all(sentence.endswith(".") for sentence in (*found.goes, *found.stays))
    assert all(finding.cure.endswith(".") for finding in found.findings)


def test_the_call_removes_nothing_that_was_not_shown() -> None:
    call = removal_call(GuestType.QEMU, "pve1", 101)
    assert (call.method, call.path, call.parameters) == ("DELETE", "/nodes/pve1/qemu/101", {})


def test_a_guest_is_told_from_another_with_its_number() -> None:
    assert identity(GuestType.QEMU, CONFIG) == "7dd589f5-9baf-400a-a091-9feb06677563"
    assert identity(GuestType.LXC, CONFIG) == "d1"
    assert identity(GuestType.QEMU, GuestConfig({}, "d2")) == "d2"
