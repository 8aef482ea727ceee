"""The plan: it never fails, names what stands against it in whole sentences, and chooses node, storage and kind of clone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from comserv.domain.guest import AddressSource, GuestConfig, GuestKey, GuestStatus, GuestType, KnownAddress
from comserv.domain.maintenance import Maintenance
from comserv.domain.picture import Health, Node, Storage
from comserv.domain.plan import Finding, Level, Plan
from comserv.domain.planfacts import PlanFacts
from comserv.domain.planning import candidate_vmid, faults_as_findings, make_plan
from comserv.domain.reservation import Reservation
from comserv.domain.rights import Rights
from comserv.domain.server import ServerState
from comserv.domain.units import GIB
from comserv.domain.vmrequest import CloudInit, Ipv6, Ipv6Type, Network, NetworkType, TemplateRef, VmRequest, to_mapping
from tests.domain.strategies import (
    EVERYTHING,
    NOW,
    TEMPLATE_CONFIG,
    a_guest,
    a_request,
    facts_with_unknowns,
    requests,
    some_facts,
)


def config(**values: str | None) -> GuestConfig:
    """The plain template's configuration, some values changed, None leaves one out."""
    merged: dict[str, Any] = {**TEMPLATE_CONFIG.values, **values}
    return GuestConfig({key: value for key, value in merged.items() if value is not None}, TEMPLATE_CONFIG.digest)


def static(address: str = "10.20.30.41", mask: int | None = 24, gateway: str = "10.20.30.1", **more: Any) -> Network:
    return Network(NetworkType.STATIC, address, mask, gateway, **more)


def codes(plan: Plan, level: Level = Level.BLOCKER) -> set[str]:
    return {finding.code for finding in plan.findings if finding.level == level}


def the(plan: Plan, code: str) -> Finding:
    return next(finding for finding in plan.findings if finding.code == code)


def fields_of(mapping: dict[str, Any], prefix: str = "") -> set[str]:
    found = set[str]()
    for name, value in mapping.items():
        found |= {prefix + name} | (fields_of(value, f"{prefix}{name}.") if isinstance(value, dict) else set())
    return found


FIELDS = fields_of(to_mapping(a_request()))


@settings(max_examples=150, deadline=None)
@given(requests(), facts_with_unknowns())
def test_a_plan_is_made_of_any_facts_and_every_finding_has_its_cure_and_a_field_that_exists(
    request: VmRequest, facts: PlanFacts
) -> None:
    plan = make_plan(request, facts, NOW)
    for finding in plan.findings:
        assert finding.field in FIELDS, finding
        assert finding.cure.endswith(".")
        assert finding.text.endswith((".", ")")), finding
        assert "None" not in finding.text + finding.cure
        assert "  " not in finding.text
    assert sum(choice.chosen for choice in plan.placement.choices) <= 1
    assert all(choice.reason for choice in plan.placement.choices)


@settings(max_examples=80, deadline=None)
@given(requests(), facts_with_unknowns())
def test_blockers_come_before_warnings_and_notes(request: VmRequest, facts: PlanFacts) -> None:
    levels = [finding.level for finding in make_plan(request, facts, NOW).findings]
    assert levels == sorted(levels, key=[Level.BLOCKER, Level.WARNING, Level.NOTE].index)


@settings(max_examples=80, deadline=None)
@given(requests(), facts_with_unknowns())
def test_a_password_is_in_no_plan(request: VmRequest, facts: PlanFacts) -> None:
    request = replace(request, cloud_init=replace(request.cloud_init, password="correct horse battery"))
    assert "correct horse" not in repr(make_plan(request, facts, NOW))


def test_the_plain_case_has_no_blocker_and_no_warning() -> None:
    plan = make_plan(a_request(), some_facts(), NOW)
    assert not codes(plan)
    assert not codes(plan, Level.WARNING)
    assert [(call.method, call.path) for call in plan.calls] == [
        ("POST", "/nodes/pve1/qemu/9000/clone"),
        ("POST", "/nodes/pve1/qemu/101/config"),
        ("PUT", "/nodes/pve1/qemu/101/resize"),
        ("POST", "/nodes/pve1/qemu/101/status/start"),
    ]
    assert plan.calls[1].parameters["cipassword"] == "•••"


CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("hostname_bad", "hostname", {"hostname": "web_01"}, {}),
    ("hostname_bad", "hostname", {"hostname": ""}, {}),
    ("hostname_taken", "hostname", {"hostname": "DB-01"}, {}),
    ("vmid_taken", "vmid", {"vmid": 100}, {}),
    ("vmid_taken", "vmid", {"vmid": 777}, {"vmid_taken": True}),
    ("template_missing", "template.vmid", {"template": TemplateRef("rack", 404)}, {"template": None}),
    ("template_missing", "template.vmid", {}, {"template": None, "template_missing": True}),
    ("template_unread", "template.vmid", {}, {"template_config": None, "template_problem": "No answer."}),
    ("template_elsewhere", "template.server", {"template": TemplateRef("lab", 9000)}, {}),
    ("not_a_template", "template.vmid", {}, {"template": a_guest(9000)}),
    ("template_is_container", "template.vmid", {}, {"template": a_guest(9000, type=GuestType.LXC, template=True)}),
    ("template_local", "node", {"node": "pve2"}, {}),
    ("node_unknown", "node", {"node": "pve9"}, {}),
    ("storage_missing", "storage", {"storage": "gone"}, {}),
    ("storage_content", "storage", {"storage": "isos"}, {}),
    ("bridge_missing", "network.bridge", {"network": static(bridge="vmbr7")}, {}),
    ("disk_smaller", "disk_gb", {"disk_gb": 1}, {}),
    ("disk_missing", "disk_gb", {}, {"template_config": config(scsi0=None)}),
    ("memory_above_total", "memory_mb", {"memory_mb": 64 * 1024}, {}),
    ("address_missing", "network.ip_address", {"network": static("")}, {}),
    ("mask_missing", "network.subnet_mask", {"network": static(mask=None)}, {}),
    ("address_unusable", "network.ip_address", {"network": static("10.20.30.0")}, {}),
    ("address_unusable", "network.ip_address", {"network": static("10.20.30.255")}, {}),
    ("gateway_outside", "network.gateway", {"network": static(gateway="10.20.31.1")}, {}),
    ("gateway_outside", "network.gateway", {"network": static(gateway="10.20.30.41")}, {}),
    (
        "gateway_outside",
        "network.ipv6.gateway",
        {"network": static(ipv6=Ipv6(Ipv6Type.STATIC, "2001:db8::9", 64, "2001:db8:1::1"))},
        {},
    ),
    (
        "address_taken",
        "network.ip_address",
        {},
        {"addresses": (KnownAddress(GuestKey("lab", 5), "10.20.30.41", AddressSource.AGENT, NOW),)},
    ),
    (
        "address_taken",
        "network.ipv6.address",
        {"network": static(ipv6=Ipv6(Ipv6Type.STATIC, "2001:db8::9", 64))},
        {"addresses": (KnownAddress(GuestKey("rack", 100), "2001:0db8:0::0009", AddressSource.CLOUD_INIT, NOW),)},
    ),
    ("cloud_init_missing", "network.type", {}, {"template_config": config(ide2=None)}),
    ("pool_missing", "pool", {"pool": "nobody"}, {}),
    ("no_quorum", "server", {}, {"quorate": False}),
    ("server_unreachable", "server", {}, {"health": Health("rack", ServerState.DOWN)}),
    ("server_unreachable", "server", {}, {"problem": "No route to host since 09:41."}),
    ("server_in_maintenance", "server", {}, {"maintenance": Maintenance("mara", NOW, "new disks")}),
    ("rights_missing", "server", {}, {"rights": Rights({})}),
]


@pytest.mark.parametrize(("code", "field", "asked", "facts"), CASES)
def test_a_blocker_stands_at_its_field(code: str, field: str, asked: dict[str, Any], facts: dict[str, Any]) -> None:
    plan = make_plan(a_request(**asked), some_facts(**facts), NOW)
    assert code in codes(plan)
    assert field in {finding.field for finding in plan.findings if finding.code == code}


WARNINGS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("agent_unlikely", {"enable_qemu_agent": True}, {"template_config": config(agent=None)}),
    ("agent_unlikely", {"enable_qemu_agent": None}, {"template_config": config(agent="0")}),
    ("template_locked", {}, {"template": a_guest(9000, template=True, lock="backup")}),
    ("server_slow", {}, {"health": Health("rack", ServerState.SLOW, 4200.0)}),
    ("memory_tight", {"memory_mb": 30 * 1024, "node": "pve1"}, {}),
    ("cpu_above_node", {"cpu_cores": 17}, {}),
    ("version_unsupported", {}, {"version": "7.4-3"}),
    ("cloud_init_unused", {"network": Network()}, {"template_config": config(ide2=None)}),
    ("template_unread", {}, {"template_config": None}),
    ("storage_tight", {"disk_gb": 900}, {}),
    ("picture_missing", {}, {"picture": None}),
]


@pytest.mark.parametrize(("code", "asked", "facts"), WARNINGS)
def test_a_warning_does_not_stop(code: str, asked: dict[str, Any], facts: dict[str, Any]) -> None:
    plan = make_plan(a_request(**asked), some_facts(**facts), NOW)
    assert code in codes(plan, Level.WARNING)
    assert not plan.blocked


def test_an_old_picture_is_told_with_its_age() -> None:
    plan = make_plan(a_request(), some_facts(), NOW + timedelta(minutes=4))
    assert the(plan, "picture_old").text == "What is known of rack is 4 min old."


def test_a_job_that_is_accepted_is_held_when_the_server_does_not_answer() -> None:
    down = Health("rack", ServerState.DOWN)
    plan = make_plan(a_request(), some_facts(health=down, accepted=True), NOW)
    assert not plan.blocked
    assert the(plan, "server_unreachable").level == Level.WARNING


def test_a_node_that_is_down_is_a_blocker_and_not_chosen() -> None:
    facts = some_facts(
        template_config=config(scsi0="ceph:base-9000-disk-0,size=2G", ide2="ceph:vm-9000-cloudinit,media=cdrom")
    )
    nodes = tuple(replace(node, online=node.name != "pve2") for node in facts.known_nodes)
    facts = replace(facts, nodes=nodes)
    assert "node_down" in codes(make_plan(a_request(node="pve2"), facts, NOW))
    assert make_plan(a_request(), facts, NOW).placement.node == "pve1"


# --- rights -----------------------------------------------------------------------------------------------------------


CARDS = ("VM.Config.Network", "VM.Config.Cloudinit")


def without(privilege: str) -> Rights:
    return Rights({"/": {name: True for name in EVERYTHING if name != privilege}})


@pytest.mark.parametrize(
    ("privilege", "path"),
    [
        ("VM.Clone", "/vms/9000"),
        ("VM.Allocate", "/vms/101"),
        ("VM.Config.CPU", "/vms/101"),
        ("VM.Config.Memory", "/vms/101"),
        ("VM.Config.Options", "/vms/101"),
        ("VM.Config.Disk", "/vms/101"),
        ("VM.PowerMgmt", "/vms/101"),
        ("Datastore.AllocateSpace", "/storage/local"),
        ("SDN.Use", "/sdn/zones/localnetwork/vmbr0"),
    ],
)
def test_a_privilege_that_is_missing_is_named_with_its_path(privilege: str, path: str) -> None:
    plan = make_plan(a_request(), some_facts(rights=without(privilege)), NOW)
    assert codes(plan) == {"rights_missing"}
    text = the(plan, "rights_missing").text
    assert text == f"The token comserv@pve!manager lacks {privilege} at {path}."
    assert "pveum acl modify" in the(plan, "rights_missing").cure


def test_only_what_the_calls_change_is_needed() -> None:
    """A card that stays as it is is not sent, and cloud-init may be filled in with VM.Config.Network as well."""
    without_both = Rights({"/": {name: True for name in EVERYTHING if name not in CARDS}})
    assert codes(make_plan(a_request(), some_facts(rights=without("VM.Config.Network")), NOW)) == set()
    assert codes(make_plan(a_request(), some_facts(rights=without("VM.Config.Cloudinit")), NOW)) == set()
    plan = make_plan(a_request(network=Network(vlan=40)), some_facts(rights=without_both), NOW)
    assert "VM.Config.Cloudinit, VM.Config.Network at /vms/101" in the(plan, "rights_missing").text


def test_one_vlan_of_a_bridge_is_enough() -> None:
    rest = {name: True for name in EVERYTHING if name != "SDN.Use"}
    bridge = "/sdn/zones/localnetwork/vmbr0"
    given = Rights({"/": rest, bridge: {"SDN.Use": False}, f"{bridge}/40": {"SDN.Use": True}})
    assert codes(make_plan(a_request(network=Network(vlan=40)), some_facts(rights=given), NOW)) == set()


def test_without_the_right_to_ask_the_agent_the_vm_is_made_and_not_proven() -> None:
    plan = make_plan(a_request(), some_facts(rights=without("VM.GuestAgent.Audit")), NOW)
    assert not plan.blocked
    assert "agent_unreadable" in codes(plan, Level.WARNING)


def test_the_right_to_ask_the_agent_has_another_name_before_9() -> None:
    plan = make_plan(a_request(), some_facts(rights=without("VM.GuestAgent.Audit"), version="8.4.1"), NOW)
    assert "VM.Monitor" in the(plan, "agent_unreadable").text


def test_rights_on_the_pool_are_enough_for_a_vm_in_it() -> None:
    privileges = dict.fromkeys(EVERYTHING, True)
    rights = Rights(
        {
            "/vms/9000": privileges,
            "/pool/customers": privileges,
            "/storage": privileges,
            "/sdn": privileges,
        }
    )
    assert not codes(make_plan(a_request(pool="customers"), some_facts(rights=rights), NOW))
    assert codes(make_plan(a_request(), some_facts(rights=rights), NOW)) == {"rights_missing"}


def test_nothing_is_needed_for_what_is_not_asked_for() -> None:
    request = a_request(disk_gb=None, network=Network(), cloud_init=CloudInit(), start_after_creation=False)
    rights = Rights({"/": {name: True for name in EVERYTHING if name not in ("VM.PowerMgmt", "VM.Config.Disk")}})
    assert not codes(make_plan(request, some_facts(rights=rights), NOW))


# --- placement --------------------------------------------------------------------------------------------------------


SHARED = config(scsi0="ceph:base-9000-disk-0,size=2G", ide2="ceph:vm-9000-cloudinit,media=cdrom")


def test_a_template_on_local_storage_is_cloned_only_where_it_lies() -> None:
    plan = make_plan(a_request(), some_facts(), NOW)
    assert plan.placement.node == "pve1"
    others = [choice for choice in plan.placement.choices if choice.node != "pve1"]
    assert all(not choice.possible and "local to pve1" in choice.reason for choice in others)


def test_a_template_on_shared_storage_goes_where_most_memory_is_free() -> None:
    facts = some_facts(template_config=SHARED)
    nodes = tuple(replace(node, memory_used=(1 if node.name == "pve3" else 9) * GIB) for node in facts.known_nodes)
    plan = make_plan(a_request(), replace(facts, nodes=nodes), NOW)
    assert plan.placement.node == "pve3"
    assert plan.decision
    assert plan.decision.template_node == "pve1"
    assert plan.calls[0].parameters["target"] == "pve3"


def test_what_running_jobs_will_take_is_counted() -> None:
    facts = some_facts(template_config=SHARED)
    assert make_plan(a_request(), facts, NOW).placement.node == "pve1"
    soon = Reservation(GuestKey("rack", 130), "j2", "big", (), "pve1", "ceph", memory_mb=20 * 1024)
    assert make_plan(a_request(), replace(facts, reservations=(soon,)), NOW).placement.node == "pve2"


def test_a_reservation_whose_vm_runs_is_not_counted_twice() -> None:
    facts = some_facts(template_config=SHARED)
    assert facts.picture
    soon = Reservation(GuestKey("rack", 130), "j2", "big", (), "pve1", "ceph", memory_mb=20 * 1024)
    running = a_guest(130, "pve1", "big", status=GuestStatus.RUNNING)
    picture = replace(facts.picture, guests=(*facts.guests, running))
    assert make_plan(a_request(), replace(facts, picture=picture, reservations=(soon,)), NOW).placement.node == "pve1"


def test_the_default_node_is_taken_where_its_memory_is_enough() -> None:
    facts = some_facts(template_config=SHARED, default_node="pve3")
    assert make_plan(a_request(), facts, NOW).placement.node == "pve3"
    assert make_plan(a_request(memory_mb=25 * 1024), facts, NOW).placement.node == "pve1"


def test_the_plan_of_a_job_does_not_stumble_over_its_own_reservation() -> None:
    own = Reservation(GuestKey("rack", 101), "j1", "web-01", ("10.20.30.41",), "pve1", "local", 1024, 20)
    facts = some_facts(reservations=(own,), job="j1")
    plan = make_plan(a_request(), facts, NOW)
    assert not codes(plan)
    assert plan.decision
    assert plan.decision.vmid == 101
    assert {"hostname_taken", "address_taken"} <= codes(make_plan(a_request(), replace(facts, job=""), NOW))


def test_an_id_that_a_job_holds_is_passed_over() -> None:
    held = tuple(Reservation(GuestKey("rack", vmid), "j2") for vmid in (101, 102))
    assert candidate_vmid(a_request(), some_facts(reservations=held)) == 103
    plan = make_plan(a_request(vmid=102), some_facts(reservations=held), NOW)
    assert codes(plan) == {"vmid_reserved"}


# --- linked or full, and where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "facts", "full", "storage", "why"),
    [
        ({}, {}, False, "local", "can share"),
        ({"full_clone": True}, {}, True, "local", "as asked for"),
        ({"storage": "ceph"}, {}, True, "ceph", "would stay on local"),
        (
            {},
            {"template_config": config(scsi0="local:9000/vm-9000-disk-0.raw,size=2G")},
            True,
            "local",
            "no base volume",
        ),
        ({}, {"template_config": None}, True, "", "could not be read"),
        ({}, {"template_config": SHARED}, False, "ceph", "can share"),
    ],
)
def test_linked_where_the_storage_can_else_full_and_the_plan_says_why(
    asked: dict[str, Any], facts: dict[str, Any], full: bool, storage: str, why: str
) -> None:
    plan = make_plan(a_request(**asked), some_facts(**facts), NOW)
    assert (plan.placement.full_clone, plan.placement.storage) == (full, storage)
    assert why in " ".join(plan.placement.reasons)
    assert plan.calls[0].parameters["full"] == ("1" if full else "0")
    assert plan.calls[0].parameters.get("storage", "") == (storage if full else "")


def storages(**changes: Any) -> tuple[Storage, ...]:
    return tuple(replace(one, **changes) if one.name == "local" else one for one in some_facts().known_storages)


def test_a_storage_type_without_linked_clones_gives_a_full_one() -> None:
    plan = make_plan(a_request(), some_facts(storages=storages(type="lvm")), NOW)
    assert plan.placement.full_clone
    assert "local (lvm) cannot make linked ones" in plan.placement.reasons[1]


def test_a_full_storage_names_those_with_room() -> None:
    plan = make_plan(a_request(full_clone=True, storage="local"), some_facts(storages=storages(used=495 * GIB)), NOW)
    finding = the(plan, "storage_full")
    assert finding.text == "The disk does not fit on local: 5 GiB are free, it needs 20 GiB."
    assert finding.cure == "Choose ceph (2.9 TiB free)."


def test_a_full_clone_without_a_storage_goes_elsewhere_when_the_templates_is_full() -> None:
    plan = make_plan(a_request(full_clone=True), some_facts(storages=storages(used=495 * GIB)), NOW)
    assert not plan.blocked
    assert plan.placement.storage == "ceph"


def test_a_disabled_storage_is_a_blocker() -> None:
    plan = make_plan(a_request(storage="local"), some_facts(storages=storages(enabled=False)), NOW)
    assert "storage_disabled" in codes(plan)


def test_a_full_clone_to_another_node_needs_a_shared_storage() -> None:
    plan = make_plan(a_request(node="pve2", storage="local"), some_facts(template_config=SHARED), NOW)
    assert "storage_local" in codes(plan)


def test_a_single_node_whose_figures_are_not_told_can_be_planned_with() -> None:
    nodes = (Node("pve1", True),)
    plan = make_plan(a_request(), some_facts(nodes=nodes), NOW)
    assert not plan.blocked
    assert plan.placement.choices[0].reason == "The only node. Its free memory is not told."


# --- notes ------------------------------------------------------------------------------------------------------------


def test_the_plan_says_what_is_inherited() -> None:
    request = VmRequest("rack", "web-01", TemplateRef("rack", 9000))
    plan = make_plan(
        request, some_facts(template_config=config(tags="tmpl", ciuser="deb", description="Debian 12")), NOW
    )
    text = the(plan, "inherited").text
    for words in ("its CPUs", "its memory", "its tags (tmpl)", "its notes", "its user (deb)", "its bridge (vmbr0)"):
        assert words in text
    assert plan.decision
    assert plan.decision.template_notes == "Debian 12"


def test_the_plan_says_what_is_chosen() -> None:
    plan = make_plan(a_request(), some_facts(), NOW)
    assert {"vmid_chosen", "mac_chosen"} <= codes(plan, Level.NOTE)
    assert "vmid_chosen" not in codes(make_plan(a_request(vmid=500), some_facts(), NOW), Level.NOTE)


def test_what_cannot_be_understood_can_be_shown_as_findings() -> None:
    (finding,) = faults_as_findings({"network.vlan": "This has to be between 1 and 4094."})
    assert (finding.level, finding.code, finding.field) == (Level.BLOCKER, "invalid", "network.vlan")
