"""`comserv guest`: VMs and containers of all servers."""

import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from comserv.cli.client import Client, speak
from comserv.cli.exits import CommandError, Exit
from comserv.cli.job import Wait, show_asked
from comserv.cli.jobprogress import wait as wait_for_jobs
from comserv.cli.outages import tell_missing
from comserv.cli.output import Json, ago, ask, facts, note, percent, print_json, say, size, table

app = typer.Typer(help="VMs and containers of all servers.", no_args_is_help=True)

Guest = Annotated[str, typer.Argument(metavar="GUEST", help="SERVER/VMID, or its name where that is unique.")]
Many = Annotated[list[str], typer.Argument(metavar="GUEST...", help="One or more: SERVER/VMID, or unique names.")]


class NoSuchGuest(CommandError):
    exit = Exit.NOT_FOUND


class NotUnique(CommandError):
    exit = Exit.CONFLICT


async def path_of(client: Client, text: str) -> str:
    """`/guests/rack/105` for `rack/105` or for a name. Raises NoSuchGuest, NotUnique."""
    if re.fullmatch(r"[a-z0-9-]+/\d{3,9}", text):
        return f"/guests/{text}"
    found = [guest for guest in await client.every("/guests", text=text) if guest["name"] == text]
    places = [f"{guest['server']}/{guest['vmid']}" for guest in found]
    if not places:
        raise NoSuchGuest(f"There is no guest {text}.", cure="`comserv guest list` shows those there are.")
    if len(places) > 1:
        raise NotUnique(f"{text} is the name of {len(places)} guests.", ", ".join(places), "Name it as SERVER/VMID.")
    return f"/guests/{places[0]}"


@app.command("list")
def list_guests(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="Part of a name, VM id, tag or address.")] = "",
    server: Annotated[list[str] | None, typer.Option(help="Only of this server.")] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only on this node.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="running, stopped, paused, suspended, unknown, locked or stale."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag.")] = None,
    type: Annotated[list[str] | None, typer.Option(help="qemu or lxc.")] = None,
    template: Annotated[
        bool | None, typer.Option("--templates/--no-templates", help="Only templates, or all but templates.")
    ] = None,
    sort: Annotated[
        str, typer.Option(help="name, vmid, server, node, status, cpu, memory, disk, uptime; - turns it.")
    ] = "name",
    limit: Annotated[int | None, typer.Option(help="At most so many; left away: all.", min=1)] = None,
    json: Json = False,
) -> None:
    """Guests of all servers, as last seen."""

    async def work(client: Client) -> dict[str, Any]:
        filters = {"text": text, "server": server, "node": node, "status": status, "tag": tag, "type": type}
        return await client.whole("/guests", limit, **filters, template=template, sort=sort)

    found = speak(work)
    guests, missing = found["items"], found["incomplete"]
    if json:
        print_json(found)
        return
    tell_missing(missing, found["servers"])
    columns = ("NAME", "STATUS", "GUEST", "NODE", "CPU+", "MEMORY+", "DISK+", "ADDRESS", "TAGS", "SEEN")
    table(columns, (_row(guest) for guest in guests))


def _row(guest: dict[str, Any]) -> tuple[object, ...]:
    status = "template" if guest["template"] else guest["status"]
    return (
        guest["name"] or guest["vmid"],
        f"{status} ({guest['lock']})" if guest["lock"] else status,
        f"{guest['server']}/{guest['vmid']}",
        guest["node"],
        percent(guest["cpu"]),
        size(guest["memory"]),
        size(guest["disk"]),
        guest["addresses"][0]["address"] if guest["addresses"] else "",
        " ".join(guest["tags"]),
        f"{ago(guest['as_of'])}, stale" if guest["stale"] else ago(guest["as_of"]),
    )


@app.command("show")
def show(
    guest: Guest,
    live: Annotated[bool, typer.Option("--live", help="Ask its server now.")] = False,
    json: Json = False,
) -> None:
    """A guest as last seen, or, with --live, as it is now."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.get(await path_of(client, guest), live=live or None)

    found = speak(work)
    if json:
        print_json(found)
        return
    now = found.get("live") or found
    facts(
        (
            ("name", found["name"]),
            ("guest", f"{found['server']}/{found['vmid']} ({found['type']})"),
            ("node", found["node"]),
            ("status", now["status"]),
            ("lock", now["lock"]),
            ("cpu", f"{now['cores']:g} × {percent(now['cpu'])}" if now["cores"] and now["cpu"] is not None else ""),
            ("memory", f"{size(now['memory_used'])} of {size(now['memory'])}"),
            ("disk", size(found["disk"])),
            ("addresses", "\n".join(f"{a['address']} ({a['source']})" for a in found["addresses"])),
            ("tags", " ".join(found["tags"])),
            ("pool", found["pool"]),
            ("job", found["job"]),
            ("seen", "just now" if live else ago(found["as_of"]) + (", stale" if found["stale"] else "")),
        )
    )


def power(verb: str) -> Callable[[list[str], bool, bool], None]:
    """The command of one power verb, for one guest or many."""

    def command(guests: Many, wait: Wait = False, json: Json = False) -> None:
        async def work(client: Client) -> list[dict[str, Any]]:
            paths = [await path_of(client, guest) for guest in guests]
            jobs = [await client.make("POST", f"{path}/power", {"action": verb}) for path in paths]
            return await wait_for_jobs(client, jobs, quiet=json) if wait else jobs

        show_asked(speak(work), wait, json)

    return command


POWER = {
    "start": "Start guests.",
    "shutdown": "Ask their systems to shut down.",
    "stop": "Switch guests off at once.",
    "reboot": "Ask their systems to reboot; what waits for a restart applies then.",
    "reset": "Reset VMs at once, like the button.",
    "suspend": "Pause VMs; they stay in memory.",
    "hibernate": "Write VMs' memory to disk and switch them off.",
    "resume": "Let paused or hibernated VMs go on.",
}
for _verb, _help in POWER.items():
    app.command(_verb, help=_help)(power(_verb))


@app.command("change")
def change(
    guest: Guest,
    cpu: Annotated[int | None, typer.Option(help="Cores.", min=1)] = None,
    memory: Annotated[int | None, typer.Option(help="MiB.", min=16)] = None,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="The tags it is to have; --no-tags for none.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all tags away.")] = False,
    notes: Annotated[str | None, typer.Option(help="Its notes.")] = None,
    start_on_boot: Annotated[bool | None, typer.Option("--start-on-boot/--no-start-on-boot")] = None,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Change CPU, memory, name, tags, notes or start on boot."""
    given = {"cpu_cores": cpu, "memory_mb": memory, "name": name, "notes": notes, "start_on_boot": start_on_boot}
    given["tags"] = [] if no_tags else tag
    body = {field: value for field, value in given.items() if value is not None}

    async def work(client: Client) -> list[dict[str, Any]]:
        job = await client.make("PATCH", await path_of(client, guest), body)
        return await wait_for_jobs(client, [job], quiet=json) if wait else [job]

    show_asked(speak(work), wait, json)


@app.command("delete")
def delete(
    guest: Guest,
    yes: Annotated[str, typer.Option("--yes", metavar="NAME", help="The guest's name, instead of being asked.")] = "",
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Remove a guest with its disks. It asks for the guest's name."""

    async def preview(client: Client) -> tuple[str, dict[str, Any]]:
        path = await path_of(client, guest)
        return path, await client.get(f"{path}/deletion")

    path, name = f"/guests/{guest}", yes
    if not yes or "/" not in guest:
        path, told = speak(preview)
        if not yes:
            for sentence in (*told["goes"], *told["stays"], *(finding["text"] for finding in told["findings"])):
                note(sentence)
            name = ask(f"Type {told['confirm']} to delete it", "--yes NAME")

    async def work(client: Client) -> list[dict[str, Any]]:
        job = await client.make("DELETE", path, {"confirm": name})
        return await wait_for_jobs(client, [job], quiet=json) if wait else [job]

    show_asked(speak(work), wait, json)


@app.command("config")
def config(guest: Guest, json: Json = False) -> None:
    """A guest's configuration, as its server has it now."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.get(f"{await path_of(client, guest)}/config")

    found = speak(work)
    if json:
        print_json(found)
        return
    facts(sorted(found["values"].items()))
    for waiting in found["pending"]:
        say(f"waits for the next stop: {waiting['key']} → {waiting['pending'] or 'removed'}")
