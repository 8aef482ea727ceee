"""`comserv vm`: a VM from a template, planned or created."""

from pathlib import Path
from typing import Annotated, Any

import typer

from comserv.cli.client import Client, speak
from comserv.cli.exits import CommandError, Exit
from comserv.cli.job import Wait, asked, show_asked
from comserv.cli.output import TONES, Json, console, facts, print_json, say, secret, size, table

app = typer.Typer(help="A VM from a template: what it would be, and making it.", no_args_is_help=True)


class NotReadable(CommandError):
    exit = Exit.USAGE


def _from_file(path: Path | None) -> dict[str, Any]:
    """The request in a JSON file, `-` for standard input. Raises NotReadable."""
    import json
    import sys

    if path is None:
        return {}
    try:
        found = json.loads(sys.stdin.read() if str(path) == "-" else path.read_text())
    except (OSError, ValueError) as error:
        raise NotReadable(f"{path} cannot be read as JSON.", str(error)) from None
    if not isinstance(found, dict):
        raise NotReadable(f"{path} does not hold a JSON object.")
    return found


def _network(ip: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """`dhcp`, or an address with its prefix length."""
    if ip is None:
        return given
    if ip == "dhcp":
        return {"type": "dhcp", **given}
    address, _, prefix = ip.partition("/")
    return {"type": "static", "ip_address": address, **({"subnet_mask": prefix} if prefix else {}), **given}


def _ipv6(ip6: str | None, gateway6: str | None) -> dict[str, Any] | None:
    """`none`, `auto`, `dhcp`, or an address with its prefix length."""
    if ip6 is None:
        return None
    if ip6 in ("none", "auto", "dhcp"):
        return {"type": ip6}
    address, _, prefix = ip6.partition("/")
    found = {"type": "static", "address": address, "prefix": prefix or None, "gateway": gateway6}
    return {name: value for name, value in found.items() if value is not None}


def _keys(texts: list[str], files: list[Path]) -> list[str]:
    """Public keys as given, and the lines of files like authorized_keys."""
    found = list(texts)
    for file in files:
        try:
            lines = file.expanduser().read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise NotReadable(f"{file} cannot be read.", str(error)) from None
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return found


def _merged(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is given on the command line goes before what the file holds, field by field; None gives nothing."""
    merged = dict(base)
    for name, value in given.items():
        if isinstance(value, dict):
            inner = base.get(name)
            inner = _merged(inner if isinstance(inner, dict) else {}, value)
            if inner:
                merged[name] = inner
        elif value is not None:
            merged[name] = value
    return merged


Hostname = Annotated[str, typer.Argument(metavar="[NAME]", help="The VM's name, which is its host name.")]
File = Annotated[Path | None, typer.Option("--from", metavar="FILE.json", help="The request as JSON; - for stdin.")]
Server = Annotated[str | None, typer.Option(help="On which server.")]
Template = Annotated[int | None, typer.Option(metavar="VMID", help="The template to clone.")]
Node = Annotated[str | None, typer.Option(help="Left away: the plan chooses.")]
Vmid = Annotated[int | None, typer.Option(help="Left away: the next free one.")]
Description = Annotated[str | None, typer.Option(help="Its notes.")]
Cpu = Annotated[int | None, typer.Option(help="Cores.")]
Memory = Annotated[int | None, typer.Option(help="MiB.")]
Disk = Annotated[int | None, typer.Option(help="GiB.")]
Full = Annotated[bool | None, typer.Option("--full-clone/--linked-clone", help="Left away: linked where it can be.")]
StorageName = Annotated[str | None, typer.Option("--storage", help="Of a full clone.")]
Pool = Annotated[str | None, typer.Option(help="Proxmox's pool.")]
Tag = Annotated[list[str] | None, typer.Option(help="One or more.")]
Ip = Annotated[str | None, typer.Option(metavar="ADDRESS/PREFIX", help="Or dhcp.")]
Gateway = Annotated[str | None, typer.Option(metavar="ADDRESS")]
Bridge = Annotated[str | None, typer.Option(help="Left away: the template's.")]
Vlan = Annotated[int | None, typer.Option(min=1, max=4094)]
Ip6 = Annotated[str | None, typer.Option(metavar="ADDRESS/PREFIX", help="Or auto, dhcp, none.")]
Gateway6 = Annotated[str | None, typer.Option(metavar="ADDRESS")]
Dns = Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="One or more.")]
Search = Annotated[str | None, typer.Option("--search-domain")]
User = Annotated[str | None, typer.Option(help="Cloud-init's user.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read cloud-init's password from standard input.")
]
PasswordAsk = Annotated[bool, typer.Option("--password", help="Ask for cloud-init's password.")]
Key = Annotated[list[str] | None, typer.Option("--ssh-key", metavar="KEY", help="A public key; one or more.")]
KeyFile = Annotated[list[Path] | None, typer.Option("--ssh-key-file", help="A file of public keys; one or more.")]
Start = Annotated[bool | None, typer.Option("--start/--no-start", help="Start it when it is made.")]
Agent = Annotated[bool | None, typer.Option("--agent/--no-agent", help="Left away: as the template.")]
OnBoot = Annotated[bool | None, typer.Option("--start-on-boot/--no-start-on-boot")]


def request(
    name: Hostname = "",
    file: File = None,
    server: Server = None,
    template: Template = None,
    node: Node = None,
    vmid: Vmid = None,
    description: Description = None,
    cpu: Cpu = None,
    memory: Memory = None,
    disk: Disk = None,
    full_clone: Full = None,
    storage: StorageName = None,
    pool: Pool = None,
    tag: Tag = None,
    ip: Ip = None,
    gateway: Gateway = None,
    bridge: Bridge = None,
    vlan: Vlan = None,
    ip6: Ip6 = None,
    gateway6: Gateway6 = None,
    dns: Dns = None,
    search_domain: Search = None,
    user: User = None,
    password_stdin: PasswordStdin = False,
    password: PasswordAsk = False,
    ssh_key: Key = None,
    ssh_key_file: KeyFile = None,
    start: Start = None,
    agent: Agent = None,
    start_on_boot: OnBoot = None,
) -> dict[str, Any]:
    """The request's JSON from a file and from flags. Its parameters are the options of `plan` and `create`."""
    word = secret("cloud-init's password", password_stdin, "--password-stdin") if password or password_stdin else None
    network = {"gateway": gateway, "bridge": bridge, "vlan": vlan, "dns_servers": dns, "search_domain": search_domain}
    network = _network(ip, {field: value for field, value in network.items() if value is not None})
    given = {
        "hostname": name or None,
        "server": server,
        "template": {"vmid": template} if template is not None else {},
        "node": node,
        "vmid": vmid,
        "description": description,
        "cpu_cores": cpu,
        "memory_mb": memory,
        "disk_gb": disk,
        "full_clone": full_clone,
        "storage": storage,
        "pool": pool,
        "tags": tag,
        "network": {**network, "ipv6": _ipv6(ip6, gateway6)},
        "cloud_init": {"user": user, "password": word, "ssh_keys": _keys(ssh_key or [], ssh_key_file or []) or None},
        "start_after_creation": start,
        "enable_qemu_agent": agent,
        "start_on_boot": start_on_boot,
    }
    return _merged(_from_file(file), given)


Like = Annotated[
    str | None,
    typer.Option(
        "--like",
        metavar="SERVER/VMID",
        help="Another one like this; its name and address are the next ones. Flags go before.",
    ),
]
MyKeys = Annotated[bool, typer.Option("--my-keys", help="Your own SSH keys too, those that are ticked.")]


async def completed(client: Client, body: dict[str, Any], like: str | None, my_keys: bool) -> dict[str, Any]:
    """The request with what only Comserv knows: the VM that it is to be like, and one's own keys."""
    if like is not None:
        server, _, vmid = like.partition("/")
        if not server or not vmid.isdigit():
            raise typer.BadParameter("Name it as SERVER/VMID, for example rack/105.", param_hint="--like")
        body = _merged(_but_contradicted(await client.get(f"/guests/{server}/{vmid}/request"), body), body)
    if my_keys:
        kept = [key["key"] for key in await client.every("/account/ssh-keys") if key["default"]]
        given = body.get("cloud_init", {}).get("ssh_keys") or []
        body = _merged(body, {"cloud_init": {"ssh_keys": list(dict.fromkeys([*given, *kept]))}})
    return body


def _but_contradicted(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Fixed addresses go where the command line asks for another way to get one."""
    network, wanted = dict(base["network"] or {}), given.get("network", {})
    if wanted.get("type", "static") != "static":
        network |= dict.fromkeys(("ip_address", "subnet_mask", "gateway"))
    if wanted.get("ipv6", {}).get("type", "static") != "static":
        network["ipv6"] = None
    return {**base, "network": network}


def show_plan(plan: dict[str, Any]) -> None:
    place = plan["placement"]
    say(f"On {place['server']} / {place['node']}, storage {place['storage'] or 'as the template'}:")
    for reason in place["reasons"]:
        say(f"  {reason}")
    for finding in plan["findings"]:
        line = f"{finding['level']}: {finding['text']} {finding['cure']}".rstrip()
        console().print(line, style=TONES.get(finding["level"], ""), markup=False)
    for number, call in enumerate(plan["calls"], 1):
        say(f"{number}. {call['method']} {call['path']}")
        for name, value in call["parameters"].items():
            say("     " + f"{name}={value}".strip().replace("\n", "\n       "))


def _with_request_options(command: Any) -> Any:
    """Gives a command all the options of `request`: the framework reads them from the signature."""
    import inspect

    own = [p for p in inspect.signature(command).parameters.values() if p.kind is p.KEYWORD_ONLY]
    asked_for = [p.replace(kind=p.KEYWORD_ONLY) for p in inspect.signature(request).parameters.values()]
    command.__signature__ = inspect.Signature([*asked_for, *own])
    command.__annotations__ = {p.name: p.annotation for p in [*asked_for, *own]}
    return command


@app.command("plan")
@_with_request_options
def plan(*, like: Like = None, my_keys: MyKeys = False, json: Json = False, **options: Any) -> None:
    """What a creation would do, where and why, and what stands against it. Nothing is changed."""
    body = request(**options)

    async def work(client: Client) -> dict[str, Any]:
        return await client.post("/vms/plan", await completed(client, body, like, my_keys))

    made = speak(work)
    print_json(made) if json else show_plan(made)
    if made["blocked"]:
        raise typer.Exit(Exit.CONFLICT)


@app.command("create")
@_with_request_options
def create(
    *,
    like: Like = None,
    my_keys: MyKeys = False,
    idempotency_key: Annotated[
        str, typer.Option(metavar="KEY", help="The same key gives the job that was made first.")
    ] = "",
    wait: Wait = False,
    json: Json = False,
    **options: Any,
) -> None:
    """Make a VM from a template. Flags go before what --from holds."""
    body = request(**options)

    async def work(client: Client) -> list[dict[str, Any]]:
        wanted = await completed(client, body, like, my_keys)
        return await asked(client, await client.make("POST", "/vms", wanted, idempotency_key), wait, json)

    show_asked(speak(work), wait, json)


@app.command("choices")
def choices(server: Annotated[str, typer.Argument(metavar="SERVER")], json: Json = False) -> None:
    """What a server offers: templates, nodes, storages, bridges, pools."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.get("/vms/choices", server=server)

    found = speak(work)
    if json:
        print_json(found)
        return
    rows = found["templates"]
    columns = ("TEMPLATE+", "NAME", "NODE", "CORES+", "MIB+", "GIB+", "CLOUD-INIT", "AGENT")
    yes = {True: "yes", False: "no", None: ""}
    table(
        columns,
        (
            (
                t["vmid"],
                t["name"],
                t["node"],
                t["cores"],
                t["memory_mb"],
                t["disk_gb"],
                yes[t["cloud_init"]],
                yes[t["agent"]],
            )
            for t in rows
        ),
    )
    free = [f"{s['node']} / {s['name']} {size(s['total'])}" for s in found["storages"] if "images" in s["content"]]
    bridges = "\n".join(f"{node}: {', '.join(names)}" for node, names in found["bridges"].items())
    say()
    facts(
        (
            ("storages", "\n".join(free)),
            ("bridges", bridges),
            ("pools", ", ".join(found["pools"])),
            ("next VM id", found["vmid"]),
            ("not known", found["problem"]),
        )
    )
