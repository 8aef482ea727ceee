"""The plan asks the server: what was made or removed a second ago counts, and every obstacle is found before anything is sent."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from comserv.domain.audit import Outcome
from comserv.domain.errors import Forbidden, PlanBlocked
from comserv.domain.vmrequest import parse_vm_request
from comserv.persistence import audit
from comserv.services import planfacts
from tests.installed import ADMIN, OPERATOR, VIEWER, Installed, Pve, free_address, static, unique

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def pve() -> Iterator[Pve]:
    with Pve("--guests", "6", "--templates", "4", "--nodes", "3") as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are used again for some seconds while somebody types; here each plan asks."""
    monkeypatch.setattr(planfacts, "KEPT", 0.0)


def home(pve: Pve) -> str:
    return pve.the(pve.template)["node"]


def elsewhere(pve: Pve) -> str:
    return next(node["name"] for node in pve.world()["nodes"] if node["name"] != home(pve))


# --- made or removed a second ago


async def test_a_name_that_was_given_a_second_ago_is_taken(comserv: Installed, pve: Pve) -> None:
    name, later = unique(), unique()
    assert "hostname_taken" not in await comserv.plan(hostname=name)
    pve.done("POST", f"/nodes/{elsewhere(pve)}/qemu", vmid=5100, name=name)
    assert "hostname_taken" in await comserv.plan(hostname=name)
    pve.other("PUT", f"/nodes/{elsewhere(pve)}/qemu/5100/config", name=later)
    found = await comserv.plan(hostname=later)
    assert "hostname_taken" in found and "5100" in found["hostname_taken"].text
    assert "hostname_taken" not in await comserv.plan(hostname=name)
    pve.done("DELETE", f"/nodes/{elsewhere(pve)}/qemu/5100")
    assert "hostname_taken" not in await comserv.plan(hostname=later)


async def test_a_vm_id_that_was_given_a_second_ago_is_taken(comserv: Installed, pve: Pve) -> None:
    pve.done("POST", f"/nodes/{elsewhere(pve)}/qemu", vmid=5101)
    assert "vmid_taken" in await comserv.plan(vmid=5101)
    pve.done("DELETE", f"/nodes/{elsewhere(pve)}/qemu/5101")
    assert "vmid_taken" not in await comserv.plan(vmid=5101)


async def test_a_bridge_that_was_made_or_removed_a_second_ago_counts(comserv: Installed, pve: Pve) -> None:
    node = home(pve)
    asked = {"node": node, "network": {"type": "dhcp", "bridge": "vmbr7"}}
    assert "vmbr0" in (await comserv.plan(**asked))["bridge_missing"].cure
    pve.other("POST", f"/nodes/{node}/network", iface="vmbr7", type="bridge")
    pve.done("PUT", f"/nodes/{node}/network")
    assert "bridge_missing" not in await comserv.plan(**asked)
    pve.other("DELETE", f"/nodes/{node}/network/vmbr7")
    pve.done("PUT", f"/nodes/{node}/network")
    assert "bridge_missing" in await comserv.plan(**asked)


async def test_a_storage_that_was_made_changed_or_removed_a_second_ago_counts(comserv: Installed, pve: Pve) -> None:
    asked = {"node": home(pve), "storage": "fresh", "full_clone": True}
    assert "storage_missing" in await comserv.plan(**asked)
    pve.other("POST", "/storage", storage="fresh", type="dir", path="/srv/fresh", content="images,iso")
    assert not {code for code in await comserv.plan(**asked) if code.startswith("storage_")}
    pve.other("PUT", "/storage/fresh", content="iso")
    assert "storage_content" in await comserv.plan(**asked)
    pve.other("PUT", "/storage/fresh", content="images", disable=1)
    assert "storage_disabled" in await comserv.plan(**asked)
    pve.other("DELETE", "/storage/fresh")
    assert "storage_missing" in await comserv.plan(**asked)


async def test_a_template_that_was_made_changed_or_removed_a_second_ago_counts(comserv: Installed, pve: Pve) -> None:
    node, asked = home(pve), {"template": {"server": "lab", "vmid": 5102}}
    assert "template_missing" in await comserv.plan(**asked)
    pve.done("POST", f"/nodes/{node}/qemu", vmid=5102, name="raw", scsi0="local-lvm:2")
    assert "not_a_template" in await comserv.plan(**asked)
    pve.done("POST", f"/nodes/{node}/qemu/5102/template")
    found = await comserv.plan(**asked)
    assert not found.keys() & {"not_a_template", "template_missing"}
    assert "disk_smaller" in await comserv.plan(**asked, disk_gb=1)
    pve.done("DELETE", f"/nodes/{node}/qemu/5102")
    assert "template_missing" in await comserv.plan(**asked)


async def test_a_creation_is_refused_for_what_happened_after_the_plan_was_shown(comserv: Installed, pve: Pve) -> None:
    name = unique()
    assert "hostname_taken" not in await comserv.plan(hostname=name)
    pve.done("POST", f"/nodes/{home(pve)}/qemu", vmid=5103, name=name)
    with pytest.raises(PlanBlocked) as refused:
        await comserv.create(hostname=name)
    assert "hostname_taken" in {finding.code for finding in refused.value.findings}
    async with comserv.database.read() as tx:
        rows = (await audit.page(tx, audit.AuditFilter(), limit=5)).items
    assert any(row.outcome is Outcome.REFUSED and name in row.detail for row in rows)


async def test_answers_are_used_again_while_somebody_types(
    comserv: Installed, pve: Pve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planfacts, "KEPT", 30.0)
    await comserv.plan()
    before = len([row for row in pve.requests() if "/access/permissions" in row["path"]])
    for length in range(1, 6):
        await comserv.plan(hostname="w" * length)
    assert len([row for row in pve.requests() if "/access/permissions" in row["path"]]) == before


# --- every blocker and warning


@pytest.mark.parametrize(
    ("code", "given"),
    [
        ("hostname_bad", {"hostname": "web_01"}),
        ("hostname_bad", {"hostname": ""}),
        ("template_missing", {"template": {"vmid": 4242}}),
        ("template_elsewhere", {"template": {"server": "other", "vmid": 9000}}),
        ("node_unknown", {"node": "pve9"}),
        ("storage_missing", {"storage": "nowhere", "full_clone": True}),
        ("storage_content", {"storage": "local", "full_clone": True}),
        ("bridge_missing", {"network": {"type": "dhcp", "bridge": "vmbr9"}}),
        ("disk_smaller", {"disk_gb": 1}),
        ("storage_full", {"disk_gb": 131_072, "full_clone": True}),
        ("memory_above_total", {"memory_mb": 4_000_000}),
        ("cpu_above_node", {"cpu_cores": 1000}),
        ("pool_missing", {"pool": "nowhere"}),
        ("address_missing", {"network": {"type": "static", "subnet_mask": 24}}),
        ("mask_missing", {"network": {"type": "static", "ip_address": "10.20.30.9"}}),
        ("gateway_missing", {"network": {"type": "static", "ip_address": "10.20.30.9", "subnet_mask": 24}}),
        ("address_unusable", {"network": {**static("10.20.30.0")}}),
        ("address_unusable", {"network": {**static("10.20.30.255")}}),
        ("gateway_outside", {"network": {**static("10.20.31.9")}}),
        (
            "gateway_outside",
            {
                "network": {
                    "ipv6": {"type": "static", "address": "2001:db8::9", "prefix": 64, "gateway": "2001:db8:1::1"}
                }
            },
        ),
        ("mask_missing", {"network": {"ipv6": {"type": "static", "address": "2001:db8::9"}}}),
        ("agent_unlikely", {"template": {"vmid": 9003}, "start_after_creation": True}),
        ("inherited", {}),
        ("vmid_chosen", {}),
    ],
)
async def test_what_is_wrong_with_a_request_is_found(comserv: Installed, code: str, given: dict[str, Any]) -> None:
    found = await comserv.plan(**given)
    assert code in found, found
    assert found[code].text and (found[code].cure or found[code].level == "note")


async def test_an_address_of_a_guest_that_we_know_is_taken(comserv: Installed, pve: Pve) -> None:
    address = free_address()
    job = await comserv.created(network=static(address))
    found = (await comserv.plan(network=static(address)))["address_taken"]
    assert job.title.removeprefix("Create ") in found.text and found.field == "network.ip_address"


async def test_a_static_address_needs_a_cloud_init_drive(comserv: Installed, pve: Pve) -> None:
    node = home(pve)
    pve.done("POST", f"/nodes/{node}/qemu", vmid=5104, name="bare", scsi0="local-lvm:1", template=1)
    bare = {"template": {"server": "lab", "vmid": 5104}}
    assert "cloud_init_missing" in await comserv.plan(**bare, network=static(free_address()))
    assert "cloud_init_unused" in await comserv.plan(**bare, cloud_init={"user": "ops"})


async def test_a_vm_or_a_container_is_no_template(comserv: Installed, pve: Pve) -> None:
    vm = next(guest for guest in pve.world()["guests"] if guest["type"] == "qemu" and not guest["template"])
    assert "not_a_template" in await comserv.plan(template={"server": "lab", "vmid": vm["vmid"]})
    found = next((guest for guest in pve.world()["guests"] if guest["type"] == "lxc"), None)
    if found:
        plan = await comserv.plan(template={"server": "lab", "vmid": found["vmid"]})
        assert "template_is_container" in plan


async def test_a_local_template_cannot_go_to_another_node(comserv: Installed, pve: Pve) -> None:
    local = next(vmid for vmid in pve.told["templates"] if "local-lvm" in pve.the(vmid)["config"]["scsi0"])
    other = next(node["name"] for node in pve.world()["nodes"] if node["name"] != pve.the(local)["node"])
    assert "template_local" in await comserv.plan(template={"server": "lab", "vmid": local}, node=other)


async def test_a_shared_template_goes_to_another_node_only_by_a_shared_storage(comserv: Installed, pve: Pve) -> None:
    found = await comserv.plan(node=elsewhere(pve), storage="local-lvm", full_clone=True)
    assert "storage_local" in found


async def test_a_full_storage_is_found_and_others_are_named(comserv: Installed, pve: Pve) -> None:
    pve.fault("storage_full", storage="ceph-ssd")

    async def full() -> Any:
        return (await comserv.plan(full_clone=True, storage="ceph-ssd", node=home(pve))).get("storage_full")

    end = time.monotonic() + 5
    while (found := await full()) is None:
        assert time.monotonic() < end
    assert "local-lvm" in found.cure


async def test_memory_beyond_what_is_free_is_a_warning(comserv: Installed, pve: Pve) -> None:
    view = comserv.installation.estate.server("lab").picture.nodes
    node = next(one for one in view if one.name == home(pve))
    assert node.memory and node.memory_used is not None
    asked = (node.memory - node.memory_used // 2) // 1024**2
    found = (await comserv.plan(node=node.name, memory_mb=asked))["memory_tight"]
    assert found.level == "warning"


async def test_a_node_that_is_down_and_one_whose_template_is_unreachable_are_found(
    comserv: Installed, pve: Pve
) -> None:
    other = elsewhere(pve)
    entry = pve.world()["nodes"][0]["name"]
    down = other if other != entry else pve.world()["nodes"][2]["name"]
    pve.fault("node_down", {"node": down})
    end = time.monotonic() + 10
    while "node_down" not in (found := await comserv.plan(node=down)):
        assert time.monotonic() < end, found
    away = next((vmid for vmid in pve.told["templates"] if pve.the(vmid)["node"] == down), None)
    assert away is not None
    found = await comserv.plan(template={"server": "lab", "vmid": away}, node=home(pve))
    assert found.keys() & {"template_node_down", "template_local"}, found


async def test_a_cluster_without_quorum_takes_nothing(comserv: Installed, pve: Pve) -> None:
    entry = pve.world()["nodes"][0]["name"]
    for node in pve.world()["nodes"]:
        if node["name"] != entry:
            pve.fault("node_down", {"node": node["name"]})
    end = time.monotonic() + 10
    while "no_quorum" not in (found := await comserv.plan()):
        assert time.monotonic() < end, found


async def test_a_server_that_does_not_answer_is_a_finding_and_an_old_picture_too(
    comserv: Installed, pve: Pve, monkeypatch: pytest.MonkeyPatch
) -> None:
    pve.fault("server_down")
    found = await comserv.plan()
    assert found["server_unreachable"].level == "blocker" and found["server_unreachable"].cure
    with pytest.raises(PlanBlocked):
        await comserv.create()
    now = comserv.database.clock
    monkeypatch.setattr(comserv.database, "clock", lambda: now() + timedelta(minutes=3))
    assert "picture_old" in await comserv.plan()


async def test_a_creation_asks_a_server_that_was_down_a_moment_ago(comserv: Installed, pve: Pve) -> None:
    pve.fault("server_down")
    await comserv.eventually(lambda: comserv.installation.estate.server("lab").health.failures >= 4)
    pve.heal()
    job = await comserv.ended(await comserv.create())
    assert job.state == "succeeded", job
    await comserv.eventually(lambda: comserv.installation.estate.server("lab").health.state == "up")


async def test_a_slow_server_is_a_warning(comserv: Installed, pve: Pve) -> None:
    pve.fault("delay", {"path": "/cluster/resources"}, times=1, seconds=50)
    await comserv.eventually(lambda: comserv.installation.estate.server("lab").health.state == "slow", 12)
    assert "server_slow" in await comserv.plan()


async def test_a_server_in_maintenance_is_a_blocker(comserv: Installed) -> None:
    await comserv.services.maintenances.begin(ADMIN, "lab")
    try:
        found = (await comserv.plan())["server_in_maintenance"]
        assert found.level == "blocker" and "mara" in found.text and "End the maintenance" in found.cure
    finally:
        await comserv.services.maintenances.end(ADMIN, "lab")
        await comserv.eventually(lambda: comserv.installation.estate.server("lab").health.state == "up")


@contextmanager
def rights(pve: Pve, role: str) -> Iterator[None]:
    """The token's user has only this role."""
    pve.other("PUT", "/access/acl", path="/", users="admin@pve", roles=role)
    pve.other("PUT", "/access/acl", path="/", users="admin@pve", roles="Administrator", delete=1)
    try:
        yield
    finally:
        pve.other("PUT", "/access/acl", path="/", users="admin@pve", roles="Administrator")
        pve.other("PUT", "/access/acl", path="/", users="admin@pve", roles=role, delete=1)


async def test_rights_that_the_token_lacks_are_named_with_their_path(comserv: Installed, pve: Pve) -> None:
    with rights(pve, "PVEAuditor"):
        found = await comserv.plan(disk_gb=20)
        assert found["rights_missing"].level == "blocker" and "pveum acl modify" in found["rights_missing"].cure
        with pytest.raises(PlanBlocked) as refused:
            await comserv.create()
    lacking = [finding.text for finding in refused.value.findings if finding.code == "rights_missing"]
    assert any("VM.Clone at /vms/9000" in text for text in lacking)
    assert any("VM.Allocate" in text for text in lacking)
    assert any("Datastore.AllocateSpace" in text for text in lacking)


async def test_a_template_that_is_locked_is_a_warning(comserv: Installed, pve: Pve) -> None:
    path = f"/nodes/{home(pve)}/qemu/{pve.template}/config"
    pve.other("PUT", path, lock="backup")
    try:
        assert (await comserv.plan())["template_locked"].level == "warning"
    finally:
        pve.other("PUT", path, delete="lock", skiplock=1)


# --- what it says


async def test_the_calls_of_a_plan_are_those_that_the_job_sends(comserv: Installed, pve: Pve) -> None:
    asked = comserv.body(
        memory_mb=700, disk_gb=23, vmid=5200, network=static(free_address()), start_after_creation=True
    )
    plan = await comserv.services.vms.plan(OPERATOR, parse_vm_request(asked))
    job = await comserv.created(**asked)
    sent = [call for call in await comserv.services.jobs.calls(OPERATOR, job.id) if call.upid]
    assert [(one.method, one.path) for one in sent] == [(one.method, one.path) for one in plan.calls]
    for planned, call in zip(plan.calls, sent, strict=True):
        shown = {name for name in planned.parameters if name != "description"}
        assert {name: planned.parameters[name] for name in shown} == {name: call.parameters[name] for name in shown}
    assert plan.placement.node == job.node and plan.placement.reasons


async def test_a_viewer_may_neither_plan_nor_create(comserv: Installed) -> None:
    request = parse_vm_request(comserv.body())
    with pytest.raises(Forbidden):
        await comserv.services.vms.plan(VIEWER, request)
    with pytest.raises(Forbidden):
        await comserv.services.vms.create(VIEWER, request)


async def test_the_form_offers_what_the_server_has_now(comserv: Installed, pve: Pve) -> None:
    pve.other("POST", "/pools", poolid="fresh-pool")
    choices = await comserv.services.vms.choices(OPERATOR, "lab")
    assert {one.guest.key.vmid for one in choices.templates} >= set(pve.told["templates"])
    assert "fresh-pool" in choices.pools and choices.vmid and not choices.problem
    assert all("vmbr0" in names for names in choices.bridges.values())


@pytest.mark.parametrize("effect", [{"status": 503, "text": "service not available"}, {"status": 500}, "garbage"])
async def test_nothing_is_made_of_a_template_that_cannot_be_read_just_now(
    comserv: Installed, pve: Pve, effect: Any
) -> None:
    """It would come out as a full clone without the template's notes, and nobody would have asked for that."""
    name, given = (effect, {}) if isinstance(effect, str) else ("status", effect)
    pve.fault(name, {"method": "GET", "path": f"/qemu/{pve.template}/config$"}, times=1, **given)
    with pytest.raises(PlanBlocked) as refused:
        await comserv.create()
    assert [one.code for one in refused.value.findings if one.level == "blocker"] == ["template_unread"]
    assert (await comserv.created()).result
