"""`/_sim/`: how a test looks into the world and makes things go wrong. From loopback only, without authentication."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from pve_simulator import versions
from pve_simulator.faults import BadRule
from pve_simulator.replies import JSON, Reply

if TYPE_CHECKING:
    from pve_simulator.http import Connection, Head
    from pve_simulator.server import Server

CONTROL_BODY = 4 * 1024 * 1024


async def answer(connection: Connection, head: Head) -> Reply:
    """The reply to a control request."""
    body = await connection.body(head, CONTROL_BODY)
    server = connection.server
    if not connection.peer.startswith("127.") and connection.peer != "::1":
        return reply(403, {"error": "control is open to loopback only"})
    match head.method, head.path:
        case "GET", "/_sim/world":
            return reply(200, world(server))
        case "GET", "/_sim/requests":
            return reply(200, list(server.requests))
        case "DELETE", "/_sim/requests":
            server.requests.clear()
            return reply(200, {})
        case "GET", "/_sim/consoles":
            return reply(200, server.consoles.told())
        case "GET", "/_sim/faults":
            return reply(200, [rule.told for rule in server.faults.rules if not rule.spent])
        case "POST", "/_sim/faults":
            return add_faults(server, body)
        case "POST", "/_sim/versions":
            return upgrade(server, body)
        case "DELETE", "/_sim/faults":
            server.faults.clear()
            server.watch()
            return reply(200, {})
    return reply(404, {"error": f"no such control: {head.method} {head.path}"})


def add_faults(server: Server, body: bytes) -> Reply:
    """Adds the rules of a body."""
    try:
        server.faults.add(json.loads(body))
    except (ValueError, TypeError, BadRule) as fault:
        return reply(400, {"error": str(fault)})
    server.watch()
    if server.faults.standing("certificate_renewed"):
        server.renew_certificate()
    return reply(200, {"rules": len(server.faults.rules)})


def upgrade(server: Server, body: bytes) -> Reply:
    """Gives nodes another version, as an upgrade does: `{"pve2": "9.1"}`."""
    try:
        told = [(server.estate.nodes[name], versions.version(text)) for name, text in json.loads(body).items()]
    except (ValueError, KeyError, AttributeError) as fault:
        return reply(400, {"error": str(fault)})
    for node, version in told:
        node.facts[versions.VERSION] = version.name
    server.changed()
    return reply(200, {})


def reply(status: int, value: Any) -> Reply:
    """JSON, with true and false as they are."""
    return Reply(status, "OK" if status == 200 else "refused", msgspec.json.encode(value), JSON)


def world(server: Server) -> dict[str, Any]:
    """All of the estate that a test may want to compare, without secrets."""
    estate = server.estate
    return {
        "guests": [
            {
                "vmid": guest.vmid,
                "name": guest.name,
                "node": guest.node,
                "type": guest.type,
                "status": guest.status,
                "qmpstatus": guest.process.qmpstatus if guest.process else "stopped",
                "template": guest.template,
                "lock": guest.lock,
                "config": guest.config,
                "pending": guest.pending,
                "snapshots": guest.snapshots,
                "addresses": guest.addresses,
            }
            for guest in estate.guests.values()
        ],
        "tasks": [
            {
                "upid": task.upid,
                "type": task.type,
                "id": task.id,
                "user": task.user,
                "status": "running" if task.running else "stopped",
                "exitstatus": task.exitstatus,
                "starttime": task.starttime,
                "endtime": task.endtime,
                "log": task.log,
            }
            for task in estate.tasks.values()
        ],
        "nodes": [node_row(server, name) for name in estate.nodes],
        "storages": list(estate.storages.values()),
        "volumes": list(estate.volumes.values()),
        "pools": list(estate.pools.values()),
        "fingerprint": server.certificates.fingerprint,
        "authority": server.certificates.authority_pem.decode(),
    }


def node_row(server: Server, name: str) -> dict[str, Any]:
    """A node; with the address and the certificate that it has to itself."""
    version = versions.of(server.estate.nodes[name]).name
    row: dict[str, Any] = {"name": name, "down": server.node_down(name), "version": version}
    proxy = server.proxies.get(name)
    return row | ({"url": proxy.url, "fingerprint": proxy.certificates.fingerprint} if proxy else {})
