"""How a creation is cancelled, tried again, and taken away; and many of them at once."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from comserv.domain.errors import Conflict, IdempotencyMismatch, PlanBlocked, SecretsMissing
from comserv.domain.job import Job, RunningTask
from comserv.domain.vmrequest import parse_vm_request
from comserv.persistence import reservations
from tests.installed import ADMIN, OPERATOR, Installed, Pve, free_address, static, unique

pytestmark = pytest.mark.anyio
CLONE = {"method": "POST", "path": "/clone$"}
PASSWORD = "Sesame-0pen-4711"


def slowly(pve: Pve, factor: float = 10) -> None:
    pve.fault("task_slow", CLONE, factor=factor, times=1)


async def cloning(comserv: Installed, pve: Pve, **given: object) -> Job:
    """A creation whose clone takes some seconds and has begun."""
    slowly(pve)
    return await comserv.sent(await comserv.create(full_clone=True, **given), "clone")


# --- cancel


async def test_a_cancel_before_anything_was_sent_leaves_nothing(comserv: Installed, pve: Pve) -> None:
    first = await cloning(comserv, pve)
    job = await comserv.waiting(await comserv.create(), "limit")
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    done = await comserv.ended(job)
    assert done.state == "cancelled" and done.warnings == ("No VM was made.",), done
    assert pve.guest(job.vmid or 0) is None
    await comserv.ended(first)


async def test_a_cancel_that_lets_the_running_task_end_says_what_stands_there(comserv: Installed, pve: Pve) -> None:
    job = await cloning(comserv, pve)
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    await comserv.until(job, lambda now: now.cancel_requested and now.state == "running")
    done = await comserv.ended(job)
    name = job.title.removeprefix("Create ")
    assert done.state == "cancelled" and done.step("configure").state == "waiting", done
    assert done.warnings == (
        f"The VM {name} ({job.vmid}) stands on lab as far as its steps went. Nothing was removed.",
    )
    assert len(pve.named(name)) == 1 and pve.the(job.vmid or 0)["lock"] is None


async def test_a_cancel_that_stops_the_running_task_leaves_nothing(comserv: Installed, pve: Pve) -> None:
    pve.fault("task_slow", CLONE, factor=100, times=1)
    job = await comserv.sent(await comserv.create(full_clone=True), "clone")
    await comserv.services.jobs.cancel(OPERATOR, job.id, RunningTask.STOP)
    done = await comserv.ended(job, 8)
    assert done.state == "cancelled" and done.warnings == ("No VM was made.",), done
    assert pve.guest(job.vmid or 0) is None
    assert pve.task(job.step("clone").upid)["status"] == "stopped"


async def test_a_stop_whose_reply_is_lost_is_asked_for_again(comserv: Installed, pve: Pve) -> None:
    pve.fault("task_slow", CLONE, factor=100, times=1)
    job = await comserv.sent(await comserv.create(full_clone=True), "clone")
    pve.fault("drop_before", {"method": "DELETE", "path": "/tasks/"}, times=1)
    await comserv.services.jobs.cancel(OPERATOR, job.id, RunningTask.STOP)
    done = await comserv.ended(job, 10)
    assert done.state == "cancelled" and pve.guest(job.vmid or 0) is None, done


async def test_a_cancel_may_change_its_mind_and_stop_the_task(comserv: Installed, pve: Pve) -> None:
    pve.fault("task_slow", CLONE, factor=100, times=1)
    job = await comserv.sent(await comserv.create(full_clone=True), "clone")
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    await asyncio.sleep(0.3)
    await comserv.services.jobs.cancel(OPERATOR, job.id, RunningTask.STOP)
    done = await comserv.ended(job, 10)
    assert done.state == "cancelled" and pve.guest(job.vmid or 0) is None, done


async def test_a_job_that_has_ended_cannot_be_cancelled_and_one_that_runs_cannot_be_tried_again(
    comserv: Installed, pve: Pve
) -> None:
    job = await cloning(comserv, pve)
    with pytest.raises(Conflict):
        await comserv.services.jobs.retry(OPERATOR, job.id)
    done = await comserv.ended(job)
    with pytest.raises(Conflict):
        await comserv.services.jobs.cancel(OPERATOR, job.id)
    with pytest.raises(Conflict):
        await comserv.services.jobs.retry(OPERATOR, done.id)


# --- retry


async def test_a_cancelled_creation_goes_on_from_where_it_stopped(comserv: Installed, pve: Pve) -> None:
    address = free_address()
    job = await cloning(comserv, pve, network=static(address), memory_mb=672, start_after_creation=True)
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    await comserv.ended(job)
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert (done.state, done.attempt, done.warnings) == ("succeeded", 2, ()), done
    assert address in done.result["addresses"] and pve.the(job.vmid or 0)["config"]["memory"] == "672"
    assert sum(call.path.endswith("/clone") for call in await comserv.services.jobs.calls(ADMIN, job.id)) == 1


async def test_a_retry_asks_for_the_password_again_and_uses_it(comserv: Installed, pve: Pve) -> None:
    job = await cloning(comserv, pve, cloud_init={"user": "ops", "password": "first-Secret-1"})
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    job = await comserv.ended(job)
    assert await comserv.secret(job) is None
    with pytest.raises(SecretsMissing) as missing:
        await comserv.services.jobs.retry(OPERATOR, job.id)
    assert missing.value.names == ("cloud_init.password",)
    again = await comserv.services.jobs.retry(OPERATOR, job.id, {"cloud_init.password": PASSWORD})
    done = await comserv.ended(again)
    assert done.state == "succeeded" and pve.the(job.vmid or 0)["config"]["cipassword"], done
    written = await comserv.everything_written()
    assert PASSWORD not in written and "first-Secret-1" not in written
    assert await comserv.secret(job) is None


async def test_a_retry_needs_no_password_once_it_was_used(comserv: Installed, pve: Pve) -> None:
    pve.fault("task_fail", {"path": "/status/start$"}, exitstatus="a fuse blew", times=1)
    job = await comserv.ended(
        await comserv.create(cloud_init={"user": "ops", "password": PASSWORD}, start_after_creation=True)
    )
    assert job.step("start").state == "failed", job
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.state == "succeeded", done


async def test_a_retry_does_not_take_an_address_that_went_to_another_vm_meanwhile(comserv: Installed, pve: Pve) -> None:
    address = free_address()
    job = await cloning(comserv, pve, network=static(address))
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    await comserv.ended(job)
    await comserv.created(network=static(address))
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.error and done.error.code == "address_taken", done
    assert address not in pve.the(job.vmid or 0)["config"]["ipconfig0"]


# --- remove what is ours


async def test_what_a_cancelled_creation_left_is_shown_and_removed(comserv: Installed, pve: Pve) -> None:
    job = await cloning(comserv, pve)
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    await comserv.ended(job)
    remains = await comserv.services.jobs.remains(ADMIN, job.id)
    assert remains.removable and remains.guest == job.guest and job.title.removeprefix("Create ") in remains.text
    done = await comserv.ended(await comserv.services.jobs.remove_remains(OPERATOR, job.id))
    assert done.state == "succeeded" and pve.guest(job.vmid or 0) is None, done
    with pytest.raises(Conflict):
        await comserv.services.jobs.remove_remains(OPERATOR, job.id)


async def test_what_is_left_and_runs_is_not_removed_under_its_users(comserv: Installed, pve: Pve) -> None:
    job = await cloning(comserv, pve)
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    await comserv.ended(job)
    assert pve.done("POST", f"/nodes/{job.node}/qemu/{job.vmid}/status/start") == "OK"
    with pytest.raises(Conflict, match="runs"):
        await comserv.services.jobs.remove_remains(OPERATOR, job.id)


async def test_a_successful_creation_leaves_nothing_to_remove(comserv: Installed) -> None:
    job = await comserv.created()
    assert not (await comserv.services.jobs.remains(ADMIN, job.id)).removable
    with pytest.raises(Conflict):
        await comserv.services.jobs.remove_remains(OPERATOR, job.id)


async def test_a_clone_of_what_we_made_is_nobodys_of_ours(comserv: Installed, pve: Pve) -> None:
    """It carries our marker word for word; neither its number nor its uuid is ours."""
    job = await cloning(comserv, pve)
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    await comserv.ended(job)
    here = f"/nodes/{job.node}/qemu"
    pve.done("POST", f"{here}/{job.vmid}/clone", newid=7201, full=1)
    pve.done("DELETE", f"{here}/{job.vmid}")
    pve.done("POST", f"{here}/7201/clone", newid=job.vmid, full=1)
    assert f"comserv:1:{job.id}" in pve.the(job.vmid or 0)["config"]["description"]
    remains = await comserv.services.jobs.remains(ADMIN, job.id)
    assert not remains.removable and "it is a copy" in remains.text
    with pytest.raises(Conflict):
        await comserv.services.jobs.remove_remains(OPERATOR, job.id)
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.error and done.error.code == "not_ours", done
    assert pve.guest(job.vmid or 0) is not None


async def test_a_restored_backup_of_what_we_made_is_nobodys_of_ours(comserv: Installed, pve: Pve) -> None:
    job = await cloning(comserv, pve)
    await comserv.services.jobs.cancel(OPERATOR, job.id)
    await comserv.ended(job)
    assert pve.done("POST", f"/nodes/{job.node}/vzdump", vmid=job.vmid, storage="local") == "OK"
    content = pve.other("GET", f"/nodes/{job.node}/storage/local/content", content="backup", vmid=job.vmid)
    pve.done("DELETE", f"/nodes/{job.node}/qemu/{job.vmid}")
    restored = pve.done(
        "POST", f"/nodes/{job.node}/qemu", vmid=job.vmid, archive=content[0]["volid"], unique=1, storage="local-lvm"
    )
    assert restored == "OK" and f"comserv:1:{job.id}" in pve.the(job.vmid or 0)["config"]["description"]
    remains = await comserv.services.jobs.remains(ADMIN, job.id)
    assert not remains.removable and "it is a copy" in remains.text


# --- many at once


async def test_many_creations_of_one_template_at_once_do_not_collide(comserv: Installed, pve: Pve) -> None:
    jobs = await asyncio.gather(*(comserv.create(memory_mb=512) for _ in range(4)))
    done = [await comserv.ended(job, 60) for job in jobs]
    assert Counter(job.state for job in done) == {"succeeded": 4}, done
    assert len({job.vmid for job in done}) == 4
    for job in done:
        assert [guest["vmid"] for guest in pve.named(job.title.removeprefix("Create "))] == [job.vmid]
    async with comserv.database.read() as tx:
        assert await reservations.every(tx) == ()


async def test_a_plan_counts_what_running_jobs_will_take(comserv: Installed, pve: Pve) -> None:
    address, name = free_address(), unique()
    job = await cloning(comserv, pve, hostname=name, network=static(address), vmid=7300, disk_gb=64)
    findings = await comserv.plan(hostname=name.upper(), network=static(address), vmid=7300)
    assert {"hostname_taken", "address_taken", "vmid_taken"} <= findings.keys()
    await comserv.ended(job)
    with pytest.raises(PlanBlocked):
        await comserv.create(hostname=name)


async def test_the_same_request_twice_at_once_with_one_key_makes_one_job(comserv: Installed, pve: Pve) -> None:
    request = parse_vm_request(comserv.body(hostname=(name := unique())))
    key = unique("key")
    create = comserv.services.vms.create
    one, two = await asyncio.gather(create(OPERATOR, request, key), create(OPERATOR, request, key))
    assert one.id == two.id
    assert (await create(OPERATOR, request, key)).id == one.id
    await comserv.ended(one)
    assert (await create(OPERATOR, request, key)).id == one.id
    assert len(pve.named(name)) == 1
    with pytest.raises(IdempotencyMismatch):
        await create(OPERATOR, parse_vm_request(comserv.body(hostname=unique())), key)


async def test_a_request_whose_twin_was_accepted_while_it_was_planned_gets_the_twins_job(
    comserv: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name and address are taken by then, by the very job that it asks for."""
    request, key = parse_vm_request(comserv.body(hostname=unique(), network=static(free_address()))), unique("key")
    vms, twins = comserv.services.vms, []
    plan = vms._plan

    async def planned_late(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(vms, "_plan", plan)
        twins.append(await vms.create(OPERATOR, request, key))
        return await plan(*given, **more)

    monkeypatch.setattr(vms, "_plan", planned_late)
    assert (await vms.create(OPERATOR, request, key)).id == twins[0].id
    await comserv.ended(twins[0])


async def test_two_requests_for_one_name_at_once_make_one_vm(comserv: Installed, pve: Pve) -> None:
    name = unique()
    tried = await asyncio.gather(comserv.create(hostname=name), comserv.create(hostname=name), return_exceptions=True)
    jobs = [one for one in tried if isinstance(one, Job)]
    refused = [one for one in tried if isinstance(one, PlanBlocked)]
    assert (len(jobs), len(refused)) == (1, 1), tried
    assert [finding.code for finding in refused[0].findings if finding.level == "blocker"] == ["hostname_taken"]
    await comserv.ended(jobs[0])
    assert len(pve.named(name)) == 1
