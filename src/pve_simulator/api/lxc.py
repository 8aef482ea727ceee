"""`/nodes/{node}/lxc`: containers listed, shown, changed, and their power."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from pve_simulator import metrics
from pve_simulator.api.nodes_system import graph_of
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.lxc import mounts, power, settings
from pve_simulator.qemu import highavailability, machine, volumes
from pve_simulator.tasks import Run, unlogged
from pve_simulator.world.guest import Guest

CONTAINER = "/nodes/{node}/lxc/{vmid}"
INDEX = "config pending status vncproxy termproxy vncwebsocket spiceproxy migrate clone snapshot resize interfaces"


@endpoint("GET", "/nodes/{node}/lxc")
async def containers(call: Call) -> list[dict[str, Any]]:
    return [
        row(call, guest)
        for guest in call.estate.guests.values()
        if guest.type == "lxc" and guest.node == call.node.name and call.may(f"/vms/{guest.vmid}", "VM.Audit")
    ]


def row(call: Call, guest: Guest) -> dict[str, Any]:
    """A container as lists and its status show it; sizes in bytes."""
    figures = metrics.guest_figures(call.server, guest, call.server.clock.time())
    figures["cpus"] = figures.pop("maxcpu")
    figures.pop("memhost")
    swap = int(guest.config.get("swap", 512)) << 20
    made = {"vmid": guest.vmid, "name": guest.name, "type": "lxc", "status": guest.status, "swap": 0, "maxswap": swap}
    made |= figures
    made |= {key: guest.config[key] for key in ("lock", "tags") if key in guest.config}
    if guest.template:
        made["template"] = 1
    if guest.process:
        made["pid"] = guest.process.pid
    return made


@endpoint("GET", CONTAINER)
async def index(call: Call) -> list[dict[str, str]]:
    call.guest("lxc")
    return [{"subdir": name} for name in (*INDEX.split(), "rrd", "rrddata", "firewall", "feature", "template")]


@endpoint("GET", f"{CONTAINER}/config")
async def config(call: Call) -> dict[str, Any]:
    guest = call.guest("lxc")
    if "snapshot" in call:
        if call["snapshot"] not in guest.snapshots:
            raise ApiError(500, f"snapshot '{call['snapshot']}' does not exist")
        told = guest.snapshots[call["snapshot"]]
    else:
        told = guest.config if call.get("current") else settings.merged(guest)
    return settings.shown(told) | {"digest": guest.digest()}


@endpoint("GET", f"{CONTAINER}/pending")
async def pending(call: Call) -> list[dict[str, Any]]:
    return settings.pending_rows(call.guest("lxc"))


@endpoint("PUT", f"{CONTAINER}/config")
async def configure(call: Call) -> None:
    """At once; what a running container does not take waits for its next start."""
    async with call.server.locks.hold(call["vmid"]):
        guest = call.guest("lxc")
        call.check_digest(guest)
        settings.unlocked(guest)
        wanted = {
            key: settings.filed(key, value) for key, value in call.parameters.items() if key not in settings.NOT_KEPT
        }
        gone, revert = listed(call, "delete"), listed(call, "revert")
        if not wanted and not gone and not revert:
            raise ApiError(500, "no options specified")
        both = next((key for key in gone if key in wanted), None)
        if both:
            raise ParameterError({both: f"can't use '-{both}' and -delete {both} at the same time"})
        settings.check_access(call, [*wanted, *gone], guest.config.get("unprivileged") == "1", guest.config)
        for key, value in wanted.items():
            new = mounts.NEW.match(value) if mounts.KEY.fullmatch(key) else None
            if new:
                call.check(f"/storage/{new['storage']}", "Datastore.AllocateSpace")
        settings.check_delete(guest, gone)
        await settings.change(unlogged(call.server, guest.node), guest, wanted, gone, revert)


def listed(call: Call, name: str) -> list[str]:
    """A list of settings' names."""
    return [key for key in re.split(r"[,;\s]+", call.get(name, "")) if key]


@endpoint("GET", f"{CONTAINER}/status")
async def status_index(call: Call) -> list[dict[str, str]]:
    call.guest("lxc")
    return [{"subdir": name} for name in ("current", "start", "stop", "shutdown", "migrate")]


@endpoint("GET", f"{CONTAINER}/status/current")
async def current(call: Call) -> dict[str, Any]:
    guest = call.guest("lxc")
    return row(call, guest) | {"ha": highavailability.told(call.estate, guest)}


@endpoint("GET", f"{CONTAINER}/interfaces")
async def interfaces(call: Call) -> list[dict[str, Any]]:
    guest = call.guest("lxc")
    if guest.process is None:
        return []
    told = [interface("lo", "00:00:00:00:00:00", ["127.0.0.1/8", "::1/128"])]
    for number in machine.cards(guest.config):
        card = guest.config[f"net{number}"]
        known = guest.process.facts.get(f"net{number}")
        given = [address for address in known.split(",") if address] if known is not None else guest.addresses
        hardware = (metrics.member(card, "hwaddr") or "").lower()
        told.append(interface(metrics.member(card, "name") or "eth0", hardware, given))
    return told


def interface(name: str, hardware: str, addresses: list[str]) -> dict[str, Any]:
    """A network device within a container."""
    told: dict[str, Any] = {"name": name, "hwaddr": hardware, "hardware-address": hardware, "ip-addresses": []}
    for address in addresses:
        plain, _, prefix = address.partition("/")
        kind = "inet6" if ":" in plain else "inet"
        told[kind] = address
        told["ip-addresses"].append({"ip-address": plain, "ip-address-type": kind, "prefix": int(prefix or 0)})
    return told


@endpoint("GET", f"{CONTAINER}/feature")
async def feature(call: Call) -> dict[str, Any]:
    guest = call.guest("lxc")
    if "snapname" in call and call["snapname"] not in guest.snapshots:
        raise ApiError(500, f"snapshot '{call['snapname']}' does not exist")
    told = guest.snapshots[call["snapname"]] if "snapname" in call else guest.config
    able = all(
        mount.kind == "volume" and volumes.has_feature(call.server, call["feature"], mount.volume, guest.node)
        for mount in mounts.of(told)
    )
    return {"hasFeature": int(able)}


@endpoint("GET", f"{CONTAINER}/rrddata")
async def history(call: Call) -> list[dict[str, Any]]:
    return metrics.guest_history(call.server, call.guest("lxc"), call["timeframe"])


@endpoint("GET", f"{CONTAINER}/rrd")
async def graph(call: Call) -> dict[str, str]:
    return graph_of(f"pve-vm-9.0/{call.guest('lxc').vmid}", call["ds"])


def requested(call: Call, guest: Guest, state: str, hard: bool = False) -> str | None:
    """The UPID of a request to the HA manager, where it looks after the container."""
    if not highavailability.managed(call.estate, guest) or (call.is_root and call.get("skiplock")):
        return None

    async def work(run: Run) -> None:
        await highavailability.request(run, guest, state, hard)

    return call.task("hastart" if state == "started" else "hastop", guest.vmid, work)


@endpoint("POST", f"{CONTAINER}/status/start")
async def start(call: Call) -> str:
    guest = call.guest("lxc")
    if guest.process:
        raise ApiError(500, f"CT {guest.vmid} already running")

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            await power.start(run, guest)

    return requested(call, guest, "started") or call.task("vzstart", guest.vmid, work)


def running(call: Call) -> Guest:
    """The container of the path; raises ApiError 500 where it does not run."""
    guest = call.guest("lxc")
    if guest.process is None:
        raise ApiError(500, f"CT {guest.vmid} not running")
    return guest


def at_work(call: Call, kind: str, guest: Guest, steps: Callable[[Run], Awaitable[None]]) -> str:
    """A task under the container's file lock."""

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            settings.unlocked(guest)
            await steps(run)

    return call.task(kind, guest.vmid, work)


@endpoint("POST", f"{CONTAINER}/status/stop")
async def stop(call: Call) -> str:
    guest = running(call)
    asked = requested(call, guest, "stopped", hard=True)
    return asked or at_work(call, "vzstop", guest, lambda run: power.stop(run, guest))


@endpoint("POST", f"{CONTAINER}/status/shutdown")
async def shutdown(call: Call) -> str:
    guest = running(call)
    asked = requested(call, guest, "stopped")
    return asked or at_work(call, "vzshutdown", guest, lambda run: power.stop(run, guest, power.SHUTDOWN))


@endpoint("POST", f"{CONTAINER}/status/reboot")
async def reboot(call: Call) -> str:
    guest = call.guest("lxc")
    if guest.process is None:
        raise ApiError(500, f"VM {guest.vmid} not running")  # as there: the text speaks of a VM

    async def steps(run: Run) -> None:
        await power.stop(run, guest, power.SHUTDOWN)
        await power.start(run, guest)

    return at_work(call, "vzreboot", guest, steps)


@endpoint("POST", f"{CONTAINER}/status/suspend")
async def suspend(call: Call) -> str:
    """Freezes a container (there an experiment: lxc-checkpoint)."""
    guest = running(call)

    async def steps(run: Run) -> None:
        await run.sleep(power.STOP)
        if guest.process:
            guest.process.qmpstatus = "paused"

    return at_work(call, "vzsuspend", guest, steps)


@endpoint("POST", f"{CONTAINER}/status/resume")
async def resume(call: Call) -> str:
    guest = running(call)

    async def steps(run: Run) -> None:
        await run.sleep(power.STOP)
        if guest.process:
            guest.process.qmpstatus = "running"

    return at_work(call, "vzresume", guest, steps)
