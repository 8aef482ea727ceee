"""The power of a VM: workers that start, stop, shut down, reboot, reset, pause, hibernate and resume it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.permissions import ROOT
from pve_simulator.qemu import cloudinit, machine, pending, volumes
from pve_simulator.qemu.drives import drives
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest
from pve_simulator.world.node import Node

if TYPE_CHECKING:
    from pve_simulator.server import Server

START, STOP, PAUSE = 0.8, 0.5, 0.1  # seconds of the real server
AGENT_PING = 3.0  # until a silent agent is given up on
GUEST_SHUTDOWN = 2.0  # what a system takes to shut down
SHUTDOWN_TIMEOUT = 60
STATE_RATE = 1024**3  # bytes of memory saved in a second
MIB = 1024**2


def missing(vmid: int, node: str) -> ApiError:
    """The refusal of calls that look for the guest's place first."""
    return ApiError(500, f"unable to find configuration file for VM {vmid} on node '{node}'")


def find(server: Server, vmid: int, node: str) -> Guest:
    """A VM on a node; raises ApiError 500 `unable to find configuration file`."""
    guest = server.estate.guests.get(vmid)
    if guest is None or guest.type != "qemu" or guest.node != node:
        raise missing(vmid, node)
    return guest


def check_lock(guest: Guest, *but: str, skip: bool = False) -> None:
    """Raises ApiError 500 where the configuration is locked, by other than `but`."""
    if guest.lock and guest.lock not in but and not skip:
        raise ApiError(500, f"VM is locked ({guest.lock})")


async def start(run: Run, vmid: int, node: str, skiplock: bool = False) -> None:
    """The worker of qmstart."""
    server = run.server
    async with run.lock(vmid):
        guest = server.estate.guest(vmid, "qemu", node)
        if guest.template:
            raise TaskError("you can't start a vm if it's a template")
        check_lock(guest, "suspended", skip=skiplock)
        if guest.process:
            raise TaskError(f"VM {vmid} already running")
        await start_locked(run, guest)


async def start_locked(run: Run, guest: Guest) -> None:
    """Starts a VM whose file lock is held; a hibernated one goes on where it stopped."""
    server, node = run.server, run.server.estate.nodes[guest.node]
    pending.apply(server, guest)
    hibernated = guest.lock == "suspended"
    if hibernated:
        run.log("Resuming suspended VM")
    machine.check_start(server, guest, node)
    if cloudinit.generate(server.estate, guest):
        run.log("generating cloud-init ISO")
    if "running-nets-host-mtu" in guest.config:
        run.log(
            f"netdev net0: using 'host_mtu={guest.config['running-nets-host-mtu'].partition('=')[2]}' for migration compat"
        )
    if hibernated and "vmstate" in guest.config:
        run.log(f"activating and using '{guest.config['vmstate']}' as vmstate")
    plug_cards(run, guest, node)
    machine.begin(server, guest, node)
    try:
        await run.sleep(START)
    except asyncio.CancelledError:
        guest.process = None
        raise
    if hibernated:
        wake(server, guest)
        run.log("Resumed VM, removing state")


def plug_cards(run: Run, guest: Guest, node: Node) -> None:
    """The cards' way into their bridges; raises TaskError in QEMU's words where a VLAN finds none (pve-bridge)."""
    refused = machine.untaggable(guest.config, node)
    if refused is None:
        return
    number, bridge = refused
    script = "/usr/libexec/qemu-server/pve-bridge"
    run.log(
        f"no physical interface on bridge '{bridge}'",
        f"kvm: -netdev type=tap,id=net{number},ifname=tap{guest.vmid}i{number},script={script},downscript={script}down: "
        f"network script {script} failed with status 65280",
    )
    raise TaskError("start failed: QEMU exited with code 1")


def wake(server: Server, guest: Guest) -> None:
    """After hibernation: the saved state goes, and the system is there at once."""
    state = guest.config.pop("vmstate", None)
    if state:
        volumes.free(server, state, guest.node)
    for name in ("lock", "runningcpu", "runningmachine", "running-nets-host-mtu"):
        guest.config.pop(name, None)
    awake(server, guest)


def awake(server: Server, guest: Guest) -> None:
    """A system that goes on from a saved state needs no time to boot."""
    process = guest.process
    if process and machine.SYSTEM_AT in process.facts:
        process.facts[machine.SYSTEM_AT] = str(server.clock.time())
        process.agent_at = server.clock.time() if process.agent_at is not None else None


async def stop(run: Run, vmid: int, node: str, skiplock: bool = False) -> None:
    """The worker of qmstop."""
    async with run.lock(vmid):
        guest = find(run.server, vmid, node)
        if guest.process is None:
            return
        check_lock(guest, skip=skiplock)
        await kill(run, guest)


async def kill(run: Run, guest: Guest) -> None:
    """Ends the process of a VM whose file lock is held."""
    await run.sleep(STOP)
    ended(run.server, guest)


def ended(server: Server, guest: Guest) -> None:
    """After a process: what waited for the stop is done."""
    guest.process = None
    pending.apply(server, guest)
    server.changed()


async def shut_down(run: Run, vmid: int, node: str, timeout: int | None, force: bool, skiplock: bool = False) -> None:
    """The worker of qmshutdown."""
    async with run.lock(vmid):
        guest = find(run.server, vmid, node)
        if guest.process is None:
            return
        check_lock(guest, skip=skiplock)
        await ask_to_stop(run, guest, timeout, force)


async def ask_to_stop(run: Run, guest: Guest, timeout: int | None, force: bool) -> None:
    """Asks the system to shut down, through the agent or the power button, and waits for it (seconds).

    Raises TaskError where it does not, and nothing is forced.
    """
    server = run.server
    if machine.agent_enabled(guest.config) and not await agent_answers(run, guest):
        run.log(f"QEMU Guest Agent is not running - VM {guest.vmid} qga command 'guest-ping' failed - got timeout")
    limit = timeout if timeout is not None else SHUTDOWN_TIMEOUT
    needed = machine.until_up(server, guest) + GUEST_SHUTDOWN
    if needed <= limit:
        await run.sleep(needed)
        ended(server, guest)
        return
    await run.sleep(limit)
    if not force:
        raise TaskError("VM quit/powerdown failed - got timeout")
    run.log("VM still running - terminating now with SIGTERM")
    await kill(run, guest)


async def agent_answers(run: Run, guest: Guest) -> bool:
    """Pings the guest agent, for three seconds at most."""
    try:
        return await ping(run.server, guest)
    except asyncio.CancelledError:
        run.log("QEMU Guest Agent is not running - received interrupt")
        raise


async def ping(server: Server, guest: Guest) -> bool:
    """Whether the guest agent answers Proxmox's own question, which no call asked."""
    asked = f"/api2/json/nodes/{guest.node}/qemu/{guest.vmid}/agent/ping"
    if server.faults.standing("agent_silent", "POST", asked, guest.node):
        await server.clock.sleep(AGENT_PING)
        return False
    return await answers(server, guest)


async def answers(server: Server, guest: Guest) -> bool:
    """Whether the guest agent answers within three seconds, also where it comes up meanwhile."""
    process = guest.process
    if process is None:
        return False
    if machine.agent_up(server, guest):
        return True
    wait = server.clock.scaled(AGENT_PING)
    if process.agent_at is not None and machine.agent_enabled(guest.config):
        wait = min(wait, max(0.0, process.agent_at - server.clock.time()) + 0.001)
    await asyncio.sleep(wait)
    return machine.agent_up(server, guest)


async def reboot(run: Run, vmid: int, node: str, timeout: int | None) -> None:
    """The worker of qmreboot: shuts down; qmeventd then starts the VM in a task of its own."""
    async with run.lock(vmid):
        guest = find(run.server, vmid, node)
        if guest.process is None:
            return
        check_lock(guest)
        await ask_to_stop(run, guest, timeout, force=False)
    start_as_root(run.server, guest)


def start_as_root(server: Server, guest: Guest) -> str:
    """Begins a qmstart in the name of root, as qmeventd and the HA manager do."""
    vmid, node = guest.vmid, guest.node

    async def work(run: Run) -> None:
        await start(run, vmid, node)

    return server.tasks.start(server.estate.nodes[node], "qmstart", str(vmid), ROOT, work)


def shut_down_as_root(server: Server, guest: Guest, hard: bool) -> str:
    """Begins a qmshutdown in the name of root that ends by force, or a qmstop, as the HA manager does."""
    vmid, node = guest.vmid, guest.node

    async def work(run: Run) -> None:
        if hard:
            await stop(run, vmid, node)
        else:
            await shut_down(run, vmid, node, SHUTDOWN_TIMEOUT, force=True)

    return server.tasks.start(server.estate.nodes[node], "qmstop" if hard else "qmshutdown", str(vmid), ROOT, work)


async def reset(run: Run, vmid: int, node: str, skiplock: bool = False) -> None:
    """The worker of qmreset: the system boots anew, pending changes stay pending."""
    async with run.lock(vmid):
        guest = find(run.server, vmid, node)
        check_lock(guest, skip=skiplock)
        await run.sleep(PAUSE)
        machine.boot(run.server, guest, run.server.estate.nodes[node])


async def pause(run: Run, vmid: int, node: str, skiplock: bool = False) -> None:
    """The worker of qmpause."""
    async with run.lock(vmid):
        guest = find(run.server, vmid, node)
        check_lock(guest, "backup", skip=skiplock)
        await run.sleep(PAUSE)
        if guest.process:
            guest.process.qmpstatus = "paused"


async def resume(run: Run, vmid: int, node: str, skiplock: bool = False) -> None:
    """The worker of qmresume; a hibernated VM is started."""
    async with run.lock(vmid):
        guest = find(run.server, vmid, node)
        if guest.lock == "suspended":
            await start_locked(run, guest)
            return
        check_lock(guest, "backup", skip=skiplock)
        await run.sleep(PAUSE)
        if guest.process:
            guest.process.qmpstatus = "running"


async def hibernate(run: Run, vmid: int, node: str, storage: str | None, skiplock: bool = False) -> None:
    """The worker of qmsuspend: saves the memory to a volume and ends the process."""
    server = run.server
    async with run.lock(vmid):
        guest = find(server, vmid, node)
        check_lock(guest, "backup", skip=skiplock)
        if guest.process is None:
            raise TaskError(f"VM {vmid} not running")
        guest.config["lock"] = "suspending"
        stamp = time.strftime("%Y-%m-%d", time.localtime(server.clock.time()))
        try:
            state = await state_volume(run, guest, f"vm-{vmid}-state-suspend-{stamp}", storage)
            guest.config["vmstate"] = state
            await run.sleep(0.5 + machine.memory(guest.config) / STATE_RATE)
        except BaseException:
            guest.config.pop("lock", None)
            raise
        guest.config |= running_facts(guest) | {"lock": "suspended"}
        run.log("State saved, quitting")
        guest.process = None


def running_facts(guest: Guest) -> dict[str, str]:
    """What a saved state needs to run again."""
    facts = {"runningcpu": f"{guest.config.get('cpu', 'kvm64').split(',')[0]},+lahf_lm,+sep"}
    if guest.process:
        facts["runningmachine"] = guest.process.machine
    numbers = machine.cards(guest.config)
    if numbers:
        facts["running-nets-host-mtu"] = ",".join(f"net{number}=1500" for number in numbers)
    return facts


async def state_volume(run: Run, guest: Guest, name: str, storage: str | None) -> str:
    """Makes the volume for a VM's memory and gives its id: twice the memory and 500 MiB."""
    server, size = run.server, 2 * machine.memory(guest.config) + 500 * MIB
    chosen = storage or guest.config.get("vmstatestorage") or state_storage(server, guest)
    wanted = volumes.Wanted(chosen, guest.node, guest.vmid, size, "raw", name)
    return (await volumes.allocate(server, wanted, run.log)).volid


def state_storage(server: Server, guest: Guest) -> str:
    """Where a VM's memory goes: to a shared storage of its disks, else to that of its first disk, else `local`."""
    used = [volumes.parts(drive.file)[0] for drive in drives(guest.config) if not drive.cdrom]
    known = [server.estate.storages[name] for name in used if name in server.estate.storages]
    return next((storage.id for storage in known if storage.shared), known[0].id if known else "local")
