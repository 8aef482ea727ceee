"""Power: every verb in every state, with the traps of Proxmox's own state machine (semantics sections 9 and 16)."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest

from comserv.domain.errors import Conflict
from comserv.domain.guest import GuestKey
from comserv.domain.job import Job, JobKind, RunningTask
from comserv.domain.power import PowerAction, power_call
from comserv.jobs import power
from comserv.persistence import jobs
from comserv.services.asking import new_job
from tests.installed import ADMIN, OPERATOR, Installed, Pve

pytestmark = pytest.mark.anyio
_vmids = itertools.count(600)
SAVED = {"vmstatestorage": "local-lvm"}  # where a hibernated VM's memory goes


@pytest.fixture(scope="module")
def pve() -> Iterator[Pve]:
    with Pve("--guests", "14", "--templates", "2", "--nodes", "1") as made:
        yield made


def a_vm(pve: Pve, state: str = "stopped", **config: object) -> int:
    """A small VM of somebody's, in this state."""
    vmid = next(_vmids)
    assert pve.done("POST", "/nodes/pve/qemu", vmid=vmid, name=f"power-{vmid}", memory=64, **SAVED, **config) == "OK"
    if state != "stopped":
        assert pve.done("POST", f"/nodes/pve/qemu/{vmid}/status/start") == "OK"
    if state == "paused":
        assert pve.done("POST", f"/nodes/pve/qemu/{vmid}/status/suspend") == "OK"
    if state == "hibernated":
        assert pve.done("POST", f"/nodes/pve/qemu/{vmid}/status/suspend", todisk=1) == "OK"
    return vmid


def state_of(pve: Pve, vmid: int) -> str:
    guest = pve.the(vmid)
    if guest["status"] == "stopped":
        return "hibernated" if guest["lock"] == "suspended" else "stopped"
    return "paused" if guest["qmpstatus"] == "paused" else "running"


async def ask(comserv: Installed, vmid: int, action: str, kind: str = "qemu") -> Job:
    """The job, whatever the list thinks of the guest: it may be old."""
    key = GuestKey("lab", vmid)
    request = {"action": action, "type": kind, "name": f"power-{vmid}"}
    job = new_job(comserv.database, OPERATOR, JobKind.POWER, f"{action} power-{vmid}", key, "pve", request, ("power",))
    async with comserv.database.write() as tx:
        return await jobs.add(tx, job)


NO = "failed"
TABLE = {
    ("stopped", "start"): "running",
    ("stopped", "shutdown"): "stopped",
    ("stopped", "stop"): "stopped",
    ("stopped", "reboot"): NO,
    ("stopped", "reset"): NO,
    ("stopped", "suspend"): NO,
    ("stopped", "hibernate"): NO,
    ("stopped", "resume"): NO,
    ("running", "start"): "running",
    ("running", "stop"): "stopped",
    ("running", "reset"): "running",
    ("running", "suspend"): "paused",
    ("running", "hibernate"): "hibernated",
    ("running", "resume"): "running",
    ("paused", "start"): NO,
    ("paused", "shutdown"): NO,
    ("paused", "stop"): "stopped",
    ("paused", "reboot"): NO,
    ("paused", "reset"): "paused",
    ("paused", "suspend"): "paused",
    ("paused", "hibernate"): "hibernated",
    ("paused", "resume"): "running",
    ("hibernated", "start"): "running",
    ("hibernated", "shutdown"): NO,
    ("hibernated", "stop"): "hibernated",
    ("hibernated", "reboot"): NO,
    ("hibernated", "reset"): NO,
    ("hibernated", "suspend"): NO,
    ("hibernated", "hibernate"): "hibernated",
    ("hibernated", "resume"): "running",
}


async def test_every_verb_in_every_state_does_what_it_says_or_says_why_not(comserv: Installed, pve: Pve) -> None:
    quiet = {state: a_vm(pve, state) for state in dict.fromkeys(state for state, _ in TABLE)}
    changed = {case for case, state in TABLE.items() if state not in (NO, case[0])}
    vmids = {case: a_vm(pve, case[0]) if case in changed else quiet[case[0]] for case in TABLE}
    asked = {case: await ask(comserv, vmid, case[1]) for case, vmid in vmids.items()}
    found = {}
    for case, job in asked.items():
        done = await comserv.ended(job)
        found[case] = NO if done.state == "failed" else state_of(pve, vmids[case])
        if done.state == "failed":
            assert state_of(pve, vmids[case]) == case[0]
            assert done.error and done.error.detail and done.error.cure
    differing = {case: (TABLE[case], found[case]) for case in TABLE if TABLE[case] != found[case]}
    assert differing == {}


async def test_a_verb_that_changes_nothing_sends_nothing(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve)
    done = await comserv.ended(await ask(comserv, vmid, "stop"))
    assert done.step("power").note == "It was so already."
    assert pve.tasks("qmstop", vmid) == []


async def test_a_guest_with_an_agent_shuts_down_and_reboots_when_it_is_asked(comserv: Installed, pve: Pve) -> None:
    job = await comserv.created(start_after_creation=True)
    vmid, key = job.vmid or 0, comserv.key(job)
    rebooted = await comserv.ended(await comserv.services.guests.power(OPERATOR, key, PowerAction.REBOOT))
    assert rebooted.state == "succeeded" and pve.tasks("qmreboot", vmid)[0]["exitstatus"] == "OK", rebooted
    assert state_of(pve, vmid) == "running"
    done = await comserv.ended(await comserv.services.guests.power(OPERATOR, key, PowerAction.SHUTDOWN))
    assert done.state == "succeeded" and state_of(pve, vmid) == "stopped", done
    assert str(comserv.view(job).guest.status) == "stopped" and comserv.view(job).ours


async def test_a_guest_that_does_not_heed_a_shutdown_goes_on_and_the_job_says_what_to_do(
    comserv: Installed, pve: Pve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "power_call", partial(power_call, wait=timedelta(seconds=10)))
    vmid = a_vm(pve, "running")
    done = await comserv.ended(await ask(comserv, vmid, "shutdown"))
    assert done.error and done.error.code == "shutdown_timeout" and "Stop" in done.error.cure, done
    assert state_of(pve, vmid) == "running"


async def test_a_stop_overrules_our_own_shutdown_that_still_runs(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve, "running")
    key = GuestKey("lab", vmid)
    await comserv.seen(key)
    power_of = comserv.services.guests.power
    shutdown = await comserv.sent(await power_of(OPERATOR, key, PowerAction.SHUTDOWN), "power")
    stop = await power_of(OPERATOR, key, PowerAction.STOP)
    assert (await comserv.ended(stop, 5)).state == "succeeded" and state_of(pve, vmid) == "stopped"
    done = await comserv.ended(shutdown)
    assert done.state == "cancelled", done


async def test_a_locked_guest_is_waited_for(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve, "running")
    pve.other("PUT", f"/nodes/pve/qemu/{vmid}/config", lock="backup")
    job = await comserv.waiting(await ask(comserv, vmid, "stop"), "lock")
    assert job.waiting and "backup" in job.waiting.text and pve.tasks("qmstop", vmid) == []
    pve.other("PUT", f"/nodes/pve/qemu/{vmid}/config", delete="lock", skiplock=1)
    assert (await comserv.ended(job)).state == "succeeded" and state_of(pve, vmid) == "stopped"


async def test_two_starts_at_once_of_which_somebody_else_sends_one_both_end_well(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve)
    pve.fault("delay", {"path": f"/qemu/{vmid}/status/start"}, times=1, seconds=8)
    job = await ask(comserv, vmid, "start")
    await comserv.until(job, lambda now: now.step("power").intent)
    pve.done("POST", f"/nodes/pve/qemu/{vmid}/status/start")
    done = await comserv.ended(job)
    assert done.state == "succeeded" and "so already" in done.step("power").note, done


async def test_two_starts_of_ours_run_one_after_the_other(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve)
    one, two = await ask(comserv, vmid, "start"), await ask(comserv, vmid, "start")
    assert [(await comserv.ended(job)).state for job in (one, two)] == ["succeeded", "succeeded"]
    assert len(pve.tasks("qmstart", vmid)) == 1


async def test_a_start_under_ha_has_not_ended_before_the_guest_runs(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve)
    pve.other("POST", "/cluster/ha/resources", sid=f"vm:{vmid}", state="stopped")
    job = await ask(comserv, vmid, "start")
    done = await comserv.ended(job)
    assert done.state == "succeeded" and state_of(pve, vmid) == "running", done
    assert [task["type"] for task in pve.world()["tasks"] if task["id"] == str(vmid)][-2:] == ["hastart", "qmstart"]
    done = await comserv.ended(await ask(comserv, vmid, "stop"))
    assert done.state == "succeeded" and state_of(pve, vmid) == "stopped", done


async def test_a_failed_start_is_told_in_proxmoxs_words_and_can_be_tried_again(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve, net0="virtio,bridge=vmbr9")
    job = await comserv.ended(await ask(comserv, vmid, "start"))
    assert job.error and job.error.code == "bridge_missing" and "vmbr9" in job.error.title
    pve.other("PUT", f"/nodes/pve/qemu/{vmid}/config", net0="virtio,bridge=vmbr0")
    done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
    assert done.state == "succeeded" and state_of(pve, vmid) == "running", done


@pytest.mark.parametrize("effect", ["drop_before", "drop_after"])
async def test_a_lost_reply_is_looked_for_and_nothing_is_done_twice(comserv: Installed, pve: Pve, effect: str) -> None:
    cases = {"start": "stopped", "stop": "running", "reset": "running", "suspend": "running", "resume": "paused"}
    vmids = {action: a_vm(pve, state) for action, state in cases.items()}
    pve.wait(lambda: all(task["status"] == "stopped" for task in pve.world()["tasks"]))
    before = len(pve.world()["tasks"])
    for vmid in vmids.values():
        pve.fault(effect, {"method": "POST", "path": f"/qemu/{vmid}/status/"}, times=1)
    asked = [await ask(comserv, vmid, action) for action, vmid in vmids.items()]
    done = [await comserv.ended(job) for job in asked]
    assert [job.state for job in done] == ["succeeded"] * 5, done
    assert [state_of(pve, vmid) for vmid in vmids.values()] == ["running", "stopped", "running", "paused", "running"]
    assert len(pve.world()["tasks"]) == before + 5


async def test_a_look_that_the_server_refuses_after_a_lost_reply_is_made_again(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve, "running")
    pve.fault("drop_after", {"method": "POST", "path": f"/qemu/{vmid}/status/"}, times=1)
    current = {"method": "GET", "path": f"/qemu/{vmid}/status/current$"}
    pve.fault("status", current, status=500, text="not today", after=1, times=1)
    done = await comserv.ended(await ask(comserv, vmid, "reset"))
    assert done.state == "succeeded" and len(pve.tasks("qmreset", vmid)) == 1, done


async def test_a_reset_is_not_taken_for_done_because_an_earlier_one_was(comserv: Installed, pve: Pve) -> None:
    """The list of tasks still shows the first one when the second call is lost."""
    vmid = a_vm(pve, "running")
    assert (await comserv.ended(await ask(comserv, vmid, "reset"))).state == "succeeded"
    pve.fault("drop_before", {"method": "POST", "path": f"/qemu/{vmid}/status/reset"}, times=1)
    assert (await comserv.ended(await ask(comserv, vmid, "reset"))).state == "succeeded"
    assert len(pve.tasks("qmreset", vmid)) == 2


async def test_a_guest_that_is_gone_is_told_so(comserv: Installed, pve: Pve) -> None:
    done = await comserv.ended(await ask(comserv, 99_999, "start"))
    assert done.error and done.error.code == "guest_gone"


async def test_a_cancel_of_a_shutdown_can_stop_its_task(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve, "running")
    job = await comserv.sent(await ask(comserv, vmid, "shutdown"), "power")
    await comserv.services.jobs.cancel(OPERATOR, job.id, RunningTask.STOP)
    done = await comserv.ended(job)
    assert done.state == "cancelled" and state_of(pve, vmid) == "running", done


async def test_a_container_starts_shuts_down_stops_and_reboots_and_nothing_else(comserv: Installed, pve: Pve) -> None:
    container = next(guest for guest in pve.world()["guests"] if guest["type"] == "lxc")
    key, vmid = GuestKey("lab", container["vmid"]), container["vmid"]
    if container["status"] == "running":
        pve.done("POST", f"/nodes/pve/lxc/{vmid}/status/stop")
    for action, state in (
        ("start", "running"),
        ("reboot", "running"),
        ("shutdown", "stopped"),
        ("start", "running"),
        ("stop", "stopped"),
    ):
        done = await comserv.ended(await comserv.services.guests.power(OPERATOR, key, PowerAction(action)))
        assert done.state == "succeeded" and pve.the(vmid)["status"] == state, (action, done)
    with pytest.raises(Conflict, match="container"):
        await comserv.services.guests.power(OPERATOR, key, PowerAction.SUSPEND)


async def test_many_are_started_by_a_job_each_and_what_cannot_be_is_said_one_by_one(
    comserv: Installed, pve: Pve
) -> None:
    vmids = [a_vm(pve) for _ in range(3)]
    for vmid in vmids:
        await comserv.seen(GuestKey("lab", vmid))
    keys = [GuestKey("lab", vmid) for vmid in (*vmids, pve.template, 99_998)]
    outcomes = await comserv.services.guests.power_many(OPERATOR, keys, PowerAction.START)
    asked = [one.job for one in outcomes if one.job]
    problems = {one.key.vmid: one.problem.code for one in outcomes if one.problem}
    assert len(asked) == 3 and problems == {pve.template: "conflict", 99_998: "not_found"}
    await asyncio.gather(*(comserv.ended(job) for job in asked))
    assert [state_of(pve, vmid) for vmid in vmids] == ["running"] * 3


async def test_the_live_page_says_of_every_verb_whether_it_makes_sense(comserv: Installed, pve: Pve) -> None:
    vmid = a_vm(pve, "paused")
    await comserv.seen(GuestKey("lab", vmid))
    live = await comserv.services.guests.live(ADMIN, GuestKey("lab", vmid))
    assert {str(action) for action, reason in live.actions.items() if not reason} == {
        "resume",
        "stop",
        "reset",
        "hibernate",
    }
