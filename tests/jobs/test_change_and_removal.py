"""A first change of a guest, and its end: nobody's edit is overwritten, and nothing is removed but what was named."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from comserv.domain.change import ChangeRequest
from comserv.domain.errors import Conflict, Invalid, NotFound
from comserv.domain.guest import GuestKey
from comserv.domain.job import Job
from comserv.domain.power import PowerAction
from comserv.domain.units import MIB
from tests.installed import ADMIN, OPERATOR, Installed, Pve

pytestmark = pytest.mark.anyio
_vmids = itertools.count(800)


@pytest.fixture(scope="module")
def pve() -> Iterator[Pve]:
    with Pve("--guests", "14", "--templates", "2", "--nodes", "1") as made:
        yield made


async def a_vm(comserv: Installed, running: bool = False, **config: Any) -> GuestKey:
    """A small VM of somebody's, which the list shows already."""
    vmid, pve = next(_vmids), comserv.pve
    given = {"name": f"small-{vmid}", "memory": 64, "cores": 1, "scsi0": "local-lvm:1", **config}
    assert pve.done("POST", "/nodes/pve/qemu", vmid=vmid, start=int(running), **given) == "OK"
    if running:
        pve.wait(lambda: pve.the(vmid)["status"] == "running")
    await comserv.seen(GuestKey("lab", vmid))
    return GuestKey("lab", vmid)


async def change(comserv: Installed, key: GuestKey, digest: str = "", **fields: Any) -> Job:
    return await comserv.services.guests.change(OPERATOR, key, ChangeRequest(**fields), digest=digest)


async def changed(comserv: Installed, key: GuestKey, **fields: Any) -> Job:
    job = await comserv.ended(await change(comserv, key, **fields))
    assert job.state == "succeeded", job
    return job


def config_of(pve: Pve, key: GuestKey) -> dict[str, str]:
    return pve.the(key.vmid)["config"]


# --- change


async def test_everything_of_a_stopped_vm_is_changed_at_once(comserv: Installed, pve: Pve) -> None:
    key = await a_vm(comserv)
    job = await changed(
        comserv, key, cpu_cores=2, memory_mb=128, name="other", tags=("b", "a"), notes="mine", start_on_boot=True
    )
    config = config_of(pve, key)
    assert (config["cores"], config["memory"], config["name"], config["onboot"]) == ("2", "128", "other", "1")
    assert (config["tags"], config["description"]) == ("a;b", "mine") and job.warnings == ()
    view = await comserv.services.guests.get(ADMIN, key)
    assert (view.guest.name, view.guest.memory, sorted(view.guest.tags)) == ("other", 128 * MIB, ["a", "b"])


async def test_what_waits_for_a_restart_of_a_running_vm_is_said_and_a_reboot_from_here_brings_it(
    comserv: Installed, pve: Pve
) -> None:
    made = await comserv.created(start_after_creation=True, memory_mb=512)
    key = comserv.key(made)
    job = await changed(comserv, key, memory_mb=768, name="renamed")
    assert job.result and job.step("configure").result["after_restart"] == ["memory_mb"]
    assert job.warnings == ("The memory will be as asked after the next shutdown and start, or a reboot from here.",)
    assert config_of(pve, key)["memory"] == "512" and pve.the(key.vmid)["pending"]
    live = await comserv.services.guests.live(ADMIN, key)
    assert [(one.key, one.pending) for one in live.pending] == [("memory", "768")]
    rebooted = await comserv.ended(await comserv.services.guests.power(OPERATOR, key, PowerAction.REBOOT))
    assert rebooted.state == "succeeded" and config_of(pve, key)["memory"] == "768", rebooted
    assert not pve.the(key.vmid)["pending"]


async def test_new_notes_keep_our_marker_and_no_notes_keep_it_too(comserv: Installed, pve: Pve) -> None:
    job = await comserv.created()
    key, proof = comserv.key(job), f"comserv:1:{job.id}:lab:{job.vmid}:configured:"
    await changed(comserv, key, notes="Mine, now.")
    assert config_of(pve, key)["description"].startswith("Mine, now.\n") and proof in config_of(pve, key)["description"]
    assert (await comserv.services.guests.live(ADMIN, key)).notes == "Mine, now."
    await changed(comserv, key, notes="")
    assert proof in config_of(pve, key)["description"]
    assert (await comserv.services.guests.live(ADMIN, key)).notes == ""


async def test_a_change_of_what_somebody_else_changed_since_is_not_made(comserv: Installed, pve: Pve) -> None:
    key = await a_vm(comserv)
    digest = (await comserv.services.guests.live(ADMIN, key)).config.digest
    pve.other("PUT", f"/nodes/pve/qemu/{key.vmid}/config", memory=96)
    job = await comserv.ended(await change(comserv, key, digest=digest, memory_mb=128))
    assert job.error and job.error.code == "digest_mismatch" and "overwritten" in job.error.detail
    assert config_of(pve, key)["memory"] == "96"


async def test_a_change_by_somebody_else_as_ours_arrives_is_kept_and_ours_is_made_on_top(
    comserv: Installed, pve: Pve
) -> None:
    key = await a_vm(comserv)
    pve.fault("delay", {"method": "POST", "path": "/config$"}, times=1, seconds=8)
    job = await change(comserv, key, memory_mb=128)
    await comserv.until(job, lambda now: now.step("configure").intent)
    pve.other("PUT", f"/nodes/pve/qemu/{key.vmid}/config", cpulimit="1.5")
    done = await comserv.ended(job)
    assert done.state == "succeeded", done
    assert (config_of(pve, key)["memory"], config_of(pve, key)["cpulimit"]) == ("128", "1.5")


async def test_a_lost_call_does_not_overwrite_what_somebody_else_changed_meanwhile(
    comserv: Installed, pve: Pve
) -> None:
    key = await a_vm(comserv)
    digest = (await comserv.services.guests.live(ADMIN, key)).config.digest
    pve.fault("drop_before", {"method": "POST", "path": "/config$"}, times=1)
    job = await comserv.waiting(await change(comserv, key, digest=digest, memory_mb=128), "outcome_unknown")
    pve.other("PUT", f"/nodes/pve/qemu/{key.vmid}/config", memory=96)
    done = await comserv.ended(job)
    assert done.error and done.error.code == "digest_mismatch", done
    assert config_of(pve, key)["memory"] == "96"


@pytest.mark.parametrize("look", ["/qemu/{vmid}/config$", "/tasks/[^/]+/status$", "/tasks/[^/]+/log$"])
async def test_a_look_that_the_server_refuses_after_a_change_is_made_again(
    comserv: Installed, pve: Pve, look: str
) -> None:
    key = await a_vm(comserv)
    pve.fault("task_slow", {"method": "POST", "path": f"/qemu/{key.vmid}/config$"}, times=1, factor=10)
    job = await comserv.sent(await change(comserv, key, memory_mb=128), "configure")
    pve.fault("status", {"method": "GET", "path": look.format(vmid=key.vmid)}, status=500, text="not today", times=2)
    held = await comserv.waiting(job, "outcome_unknown")
    assert held.waiting and "not today" in held.waiting.text
    done = await comserv.ended(job)
    assert done.state == "succeeded" and config_of(pve, key)["memory"] == "128", done
    assert len(pve.tasks("qmconfig", key.vmid)) == 1


async def test_a_look_that_the_server_refuses_before_anything_was_sent_ends_the_change(
    comserv: Installed, pve: Pve
) -> None:
    key = await a_vm(comserv)
    pve.fault("status", {"method": "GET", "path": f"/qemu/{key.vmid}/config$"}, status=500, text="not today")
    done = await comserv.ended(await change(comserv, key, memory_mb=128))
    assert done.error and done.error.code == "request_refused" and pve.tasks("qmconfig", key.vmid) == [], done


@pytest.mark.parametrize("effect", ["drop_before", "drop_after"])
async def test_a_lost_reply_to_a_change_makes_the_change_once(comserv: Installed, pve: Pve, effect: str) -> None:
    key = await a_vm(comserv)
    digest = (await comserv.services.guests.live(ADMIN, key)).config.digest
    pve.fault(effect, {"method": "POST", "path": "/config$"}, times=1)
    done = await comserv.ended(await change(comserv, key, digest=digest, memory_mb=128))
    assert done.state == "succeeded" and config_of(pve, key)["memory"] == "128", done
    assert len(pve.tasks("qmconfig", key.vmid)) == 1


async def test_a_locked_vm_is_changed_once_its_lock_is_gone(comserv: Installed, pve: Pve) -> None:
    key = await a_vm(comserv)
    path = f"/nodes/pve/qemu/{key.vmid}/config"
    pve.other("PUT", path, lock="backup")
    job = await comserv.waiting(await change(comserv, key, memory_mb=128), "lock")
    pve.other("PUT", path, delete="lock", skiplock=1)
    assert (await comserv.ended(job)).state == "succeeded" and config_of(pve, key)["memory"] == "128"


async def a_container(comserv: Installed, pve: Pve) -> GuestKey:
    found = next(guest for guest in pve.world()["guests"] if guest["type"] == "lxc")
    return GuestKey("lab", found["vmid"])


async def test_a_container_is_changed_at_once_also_while_it_runs(comserv: Installed, pve: Pve) -> None:
    key = await a_container(comserv, pve)
    job = await changed(comserv, key, memory_mb=320, notes="of the lab", tags=("x",))
    assert (config_of(pve, key)["memory"], config_of(pve, key)["tags"]) == ("320", "x")
    assert config_of(pve, key)["description"].strip() == "of the lab" and job.warnings == ()


@pytest.mark.parametrize("effect", ["drop_before", "drop_after", "server_down"])
async def test_a_container_is_changed_also_when_its_server_hiccups(comserv: Installed, pve: Pve, effect: str) -> None:
    key = await a_container(comserv, pve)
    if effect == "server_down":
        pve.fault("delay", {"method": "GET", "path": "/lxc/.*/config$"}, times=1, seconds=6)
        job = await change(comserv, key, memory_mb=384)
        await comserv.until(job, lambda now: now.state == "running")
        pve.fault("server_down")
        job = await comserv.waiting(job, "server_down")
        pve.heal()
    else:
        pve.fault(effect, {"method": "PUT", "path": "/config$"}, times=1)
        job = await change(comserv, key, memory_mb=352 if effect == "drop_before" else 368)
    done = await comserv.ended(job)
    assert done.state == "succeeded", done
    assert config_of(pve, key)["memory"] == str(done.request["change"]["memory_mb"])


@pytest.mark.parametrize("status", [500, 503])
async def test_a_container_that_was_changed_though_the_answer_was_an_error_is_changed(
    comserv: Installed, pve: Pve, status: int
) -> None:
    key = await a_container(comserv, pve)
    rule = {"status": status, "text": "service not available", "carried_out": True}
    pve.fault("status", {"method": "PUT", "path": "/lxc/.*/config$"}, times=1, **rule)
    job = await changed(comserv, key, memory_mb=400 + status)
    assert config_of(pve, key)["memory"] == str(400 + status)
    assert "error" in job.step("configure").note


async def test_a_change_that_changes_nothing_sends_nothing(comserv: Installed, pve: Pve) -> None:
    key = await a_vm(comserv)
    await changed(comserv, key, memory_mb=64)
    assert pve.tasks("qmconfig", key.vmid) == []


# --- the end


async def delete(comserv: Installed, key: GuestKey, name: str = "") -> Job:
    return await comserv.services.guests.delete(OPERATOR, key, name or f"small-{key.vmid}")


async def test_a_guest_is_removed_with_its_disks_and_gone_from_the_list_at_once(comserv: Installed, pve: Pve) -> None:
    key = await a_vm(comserv)
    shown = await comserv.services.guests.deletion(OPERATOR, key)
    assert any("local-lvm:vm-" in text for text in shown.goes) and shown.stays
    done = await comserv.ended(await delete(comserv, key))
    assert done.state == "succeeded" and pve.guest(key.vmid) is None, done
    assert not any(volume["vmid"] == key.vmid for volume in pve.world()["volumes"])
    with pytest.raises(NotFound):
        await comserv.services.guests.get(ADMIN, key)


async def test_a_number_that_is_used_again_at_once_is_shown_again(comserv: Installed, pve: Pve) -> None:
    job = await comserv.created()
    await comserv.ended(await delete(comserv, comserv.key(job), job.title.removeprefix("Create ")))
    again = await comserv.created(vmid=job.vmid)
    assert comserv.view(again).guest.name == again.title.removeprefix("Create ")


async def test_the_name_has_to_be_typed(comserv: Installed, pve: Pve) -> None:
    key = await a_vm(comserv)
    with pytest.raises(Invalid) as refused:
        await delete(comserv, key, "something")
    assert f"small-{key.vmid}" in refused.value.fields["confirm"] and pve.guest(key.vmid)


@pytest.mark.parametrize(
    ("config", "code"),
    [({"running": True}, "running"), ({"protection": 1}, "protected"), ({"lock": "backup"}, "locked")],
)
async def test_what_stands_against_a_removal_is_said_before_anything_is_sent(
    comserv: Installed, pve: Pve, config: dict[str, Any], code: str
) -> None:
    key = await a_vm(comserv, **config)
    shown = await comserv.services.guests.deletion(OPERATOR, key)
    assert code in {finding.code for finding in shown.findings}
    with pytest.raises(Conflict):
        await delete(comserv, key)
    assert pve.guest(key.vmid) and pve.tasks("qmdestroy", key.vmid) == []


async def test_a_guest_under_ha_is_not_removed(comserv: Installed, pve: Pve) -> None:
    key = await a_vm(comserv)
    pve.other("POST", "/cluster/ha/resources", sid=f"vm:{key.vmid}", state="stopped")
    with pytest.raises(Conflict, match="HA"):
        await delete(comserv, key)


async def test_a_guest_that_was_started_after_it_was_asked_for_stays_and_the_job_says_so(
    comserv: Installed, pve: Pve
) -> None:
    key = await a_vm(comserv)
    pve.fault("delay", {"method": "DELETE", "path": f"/qemu/{key.vmid}$"}, times=1, seconds=12)
    job = await delete(comserv, key)
    await comserv.until(job, lambda now: now.step("delete").intent)
    pve.done("POST", f"/nodes/pve/qemu/{key.vmid}/status/start")
    done = await comserv.ended(job)
    assert done.error and done.error.code == "still_running" and pve.guest(key.vmid), done


@pytest.mark.parametrize("first", ["refused", "failed task"])
async def test_a_removal_that_failed_and_is_tried_again_does_not_remove_another_guest_with_the_number(
    comserv: Installed, pve: Pve, first: str
) -> None:
    key = await a_vm(comserv)
    here = f"/nodes/pve/qemu/{key.vmid}"
    if first == "refused":
        pve.fault("delay", {"method": "DELETE", "path": f"/qemu/{key.vmid}$"}, times=1, seconds=12)
        job = await delete(comserv, key)
        await comserv.until(job, lambda now: now.step("delete").intent)
        pve.done("POST", f"{here}/status/start")
    else:
        pve.fault("task_fail", {"method": "DELETE", "path": f"/qemu/{key.vmid}$"}, exitstatus="a fuse blew", times=1)
        job = await delete(comserv, key)
    assert (await comserv.ended(job)).state == "failed"
    pve.done("POST", f"{here}/status/stop")
    pve.done("DELETE", here)
    pve.done("POST", "/nodes/pve/qemu", vmid=key.vmid, name="another", memory=32)
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.error and done.error.code == "another_guest" and pve.the(key.vmid)["name"] == "another", done


async def test_a_template_whose_disk_others_need_stays(comserv: Installed, pve: Pve) -> None:
    source, vmid = await a_vm(comserv), next(_vmids)
    assert pve.done("POST", f"/nodes/pve/qemu/{source.vmid}/template") == "OK"
    assert pve.done("POST", f"/nodes/pve/qemu/{source.vmid}/clone", newid=vmid, name=f"linked-{vmid}") == "OK"
    done = await comserv.ended(await delete(comserv, source))
    assert done.error and done.error.code == "base_in_use" and pve.guest(source.vmid), done


async def test_a_guest_that_was_replaced_before_the_job_began_stays(comserv: Installed, pve: Pve) -> None:
    key = await a_vm(comserv)
    pve.fault("delay", {"method": "GET", "path": f"/qemu/{key.vmid}/config$"}, times=1, after=1, seconds=16)
    job = await delete(comserv, key)
    await comserv.until(job, lambda now: now.step("delete").state == "running")
    pve.done("DELETE", f"/nodes/pve/qemu/{key.vmid}")
    pve.done("POST", "/nodes/pve/qemu", vmid=key.vmid, name="another", memory=32)
    done = await comserv.ended(job)
    assert done.error and done.error.code == "another_guest" and pve.the(key.vmid)["name"] == "another", done


@pytest.mark.parametrize("effect", ["drop_before", "drop_after"])
async def test_a_lost_reply_to_a_removal_removes_once(comserv: Installed, pve: Pve, effect: str) -> None:
    key = await a_vm(comserv)
    pve.fault(effect, {"method": "DELETE", "path": f"/qemu/{key.vmid}$"}, times=1)
    done = await comserv.ended(await delete(comserv, key))
    assert done.state == "succeeded" and pve.guest(key.vmid) is None, done
    assert len(pve.tasks("qmdestroy", key.vmid)) == 1


async def test_another_guest_that_took_the_number_right_after_a_removal_whose_reply_was_lost_stays(
    comserv: Installed, pve: Pve
) -> None:
    key = await a_vm(comserv)
    pve.fault("drop_after", {"method": "DELETE", "path": f"/qemu/{key.vmid}$"}, times=1)
    pve.fault("delay", {"method": "GET", "path": f"/qemu/{key.vmid}/config$"}, times=1, after=2, seconds=16)
    job = await delete(comserv, key)
    await comserv.eventually(lambda: pve.guest(key.vmid) is None)
    pve.done("POST", "/nodes/pve/qemu", vmid=key.vmid, name="another", memory=32)
    done = await comserv.ended(job)
    assert done.state == "succeeded" and pve.the(key.vmid)["name"] == "another", done


@pytest.mark.parametrize("look", ["/qemu/{vmid}/config$", "/tasks$"])
async def test_a_look_that_the_server_refuses_after_a_lost_removal_is_made_again(
    comserv: Installed, pve: Pve, look: str
) -> None:
    key = await a_vm(comserv)
    pve.fault("delay", {"method": "DELETE", "path": f"/qemu/{key.vmid}$"}, times=1, seconds=6)
    pve.fault("drop_after", {"method": "DELETE", "path": f"/qemu/{key.vmid}$"}, times=1)
    job = await delete(comserv, key)
    await comserv.until(job, lambda now: now.step("delete").intent)
    pve.fault("status", {"method": "GET", "path": look.format(vmid=key.vmid)}, status=500, text="not today", times=1)
    done = await comserv.ended(job)
    assert done.state == "succeeded" and pve.guest(key.vmid) is None, done
    assert len(pve.tasks("qmdestroy", key.vmid)) == 1


async def test_a_second_removal_finds_it_gone(comserv: Installed, pve: Pve) -> None:
    key = await a_vm(comserv)
    one, two = await delete(comserv, key), await delete(comserv, key)
    assert [(await comserv.ended(job)).state for job in (one, two)] == ["succeeded", "succeeded"]
    assert (await comserv.get(two)).step("delete").note == "It was not there any more."
    assert len(pve.tasks("qmdestroy", key.vmid)) == 1
