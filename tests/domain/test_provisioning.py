"""The calls of a creation hold all that was asked, can be repeated, and what they leave can be compared with what was asked."""

from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comserv.domain import propertystring
from comserv.domain.errors import SecretsMissing
from comserv.domain.guest import GuestConfig
from comserv.domain.hardware import agent_enabled, cores_of, disks, has_cloud_init, memory_mib, network_card
from comserv.domain.ownership import Marker, Stage, read_marker, strip_marker
from comserv.domain.plan import Decision
from comserv.domain.planfacts import PlanFacts
from comserv.domain.planning import make_plan
from comserv.domain.provisioning import (
    clone_parameters,
    configure_parameters,
    grow_parameters,
    verify_configuration,
    verify_size,
    wanted_card,
)
from comserv.domain.units import GIB, parse_size
from comserv.domain.vmrequest import NetworkType, VmRequest, stored_vm_request, to_mapping
from tests.domain.strategies import (
    NOW,
    TEMPLATE_CONFIG,
    a_request,
    facts_with_unknowns,
    requests,
    sign,
    some_facts,
    template_configs,
)

DECISION = Decision("rack", "pve1", "pve1", 9000, 101, "local", False, "scsi0", "vmbr0")


def as_proxmox_keeps(config: GuestConfig, parameters: dict[str, str]) -> GuestConfig:
    """The configuration after a POST: asterisks for the password, a MAC for a card without, another digest, no digest kept."""
    values = {**config.values, **parameters}
    values.pop("digest", None)
    if "cipassword" in values:
        values["cipassword"] = "**********"
    card = network_card(values.get("net0", ""))
    if card and not card.mac:
        values["net0"] = values["net0"].replace(card.model, f"{card.model}=BC:24:11:AA:BB:CC", 1)
    return GuestConfig(values, config.digest + "+")


def after_clone(request: VmRequest, decision: Decision, template: GuestConfig) -> GuestConfig:
    parameters = clone_parameters(request, decision, 101, "job1", sign)
    return GuestConfig({**template.values, "name": parameters["name"], "description": parameters["description"]}, "c1")


@settings(max_examples=200, deadline=None)
@given(requests(), template_configs())
def test_after_configure_all_that_was_asked_is_there(request: VmRequest, template: GuestConfig) -> None:
    clone = after_clone(request, DECISION, template)
    assert verify_configuration(request, DECISION, 101, clone, "job1", sign)
    parameters = configure_parameters(request, DECISION, 101, clone, "job1", sign)
    config = as_proxmox_keeps(clone, parameters)
    assert verify_configuration(request, DECISION, 101, config, "job1", sign) == ()
    assert config.get("name") == request.hostname
    assert request.cpu_cores in (None, cores_of(config))
    assert request.memory_mb in (None, memory_mib(config))
    assert request.enable_qemu_agent in (None, agent_enabled(config))
    assert request.start_on_boot == (config.get("onboot") == "1")
    assert not request.tags or config.get("tags") == ";".join(request.tags)
    assert not request.description or strip_marker(config.get("description")) == strip_marker(request.description)
    assert unquote(config.get("sshkeys")).splitlines() == list(request.cloud_init.ssh_keys)
    card = network_card(config.get("net0"))
    assert request.network.bridge in ("", card.bridge if card else None)
    assert request.network.vlan in (None, card.vlan if card else None)
    if has_cloud_init(config) or request.network.type == NetworkType.STATIC:
        ip = propertystring.parse(config.get("ipconfig0"))
        assert ip["ip"] == (
            f"{request.static_address}/{request.network.subnet_mask}" if request.static_address else "dhcp"
        )
        assert ip.get("gw", "") == request.network.gateway


@settings(max_examples=150, deadline=None)
@given(requests(), template_configs(), st.data())
def test_any_other_value_than_asked_is_found(request: VmRequest, template: GuestConfig, data: st.DataObject) -> None:
    clone = after_clone(request, DECISION, template)
    config = as_proxmox_keeps(clone, configure_parameters(request, DECISION, 101, clone, "job1", sign))
    spoilt = {
        "cores": "63",
        "memory": "17",
        "name": "other",
        "ciuser": "mallory",
        "sshkeys": "ssh-rsa%20x",
        "ipconfig0": "ip=10.9.9.9/8",
    }
    asked = configure_parameters(request, DECISION, 101, clone, "job1", sign)
    other = [key for key in spoilt if key in asked and str(asked[key]) != spoilt[key]]  # a drawn name may be that one
    key = data.draw(st.sampled_from(other))
    changed = GuestConfig({**config.values, key: spoilt[key]}, "x")
    assert key in {one.key for one in verify_configuration(request, DECISION, 101, changed, "job1", sign)}


@settings(max_examples=150, deadline=None)
@given(requests(), facts_with_unknowns())
def test_a_plan_without_blockers_has_calls_that_hold_all_that_was_asked(request: VmRequest, facts: PlanFacts) -> None:
    plan = make_plan(request, facts, NOW)
    if not plan.decision:
        return
    clone, configure = plan.calls[0].parameters, plan.calls[1].parameters
    assert clone["name"] == request.hostname
    assert clone.get("pool", "") == request.pool
    assert request.description in clone["description"]
    assert clone["full"] == "1" or not request.full_clone
    assert not request.storage or clone.get("storage", plan.decision.storage) == request.storage
    assert request.cpu_cores is None or configure["cores"] == str(request.cpu_cores)
    assert request.memory_mb is None or configure["memory"] == str(request.memory_mb)
    assert ("cipassword" in configure) == bool(request.cloud_init.password)
    assert request.static_address in configure.get("ipconfig0", "")
    assert any(call.path.endswith("/status/start") for call in plan.calls) == request.start_after_creation


def test_a_planned_creation_grows_the_disk_to_what_was_asked() -> None:
    (resize,) = (call for call in make_plan(a_request(), some_facts(), NOW).calls if call.path.endswith("/resize"))
    assert resize.parameters == {"disk": "scsi0", "size": "20G"}


# --- the clone --------------------------------------------------------------------------------------------------------


def test_a_linked_clone_names_no_storage_and_a_full_one_does() -> None:
    assert "storage" not in clone_parameters(a_request(), DECISION, 101, "job1", sign)
    full = Decision("rack", "pve2", "pve1", 9000, 101, "ceph", True)
    parameters = clone_parameters(a_request(pool="customers"), full, 101, "job1", sign)
    description = parameters.pop("description")
    assert parameters == {
        "newid": "101",
        "name": "web-01",
        "full": "1",
        "storage": "ceph",
        "target": "pve2",
        "pool": "customers",
    }
    assert read_marker(description, sign) == Marker("job1", "rack", 101, Stage.CLONED)


def test_the_templates_notes_are_carried_over_where_none_were_asked_for() -> None:
    decision = Decision("rack", "pve1", "pve1", 9000, 101, "local", False, template_notes="Debian 12")
    assert strip_marker(clone_parameters(a_request(), decision, 101, "j", sign)["description"]) == "Debian 12"
    mine = clone_parameters(a_request(description="mine"), decision, 101, "j", sign)["description"]
    assert strip_marker(mine) == "mine"


# --- configure --------------------------------------------------------------------------------------------------------


def configured(request: VmRequest, **values: str) -> dict[str, str]:
    config = GuestConfig({**TEMPLATE_CONFIG.values, **values}, "d9")
    return configure_parameters(request, DECISION, 101, config, "job1", sign)


def test_the_configure_call_carries_the_digest_that_was_read() -> None:
    assert configured(a_request())["digest"] == "d9"


def test_the_clones_own_mac_and_model_stay() -> None:
    parameters = configured(a_request(), net0="e1000=BC:24:11:00:00:07,bridge=vmbr9,firewall=1,rate=10")
    assert parameters["net0"] == "e1000=BC:24:11:00:00:07,bridge=vmbr0,firewall=1,rate=10"


def test_a_card_that_is_right_already_is_not_sent() -> None:
    assert "net0" not in configured(a_request())
    assert wanted_card(a_request(), DECISION, TEMPLATE_CONFIG) is None


def test_a_template_without_a_card_gets_one() -> None:
    parameters = configured(a_request(), net0="")
    assert parameters["net0"] == "virtio,bridge=vmbr0"


def test_several_sockets_become_one_so_that_the_cpus_are_those_asked_for() -> None:
    parameters = configured(a_request(), sockets="2", cores="4", vcpus="8")
    assert (parameters["cores"], parameters["sockets"], parameters["vcpus"]) == ("2", "1", "2")
    assert configured(a_request(cpu_cores=6), vcpus="2")["vcpus"] == "6"


def test_a_balloon_above_the_memory_shrinks_with_it() -> None:
    assert configured(a_request(), balloon="4096")["balloon"] == "1024"
    assert "balloon" not in configured(a_request(), balloon="512")


def test_ssh_keys_are_encoded_inside_the_value_with_percent_20() -> None:
    keys = configured(a_request())["sshkeys"]
    assert keys.startswith("ssh-ed25519%20AAAA")
    assert "+" not in keys


def test_other_options_of_the_agent_stay() -> None:
    parameters = configured(a_request(enable_qemu_agent=True), agent="0,fstrim_cloned_disks=1")
    assert parameters["agent"] == "1,fstrim_cloned_disks=1"


def test_without_the_password_that_was_asked_for_nothing_is_configured() -> None:
    stored = stored_vm_request(to_mapping(a_request()))
    with pytest.raises(SecretsMissing):
        configured(stored)


def test_the_stage_of_the_marker_tells_that_the_configure_call_went_through() -> None:
    """The password cannot be read back, so a clone that is right in all else is still not taken for configured."""
    request = a_request()
    clone = after_clone(request, DECISION, TEMPLATE_CONFIG)
    config = as_proxmox_keeps(clone, configure_parameters(request, DECISION, 101, clone, "job1", sign))
    unfinished = GuestConfig({**config.values, "description": clone.get("description")}, "x")
    assert [one.key for one in verify_configuration(request, DECISION, 101, unfinished, "job1", sign)] == [
        "description"
    ]


# --- grow -------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 4000), st.sampled_from(["2G", "3145729K", "20G", "2252M", "1.5T", "4194304"]))
def test_a_disk_is_grown_to_an_absolute_size_and_never_shrunk(asked: int, size: str) -> None:
    config = GuestConfig({"scsi0": f"local:101/vm-101-disk-0.qcow2,size={size}"}, "d1")
    grow, now = grow_parameters(a_request(disk_gb=asked), DECISION, config), parse_size(size)
    assert now is not None
    if grow is None:
        assert now >= asked * GIB
    else:
        assert now < asked * GIB
        assert grow == {"disk": "scsi0", "size": f"{asked}G", "digest": "d1"}
        grown = GuestConfig({"scsi0": f"local:101/vm-101-disk-0.qcow2,size={grow['size']}"}, "d2")
        assert grow_parameters(a_request(disk_gb=asked), DECISION, grown) is None
        assert verify_size(a_request(disk_gb=asked), DECISION, grown) == ()


def test_nothing_is_grown_where_no_size_was_asked_for() -> None:
    assert grow_parameters(a_request(disk_gb=None), DECISION, TEMPLATE_CONFIG) is None


def test_the_disk_is_grown_also_where_the_plan_could_not_read_the_template() -> None:
    unread = Decision("rack", "pve1", "pve1", 9000, 101, "", True)
    grow = grow_parameters(a_request(), unread, TEMPLATE_CONFIG)
    assert grow is not None
    assert (grow["disk"], grow["size"]) == ("scsi0", "20G")
    assert verify_size(a_request(), unread, TEMPLATE_CONFIG)


def test_a_size_that_no_disk_has_is_found() -> None:
    empty = GuestConfig({}, "d1")
    assert grow_parameters(a_request(), Decision("rack", "pve1", "pve1", 9000, 101, "", True), empty) is None
    assert verify_size(a_request(), DECISION, empty)


def test_disks_are_read_with_what_they_are() -> None:
    found = {disk.key: disk for disk in disks(TEMPLATE_CONFIG)}
    assert found["ide2"].cloud_init
    assert found["scsi0"].base
    assert found["scsi0"].storage == "local"
    linked = GuestConfig({"scsi0": "local:110/base-110-disk-0.qcow2/115/vm-115-disk-0.qcow2,size=1G"}, "")
    assert disks(linked)[0].linked_to == "local:110/base-110-disk-0.qcow2"
