"""The worker of qmigrate: a VM goes to another node, running or not, with its local disks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.migration import resources, transfer
from pve_simulator.migration.journal import Journal, words
from pve_simulator.migration.scan import Local, Terms, scan
from pve_simulator.qemu import machine, power
from pve_simulator.qemu.drives import Drive, human
from pve_simulator.qemu.options import network
from pve_simulator.world.guest import Guest, Process

if TYPE_CHECKING:
    from pve_simulator.migration.checks import Move
    from pve_simulator.migration.transfer import Way
    from pve_simulator.tasks import Run

CONNECT = 0.5  # seconds until ssh stands
NO_ROUTE = 3.0  # seconds until it is known that it will not
REMOTE_START = 1.5  # seconds until QEMU waits at the target
SWITCH = 0.3  # seconds for the last part, for which the guest stands still
DOWNTIME = 100  # milliseconds that it may take
MIB = 1024**2


async def migrate(run: Run, move: Move) -> None:
    """Moves a VM within its cluster. Raises TaskError `migration aborted`, or `migration problems`."""
    journal, server = Journal(run), run.server
    vmid, node = move.guest.vmid, move.guest.node
    async with run.lock(vmid):
        try:
            guest = server.estate.guest(vmid, "qemu", node)
            way = transfer.Way(server, node, server, move.target, vmid, move.bandwidth)
            await prepare(journal, guest, move, way)
            copied = await first_phase(journal, guest, move, way)
        except (ApiError, TaskError, asyncio.CancelledError) as fault:
            raise journal.abort(words(fault)) from None
        if guest.process is not None and not await second_phase(journal, guest, move, way, copied):
            journal.finish()
        third_phase(journal, guest, way)
        journal.finish()


async def prepare(journal: Journal, guest: Guest, move: Move, way: Way) -> None:
    """Looks whether the VM can go and the target answers; raises TaskError or ApiError."""
    power.check_lock(guest)
    if guest.process:
        if not move.online:
            raise TaskError("can't migrate running VM without --online")
        if not move.conntrack:
            journal.info("conntrack state migration not supported or disabled, active connections might get dropped")
    check_devices(journal, guest, move, way)
    await connect(journal, way)


def check_devices(journal: Journal, guest: Guest, move: Move, way: Way) -> None:
    """Raises TaskError where devices of the node keep the VM there."""
    mapped = resources.mapped_resources(guest)
    blocking = [key for key in resources.local_resources(guest) if key not in mapped]
    if blocking:
        if guest.process or not move.force:
            raise TaskError(f"can't migrate VM which uses local devices: {', '.join(blocking)}")
        journal.info("migrating VM which uses local devices")
    if mapped:
        missing = resources.unmapped(way.target, guest, way.to_node)
        if missing:
            raise TaskError(f"can't migrate to '{way.to_node}': missing mapped devices {', '.join(missing)}")
        if guest.process:
            names = ", ".join(f"{key}:{told['name']}" for key, told in sorted(mapped.items()))
            raise TaskError(f"can't live migrate running VM which uses following mapped devices: {names}")
        journal.info("migrating VM which uses mapped local devices")


async def connect(journal: Journal, way: Way) -> None:
    """Tries ssh; raises TaskError where nobody is there."""
    if not way.open():
        host = transfer.address(way)
        await journal.run.sleep(NO_ROUTE)
        journal.info(
            f"# /usr/bin/ssh -e none -o 'BatchMode=yes' -o 'HostKeyAlias={way.to_node}' root@{host} /bin/true",
            f"ssh: connect to host {host} port 22: No route to host",
        )
        raise TaskError("Can't connect to destination address using public key")
    await journal.run.sleep(CONNECT)


async def first_phase(journal: Journal, guest: Guest, move: Move, way: Way) -> list[Local]:
    """Locks the VM and copies what nobody writes to; gives what is to be mirrored. Undoes what it did where it fails."""
    server = way.source
    journal.info(f"starting migration of VM {guest.vmid} to node '{way.to_node}' ({transfer.address(way)})")
    guest.config["lock"] = "migrate"
    server.changed()
    try:
        terms = Terms(way.target, way.to_node, move.storages, guest.process is not None, move.with_disks)
        found = scan(journal, server, guest, terms)
        await copy_offline(journal, way, found)
    except (ApiError, TaskError, asyncio.CancelledError) as fault:
        text = words(fault)
        journal.error(text)
        journal.info("aborting phase 1 - cleanup resources")
        guest.config.pop("lock", None)
        transfer.drop_copies(way)
        raise TaskError(text) from None
    return [one for one in found if one.online]


async def copy_offline(journal: Journal, way: Way, found: list[Local]) -> None:
    """Copies the volumes that nobody writes to."""
    offline = [one for one in found if not one.online]
    if offline:
        journal.info("copying local disk images")
    for one in offline:
        await transfer.copy(journal, way, one)


async def second_phase(journal: Journal, guest: Guest, move: Move, way: Way, online: list[Local]) -> bool:
    """Moves what runs. Where that fails the VM goes on at its old place, and false is given."""
    try:
        await go_live(journal, guest, way, online)
    except (ApiError, TaskError, asyncio.CancelledError) as fault:
        journal.broken = True
        journal.error(f"online migrate failure - {words(fault)}")
        journal.info("aborting phase 2 - cleanup resources", "migrate_cancel")
        if not way.open():
            journal.error(f"command '/usr/bin/ssh root@{transfer.address(way)} qm stop {guest.vmid} --skiplock' failed")
        guest.config.pop("lock", None)
        transfer.drop_copies(way)
        return False
    return True


async def go_live(journal: Journal, guest: Guest, way: Way, online: list[Local]) -> None:
    """Starts QEMU at the target, mirrors disks, sends the memory, and switches over."""
    run, process = journal.run, guest.process
    if process is None:
        raise TaskError("VM quit")
    journal.info(f"starting VM {guest.vmid} on remote node '{way.to_node}'")
    await way.pass_time(run, REMOTE_START, "remote command failed with exit code 255")
    refuse_bridges(journal, guest, way)
    made = {one.volume.volid: await transfer.allocate(journal, way, one) for one in online}
    for volid, volume in made.items():
        journal.info(f"volume '{volid}' is '{volume.volid}' on the target")
    journal.info("start remote tunnel", "ssh tunnel ver 1")
    if online:
        journal.info("starting storage migration")
    for one in online:
        key, socket = one.drive.key, f"nbd:unix:/run/qemu-server/{guest.vmid}_nbd.migrate"
        journal.info(f"{key}: start migration to {socket}:exportname=drive-{key}")
        await transfer.mirror(journal, way, one, made[one.volume.volid])
    if online:
        journal.plain("all 'mirror' jobs are ready")
        journal.info("switching mirror jobs to actively synced mode")
    await send_memory(journal, guest, way)
    if online:
        journal.plain("all 'mirror' jobs are ready")
    for one in online:
        journal.plain(
            f"mirror-{one.drive.key}: Completing block job...", f"mirror-{one.drive.key}: Completed successfully."
        )
        journal.plain(f"mirror-{one.drive.key}: mirror-job finished")
    arrive(guest, process, way)
    if online:
        journal.info("stopping NBD storage migration server on target.")


def refuse_bridges(journal: Journal, guest: Guest, way: Way) -> None:
    """QEMU does not start at the target without the VM's bridges; raises TaskError."""
    there = way.target.estate.nodes[way.to_node].interfaces
    for number in machine.cards(guest.config):
        bridge = network(guest.config[f"net{number}"]).get("bridge")
        if bridge and way.bridges.of(bridge) not in there:
            journal.info(f"[{way.to_node}] bridge '{bridge}' does not exist")
            raise TaskError("remote command failed with exit code 255")


async def send_memory(journal: Journal, guest: Guest, way: Way) -> None:
    """Sends the memory: a line each second."""
    run, uri = journal.run, f"unix:/run/qemu-server/{guest.vmid}.migrate"
    size = machine.memory(guest.config)
    cache = 1 << (max(1, size // 10).bit_length())
    journal.info(f"starting online/live migration on {uri}", "set migration capabilities")
    if way.bandwidth:
        journal.info(f"migration speed limit: {human(way.bandwidth * 1024)}/s")
    journal.info(
        f"migration downtime limit: {DOWNTIME} ms",
        f"migration cachesize: {human(cache)}",
        "set migration parameters",
        f"start migrate command to {uri}",
    )
    broken = "aborting"
    seconds, passed = size / way.rate, 0.0
    try:
        while passed + 1.0 < seconds:
            await way.pass_time(run, 1.0, broken)
            passed += 1.0
            sent = f"transferred {human(size * passed / seconds)} of {human(size)} VM-state, {human(way.rate)}/s"
            journal.info(f"migration active, {sent}")
        await way.pass_time(run, seconds - passed + SWITCH, broken)
    except transfer.Lost:
        journal.info("migration status error: failed - Unable to write to socket: Broken pipe")
        raise
    downtime = 20 + guest.vmid % 60
    journal.info(
        f"average migration speed: {human(size / max(seconds, 1.0))}/s - downtime {downtime} ms",
        f"migration completed, transferred {human(size)} VM-state",
        "migration status: completed",
    )


def arrive(guest: Guest, process: Process, way: Way) -> None:
    """The process at the target is another one, with all that the guest's system knows."""
    there = way.target.estate.nodes[way.to_node]
    facts = dict(process.facts)
    guest.process = Process(
        there.next_pid(),
        way.target.clock.time(),
        process.qmpstatus,
        process.agent_at,
        process.cpu,
        process.machine,
        facts,
    )


def third_phase(journal: Journal, guest: Guest, way: Way) -> None:
    """The VM is now the target's: its configuration moves there, the copied volumes go, the lock too."""
    transfer.renamed(guest, {volid: made.volid for volid, made in way.made.items()})
    resize(guest, way)
    guest.node = way.to_node
    transfer.drop_sources(journal, way)
    guest.config.pop("lock", None)
    way.target.changed()


def resize(guest: Guest, way: Way) -> None:
    """What the configuration tells of copied disks fits the copies."""
    for made in way.made.values():
        for key, text in guest.config.items():
            if text.split(",")[0] == made.volid and "size=" in text:
                drive = Drive.parse(key, text)
                drive.size = made.size
                guest.config[key] = str(drive)
