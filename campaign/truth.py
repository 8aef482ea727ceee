"""The invariants after a run: against the simulator's own world, and against Comserv's database. Each breach is one line of words."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from campaign import world
from campaign.stage import TOKEN, Stage, Wish
from campaign.world import Json

LIST_FOLLOWS_WITHIN = 15.0  # seconds until Comserv's list shows what is there
ENDED = ("succeeded", "failed", "cancelled")
STATE_WORDS = (" status is ", " is running, ", " is stopped, ", " is paused, ", " is hibernated, ")


async def breaches(stage: Stage) -> list[str]:
    """Everything that is not as it must be, once all jobs have ended and all faults are lifted."""
    after = await _settled(stage)
    jobs = {wish.job: await stage.comserv.ended(wish.job) for wish in stage.wishes if wish.job}
    wrong = list(stage.wrong)
    for wish in stage.wishes:
        if wish.job:
            wrong += _told(wish, jobs[wish.job]) + _true(stage, wish, jobs[wish.job], after)
            wrong += await _same_job_again(stage, wish)
    known = _known_guests(stage, jobs)
    wrong += world.untouched(stage.before, after, stage.touched, not stage.node_died)
    wrong += world.unaccounted(stage.before, after, known | set(stage.others_guests))
    wrong += world.litter(after, broken=stage.node_died)
    wrong += world.done_twice(after, TOKEN, _wished(stage, jobs))
    wrong += world.strays(await stage.simulated.requests(), TOKEN, stage.touched | known, set(stage.templates))
    wrong += _others(stage, after)
    wrong += _kept(stage, jobs)
    if stage.registered:
        wrong += await _listed(stage)
    return wrong


async def _settled(stage: Stage) -> Json:
    """The world once nothing runs there any more; what goes on is told by the checks."""
    for _ in range(60):
        now = await stage.root.world()
        if all(task["status"] != "running" for task in now["tasks"]):
            return now
        await asyncio.sleep(0.25)
    return await stage.root.world()


# --- jobs


def _told(wish: Wish, job: Json) -> list[str]:
    """A job has ended, and says what it has to say."""
    name = f"{job['title']} ({job['id']})"
    wrong = [] if job["state"] in ENDED else [f"{name} has not ended: {job['state']} {job['waiting']}"]
    if job["state"] == "failed":
        error = job["error"] or {}
        wrong += [f"{name} failed without a {part}: {error}" for part in ("title", "cure") if not error.get(part)]
        if error.get("code") == "internal_fault":
            wrong.append(f"{name} failed by a fault of Comserv's: {error}")
    if job["state"] == "succeeded" and (job["error"] or job["waiting"]):
        wrong.append(f"{name} succeeded and says {job['error'] or job['waiting']}")
    running = [step["name"] for step in job["steps"] if step["state"] == "running"]
    return wrong + [f"{name} has ended and its step {step} runs" for step in running]


def _true(stage: Stage, wish: Wish, job: Json, after: Json) -> list[str]:
    """Succeeded means that the world shows it; failed means that it does not, or that the server said otherwise."""
    if wish.shows is None:
        return []
    missing = wish.shows(after, job)
    if job["state"] == "succeeded":
        return [f"{job['title']} succeeded, but {text}" for text in _unexcused(stage, missing)]
    if job["state"] == "failed" and not missing and not (stage.lied_to or stage.other_did or stage.node_died):
        return [f"{job['title']} failed, but all of it is there: {_error(job)}"]
    return []


def _unexcused(stage: Stage, missing: Sequence[str]) -> list[str]:
    """Without what somebody else did."""
    if "gone" in stage.other_did:
        return []
    if "state" in stage.other_did or stage.node_died:
        return [text for text in missing if not any(word in text for word in STATE_WORDS)]
    return list(missing)


def _error(job: Json) -> str:
    error = job["error"] or {}
    said = (error.get("proxmox") or {}).get("message", "")
    return " | ".join(str(part) for part in (error.get("code"), error.get("title"), error.get("detail"), said) if part)


async def _same_job_again(stage: Stage, wish: Wish) -> list[str]:
    """The same key, sent again, answers with the same job."""
    if wish.method == "POST" and wish.path.startswith(("/jobs/", "/servers", "/guests/power")):
        return []  # no job of their own, or several
    status, told = await stage.comserv.ask_patiently(wish.method, wish.path, wish.body, Idempotency_Key=wish.key)
    if status >= 400 or told.get("id") != wish.job:
        return [f"{wish.method} {wish.path} sent again with its key brought {status} {str(told)[:120]}, not {wish.job}"]
    return []


# --- guests


def _known_guests(stage: Stage, jobs: Mapping[str, Any]) -> set[int]:
    """VM ids of the creations that succeeded, or whose remains are told."""
    return {job["vmid"] for job in jobs.values() if job["kind"] == "create_vm" and job["vmid"]} - set(
        stage.others_guests
    )


def _wished(stage: Stage, jobs: Mapping[str, Any]) -> Counter[tuple[str, int]]:
    """What of the things that must not happen twice was asked for, and how often."""
    found: Counter[tuple[str, int]] = Counter()
    for wish in stage.wishes:
        job = jobs.get(wish.job)
        if job is None:
            continue
        if job["kind"] == "create_vm" and job["vmid"]:
            found["clone", job["vmid"]] += job["attempt"]
        elif wish.is_removal and job["vmid"]:
            found["deletion", job["vmid"]] += 1
        elif wish.what:
            found[wish.what] += job["attempt"]
    return found


def _others(stage: Stage, after: Json) -> list[str]:
    """What somebody else made or changed is as that person left it."""
    now, wrong = world.guests(after), []
    for vmid, was in stage.others_guests.items():
        if vmid not in now:
            wrong.append(f"somebody else's guest {vmid} is gone")
        elif now[vmid]["config"] != was["config"]:
            wrong.append(f"somebody else's guest {vmid} was changed")
    for vmid, marks in stage.others_marks.items():
        guest = now.get(vmid)
        wrong += [
            f"somebody else set {key} of {vmid} to {value}, and it is {world.settings(guest).get(key)}"
            for key, value in marks.items()
            if guest and world.settings(guest).get(key) != value
        ]
    return wrong


# --- Comserv's own


def _kept(stage: Stage, jobs: Mapping[str, Any]) -> list[str]:
    rows = stage.comserv.rows
    wrong = rows.left_over(stage.server) if stage.registered else []
    wrong += rows.unaudited({job_id: job["attempt"] for job_id, job in jobs.items()})
    unasked = set(rows.jobs_of(stage.server)) - set(jobs)
    wrong += [f"the job {job} was never asked for" for job in unasked]
    wrong += [
        f"{wish.method} {wish.path} was accepted, and the audit does not tell {wish.audit}"
        for wish in stage.wishes
        if wish.audit and wish.status < 400 and not rows.audited(wish.audit, f"server {stage.server}")
    ]
    retries = sum(wish.retries for wish in stage.wishes)
    told = sum(rows.audited("retry_job", f"job {job}") for job in jobs)
    if told != retries:
        wrong.append(f"the audit has {told} retries of {retries}")
    return wrong


async def _listed(stage: Stage) -> list[str]:
    """Comserv's own list comes to show what is there."""
    wrong: list[str] = []
    for _ in range(int(LIST_FOLLOWS_WITHIN / 0.5)):
        _, told = await stage.comserv.ask_patiently("GET", f"/guests?server={stage.server}&limit=500")
        after = await stage.root.world()
        expected = {vmid: _row(guest) for vmid, guest in world.guests(after).items()}
        found = {
            row["vmid"]: (row["name"], _AS_LISTED.get(row["status"], row["status"])) for row in told.get("items", ())
        }
        if found == expected:
            return []
        different = sorted(vmid for vmid in {*found, *expected} if found.get(vmid) != expected.get(vmid))
        wrong = [f"the list shows {vmid} as {found.get(vmid)}, it is {expected.get(vmid)}" for vmid in different]
        await asyncio.sleep(0.5)
    return wrong


def _row(guest: Json) -> tuple[str, str]:
    state = world.state(guest)
    return guest["name"], _AS_LISTED.get(state, state)


_AS_LISTED = {"paused": "running", "hibernated": "suspended"}
"""Pausing is not told by Proxmox's list, only by a job of ours that did it."""
