"""The power of a container: started, stopped, shut down, rebooted, frozen."""

from __future__ import annotations

import random

from pve_simulator import metrics
from pve_simulator.errors import ApiError, TaskError
from pve_simulator.lxc import mounts, settings
from pve_simulator.qemu import machine, volumes
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest, Process

START, STOP, SHUTDOWN = 1.0, 0.5, 2.0  # seconds of the real server


async def start(run: Run, guest: Guest) -> None:
    """Starts a container whose file lock is held; raises TaskError for what keeps it from starting."""
    if guest.process:
        raise TaskError(f"CT {guest.vmid} already running")
    settings.unlocked(guest)
    if guest.template:
        raise TaskError("you can't start a CT if it's a template")
    settings.apply(run, guest)
    check(run, guest)
    await run.sleep(START)
    begin(run, guest)


def check(run: Run, guest: Guest) -> None:
    """Raises TaskError where a volume, its storage or a bridge is missing."""
    server, node = run.server, run.server.estate.nodes[guest.node]
    for mount in mounts.own(guest.config):
        try:
            volumes.usable(server, mount.volume.partition(":")[0], guest.node)
        except ApiError as fault:
            raise TaskError(fault.message) from None
        if server.estate.volume(mount.volume, guest.node) is None:
            raise TaskError(f"volume '{mount.volume}' does not exist")
    for number in machine.cards(guest.config):
        bridge = metrics.member(guest.config[f"net{number}"], "bridge")
        if bridge and bridge not in node.interfaces:
            run.log(f"bridge '{bridge}' does not exist")
            raise TaskError(f"startup for container '{guest.vmid}' failed")


def begin(run: Run, guest: Guest) -> None:
    """Begins a container's process, with its addresses."""
    server, node = run.server, run.server.estate.nodes[guest.node]
    known, guest.addresses = guest.addresses, []
    guest.process = Process(node.next_pid(), server.clock.time(), cpu=random.uniform(0.005, 0.1))
    for number in machine.cards(guest.config):
        card = guest.config[f"net{number}"]
        address = metrics.member(card, "ip")
        if address == "dhcp":
            told = {"bridge": metrics.member(card, "bridge") or ""}
            given = machine.lease(server, node, told, known)
        else:
            given = [address] if address and "/" in address else []
        address6 = metrics.member(card, "ip6")
        given += [address6] if address6 and "/" in address6 else []
        guest.process.facts[f"net{number}"] = ",".join(given)
        guest.addresses += given
    server.changed()


async def stop(run: Run, guest: Guest, seconds: float = STOP) -> None:
    """Ends a container's process; the file lock is held."""
    if guest.process is None:
        return
    await run.sleep(seconds)
    guest.process = None
    settings.apply(run, guest)
    run.server.changed()
