"""`comserv server`: Proxmox VE installations."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from comserv.cli.bundle import Anonymous, Output, write_bundle
from comserv.cli.client import Client, speak
from comserv.cli.exits import CommandError, Exit, NotAsked
from comserv.cli.outages import tell_missing
from comserv.cli.output import (
    TONES,
    Json,
    ago,
    ask,
    console,
    facts,
    interactive,
    note,
    percent,
    print_json,
    say,
    secret,
    size,
    table,
)
from comserv.cli.serverload import show_load
from comserv.cli.times import when

DOCTOR_TONES = {"blocked": "red", "partly": "yellow", "works": "green"}
app = typer.Typer(help="Proxmox VE installations, each a single node or a cluster.", no_args_is_help=True)

ServerId = Annotated[str, typer.Argument(metavar="SERVER", help="The server's id.")]
Address = Annotated[
    list[str] | None, typer.Option("--address", metavar="HOST[:PORT]", help="One or more, in order of preference.")
]
TokenId = Annotated[
    str | None, typer.Option("--token-id", metavar="USER@REALM!TOKENID", help="Or a whole PVEAPIToken=… line.")
]
WholeToken = Annotated[
    bool, typer.Option("--token-stdin", help="Read id and value from standard input, as pveum printed them.")
]
TokenStdin = Annotated[bool, typer.Option("--token-secret-stdin", help="Read the token's value from standard input.")]
Name = Annotated[str | None, typer.Option(help="For people.")]
Node = Annotated[str | None, typer.Option("--default-node")]
Fingerprint = Annotated[
    list[str] | None,
    typer.Option(metavar="SHA256", help="Accept this certificate: AA:BB:… of the first address, or ADDRESS=AA:BB:…"),
]
CaFile = Annotated[Path | None, typer.Option("--ca-file", help="Accept certificates of this CA (PEM).")]
SystemTls = Annotated[bool, typer.Option("--system-tls", help="Accept certificates of the system's CAs only.")]


class NotAccepted(CommandError):
    exit = Exit.REFUSED


def _tls(fingerprints: list[str] | None, ca_file: Path | None, system: bool) -> dict[str, Any] | None:
    """How the certificate is verified, where the flags say so."""
    if fingerprints:
        plain = [one for one in fingerprints if "=" not in one]
        by_address = dict(one.split("=", 1) for one in fingerprints if "=" in one)
        return {"mode": "fingerprint", "fingerprint": plain[0] if plain else None, "fingerprints": by_address}
    if ca_file is not None:
        try:
            return {"mode": "ca", "ca_pem": ca_file.read_text()}
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{ca_file} cannot be read.", str(error)) from None
    return {"mode": "system"} if system else None


def _accepted(client: Client, address: str, seen: dict[str, Any]) -> dict[str, Any]:
    """What a person makes of a certificate that was shown. Raises NotAccepted, NotAsked."""
    if seen["trusted_by_system"]:
        note(f"{address} shows a certificate that this system trusts.")
        return {"mode": "system"}
    if not interactive():
        raise NotAsked("An agreement on the certificate", f"--fingerprint {seen['fingerprint']} once compared")
    facts(
        (
            ("certificate", seen["subject"]),
            ("issued by", seen["issuer"]),
            ("valid", f"{seen['not_before']} to {seen['not_after']}"),
            ("fingerprint", seen["fingerprint"]),
        )
    )
    note(
        "Compare it with: pvenode cert info  (or: openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem)"
    )
    if not typer.confirm("Is this its certificate?", err=True):
        raise NotAccepted("The certificate was not accepted.", "Nothing was sent to the server.")
    return {"mode": "fingerprint", "fingerprint": seen["fingerprint"]}


def _token(token_id: str | None, value_stdin: bool, whole_stdin: bool) -> dict[str, str]:
    """`token_id` and `token_secret`, told what was understood. Raises NotAsked, CommandError."""
    from comserv.domain.errors import Invalid
    from comserv.domain.pastedtoken import read_pasted, read_token

    try:
        if whole_stdin:
            given, value = token_id or "", sys.stdin.read()
            note(read_pasted(value).words)
        else:
            given = token_id or ask("Token id (USER@REALM!TOKENID, or the whole PVEAPIToken=… line)", "--token-id")
            both = read_pasted(given).value
            value = "" if both else secret("Token value", value_stdin, "--token-secret-stdin")
        found, value = read_token(given, value)
    except Invalid as error:
        raise CommandError("The token could not be read.", "; ".join(error.fields.values())) from None
    return {"token_id": str(found), "token_secret": value}


def show_stage(stage: dict[str, Any]) -> None:
    line = f"{stage['state']:<8} {stage['stage']:<9} {stage['ms']:>6.0f} ms  {stage['text']}"
    console().print(line, style=TONES.get(stage["state"], "dim"), markup=False)
    if stage["state"] in ("failed", "warning"):
        if stage["proxmox"]:
            say(f"         Proxmox said ({stage['proxmox']['status']}): {stage['proxmox']['message'].strip()}")
        if stage["cure"]:
            say(f"         {stage['cure']}")


@app.command("list")
def list_servers(json: Json = False) -> None:
    """All servers, by id, and how they stand."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.whole("/servers")

    found = speak(work)
    if json:
        print_json(found)
        return
    servers, missing = found["items"], found["incomplete"]
    tell_missing(missing, len(servers))
    columns = ("SERVER", "STATE", "VERSION", "NODES+", "GUESTS+", "CPU+", "MEMORY", "SEEN", "WHY")
    table(columns, (_row(server) for server in servers))


def _row(server: dict[str, Any]) -> tuple[object, ...]:
    trouble = server["health"]["trouble"]
    return (
        server["id"],
        server["state"],
        server["version"],
        len(server["nodes"]),
        server["guests"],
        percent(server["cpu"]),
        f"{size(server['memory_used'])} of {size(server['memory'])}" if server["memory"] else "",
        ago(server["as_of"]),
        trouble["title"] if trouble else _rest(server["maintenance"]),
    )


@app.command("show")
def show(server_id: ServerId, json: Json = False) -> None:
    """A server with its nodes, its health and its last test."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.get(f"/servers/{server_id}")

    server = speak(work)
    print_json(server) if json else show_server(server)


def _rest(maintenance: dict[str, Any] | None) -> str:
    """Why nothing is sent there, and until when; empty where it is."""
    if not maintenance:
        return ""
    by = f"asked for by {maintenance['by']}, " if maintenance["by"] else ""
    until = f"; until {maintenance['until']}" if maintenance["until"] else ""
    return f"{by}{ago(maintenance['since'])}{until}" + (f": {maintenance['why']}" if maintenance["why"] else "")


def show_server(server: dict[str, Any]) -> None:
    trouble = server["health"]["trouble"] or {}
    facts(
        (
            ("server", f"{server['id']} ({server['name']})"),
            ("state", server["state"]),
            ("maintenance", _rest(server["maintenance"])),
            ("why", trouble.get("title")),
            ("do", trouble.get("cure")),
            ("addresses", "\n".join(server["addresses"])),
            ("token", server["token_id"]),
            ("tls", server["tls"]["mode"]),
            ("version", server["version"]),
            ("cluster", server["cluster"]),
            ("guests", f"{server['guests']}, {server['running']} running"),
            ("seen", ago(server["as_of"])),
        )
    )
    for node in server["nodes"]:
        state = "online" if node["online"] else "offline"
        say(
            f"  {node['name']}: {state}, cpu {percent(node['cpu'])}, memory {size(node['memory_used'])} of {size(node['memory'])}"
        )
    if server["last_test"]:
        say(f"\nLast test, {ago(server['last_test']['at'])}:")
        for stage in server["last_test"]["stages"]:
            show_stage(stage)


@app.command("look")
def look(address: Annotated[str, typer.Argument(metavar="HOST[:PORT]")], json: Json = False) -> None:
    """The certificate that stands at an address; nothing is trusted or kept."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.post("/servers/look", {"address": address})

    seen = speak(work)
    print_json(seen) if json else facts(
        (name.replace("_", " "), value) for name, value in seen.items() if name != "pem"
    )


@app.command("pveum")
def pveum(version: Annotated[str, typer.Option(help="The server's version.")] = "9.1") -> None:
    """Lines that make a role, a user and a token for Comserv, to be run on the server itself."""
    from comserv.domain.cluster import Version
    from comserv.domain.pveum import USUAL_TOKEN, setup_lines

    for line in setup_lines(Version(version, version), USUAL_TOKEN):
        say(line)


@app.command("add")
def add(
    server_id: Annotated[str, typer.Argument(metavar="SERVER", help="Its id: stable, in addresses.")],
    address: Address = None,
    token_id: TokenId = None,
    token_secret_stdin: TokenStdin = False,
    token_stdin: WholeToken = False,
    name: Name = None,
    default_node: Node = None,
    fingerprint: Fingerprint = None,
    ca_file: CaFile = None,
    system_tls: SystemTls = False,
    json: Json = False,
) -> None:
    """Register a server; what is not given is asked for. Its certificate is shown and has to be accepted."""
    addresses = address or [ask("Address", "--address")]
    if token_id is None and not token_stdin and interactive():
        note("Lines that make a token on the server are printed by `comserv server pveum`.")
    tls = _tls(fingerprint, ca_file, system_tls)

    async def see(client: Client) -> dict[str, Any]:
        seen = await client.post("/servers/look", {"address": addresses[0]})
        return _accepted(client, addresses[0], seen)

    body = {
        "id": server_id,
        "name": name,
        "addresses": addresses,
        "tls": tls or speak(see),
        **_token(token_id, token_secret_stdin, token_stdin),
        "default_node": default_node,
    }

    async def work(client: Client) -> dict[str, Any]:
        return await client.post("/servers", body)

    server = speak(work)
    print_json(server) if json else show_server(server)


@app.command("test")
def test(server_id: ServerId, json: Json = False) -> None:
    """Test the connection, stage by stage."""

    async def work(client: Client) -> list[dict[str, Any]]:
        stages = []
        async for stage in client.lines(f"/servers/{server_id}/test"):
            stages.append(stage)
            if not json:
                show_stage(stage)
        return stages

    stages = speak(work)
    passed = all(stage["state"] != "failed" for stage in stages)
    if json:
        print_json({"stages": stages, "passed": passed})
    if not passed:
        raise typer.Exit(Exit.CONFLICT)


@app.command("doctor")
def doctor(
    server_id: ServerId,
    again: Annotated[bool, typer.Option("--again", help="Look again first; needs the role admin.")] = False,
    json: Json = False,
) -> None:
    """What the server's token may do, and the lines that give it what is missing."""

    async def work(client: Client) -> dict[str, Any]:
        path = f"/servers/{server_id}/doctor"
        return await client.post(path) if again else await client.get(path)

    found = speak(work)
    print_json(found) if json else show_doctor(found)
    if found["needs_attention"]:
        raise typer.Exit(Exit.CONFLICT)


def show_doctor(found: dict[str, Any]) -> None:
    if found["as_of"] is None:
        say(
            f"The rights of {found['token_id']} were not looked at yet: comserv server doctor {found['server']} --again"
        )
        return
    say(f"What {found['token_id']} may do on {found['server']}, looked at {ago(found['as_of'])}:")
    order = ("blocked", "partly", "works")
    for feature in sorted(found["features"], key=lambda one: order.index(one["state"])):
        line = f"{feature['state']:<8} {feature['title']}"
        console().print(line, style=DOCTOR_TONES[feature["state"]], markup=False)
        if feature["reason"]:
            say(f"         {feature['reason']}")
    for note_ in found["notes"]:
        say(f"{note_['level']}: {note_['text']} {note_['cure']}".rstrip())
    if found["lines"]:
        say("\nRun as root on the server, then look again (--again):")
        say("\n".join(found["lines"]))


def _edit(server_id: str, body: dict[str, Any], json: bool) -> None:
    async def work(client: Client) -> dict[str, Any]:
        return await client.request("PATCH", f"/servers/{server_id}", body)

    server = speak(work)
    print_json(server) if json else show_server(server)


@app.command("certificate")
def certificate(
    server_id: ServerId,
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="SHA256", help="Accept the changed certificate with this fingerprint."),
    ] = None,
    json: Json = False,
) -> None:
    """What every address shows now beside what was agreed; a changed one is accepted by its fingerprint."""

    async def work(client: Client) -> dict[str, Any]:
        review = await client.get(f"/servers/{server_id}/certificates")
        wanted = {_plain(one) for one in accept or ()}
        pins = {at: c["now"]["fingerprint"] for c in review["changed"] for at in c["addresses"]}
        pins = {at: pin for at, pin in pins.items() if _plain(pin) in wanted}
        if not wanted:
            return review
        if wanted != {_plain(pin) for pin in pins.values()}:
            raise NotAccepted("Nothing was accepted.", "No address shows a changed certificate with that fingerprint.")
        return await client.post(f"/servers/{server_id}/certificates", {"fingerprints": pins})

    told = speak(work)
    if json:
        print_json(told)
    elif accept:
        show_server(told)
    else:
        _show_certificates(told)


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(":", "").strip().upper()


def _show_certificates(review: dict[str, Any]) -> None:
    for change in review["changed"]:
        say(f"{', '.join(change['addresses'])} shows another certificate than agreed, and is refused until you decide.")
        table(
            ("WHAT DIFFERS", "AGREED", "SHOWN NOW"), ((r["what"], r["before"], r["now"]) for r in change["differences"])
        )
        say(f"{change['text']} {change['cure']}\nOn the server: {change['command']}")
        say(f"To accept it: --accept {change['now']['fingerprint']}\n")
    for seen in review["agreed"]:
        say(f"{seen['address']} shows what was agreed: {seen['subject']}, until {seen['not_after'][:10]}.")
    for address, why in review["problems"].items():
        say(f"{address} cannot be seen now: {why}")


@app.command("addresses")
def addresses(
    server_id: ServerId,
    take: Annotated[
        list[str] | None,
        typer.Option("--take", metavar="ADDRESS=SHA256", help="Add an offered address with the certificate it shows."),
    ] = None,
    trust_ca: Annotated[
        str | None, typer.Option("--trust-ca", metavar="SHA256", help="Trust the cluster's CA instead of certificates.")
    ] = None,
    json: Json = False,
) -> None:
    """Which address is in use, which fail and why, and what its cluster offers: other nodes, and its own CA."""

    async def work(client: Client) -> dict[str, Any]:
        if take:
            pins = {address: pin for address, _, pin in (one.rpartition("=") for one in take)}
            await client.post(f"/servers/{server_id}/addresses", {"fingerprints": pins})
        if trust_ca:
            await client.post(f"/servers/{server_id}/ca", {"fingerprint": trust_ca})
        server = await client.get(f"/servers/{server_id}")
        return {"server": server, "offers": await client.get(f"/servers/{server_id}/offers")}

    told = speak(work)
    print_json(told) if json else _show_addresses(told["server"], told["offers"])


def _show_addresses(server: dict[str, Any], offers: dict[str, Any]) -> None:
    health = server["health"]
    trouble = {one["address"]: one for one in health["address_troubles"]}
    rows = []
    for address in server["addresses"]:
        bad = trouble.get(address)
        state = "fails" if bad else "in use" if address == health["address"] else "stands by"
        rows.append((address, state, ago(bad["since"]) if bad else "", bad["detail"] if bad else ""))
    table(("ADDRESS", "STATE", "SINCE", "WHY"), rows)
    if offers["problem"]:
        say(f"\nThe cluster could not be read: {offers['problem']} {offers['cure'] or ''}")
    for one in offers["addresses"]:
        if one["known_as"] or one["problem"]:
            say(f"{one['node']}: {'is ' + one['known_as'] if one['known_as'] else one['problem']}")
        else:
            say(f"{one['node']} is offered, {one['subject']}: --take {one['address']}={one['fingerprint']}")
    if (ca := offers["ca"]) and not ca["in_use"]:
        refused = "; ".join(f"{address}: {why}" for address, why in ca["refused_by"].items())
        say(f"The cluster's CA: {refused or '--trust-ca ' + ca['fingerprint']}")


@app.command("token")
def token(
    server_id: ServerId,
    token_id: TokenId = None,
    token_secret_stdin: TokenStdin = False,
    token_stdin: WholeToken = False,
    fewer_rights: Annotated[bool, typer.Option("--fewer-rights", help="Take it though it may do less.")] = False,
    json: Json = False,
) -> None:
    """Replace the token: the new one is tested and compared before the old one is let go."""
    body = {**_token(token_id, token_secret_stdin, token_stdin), "fewer_rights": fewer_rights}

    async def work(client: Client) -> dict[str, Any]:
        return await client.post(f"/servers/{server_id}/token", body)

    done = speak(work)
    if json:
        print_json(done)
        return
    say(f"{done['server']['token_id']} is in use; nothing was interrupted.")
    for word, paths in (("less", done["lost"]), ("more", done["gained"])):
        for path, names in paths.items():
            say(f"It may do {word} at {path}: {', '.join(names)}")
    if done["remove_line"]:
        say(f"On the server, this takes the old one away: {done['remove_line']}")


@app.command("edit")
def edit(
    server_id: ServerId,
    address: Address = None,
    token_id: TokenId = None,
    token_secret_stdin: TokenStdin = False,
    name: Name = None,
    default_node: Node = None,
    gentleness: Annotated[str | None, typer.Option(help="How hard it is asked: gentle, usual or eager.")] = None,
    fingerprint: Fingerprint = None,
    ca_file: CaFile = None,
    system_tls: SystemTls = False,
    json: Json = False,
) -> None:
    """Change what is given. Addresses, TLS and token are tested before they count."""
    given = {
        "addresses": address,
        "token_id": token_id,
        "token_secret": secret("Token value", True, "") if token_secret_stdin else None,
        "name": name,
        "default_node": default_node,
        "gentleness": gentleness,
        "tls": _tls(fingerprint, ca_file, system_tls),
    }
    _edit(server_id, {field: value for field, value in given.items() if value is not None}, json)


@app.command("enable")
def enable(server_id: ServerId, json: Json = False) -> None:
    """Ask it again: the end of a maintenance."""
    _edit(server_id, {"enabled": True}, json)


@app.command("disable")
def disable(server_id: ServerId, json: Json = False) -> None:
    """Leave it alone: a maintenance without a reason. It and its guests stay on the list."""
    _edit(server_id, {"enabled": False}, json)


@app.command("load")
def load(server_id: ServerId, json: Json = False) -> None:
    """What Comserv asks of it: requests in the last minute, slow calls, errors, breaker and budget."""

    async def work(client: Client) -> dict[str, Any]:
        return await client.get(f"/servers/{server_id}/load")

    found = speak(work)
    print_json(found) if json else show_load(found)


@app.command("bundle")
def bundle(server_id: ServerId, output: Output = None, anonymous: Anonymous = False) -> None:
    """A .zip for a report: registration, health, load, last test, jobs, log; every secret gone."""
    write_bundle(f"/servers/{server_id}", output, anonymous)


@app.command("maintenance")
def maintenance(
    server_id: ServerId,
    why: Annotated[str, typer.Option(help="Shown to everyone.")] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help="When it ends by itself: 2h, 30m, 1d, or 2026-11-25T08:00.")
    ] = "",
    end: Annotated[bool, typer.Option("--end", help="Ask the server again; jobs that waited go on.")] = False,
    json: Json = False,
) -> None:
    """Send nothing to a server; jobs there wait, and what was seen stays on the list."""
    body = {"why": why, "until": when(until, "--until") if until else None}

    async def work(client: Client) -> dict[str, Any]:
        if end:
            return await client.request("DELETE", f"/servers/{server_id}/maintenance")
        return await client.post(f"/servers/{server_id}/maintenance", body)

    server = speak(work)
    print_json(server) if json else show_server(server)


@app.command("remove")
def remove(
    server_id: ServerId,
    yes: Annotated[str, typer.Option("--yes", metavar="SERVER", help="Its id, instead of being asked.")] = "",
) -> None:
    """Forget a server. Nothing on it changes. Refused while jobs run there."""
    typed = yes or ask(f"Type {server_id} to remove it", "--yes SERVER")
    if typed != server_id:
        raise CommandError("Nothing was removed.", f"{typed} is not {server_id}.")

    async def work(client: Client) -> None:
        await client.request("DELETE", f"/servers/{server_id}")

    speak(work)
    say(f"{server_id} is removed from Comserv.")
