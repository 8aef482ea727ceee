"""The ways to a screen or a terminal: vncproxy, termproxy, their tickets, and the websocket that leads there."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Literal

from pve_simulator.call import Call, endpoint
from pve_simulator.consoles import rfb, terminal, websocket
from pve_simulator.consoles.proxies import GONE, Proxy
from pve_simulator.consoles.shell import Shell
from pve_simulator.errors import ApiError
from pve_simulator.permissions import ROOT
from pve_simulator.qemu import machine
from pve_simulator.replies import Reply
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.http import Connection
    from pve_simulator.server import Server

NODE, VM, CONTAINER = "/nodes/{node}", "/nodes/{node}/qemu/{vmid}", "/nodes/{node}/lxc/{vmid}"
BAD_TICKET_DELAY = 3.0
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789^!$%&/()=?[]"


def opened(call: Call, kind: Literal["vnc", "term"], guest: Guest | None) -> tuple[Proxy, dict[str, Any]]:
    """Begins a proxy with its task, and what the call answers of it."""
    path = f"/vms/{guest.vmid}" if guest else f"/nodes/{call.node.name}"
    ticket = call.server.authentication.ticket(call.user, "PVEVNC", f"{call.user}:{path}")
    vmid = guest.vmid if guest else None
    proxy = call.server.consoles.open(Proxy(0, call.node.name, kind, path, call.user, ticket, vmid))

    async def work(run: Run) -> None:
        await call.server.consoles.serve(run, proxy)

    proxy.upid = call.task("vncproxy" if guest else "vncshell", vmid or "", work)
    return proxy, {"user": call.user, "ticket": ticket, "port": str(proxy.port), "upid": proxy.upid}


def screen(call: Call, guest: Guest | None) -> dict[str, Any]:
    """What vncproxy and vncshell answer."""
    proxy, told = opened(call, "vnc", guest)
    if call.get("generate-password"):
        proxy.password = told["password"] = "".join(secrets.choice(LETTERS) for _ in range(8))
    return told | {"cert": call.server.certificates.authority_pem.decode()}


@endpoint("POST", f"{VM}/vncproxy")
async def vnc_of_vm(call: Call) -> dict[str, Any]:
    return screen(call, call.guest())


@endpoint("POST", f"{CONTAINER}/vncproxy")
async def vnc_of_container(call: Call) -> dict[str, Any]:
    return screen(call, call.guest("lxc"))


@endpoint("POST", f"{NODE}/vncshell")
async def vnc_of_node(call: Call) -> dict[str, Any]:
    """Not for tokens: their id is no user's name (recorded)."""
    if call.identity.token:
        raise ApiError(500, f"value '{call.user}' does not look like a valid user name")
    return screen(call, None)


@endpoint("POST", f"{VM}/termproxy")
async def terminal_of_vm(call: Call) -> dict[str, Any]:
    return opened(call, "term", call.guest())[1]


@endpoint("POST", f"{CONTAINER}/termproxy")
async def terminal_of_container(call: Call) -> dict[str, Any]:
    return opened(call, "term", call.guest("lxc"))[1]


@endpoint("POST", f"{NODE}/termproxy")
async def terminal_of_node(call: Call) -> dict[str, Any]:
    return opened(call, "term", None)[1]


@endpoint("POST", f"{VM}/spiceproxy")
async def spice_of_vm(call: Call) -> dict[str, Any]:
    """Only a running VM with a QXL display speaks SPICE (recorded); its connection itself is not simulated."""
    guest = call.guest()
    if guest.process is None:
        raise ApiError(500, f"VM {guest.vmid} not running")
    if not guest.config.get("vga", "").startswith("qxl"):
        reason = "The command query-spice has not been found"
        raise ApiError(500, f"VM {guest.vmid} qmp command 'query-spice' failed - {reason}")
    return spice(call, f"VM {guest.vmid} - {guest.name}", guest.vmid)


@endpoint("POST", f"{CONTAINER}/spiceproxy")
async def spice_of_container(call: Call) -> dict[str, Any]:
    guest = call.guest("lxc")
    return spice(call, f"CT {guest.vmid} - {guest.name}", guest.vmid)


@endpoint("POST", f"{NODE}/spiceshell")
async def spice_of_node(call: Call) -> dict[str, Any]:
    if call.identity.token:
        raise ApiError(500, f"value '{call.user}' does not look like a valid user name")
    return spice(call, f"Shell on '{call.node.name}'", None)


def spice(call: Call, title: str, vmid: int | None) -> dict[str, Any]:
    """The settings of remote-viewer."""
    return {
        "type": "spice",
        "title": title,
        "host": f"pvespiceproxy:{call.server.clock.seconds():08X}:{vmid or 0}:{call.node.name}::{secrets.token_hex(20)}",
        "proxy": f"http://{call.get('proxy', call.node.name)}:3128",
        "tls-port": 61000,
        "password": secrets.token_hex(20),
        "host-subject": f"OU=PVE Cluster Node,O=Proxmox Virtual Environment,CN={call.node.name}",
        "ca": call.server.certificates.authority_pem.decode().replace("\n", "\\n"),
        "toggle-fullscreen": "Shift+F11",
        "release-cursor": "Ctrl+Alt+R",
        "secure-attention": "Ctrl+Alt+Ins",
        "delete-this-file": 1,
    }


@endpoint("POST", "/access/vncticket")
async def verify_ticket(call: Call) -> None:
    """How termproxy asks whether its viewer's ticket is right; raises ApiError 401."""
    authentication, path = call.server.authentication, call["path"]
    if not authentication.vnc_ticket(call["vncticket"], call["authid"], path):
        raise ApiError(401, "permission denied - invalid PVEVNC ticket")
    if not call.permissions.may(call["authid"], path, *call["privs"].split(",")):
        raise ApiError(401, "authentication failure")


@endpoint("GET", f"{VM}/vncwebsocket")
async def socket_of_vm(call: Call) -> Any:
    return await joined(call, call.guest())


@endpoint("GET", f"{CONTAINER}/vncwebsocket")
async def socket_of_container(call: Call) -> Any:
    return await joined(call, call.guest("lxc"))


@endpoint("GET", f"{NODE}/vncwebsocket")
async def socket_of_node(call: Call) -> Any:
    return await joined(call, None)


async def joined(call: Call, guest: Guest | None) -> Any:
    """Switches to the websocket of a proxy; without an Upgrade header only the port is told, as there."""
    path = f"/vms/{guest.vmid}" if guest else f"/nodes/{call.node.name}"
    if not call.server.authentication.vnc_ticket(call["vncticket"], call.user, path):
        await call.server.clock.sleep(BAD_TICKET_DELAY)
        raise ApiError(401, "permission denied - invalid PVEVNC ticket")
    if "upgrade" not in call.headers:
        return {"port": str(call["port"])}
    headers = websocket.agreed(call.headers)
    proxy = call.server.consoles.at(call.node.name, call["port"], path)
    if proxy is None:
        raise ApiError(500, f"connect to 'localhost:{call['port']}' failed: Connection refused")
    proxy.viewed = True
    proxy.arrived.set()

    async def upgrade(connection: Connection) -> None:
        try:
            await serve(call.server, websocket.WebSocket(connection.reader, connection.writer), proxy, guest)
        finally:
            proxy.left.set()

    return Reply(101, "Switching Protocols", headers=headers, upgrade=upgrade)


async def serve(server: Server, socket: websocket.WebSocket, proxy: Proxy, guest: Guest | None) -> None:
    """Serves a viewer until it leaves, or what it looks at ends."""
    if proxy.kind == "term":
        who, ticket, rest = await terminal.credentials(socket)
        if who != proxy.user or not server.authentication.vnc_ticket(ticket, who, proxy.path):
            await socket.close()
            return
    else:
        rest = b""
    problem = unreachable(guest, proxy)
    if problem is not None:
        proxy.failure = problem if proxy.kind == "vnc" else None
        if proxy.kind == "term":
            await terminal.refuse(socket, problem)
        await socket.close()
        return
    shell = shell_of(server, guest, proxy)
    name = f"QEMU ({guest.name})" if guest else f"Shell - {proxy.node}"
    viewing = rfb.Viewer(socket, proxy, shell, name).serve() if proxy.kind == "vnc" else None
    work = asyncio.ensure_future(viewing or terminal.serve(socket, proxy, shell, rest))
    try:
        await until_gone(work, guest)
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await work
        with contextlib.suppress(ConnectionError):
            await socket.close()


async def until_gone(work: asyncio.Future[None], guest: Guest | None) -> None:
    """Waits until the viewer leaves or the guest's process is another one, or none."""
    process = guest.process if guest else None
    while not work.done() and (guest is None or guest.process is process):
        await asyncio.wait([work], timeout=GONE)


def unreachable(guest: Guest | None, proxy: Proxy) -> str | None:
    """Why a console cannot be shown, though its ticket was given: nothing runs, or it has no serial port."""
    if guest is None:
        return None
    if guest.type == "lxc":
        return None if guest.process else f"CT {guest.vmid} not running"
    if guest.process is None:
        return f"VM {guest.vmid} not running"
    if proxy.kind == "term" and not any(f"serial{number}" in guest.config for number in range(4)):
        return "unable to find a serial interface"
    return None


def shell_of(server: Server, guest: Guest | None, proxy: Proxy) -> Shell:
    """The console of a guest's present process, or a new one of a node."""
    if guest is None:
        user = "root" if proxy.user == ROOT else ""
        shell = Shell(proxy.node, "Debian GNU/Linux 13", user)
    else:
        shell = server.consoles.shells.get(proxy.path)
        started = guest.process.started if guest.process else 0.0
        if shell is not None and shell.started == started:
            return shell
        hostname = guest.name.replace(" ", "")
        system = "Debian GNU/Linux 12"
        if guest.type == "qemu" and guest.process:
            hostname = guest.process.facts.get(machine.HOSTNAME, hostname)
        shell = Shell(hostname, system)
        shell.started = started
    server.consoles.shells[proxy.path] = shell
    return shell
