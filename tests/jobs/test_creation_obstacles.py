"""What a creation finds on its way that is not as it was, and what it makes of it."""

import asyncio
from typing import Any

import pytest

from comserv.domain.job import Job
from tests.installed import ADMIN, OPERATOR, Installed, Pve, free_address, static, unique

pytestmark = pytest.mark.anyio
CLONE = {"method": "POST", "path": "/clone$"}
CONFIG = {"method": "POST", "path": "/config$"}


def slowly(pve: Pve, factor: float = 14, **match: str) -> None:
    """The next task of these takes its time: some seconds."""
    pve.fault("task_slow", match or CLONE, factor=factor, times=1)


async def behind_another(comserv: Installed, pve: Pve, **given: Any) -> tuple[Job, Job]:
    """A creation that waits to clone, since another one of the same template clones slowly."""
    slowly(pve)
    first = await comserv.create(full_clone=True)
    await comserv.sent(first, "clone")
    second = await comserv.waiting(await comserv.create(**given), "limit")
    assert second.step("clone").state == "running", second
    return first, second


def make(pve: Pve, vmid: int, **config: Any) -> None:
    """Somebody else makes a VM."""
    assert pve.done("POST", f"/nodes/{pve.the(pve.template)['node']}/qemu", vmid=vmid, **config) == "OK"


# --- the number and the name


async def test_a_vm_id_that_is_taken_while_the_job_waits_is_left_for_another_one(comserv: Installed, pve: Pve) -> None:
    first, second = await behind_another(comserv, pve)
    make(pve, second.vmid or 0, name="not-ours")
    first, done = await comserv.ended(first), await comserv.ended(second)
    assert (first.state, done.state) == ("succeeded", "succeeded"), done
    assert done.vmid != second.vmid and "taken meanwhile" in done.step("clone").note
    assert pve.the(second.vmid or 0)["name"] == "not-ours"
    assert pve.the(done.vmid or 0)["name"] == done.title.removeprefix("Create ")


async def test_a_vm_id_that_was_asked_for_and_is_taken_meanwhile_fails_the_job(comserv: Installed, pve: Pve) -> None:
    first, second = await behind_another(comserv, pve, vmid=7001)
    make(pve, 7001, name="not-ours")
    await comserv.ended(first)
    done = await comserv.ended(second)
    assert done.error and done.error.code == "vmid_taken" and "7001" in done.error.title
    assert pve.the(7001)["name"] == "not-ours"


async def test_a_vm_id_that_is_taken_as_the_clone_arrives_is_left_once_the_task_list_proves_whose_it_is(
    comserv: Installed, pve: Pve
) -> None:
    pve.fault("delay", CLONE, times=1, seconds=10)
    job = await comserv.create()
    job = await comserv.until(job, lambda now: now.step("clone").intent)
    make(pve, job.vmid or 0, name="not-ours")
    done = await comserv.ended(job)
    assert done.state == "succeeded" and done.vmid != job.vmid, done
    assert "root@pam" in done.step("clone").note
    assert pve.the(job.vmid or 0)["name"] == "not-ours"
    assert len(pve.named(done.title.removeprefix("Create "))) == 1


async def test_a_name_that_is_taken_while_the_job_waits_fails_it_before_anything_is_sent(
    comserv: Installed, pve: Pve
) -> None:
    first, second = await behind_another(comserv, pve, hostname=(name := unique()))
    make(pve, 7002, name=name)
    await comserv.ended(first)
    done = await comserv.ended(second)
    assert done.error and done.error.code == "hostname_taken" and "7002" in done.error.detail
    assert [guest["vmid"] for guest in pve.named(name)] == [7002]


# --- locks


async def test_a_locked_template_is_waited_for(comserv: Installed, pve: Pve) -> None:
    template = pve.the(pve.template)
    path = f"/nodes/{template['node']}/qemu/{pve.template}/config"
    pve.other("PUT", path, lock="backup")
    try:
        job = await comserv.waiting(await comserv.create(), "lock")
        assert job.waiting and "locked (backup)" in job.waiting.text
    finally:
        pve.other("PUT", path, delete="lock", skiplock=1)
    assert (await comserv.ended(job)).state == "succeeded"


LOCKED = "can't lock file '/var/lock/qemu-server/lock-9000.conf' - got timeout"


@pytest.mark.parametrize(
    "fault", [{"effect": "status", "status": 500, "text": LOCKED}, {"effect": "task_fail", "exitstatus": LOCKED}]
)
async def test_a_lock_that_the_clone_did_not_get_within_proxmoxs_10_s_is_waited_for(
    comserv: Installed, pve: Pve, fault: dict[str, Any]
) -> None:
    pve.fault(match=CLONE, times=1, **fault)
    job = await comserv.waiting(await comserv.create(), "lock")
    assert job.waiting and "can't lock file" in job.waiting.text
    done = await comserv.ended(job)
    assert done.state == "succeeded" and len(pve.named(done.title.removeprefix("Create "))) == 1, done


async def test_a_template_that_somebody_else_clones_meanwhile_hinders_nobody(comserv: Installed, pve: Pve) -> None:
    slowly(pve)
    home = pve.the(pve.template)["node"]
    upid = pve.other("POST", f"/nodes/{home}/qemu/{pve.template}/clone", newid=7003, full=1)
    done = await comserv.ended(await comserv.create())
    assert done.state == "succeeded" and len(pve.named(done.title.removeprefix("Create "))) == 1, done
    pve.wait(lambda: pve.task(upid)["status"] == "stopped")


# --- tasks that end badly


async def test_a_storage_that_is_full_midway_fails_the_job_and_a_retry_finishes_it(
    comserv: Installed, pve: Pve
) -> None:
    storage = pve.the(pve.template)["config"]["scsi0"].partition(":")[0]
    pve.fault("delay", CLONE, times=1, seconds=10)
    job = await comserv.create(full_clone=True)
    await comserv.until(job, lambda now: now.step("clone").intent)
    pve.fault("storage_full", storage=storage)
    job = await comserv.ended(job)
    assert job.error and job.error.code == "storage_full" and job.error.proxmox
    assert pve.guest(job.vmid or 0) is None
    remains = await comserv.services.jobs.remains(ADMIN, job.id)
    assert not remains.removable and "Nothing is left" in remains.text
    pve.heal()
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert (done.state, done.attempt, done.vmid) == ("succeeded", 2, job.vmid), done
    assert len(pve.named(job.title.removeprefix("Create "))) == 1


@pytest.mark.parametrize(
    ("match", "step"),
    [
        (CLONE, "clone"),
        (CONFIG, "configure"),
        ({"method": "PUT", "path": "/resize$"}, "grow"),
        ({"method": "POST", "path": "/status/start$"}, "start"),
    ],
)
async def test_a_task_that_fails_fails_its_step_with_proxmoxs_words_and_a_retry_goes_on_from_there(
    comserv: Installed, pve: Pve, match: dict[str, str], step: str
) -> None:
    pve.fault("task_fail", match, exitstatus="a fuse blew", times=1)
    address = free_address()
    job = await comserv.ended(
        await comserv.create(disk_gb=21, memory_mb=640, network=static(address), start_after_creation=True)
    )
    assert job.state == "failed" and job.step(step).state == "failed", job
    assert job.error and job.error.proxmox and "a fuse blew" in job.error.proxmox.message
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.state == "succeeded" and done.warnings == (), done
    config = pve.the(done.vmid or 0)["config"]
    assert config["memory"] == "640" and "size=21G" in config["scsi0"] and address in config["ipconfig0"]
    assert len(pve.named(job.title.removeprefix("Create "))) == 1


async def test_a_clone_that_somebody_stops_on_the_server_fails_the_job_and_says_so(
    comserv: Installed, pve: Pve
) -> None:
    slowly(pve, 60)
    job = await comserv.sent(await comserv.create(full_clone=True), "clone")
    upid = job.step("clone").upid
    pve.other("DELETE", f"/nodes/{upid.split(':')[1]}/tasks/{upid}")
    job = await comserv.ended(job)
    assert job.error and job.error.code == "task_stopped" and "Somebody stopped" in job.error.detail
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.state == "succeeded" and len(pve.named(job.title.removeprefix("Create "))) == 1


# --- the guest is not as it was left


async def test_an_edit_by_somebody_else_during_the_configuration_is_kept(comserv: Installed, pve: Pve) -> None:
    pve.fault("delay", CONFIG, times=1, seconds=25)
    job = await comserv.create(memory_mb=704)
    job = await comserv.until(job, lambda now: now.step("configure").intent)
    pve.other("PUT", f"/nodes/{job.node}/qemu/{job.vmid}/config", cpulimit="1.5")
    done = await comserv.ended(job)
    assert done.state == "succeeded", done
    config = pve.the(job.vmid or 0)["config"]
    assert (config["memory"], config["cpulimit"]) == ("704", "1.5")
    assert "changed the configuration meanwhile" in done.step("configure").note


async def cancelled_after_the_clone(comserv: Installed, pve: Pve, **given: Any) -> Job:
    slowly(pve, 10)
    job = await comserv.sent(await comserv.create(full_clone=True, **given), "clone")
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    job = await comserv.ended(job)
    assert job.state == "cancelled" and job.step("clone").state == "done", job
    return job


@pytest.mark.parametrize("start", [True, False])
async def test_a_vm_that_somebody_starts_before_it_is_configured_says_what_waits_for_a_restart(
    comserv: Installed, pve: Pve, start: bool
) -> None:
    pve.fault("delay", CONFIG, times=1, seconds=25)
    job = await comserv.create(cpu_cores=3, memory_mb=640, start_after_creation=start)
    job = await comserv.until(job, lambda now: now.step("configure").intent)
    assert pve.done("POST", f"/nodes/{job.node}/qemu/{job.vmid}/status/start") == "OK"
    done = await comserv.ended(job)
    assert done.state == "succeeded" and set(pve.the(job.vmid or 0)["pending"]) == {"cores", "memory"}, done
    assert done.result["after_restart"] == ["cores", "memory"]
    said = next(text for text in done.warnings if "Somebody else" in text)
    assert "the cores and the memory" in said and "Reboot it" in said


async def test_what_waited_for_a_restart_and_got_it_before_the_end_is_no_warning(comserv: Installed, pve: Pve) -> None:
    pve.fault("delay", CONFIG, times=1, seconds=25)
    pve.fault("delay", {"method": "PUT", "path": "/resize$"}, times=1, seconds=10)
    job = await comserv.create(memory_mb=640, disk_gb=22)
    job = await comserv.until(job, lambda now: now.step("configure").intent)
    here = f"/nodes/{job.node}/qemu/{job.vmid}/status"
    assert pve.done("POST", f"{here}/start") == "OK"
    job = await comserv.until(job, lambda now: now.step("configure").state == "done")
    assert pve.done("POST", f"{here}/stop") == "OK" and pve.done("POST", f"{here}/start") == "OK"
    done = await comserv.ended(job)
    assert done.state == "succeeded" and not any("Somebody else" in text for text in done.warnings), done
    assert pve.the(job.vmid or 0)["config"]["memory"] == "640"


async def test_a_guest_that_is_deleted_between_two_steps_fails_the_job(comserv: Installed, pve: Pve) -> None:
    job = await cancelled_after_the_clone(comserv, pve)
    pve.done("DELETE", f"/nodes/{job.node}/qemu/{job.vmid}")
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.error and done.error.code == "guest_gone", done
    assert pve.guest(job.vmid or 0) is None


async def deleted_while_cloned(comserv: Installed, pve: Pve) -> Job | None:
    """The deletion waits for the clone's lock, and gives up after 10 s; None where the clone ended before it got it."""
    job = await comserv.sent(await comserv.create(full_clone=True), "clone")
    ended = ""
    while ended != "OK" and pve.tasks("qmclone")[-1]["status"] == "running":
        ended = pve.done("DELETE", f"/nodes/{job.node}/qemu/{job.vmid}")
    done = await comserv.ended(job)
    return done if ended == "OK" else None


async def test_a_guest_that_is_deleted_while_it_is_cloned_fails_the_job(comserv: Installed, pve: Pve) -> None:
    slowly(pve)
    done = None
    for _ in range(6):
        done = done or await deleted_while_cloned(comserv, pve)
    assert done, "no deletion got the lock in time"
    assert done.error and done.error.code == "guest_gone", done
    assert pve.guest(done.vmid or 0) is None


async def test_a_guest_that_was_replaced_by_another_one_with_its_number_is_left_untouched(
    comserv: Installed, pve: Pve
) -> None:
    job = await cancelled_after_the_clone(comserv, pve)
    pve.done("DELETE", f"/nodes/{job.node}/qemu/{job.vmid}")
    make(pve, job.vmid or 0, name="not-ours", memory=333)
    before = pve.the(job.vmid or 0)
    remains = await comserv.services.jobs.remains(ADMIN, job.id)
    assert not remains.removable and "cannot be proven" in remains.text
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.error and done.error.code == "not_ours", done
    assert pve.the(job.vmid or 0) == before


async def test_a_running_guest_that_took_the_number_is_not_taken_for_ours_at_the_start(
    comserv: Installed, pve: Pve
) -> None:
    pve.fault("task_fail", {"path": "/status/start$"}, exitstatus="a fuse blew", times=1)
    job = await comserv.ended(await comserv.create(start_after_creation=True))
    pve.done("DELETE", f"/nodes/{job.node}/qemu/{job.vmid}")
    make(pve, job.vmid or 0, name="not-ours", start=1)
    pve.wait(lambda: pve.the(job.vmid or 0)["status"] == "running")
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.error and done.error.code == "not_ours", done


# --- the server goes and comes back


@pytest.mark.parametrize("step", ["clone", "configure", "start"])
async def test_a_job_is_held_while_its_server_is_down_and_goes_on_when_it_is_back(
    comserv: Installed, pve: Pve, step: str
) -> None:
    path = {"clone": CLONE, "configure": CONFIG, "start": {"path": "/status/start$"}}[step]
    slowly(pve, 12, **path)
    job = await comserv.sent(await comserv.create(full_clone=True, start_after_creation=True), step)
    pve.fault("server_down")
    job = await comserv.waiting(job, "server_down")
    assert job.state == "running" and job.waiting and job.waiting.next_try
    pve.heal()
    done = await comserv.ended(job)
    assert done.state == "succeeded" and len(pve.named(job.title.removeprefix("Create "))) == 1, done


async def test_a_job_is_held_while_its_node_is_down(comserv: Installed, pve: Pve) -> None:
    home = pve.the(pve.template)["node"]
    slowly(pve, 10)
    job = await comserv.sent(await comserv.create(full_clone=True, node=home), "clone")
    pve.fault("node_down", {"node": home})
    job = await comserv.waiting(job, "server_down")
    pve.heal()
    done = await comserv.ended(job)
    assert done.state == "succeeded", done


async def test_what_a_clone_left_that_died_with_its_node_is_named_with_the_command_that_ends_it(
    comserv: Installed, pve: Pve
) -> None:
    home = pve.the(pve.template)["node"]
    slowly(pve, 60)
    job = await comserv.sent(await comserv.create(full_clone=True, node=home), "clone")
    pve.fault("node_down", {"node": home}, dies=True)
    await comserv.waiting(job, "server_down")
    pve.heal()
    job = await comserv.ended(job)
    assert job.state == "failed" and pve.the(job.vmid or 0)["lock"] == "clone", job
    command = f"qm unlock {job.vmid} && qm destroy {job.vmid}"
    remains = await comserv.services.jobs.remains(ADMIN, job.id)
    assert not remains.removable and command in remains.text
    again = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert again.error and again.error.code == "vmid_taken" and command in again.error.cure, again
    pve.other("PUT", f"/nodes/{home}/qemu/{job.vmid}/config", delete="lock", skiplock=1)
    assert pve.done("DELETE", f"/nodes/{home}/qemu/{job.vmid}") == "OK"
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.state == "succeeded" and len(pve.named(job.title.removeprefix("Create "))) == 1, done


async def test_a_cancel_while_the_server_is_down_waits_until_it_is_known_what_became_of_the_clone(
    comserv: Installed, pve: Pve
) -> None:
    slowly(pve, 10)
    job = await comserv.sent(await comserv.create(full_clone=True), "clone")
    pve.fault("server_down")
    job = await comserv.waiting(job, "server_down")
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    job = await comserv.until(job, lambda now: now.cancel_requested)
    assert job.state == "running"
    pve.heal()
    done = await comserv.ended(job)
    assert done.state == "cancelled" and "stands on lab" in done.warnings[-1], done
    assert (await comserv.services.jobs.remains(ADMIN, job.id)).removable


async def test_a_time_in_which_the_server_was_down_is_not_held_against_the_agent(comserv: Installed, pve: Pve) -> None:
    pve.fault("agent_silent")
    job = await comserv.waiting(await comserv.create(start_after_creation=True), "agent")
    pve.fault("server_down")
    job = await comserv.waiting(job, "server_down")
    await asyncio.sleep(3.2)
    pve.heal()
    done = await comserv.ended(job)
    assert done.state == "succeeded" and done.warnings == () and done.result["addresses"], done


async def test_a_cancel_while_the_agent_is_waited_for_leaves_the_vm_as_it_is(comserv: Installed, pve: Pve) -> None:
    pve.fault("agent_silent")
    job = await comserv.waiting(await comserv.create(start_after_creation=True), "agent")
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    done = await comserv.ended(job, 3)
    assert done.state == "cancelled" and "stands on lab" in done.warnings[-1], done
    assert pve.the(job.vmid or 0)["status"] == "running"


async def test_a_vm_that_somebody_stops_while_the_agent_is_waited_for_ends_with_a_warning(
    comserv: Installed, pve: Pve
) -> None:
    pve.fault("agent_silent")
    job = await comserv.waiting(await comserv.create(start_after_creation=True), "agent")
    pve.done("POST", f"/nodes/{job.node}/qemu/{job.vmid}/status/stop")
    done = await comserv.ended(job)
    assert done.warnings == ("The VM does not run any more, so no agent can report its address.",), done


async def test_a_vm_that_somebody_deletes_while_the_agent_is_waited_for_fails_the_job(
    comserv: Installed, pve: Pve
) -> None:
    pve.fault("agent_silent")
    job = await comserv.waiting(await comserv.create(start_after_creation=True), "agent")
    pve.done("POST", f"/nodes/{job.node}/qemu/{job.vmid}/status/stop")
    pve.done("DELETE", f"/nodes/{job.node}/qemu/{job.vmid}")
    done = await comserv.ended(job)
    assert done.state == "failed" or "does not run" in done.warnings[-1], done
    assert pve.guest(job.vmid or 0) is None


async def test_a_clone_that_was_done_by_an_earlier_job_with_the_same_number_is_not_taken_for_ours(
    comserv: Installed, pve: Pve
) -> None:
    """The list of tasks still shows it when the reply to ours is lost."""
    first = await comserv.created(vmid=7100)
    name = first.title.removeprefix("Create ")
    await comserv.ended(await comserv.services.guests.delete(OPERATOR, comserv.key(first), name))
    pve.fault("drop_before", CLONE, times=1)
    done = await comserv.ended(await comserv.create(vmid=7100))
    assert done.state == "succeeded" and pve.the(7100)["name"] == done.title.removeprefix("Create "), done


async def test_a_token_that_is_refused_midway_fails_the_job_and_a_retry_goes_on_once_it_is_good_again(
    comserv: Installed, pve: Pve
) -> None:
    slowly(pve, 10)
    job = await comserv.sent(await comserv.create(full_clone=True), "clone")
    pve.other("PUT", "/access/users/admin@pve", enable=0)
    try:
        job = await comserv.ended(job)
        assert job.error and job.error.code == "token_refused" and "pveum" in job.error.cure, job
    finally:
        pve.other("PUT", "/access/users/admin@pve", enable=1)
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.state == "succeeded" and len(pve.named(job.title.removeprefix("Create "))) == 1, done


# --- lost replies


@pytest.mark.parametrize("effect", ["drop_before", "drop_after"])
async def test_a_creation_of_which_every_reply_is_lost_makes_one_vm_with_everything(
    comserv: Installed, pve: Pve, effect: str
) -> None:
    for match in (CLONE, CONFIG, {"method": "PUT", "path": "/resize$"}, {"method": "POST", "path": "/status/start$"}):
        pve.fault(effect, match, times=1)
    job = await comserv.ended(
        await comserv.create(disk_gb=22, memory_mb=640, start_after_creation=True, network=static(free_address()))
    )
    assert job.state == "succeeded" and job.warnings == (), job
    guest = pve.the(job.vmid or 0)
    assert guest["config"]["memory"] == "640" and "size=22G" in guest["config"]["scsi0"]
    assert guest["status"] == "running" and guest["lock"] is None
    assert len(pve.named(job.title.removeprefix("Create "))) == 1
