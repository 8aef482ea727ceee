"""`comserv job`: what was asked for and how it goes."""

from typing import Annotated, Any

import typer

from comserv.cli.bundle import Anonymous, Output, write_bundle
from comserv.cli.client import Client, speak
from comserv.cli.exits import CommandError, Exit
from comserv.cli.jobprogress import lines, settle, wait
from comserv.cli.output import Json, ago, ask, console, facts, interactive, print_json, print_problem, say, table

app = typer.Typer(help="Jobs: what was asked for and how it goes.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until it has ended; the exit code says how.")]


def show_asked(jobs: list[dict[str, Any]], waiting: bool, json: bool) -> None:
    """After something was asked for: its jobs as they stand, or, after `--wait`, as they ended."""
    if json:
        print_json(jobs[0] if len(jobs) == 1 else {"items": jobs, "next_cursor": None})
    elif not waiting:
        for job in jobs:
            say(f"{job['title']}: job {job['id']}")
    else:
        for job in jobs:
            show_result(job)
    code = settle(jobs, json) if waiting else Exit.OK
    if code:
        raise typer.Exit(code)


def show_result(job: dict[str, Any]) -> None:
    for warning in job["warnings"]:
        say(f"Warning: {warning}")
    result = {name: value for name, value in job["result"].items() if isinstance(value, str | int | float | list)}
    facts((name, ", ".join(map(str, value)) if isinstance(value, list) else value) for name, value in result.items())


async def asked(client: Client, job: dict[str, Any], waiting: bool, json: bool) -> list[dict[str, Any]]:
    return await wait(client, [job], quiet=json) if waiting else [job]


@app.command("list")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="create_vm, power, change_guest or delete_guest.")] = None,
    server: Annotated[str, typer.Option(help="Only of this server.")] = "",
    person: Annotated[str, typer.Option(help="Only asked for by this person.")] = "",
    guest: Annotated[str, typer.Option(metavar="SERVER/VMID", help="Only about this guest.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 30,
    json: Json = False,
) -> None:
    """Jobs, newest first."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return await client.every("/jobs", limit, state=state, kind=kind, server=server, person=person, guest=guest)

    jobs = speak(work)
    if json:
        print_json({"items": jobs, "next_cursor": None})
        return
    rows = ((j["id"], j["state"], j["title"], j["server"], j["requested_by"], ago(j["created"])) for j in jobs)
    table(("JOB", "STATE", "WHAT", "SERVER", "BY", "ASKED"), rows)


@app.command("show")
def show(job_id: JobId, json: Json = False) -> None:
    """A job with its steps, its result or its error."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.get(f"/jobs/{job_id}")

    job = speak(work)
    if json:
        print_json(job)
        return
    for line, style in lines(job):
        console().print(line, style=style, markup=False)
    facts((("asked by", job["requested_by"]), ("asked", ago(job["created"])), ("attempt", job["attempt"])))
    show_result(job)
    if job["error"]:
        print_problem(job["error"], False)


@app.command("bundle")
def bundle(job_id: JobId, output: Output = None, anonymous: Anonymous = False) -> None:
    """A .zip for a report: steps, calls, replies as kept, server, log; every secret gone."""
    write_bundle(f"/jobs/{job_id}", output, anonymous)


@app.command("wait")
def wait_for(
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB...", help="One or more ids.")], json: Json = False
) -> None:
    """Wait until jobs have ended; the exit code says how."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return await wait(client, [{"id": job_id} for job_id in job_ids], quiet=json)

    show_asked(speak(work), True, json)


@app.command("cancel")
def cancel(
    job_id: JobId,
    stop_task: Annotated[bool, typer.Option("--stop-task", help="Also stop Proxmox's task that is running.")] = False,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Ask a job to end."""

    async def work(client: Client) -> list[dict[str, Any]]:
        body = {"running_task": "stop" if stop_task else "finish"}
        return await asked(client, await client.post(f"/jobs/{job_id}/cancel", body), wait, json)

    jobs = speak(work)
    if wait and jobs[0]["state"] == "cancelled":
        print_json(jobs[0]) if json else say(f"{jobs[0]['title']}: cancelled.")
        return
    show_asked(jobs, wait, json)


def _secrets(names: list[str], from_stdin: bool) -> dict[str, str]:
    """The value of each name: a JSON object on standard input, or asked for one by one."""
    import json
    import sys

    if not from_stdin:
        return {name: ask(name, "--secrets-stdin", hidden=True) for name in names}
    try:
        return json.loads(sys.stdin.read())
    except ValueError as error:
        raise CommandError("Standard input is no JSON object of secrets.", str(error)) from None


@app.command("retry")
def retry(
    job_id: JobId,
    secret: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Ask for this secret, for example cloud_init.password.")
    ] = None,
    secrets_stdin: Annotated[
        bool, typer.Option("--secrets-stdin", help='Read {"cloud_init.password": "…"} from standard input.')
    ] = False,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Go on with a failed or cancelled job from where it stopped."""
    secrets = _secrets(secret or [], secrets_stdin)

    async def work(client: Client) -> list[dict[str, Any]]:
        return await asked(client, await client.post(f"/jobs/{job_id}/retry", {"secrets": secrets}), wait, json)

    show_asked(speak(work), wait, json)


@app.command("log")
def log(job_id: JobId, json: Json = False) -> None:
    """Every call to Proxmox behind a job, and the last lines of its tasks' logs."""

    async def work(client: Client) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return await client.get(f"/jobs/{job_id}"), await client.every(f"/jobs/{job_id}/calls")

    job, calls = speak(work)
    if json:
        print_json({"items": calls, "next_cursor": None})
        return
    columns = ("AT", "CALL", "STATUS+", "MS+", "TASK")
    table(
        columns,
        ((c["at"][11:19], f"{c['method']} {c['path']}", c["status"], f"{c['ms']:.0f}", c["upid"]) for c in calls),
    )
    for call in calls:
        if call["reply"]:
            say(f"\n{call['method']} {call['path']} answered:\n{call['reply'].strip()}")
    for step in job["steps"]:
        if step["log"]:
            say(f"\n{step['text'] or step['name']}:\n" + "\n".join(step["log"]))


@app.command("remains")
def remains(
    job_id: JobId,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it, where it is provably ours.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """What is left of a creation that did not end well."""

    async def find(client: Client) -> dict[str, Any]:
        return await client.get(f"/jobs/{job_id}/remains")

    async def take_away(client: Client) -> list[dict[str, Any]]:
        return await wait(client, [await client.make("DELETE", f"/jobs/{job_id}/remains", None)], quiet=json)

    found = speak(find)
    if not remove:
        print_json(found) if json else say(found["text"])
        return
    if not yes:
        say(found["text"])
        if not interactive() or not typer.confirm("Remove it?", err=True):
            raise CommandError("Nothing was removed.", cure="Give --yes to remove without being asked.")
    show_asked(speak(take_away), True, json)
