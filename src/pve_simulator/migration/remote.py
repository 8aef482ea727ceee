"""A VM's way to another server, over its API: two servers of one process can do that with one another.

The endpoint is told as `host=...,port=...,apitoken=PVEAPIToken=user@realm!name=secret,fingerprint=AA:...`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pve_simulator.authentication import Unauthenticated
from pve_simulator.errors import ApiError, ParameterError, PermissionDenied, TaskError
from pve_simulator.migration import machine, resources, transfer
from pve_simulator.migration.checks import storage_map
from pve_simulator.migration.journal import Journal, words
from pve_simulator.migration.mapping import BadMap, Map
from pve_simulator.migration.scan import Terms, scan
from pve_simulator.permissions import Permissions
from pve_simulator.qemu import destroy, highavailability, options, power
from pve_simulator.qemu.machine import cards
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.call import Call
    from pve_simulator.migration.transfer import Way
    from pve_simulator.server import Server
    from pve_simulator.tasks import Run

MEMBERS = {"host", "port", "apitoken", "fingerprint"}
TUNNEL = 2  # version of the tunnel through the websocket


@dataclass(frozen=True)
class Remote:
    """The other side: a server of this process, the node that answered, and who asks there."""

    server: Server
    node: str
    host: str
    user: str


@dataclass(frozen=True)
class Move:
    """A VM's move as it was asked for and allowed."""

    guest: Guest
    remote: Remote
    vmid: int
    storages: Map
    bridges: Map
    online: bool
    delete: bool
    bandwidth: int | None


async def checked(call: Call) -> Move:
    """A VM's move to another server; raises ApiError or ParameterError in the order of the real one."""
    call.server.quorum.need(call.node.name)
    guest = call.guest()
    power.check_lock(guest)
    if highavailability.resource(call.estate, guest):
        raise ParameterError({"vmid": "cannot remote-migrate VM that is configured for HA"})
    remote = connect(call, endpoint(call["target-endpoint"]))
    if guest.process and not call.get("online"):
        raise ApiError(500, "can't migrate running VM without --online")
    storages = storage_map(call, "target-storage")
    try:
        bridges = Map.parse(call["target-bridge"])
    except BadMap as fault:
        raise ParameterError({"target-bridge": f"failed to parse bridge map: {fault}"}) from None
    if storages.identity:
        raise ApiError(500, "remote migration requires explicit storage mapping!")
    vmid = call.get("target-vmid", guest.vmid)
    bandwidth = call.get("bwlimit") or None
    return Move(guest, remote, vmid, storages, bridges, guest.process is not None, bool(call.get("delete")), bandwidth)


def endpoint(text: str) -> dict[str, str]:
    """The members of an endpoint; raises ParameterError for one that tells not enough, or strange things."""
    told: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name not in MEMBERS:
            fault = f"invalid format - format error\ntarget-endpoint.{name}: property is not defined in schema"
            raise ParameterError({"target-endpoint": f"{fault} and the schema does not allow additional properties\n"})
        told[name] = value
    for name in ("host", "apitoken"):
        if name not in told:
            fault = (
                f"invalid format - format error\ntarget-endpoint.{name}: property is missing and it is not optional\n"
            )
            raise ParameterError({"target-endpoint": fault})
    return told


def connect(call: Call, told: dict[str, str]) -> Remote:
    """Reaches the other side and signs in; raises ApiError 500 in the words of the HTTP client."""
    host, port = told["host"], int(told.get("port", "8006"))
    where = f"{host}:{port}"
    found = call.server.neighbours.get(port) if host in ("127.0.0.1", "localhost", "::1") else None
    if found is None:
        raise ApiError(500, f"500 Can't connect to {where} (Connection refused)")
    server, proxy = found
    node = proxy.node or server.estate.entry.name
    if server.node_down(node):
        raise ApiError(500, f"500 Can't connect to {where} (No route to host)")
    if told.get("fingerprint", "").upper() != proxy.certificates.fingerprint:
        raise ApiError(500, f"500 Can't connect to {where} (certificate verify failed)")
    token = told["apitoken"]
    try:
        identity = server.authentication.identify("GET", "/version", "", token, "")
    except Unauthenticated as refusal:
        raise ApiError(500, f"401 {refusal}") from None
    if not Permissions(server.estate).may(identity.user, "/", "Sys.Audit"):
        raise ApiError(500, "403 Permission check failed (/, Sys.Audit)")
    return Remote(server, node, host, identity.user)


async def migrate(run: Run, move: Move) -> None:
    """The worker of qmigrate to another server. Raises TaskError `migration aborted`, or `migration problems`."""
    journal, server, vmid = Journal(run), run.server, move.guest.vmid
    remote = move.remote
    async with run.lock(vmid):
        arrived: Guest | None = None
        way = transfer.Way(server, move.guest.node, remote.server, remote.node, move.vmid, move.bandwidth, move.bridges)
        try:
            guest = server.estate.guest(vmid, "qemu", way.from_node)
            power.check_lock(guest)
            await prepare(journal, guest, move)
            arrived = await send(journal, guest, move, way)
        except (ApiError, TaskError, asyncio.CancelledError) as fault:
            raise journal.abort(words(fault)) from None
        await finish(journal, guest, arrived, move, way)


async def prepare(journal: Journal, guest: Guest, move: Move) -> None:
    """Opens the tunnel, for which the token needs rights at the other side; raises TaskError."""
    remote = move.remote
    may = Permissions(remote.server.estate)
    here = [key for key in resources.local_resources(guest) if key not in resources.mapped_resources(guest)]
    if here:
        raise TaskError(f"can't migrate VM which uses local devices: {', '.join(here)}")
    await journal.run.sleep(machine.CONNECT)
    try:
        may.check(remote.user, f"/vms/{move.vmid}", "VM.Allocate")
        may.check(remote.user, "/", "Sys.Incoming")
        for drive, _ in resources.volumes_of(guest):
            may.check(
                remote.user, f"/storage/{move.storages.of(drive.file.partition(':')[0])}", "Datastore.AllocateSpace"
            )
        for bridge in set(bridges(guest, move.bridges).values()):
            may.check(remote.user, f"/sdn/zones/localnetwork/{bridge}", "SDN.Use")
            if bridge not in remote.server.estate.nodes[remote.node].interfaces:
                raise TaskError(f"failed to handle 'bridge' command - bridge '{bridge}' does not exist")
    except PermissionDenied as refusal:
        raise TaskError(f"tunnel replied 'failed to handle command' - {refusal.message}") from None
    if move.vmid in remote.server.estate.guests:
        raise TaskError(f"500 unable to create VM {move.vmid}: config file already exists")
    if not remote.server.quorum.holds(remote.node):
        raise TaskError("500 cluster not ready - no quorum?")
    journal.plain("remote: started tunnel worker")
    journal.info(f"local WS tunnel version: {TUNNEL}", f"remote WS tunnel version: {TUNNEL}")
    journal.info("minimum required WS tunnel version: 0")
    journal.plain("websocket tunnel started")


def bridges(guest: Guest, asked: Map) -> dict[int, str]:
    """The bridge of each card at the other side."""
    found = {number: options.network(guest.config[f"net{number}"]).get("bridge") for number in cards(guest.config)}
    return {number: asked.of(bridge) for number, bridge in found.items() if bridge}


async def send(journal: Journal, guest: Guest, move: Move, way: Way) -> Guest:
    """Copies disks and configuration; gives the VM at the other side, which is locked. Undoes all where that fails."""
    remote, begun = move.remote, asyncio.Event()

    async def tunnel(run: Run) -> None:
        run.log("mtunnel started")
        await begun.wait()
        run.log("mtunnel exited")

    nodes = remote.server.estate.nodes
    remote.server.tasks.start(nodes[remote.node], "qmtunnel", str(move.vmid), remote.user, tunnel)
    journal.info(f"starting migration of VM {guest.vmid} to node '{way.to_node}' ({remote.host})")
    guest.config["lock"] = "migrate"
    arrived = Guest(move.vmid, remote.node, "qemu", {"lock": "create"}, created=remote.server.clock.time())
    remote.server.estate.guests[move.vmid] = arrived
    try:
        terms = Terms(way.target, way.to_node, move.storages, guest.process is not None, True, remote=True)
        found = scan(journal, way.source, guest, terms)
        await machine.copy_offline(journal, way, found)
        for number, bridge in bridges(guest, move.bridges).items():
            old = options.network(guest.config[f"net{number}"]).get("bridge")
            journal.info(f"mapped: net{number} from {old} to {bridge}")
        for one in (one for one in found if one.online):
            journal.info(f"Allocating volume for drive '{one.drive.key}' on remote storage '{one.storage}'..")
        if guest.process:
            await machine.go_live(journal, guest, way, [one for one in found if one.online])
    except (ApiError, TaskError, asyncio.CancelledError) as fault:
        journal.error(words(fault))
        journal.info("aborting phase 1 - cleanup resources")
        guest.config.pop("lock", None)
        transfer.drop_copies(way)
        if way.open():
            remote.server.estate.guests.pop(move.vmid, None)
        begun.set()
        raise TaskError(words(fault)) from None
    begun.set()
    return arrived


async def finish(journal: Journal, guest: Guest, arrived: Guest, move: Move, way: Way) -> None:
    """The VM is at the other side; here it stays, stopped and locked, or goes with `delete`."""
    remote = move.remote
    config = {key: text for key, text in guest.config.items() if key != "lock"}
    copied = Guest(move.vmid, remote.node, "qemu", config)
    transfer.renamed(copied, {volid: made.volid for volid, made in way.made.items()})
    for number, bridge in bridges(guest, move.bridges).items():
        copied.config[f"net{number}"] = options.network_text(
            {**options.network(copied.config[f"net{number}"]), "bridge": bridge}
        )
    arrived.config = copied.config
    machine.resize(arrived, way)
    arrived.process, guest.process, arrived.addresses = guest.process, None, list(guest.addresses)
    remote.server.changed()
    way.source.changed()
    if move.delete:
        guest.config.pop("lock", None)
        destroy.remove_volumes(journal.run, guest, unreferenced=False)
        destroy.forget(way.source, guest, purge=False)
    journal.finish()
