"""Waiting for jobs: their steps as they go on, until all have ended."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from comserv.cli.exits import ComservUnreachable, Exit, Refused
from comserv.cli.output import TONES, console, print_problem

if TYPE_CHECKING:
    from comserv.cli.client import Client

ENDED = ("succeeded", "failed", "cancelled")
LOOK = 0.5
"""Seconds between two looks."""
PATIENCE = 120
"""Seconds without Comserv before waiting ends: it may be restarted meanwhile, and the job goes on by itself."""

GLYPHS = {"done": "✓", "running": "▸", "failed": "✗", "skipped": "–", "waiting": "·"}


async def look(client: "Client", job_id: str) -> dict[str, Any]:
    """The job, also over a restart of Comserv. Raises ComservUnreachable when it stays away."""
    import asyncio

    until = time.monotonic() + PATIENCE
    while True:
        try:
            return await client.get(f"/jobs/{job_id}")
        except ComservUnreachable:
            if time.monotonic() > until:
                raise
        except Refused as refusal:
            if refusal.problem.get("status") not in (502, 503, 504) or time.monotonic() > until:
                raise
        await asyncio.sleep(LOOK * 2)


def _step_line(step: dict[str, Any]) -> str:
    percent = f" {step['percent']:.0f} %" if step["percent"] is not None and step["state"] == "running" else ""
    note = f"  {step['note']}" if step["note"] else ""
    return f"  {GLYPHS[step['state']]} {step['text'] or step['name']}{percent}{note}"


def lines(job: dict[str, Any]) -> list[tuple[str, str]]:
    """The job as lines with their colours."""
    found = [(f"{job['title']}: {job['state']}  ({job['id']})", TONES.get(job["state"], ""))]
    found += [(_step_line(step), TONES.get(step["state"], "")) for step in job["steps"]]
    if job["waiting"]:
        found.append((f"  waiting: {job['waiting']['text'] or job['waiting']['reason']}", "yellow"))
    return found


class Progress:
    """Follows jobs on standard error: in place on a terminal, else a line for each step that changed."""

    def __init__(self) -> None:
        self._console = console(error=True)
        self._told: dict[str, set[str]] = {}

    def tell(self, job: dict[str, Any]) -> None:
        told = self._told.setdefault(job["id"], set())
        for line, style in lines(job):
            key = line.split(" %")[0].rstrip("0123456789") if "▸" in line else line
            if key not in told and not line.lstrip().startswith("·"):
                told.add(key)
                self._console.print(line, style=style, markup=False)


async def wait(client: "Client", jobs: Sequence[dict[str, Any]], quiet: bool = False) -> list[dict[str, Any]]:
    """The jobs as they ended. quiet: no progress."""
    import asyncio

    progress, open_jobs, ended = Progress(), {job["id"]: job for job in jobs}, {}
    while open_jobs:
        for job_id in list(open_jobs):
            job = await look(client, job_id)
            if not quiet:
                progress.tell(job)
            if job["state"] in ENDED:
                ended[job_id] = job
                del open_jobs[job_id]
        if open_jobs:
            await asyncio.sleep(LOOK)
    return [ended[job["id"]] for job in jobs]


def settle(jobs: Sequence[dict[str, Any]], as_json: bool) -> Exit:
    """Tells what went wrong; the exit code for all of them together."""
    for job in jobs:
        if job["error"] and not as_json:
            print_problem(job["error"], as_json)
    states = {job["state"] for job in jobs}
    if "failed" in states:
        return Exit.JOB_FAILED
    return Exit.JOB_CANCELLED if "cancelled" in states else Exit.OK
