"""A creation end to end: everything that was asked is there, and nothing of a secret is kept."""

import pytest

from comserv.domain.errors import PlanBlocked
from comserv.domain.units import MIB
from tests.installed import ADMIN, Installed, Pve, free_address, static, unique

pytestmark = pytest.mark.anyio
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDhdbHPMUyCGAzO7dcVFhTBjbGkDYOVlXRGXRzlZ6AbC mara@example"
PASSWORD = "Sesame-0pen-4711"


async def test_a_linked_clone_with_everything_asked_for_has_everything(comserv: Installed, pve: Pve) -> None:
    pve.other("POST", "/pools", poolid="web-pool")
    address = free_address()
    job = await comserv.created(
        hostname=(name := unique("web")),
        description="Serves the shop.\nAsk Mara.",
        cpu_cores=3,
        memory_mb=1536,
        disk_gb=24,
        pool="web-pool",
        tags=["Prod", "web"],
        network={
            "type": "static",
            "ip_address": address,
            "subnet_mask": "255.255.255.0",
            "gateway": "10.20.30.1",
            "bridge": "vmbr0",
            "vlan": 12,
            "ipv6": {"type": "static", "address": "2001:db8::41", "prefix": 64, "gateway": "2001:db8::1"},
            "dns_servers": ["10.20.30.2", "10.20.30.3"],
            "search_domain": "example.test",
        },
        cloud_init={"user": "ops", "password": PASSWORD, "ssh_keys": [KEY]},
        start_after_creation=True,
        start_on_boot=True,
    )
    vmid = job.vmid or 0
    guest = pve.the(vmid)
    config = guest["config"]
    assert (guest["name"], guest["status"], guest["lock"]) == (name, "running", None)
    assert (config["cores"], config["memory"], config["onboot"]) == ("3", "1536", "1")
    assert config["tags"] == "prod;web"
    assert config["ipconfig0"] == f"ip={address}/24,gw=10.20.30.1,ip6=2001:db8::41/64,gw6=2001:db8::1"
    assert (config["nameserver"], config["searchdomain"]) == ("10.20.30.2 10.20.30.3", "example.test")
    assert config["ciuser"] == "ops" and config["cipassword"] and "bridge=vmbr0" in config["net0"]
    assert "tag=12" in config["net0"] and "size=24G" in config["scsi0"]
    assert config["description"].startswith("Serves the shop.\nAsk Mara.")
    assert "AAAAC3NzaC1lZDI1NTE5" in config["sshkeys"]
    assert any(vmid in pool["guests"] for pool in pve.world()["pools"] if pool["id"] == "web-pool")
    assert job.warnings == () and job.result["vmid"] == vmid
    assert address in job.result["addresses"] and "2001:db8::41" in job.result["addresses"]
    assert [str(step.state) for step in job.steps] == ["done"] * 6
    assert await comserv.secret(job) is None
    assert PASSWORD not in await comserv.everything_written()
    assert len(pve.named(name)) == 1


async def test_the_calls_behind_a_creation_are_kept_with_the_password_masked(comserv: Installed) -> None:
    job = await comserv.created(cloud_init={"user": "ops", "password": PASSWORD})
    calls = await comserv.services.jobs.calls(ADMIN, job.id)
    configure = next(call for call in calls if call.method == "POST" and call.path.endswith("/config"))
    assert configure.parameters["cipassword"] == "•••" and configure.upid
    assert PASSWORD not in str(calls) and PASSWORD not in str(job)


async def test_a_task_that_repeats_the_password_does_not_bring_it_into_the_job(comserv: Installed, pve: Pve) -> None:
    pve.fault("task_fail", {"method": "POST", "path": "/config$"}, exitstatus=f"what is {PASSWORD}?", times=1)
    job = await comserv.ended(await comserv.create(cloud_init={"user": "ops", "password": PASSWORD}))
    assert job.error and job.error.proxmox and "•••" in job.error.proxmox.message
    assert PASSWORD not in await comserv.everything_written()


async def test_a_full_clone_on_the_storage_asked_for_takes_nothing_of_the_template(
    comserv: Installed, pve: Pve
) -> None:
    job = await comserv.created(full_clone=True, storage="local-lvm", node=pve.the(pve.template)["node"])
    disk = pve.the(job.vmid or 0)["config"]["scsi0"]
    assert disk.startswith("local-lvm:vm-") and "base-" not in disk
    assert job.step("grow").state == "skipped" and job.step("start").state == "skipped"
    assert job.warnings == ("The VM was not started, so no agent can report its address.",)


async def test_a_linked_clone_shares_the_templates_disk_and_keeps_its_size(comserv: Installed, pve: Pve) -> None:
    job = await comserv.created()
    disk = pve.the(job.vmid or 0)["config"]["scsi0"]
    size = pve.the(pve.template)["config"]["scsi0"].partition("size=")[2].partition(",")[0]
    assert "base-" in disk and f"size={size}" in disk
    assert pve.the(job.vmid or 0)["status"] == "stopped"


async def test_a_vm_by_dhcp_ends_with_the_address_that_its_agent_reports(comserv: Installed, pve: Pve) -> None:
    job = await comserv.created(start_after_creation=True)
    assert job.warnings == () and job.result["addresses"]
    assert set(job.result["addresses"]) <= {str(one).partition("/")[0] for one in pve.the(job.vmid or 0)["addresses"]}
    view = await comserv.services.guests.get(ADMIN, comserv.key(job))
    assert {one.address for one in view.addresses} == set(job.result["addresses"])


async def test_a_shared_template_can_be_cloned_to_the_other_node(comserv: Installed, pve: Pve) -> None:
    home = pve.the(pve.template)["node"]
    other = next(node["name"] for node in pve.world()["nodes"] if node["name"] != home)
    job = await comserv.created(node=other, start_after_creation=True)
    assert pve.the(job.vmid or 0)["node"] == other and job.result["node"] == other and job.node == other


async def test_a_template_on_local_storage_cannot_go_to_the_other_node(comserv: Installed, pve: Pve) -> None:
    local = next(vmid for vmid in pve.told["templates"] if "local-lvm" in pve.the(vmid)["config"]["scsi0"])
    other = next(node["name"] for node in pve.world()["nodes"] if node["name"] != pve.the(local)["node"])
    with pytest.raises(PlanBlocked) as refused:
        await comserv.create(template={"server": "lab", "vmid": local}, node=other)
    assert "template_local" in {finding.code for finding in refused.value.findings}
    job = await comserv.created(template={"server": "lab", "vmid": local})
    assert pve.the(job.vmid or 0)["node"] == pve.the(local)["node"]


async def test_a_vm_whose_agent_stays_silent_is_made_with_a_warning_that_says_so(comserv: Installed, pve: Pve) -> None:
    pve.fault("agent_silent")
    job = await comserv.created(start_after_creation=True, network=static(free_address()))
    assert job.warnings == ("The agent did not answer within 3 s after the start.",)
    assert pve.the(job.vmid or 0)["status"] == "running"


async def test_a_template_without_an_agent_gives_a_warning_that_says_so(comserv: Installed, pve: Pve) -> None:
    without = {"server": "lab", "vmid": pve.told["templates"][-1]}
    job = await comserv.created(template=without, start_after_creation=True)
    assert job.warnings == ("The guest agent is not enabled, so nothing inside the VM can report its address.",)


async def test_an_agent_that_reports_another_address_gives_a_warning_that_names_both(
    comserv: Installed, pve: Pve
) -> None:
    asked = free_address()
    job = await comserv.create(start_after_creation=True, network=static(asked))
    job = await comserv.until(job, lambda now: now.step("configure").state == "done")
    pve.other("PUT", f"/nodes/{job.node}/qemu/{job.vmid}/config", ipconfig0="ip=10.20.31.77/24")
    job = await comserv.ended(job)
    assert job.state == "succeeded", job
    assert job.warnings == (f"The agent reports 10.20.31.77, asked was {asked}.",)


async def test_a_vm_made_by_us_is_shown_at_once_and_marked_as_ours_until_a_sweep_confirms_it(
    comserv: Installed, pve: Pve
) -> None:
    job = await comserv.created(tags=["fresh"], memory_mb=768)
    view = await comserv.services.guests.get(ADMIN, comserv.key(job))
    assert (view.guest.name, str(view.guest.status), view.guest.tags) == (
        job.title.removeprefix("Create "),
        "stopped",
        ("fresh",),
    )
    await comserv.eventually(lambda: not comserv.view(job).ours)
    assert comserv.view(job).guest.memory == 768 * MIB


async def test_notes_of_the_template_are_carried_over_and_our_marker_stands_below_them(
    comserv: Installed, pve: Pve
) -> None:
    job = await comserv.created()
    notes = pve.the(pve.template)["config"]["description"]
    description = pve.the(job.vmid or 0)["config"]["description"]
    assert description.startswith(notes) and f"comserv:1:{job.id}:lab:{job.vmid}:configured:" in description
    live = await comserv.services.guests.live(ADMIN, comserv.key(job))
    assert live.notes == notes
