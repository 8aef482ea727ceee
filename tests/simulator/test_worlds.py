"""The worlds to begin with keep what is promised of them, whatever is asked for."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

import msgspec
import pytest

from pve_simulator.metrics import memory
from pve_simulator.qemu.drives import Drive, drives
from pve_simulator.qemu.systems import system_of
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import Guest
from pve_simulator.world.storage import GIB
from pve_simulator.worlds import Plan, make

from .conftest import Simulator

PLANS = [
    Plan(),
    Plan(guests=0, templates=1),
    Plan(nodes=3, guests=60, templates=4),
    Plan(nodes=5, guests=200, templates=7, seed=9),
    Plan(guests=300, templates=2, number=3),
]
KEPT_FREE = ipaddress.ip_network("10.20.30.0/24")


@pytest.fixture(params=PLANS, ids=str)
def plan(request: pytest.FixtureRequest) -> Plan:
    """Plans of many shapes."""
    return request.param


@pytest.fixture
def estate(plan: Plan) -> Estate:
    """The world of a plan."""
    return make(plan)


def templates(estate: Estate) -> list[Guest]:
    """Templates in the order of their numbers."""
    return sorted((guest for guest in estate.guests.values() if guest.template), key=lambda guest: guest.vmid)


def test_there_are_as_many_guests_and_templates_as_asked_for(plan: Plan, estate: Estate) -> None:
    assert len(templates(estate)) == plan.templates
    assert len(estate.guests) == plan.guests + plan.templates
    assert len(estate.nodes) == plan.nodes


def test_the_same_seed_makes_the_same_guests(plan: Plan, estate: Estate) -> None:
    again = make(plan)
    assert {vmid: guest.config for vmid, guest in again.guests.items()} == {
        vmid: guest.config for vmid, guest in estate.guests.items()
    }
    assert again.users == estate.users


def test_another_server_of_the_same_command_has_other_guests_and_secrets() -> None:
    first, second = make(Plan(number=0)), make(Plan(number=1))
    assert first.users["admin@pve"].tokens["full"].secret != second.users["admin@pve"].tokens["full"].secret
    assert [guest.name for guest in first.guests.values()] != [guest.name for guest in second.guests.values()]


def test_every_node_has_the_bridge_that_guests_use(estate: Estate) -> None:
    for node in estate.nodes.values():
        assert node.interfaces["vmbr0"].type == "bridge"
        assert node.interfaces["vmbr0"].options["cidr"]


def test_no_guest_is_locked_or_has_an_address_in_the_network_kept_free(estate: Estate) -> None:
    for guest in estate.guests.values():
        assert guest.lock is None
        for told in guest.addresses:
            assert ipaddress.ip_interface(told).ip not in KEPT_FREE
        assert "10.20.30." not in str(guest.config)


def test_the_first_template_has_an_agent_a_cloud_init_drive_and_a_small_disk(estate: Estate) -> None:
    first = templates(estate)[0]
    assert first.node == estate.entry.name
    assert first.config["agent"].startswith(("1", "enabled=1"))
    assert any(drive.cloud_init for drive in drives(first.config))
    assert 2 * GIB <= Drive.parse("scsi0", first.config["scsi0"]).size <= 10 * GIB
    found = system_of(estate, first)
    assert found is not None
    assert found.agent
    assert found.cloud_init


def test_of_several_templates_the_last_has_no_agent_and_no_other_lacks_it(estate: Estate) -> None:
    found = templates(estate)
    with_agent = ["agent" in guest.config for guest in found]
    assert with_agent == ([True] if len(found) == 1 else [True] * (len(found) - 1) + [False])


def test_all_disks_are_volumes_and_all_volumes_have_a_guest(estate: Estate) -> None:
    named = set()
    for guest in estate.guests.values():
        texts = [value for key, value in guest.config.items() if key in ("scsi0", "ide2", "rootfs")]
        for volid in (text.split(",")[0] for text in texts):
            named.add(volid)
            volume = estate.volume(volid, guest.node)
            assert volume is not None
            assert volume.vmid == guest.vmid
    assert named == {volume.volid for volume in estate.volumes.values() if volume.vmid is not None}


def test_twenty_machines_of_20_gib_and_1_gib_of_memory_fit_beside_the_first_template(estate: Estate) -> None:
    first = templates(estate)[0]
    storage = first.config["scsi0"].partition(":")[0]
    assert estate.storages[storage].total - estate.used(storage, first.node) > 20 * 20 * GIB
    taken = sum(memory(guest) for guest in estate.guests.values() if guest.node == first.node and not guest.template)
    assert estate.nodes[first.node].memory - taken > 20 * GIB


def test_names_are_unique_and_a_name_that_dns_knows(estate: Estate) -> None:
    names = [guest.name for guest in estate.guests.values()]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() for name in names)


def test_a_larger_world_is_mixed() -> None:
    guests = [guest for guest in make(Plan(nodes=3, guests=60)).guests.values() if not guest.template]
    assert {guest.type for guest in guests} == {"qemu", "lxc"}
    assert {guest.status for guest in guests} == {"running", "stopped"}
    assert {guest.node for guest in guests} == {"pve1", "pve2", "pve3"}
    ways = {"dhcp" if "ip=dhcp" in guest.config.get("ipconfig0", "") else "static" for guest in guests}
    assert ways == {"dhcp", "static"}


def test_a_world_can_be_kept_and_read_again(estate: Estate) -> None:
    assert msgspec.json.decode(msgspec.json.encode(estate), type=Estate) == estate


def test_the_recorded_world_has_what_the_recordings_begin_with() -> None:
    estate = make(Plan(world="recorded"))
    assert list(estate.nodes) == ["pve1"]
    assert not estate.guests
    assert {storage.id: storage.disable for storage in estate.storages.values()} == {
        "local": False,
        "store2": False,
        "offstore": True,
    }
    assert {who for user in estate.users.values() for who in (f"{user.id}!{name}" for name in user.tokens)} == {
        "root@pam!full",
        "root@pam!sep",
        "admin@pve!full",
        "admin@pve!sep",
        "low@pve!none",
        "vmuser@pve!vm",
        "vmuser@pve!sep",
    }


def test_at_true_speed_clones_of_the_first_template_are_quick_and_their_agent_answers(
    starting: Callable[..., Simulator],
) -> None:
    simulator = starting("--guests", "3", "--templates", "1")
    source = f"/nodes/pve/qemu/{simulator.told['templates'][0]}/clone"
    for vmid, full, limit in ((501, 0, 2.0), (502, 1, 15.0)):
        began = time.monotonic()
        assert simulator.finished(simulator.call("POST", source, newid=vmid, full=full).data)["exitstatus"] == "OK"
        assert time.monotonic() - began < limit
    simulator.finished(simulator.call("POST", "/nodes/pve/qemu/501/status/start").data)
    began = time.monotonic()
    while simulator.call("POST", "/nodes/pve/qemu/501/agent/ping").status != 200:
        assert time.monotonic() - began < 10
        time.sleep(0.2)
