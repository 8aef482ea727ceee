"""`comserv account`, `session` and `ssh-key`: what is one's own at a running Comserv; for admins also others' sessions."""

from pathlib import Path
from typing import Annotated, Any

import typer

from comserv.cli.client import Client, speak
from comserv.cli.exits import CommandError, Exit
from comserv.cli.output import Json, ago, facts, print_json, say, table

account = typer.Typer(help="Who the API token belongs to.", no_args_is_help=True)
session = typer.Typer(help="Browsers in which somebody is signed in.", no_args_is_help=True)
ssh_key = typer.Typer(help="Your SSH public keys, to be put into VMs.", no_args_is_help=True)

RowId = Annotated[int, typer.Argument(metavar="ID", min=1, max=2**31 - 1)]
Whose = Annotated[str, typer.Option("--user", metavar="NAME", help="Whose; left away: your own. Admins only.")]


class NotAKey(CommandError):
    exit = Exit.USAGE


@account.command("show")
def show(json: Json = False) -> None:
    """Who you are here, and what role the token has."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.get("/account")

    told = speak(work)
    print_json(told) if json else facts((("name", told["name"]), ("role", told["role"])))


@session.command("list")
def list_sessions(user: Whose = "", json: Json = False) -> None:
    """Where somebody is signed in."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return await client.every("/sessions", person=user)

    found = speak(work)
    if json:
        print_json({"items": found, "next_cursor": None})
        return
    rows = ((s["id"], s["device"], s["address"], ago(s["last_seen"]), ago(s["created_at"])) for s in found)
    table(("ID+", "DEVICE", "FROM", "SEEN", "SIGNED IN"), rows)


@session.command("end")
def end_session(
    session_id: Annotated[int | None, typer.Argument(metavar="[ID]", min=1, max=2**31 - 1)] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them; API tokens stay.")] = False,
    user: Whose = "",
    json: Json = False,
) -> None:
    """Sign a browser out at once, or all of them."""
    if (session_id is None) is not every:
        raise typer.BadParameter("Name the session's ID, or give --all.")

    async def work(client: Client) -> Any:
        path = "/sessions" if session_id is None else f"/sessions/{session_id}"
        return await client.request("DELETE", path, params={"person": user})

    ended = speak(work) or {"ended": 1}
    if json:
        print_json(ended)
        return
    say(f"{ended['ended']} {'session is' if ended['ended'] == 1 else 'sessions are'} over.")


@ssh_key.command("list")
def list_keys(json: Json = False) -> None:
    """Your keys; those marked are ticked when a VM is made on the page."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return await client.every("/account/ssh-keys")

    found = speak(work)
    if json:
        print_json({"items": found, "next_cursor": None})
        return
    rows = ((k["id"], k["name"], k["type"], k["bits"], k["fingerprint"], "yes" if k["default"] else "") for k in found)
    table(("ID+", "NAME", "TYPE", "BITS+", "FINGERPRINT", "TICKED"), rows)


@ssh_key.command("add")
def add_key(
    file: Annotated[Path, typer.Argument(metavar="FILE.pub", help="The public key's file; - for standard input.")],
    name: Annotated[str, typer.Option(help="In place of the key's own comment.")] = "",
    ticked: Annotated[bool, typer.Option("--ticked/--not-ticked", help="When a VM is made on the page.")] = True,
    json: Json = False,
) -> None:
    """Keep a public key. A private one is not even sent."""
    body = {"key": _read(file), "name": name, "default": ticked}

    async def work(client: Client) -> dict[str, Any]:
        return await client.post("/account/ssh-keys", body)

    kept = speak(work)
    print_json(kept) if json else say(f"Kept {kept['name'] or kept['type']}, {kept['fingerprint']}.")


def _read(file: Path) -> str:
    """Raises NotAKey."""
    import sys

    from comserv.domain.sshkey import PRIVATE_FAULT, is_private

    try:
        text = sys.stdin.read() if str(file) == "-" else file.expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NotAKey(f"{file} cannot be read.", str(error)) from None
    if is_private(text):
        raise NotAKey(f"{file} is no public key.", PRIVATE_FAULT, f"Try {file}.pub")
    return text.strip()


@ssh_key.command("change")
def change_key(
    key_id: RowId,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    ticked: Annotated[bool | None, typer.Option("--ticked/--not-ticked", help="When a VM is made on the page.")] = None,
    json: Json = False,
) -> None:
    """Another name, or whether it is ticked when a VM is made."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.request("PATCH", f"/account/ssh-keys/{key_id}", {"name": name, "default": ticked})

    kept = speak(work)
    print_json(kept) if json else say(f"{kept['name'] or kept['type']} is changed.")


@ssh_key.command("remove")
def remove_key(key_id: RowId, json: Json = False) -> None:
    """Not offer a key any more. VMs that have it keep it."""

    async def work(client: Client) -> None:
        await client.request("DELETE", f"/account/ssh-keys/{key_id}")

    speak(work)
    print_json({"removed": key_id}) if json else say(f"Key {key_id} is removed. VMs that have it keep it.")
