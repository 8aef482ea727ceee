"""`comserv doctor`: looks our own installation over: data folder, key, database, disk, `serve`, servers."""

import shutil
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from comserv.cli.exits import CommandError, Exit
from comserv.cli.local import act, settings
from comserv.cli.output import TONES, Json, console, print_json, say

if TYPE_CHECKING:
    from comserv.domain.person import Actor
    from comserv.listening import Certificate
    from comserv.services.servers import ServerView
    from comserv.services.services import Services
    from comserv.settings import Settings

LEAST_FREE = 512 << 20
"""Bytes: below this a database that grows and its journal may fill the disk within days."""

DAYS_LEFT = 14
"""A certificate that others have to renew is told before it ends."""


@dataclass(frozen=True)
class Check:
    """state: ok, warning or failed."""

    name: str
    state: str
    text: str
    cure: str = ""


def _private(name: str, path: Path, wanted: int) -> Check:
    """A file or folder that only its owner may read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return Check(name, "failed", f"{path}: {error.strerror}", "Run `comserv serve` once, or set COMSERV_DATA_DIR.")
    if mode & 0o077:
        return Check(name, "failed", f"{path} can be read by others ({mode:04o})", f"chmod {wanted:04o} {path}")
    return Check(name, "ok", f"{path}, {mode:04o}")


def _disk(folder: Path) -> Check:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("disk", "failed", f"{folder}: {error.strerror}")
    text = f"{free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE:
        return Check("disk", "failed", text, "Make room, or move COMSERV_DATA_DIR.")
    return Check("disk", "ok", text)


def check_files(chosen: "Settings") -> list[Check]:
    return [
        _private("data folder", chosen.data_dir, 0o700),
        _private("key", chosen.key_path, 0o600),
        _disk(chosen.data_dir),
    ]


def check_listening(chosen: "Settings") -> "tuple[list[Check], Certificate | None]":
    """Whether the address, the certificate and the proxy that are set would be taken, and the certificate itself."""
    from comserv import listening
    from comserv.domain.errors import ConfigurationError

    try:
        listening.check(chosen)
        found = listening.look(chosen)
    except ConfigurationError as error:
        return [Check("address", "failed", error.detail or error.title, error.cure)], None
    if found is None and chosen.serves_tls:
        return [Check("certificate", "warning", "not made yet", "Run `comserv serve` once.")], None
    if found is None:
        how = f"behind a proxy at {chosen.behind_proxy}" if chosen.behind_proxy else "this machine only"
        return [Check("address", "ok", f"{chosen.host}:{chosen.port}, {how}")], None
    return [Check("address", "ok", f"{chosen.host}:{chosen.port}, TLS"), check_certificate(found)], found


def check_certificate(found: "Certificate") -> Check:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    text = f"{found.chain}, for {', '.join(found.names)}, until {found.ends:%Y-%m-%d}, SHA-256 {found.fingerprint}"
    cure = "Put a renewed one in its place: a running Comserv takes it within seconds."
    if not found.begins <= now < found.ends:
        return Check("certificate", "failed", text, cure)
    if (found.ends - now).days < DAYS_LEFT and not found.own:
        return Check("certificate", "warning", text, cure)
    return Check("certificate", "ok", text)


async def _answers(url: str, found: "Certificate | None") -> str:
    """What this installation's own address says: its version, or `` where nothing answers. found: what has to be served."""
    import asyncio

    import aiohttp

    pin = aiohttp.Fingerprint(bytes.fromhex(found.fingerprint.replace(":", ""))) if found else True
    try:
        async with (
            asyncio.timeout(3),
            aiohttp.ClientSession() as session,
            session.get(f"{url}/api/v1/health", ssl=pin) as reply,
        ):
            if reply.status == 403:
                return "answers its proxy only"
            told = await reply.json(content_type=None)
            return f"answers, version {told['version']}"
    except aiohttp.ServerFingerprintMismatch:
        return "serves another certificate than the one above: restart it"
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
        return ""


def check_serve(chosen: "Settings", found: "Certificate | None") -> Check:
    import asyncio

    host = "127.0.0.1" if chosen.host in ("0.0.0.0", "::", "") else chosen.host.strip("[]")  # noqa: S104 - compared, not bound
    host = f"[{host}]" if ":" in host else host
    said = asyncio.run(_answers(f"{'https' if found else 'http'}://{host}:{chosen.port}", found))
    if said:
        return Check("serve", "ok", f"{said}, at {host}:{chosen.port}")
    cure = "Start it: `comserv serve`, or the systemd unit."
    return Check("serve", "warning", f"nothing answers at {host}:{chosen.port}", cure)


def check_inside() -> list[Check]:
    """Database with its migrations, key and people, and how the servers stand; opened as `serve` would."""

    async def work(services: "Services", actor: "Actor") -> "tuple[bool, tuple[ServerView, ...]]":
        return await services.sessions.set_up(), await services.servers.list(actor)

    try:
        set_up, servers = act(work)
    except CommandError as error:
        problem = error.problem
        return [Check("database", "failed", problem.get("detail") or problem["title"], problem.get("cure", ""))]
    first = Check("people", "ok", "an administrator exists")
    if not set_up:
        first = Check(
            "people", "warning", "nobody can sign in yet", "Make the first administrator: `comserv setup-link`."
        )
    return [Check("database", "ok", "opened, with this key"), first, *map(_server, servers)]


def _server(view: "ServerView") -> Check:
    name, health = f"server {view.server.id}", view.health
    if view.server.maintenance:
        return Check(name, "ok", f"in maintenance: {view.server.maintenance.words}")
    if health.error_title:
        return Check(name, "warning", f"{health.state}: {health.error_title}", health.error_cure)
    return Check(name, "ok", f"{health.state}, {view.guests} guests")


def doctor(json: Json = False) -> None:
    """Look this installation over, and say what to do. For the rights on a server: comserv server doctor SERVER."""
    chosen = settings()
    checks = check_files(chosen)
    checks += check_inside() if chosen.data_dir.is_dir() or not chosen.embedded else []
    listening, certificate = check_listening(chosen)
    checks += [*listening, check_serve(chosen, certificate)]
    failed = any(check.state == "failed" for check in checks)
    if json:
        print_json({"checks": [asdict(check) for check in checks], "healthy": not failed})
    else:
        for check in checks:
            console().print(
                f"{check.state:<8} {check.name}: {check.text}", style=TONES.get(check.state, ""), markup=False
            )
            if check.cure:
                say(f"         {check.cure}")
    if failed:
        raise typer.Exit(Exit.ERROR)
