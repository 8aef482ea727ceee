"""`/nodes/{node}/lxc`: containers, as far as lists, settings, power and removal go."""

from __future__ import annotations

import random
import re
from typing import Any

from pve_simulator import metrics
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError, TaskError
from pve_simulator.schema import load
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest, Process
from pve_simulator.world.storage import GIB, Volume

CONTAINER = "/nodes/{node}/lxc/{vmid}"
SETTINGS = {"onboot", "protection", "unprivileged", "template", "console", "debug"}
NUMBERS = {"memory", "swap", "cores", "cpuunits", "tty"}
NOT_KEPT = {"node", "vmid", "digest", "delete", "revert", "ostemplate", "storage", "pool", "password", "start", "force"}
START, STOP, SHUTDOWN = 1.0, 0.5, 2.0  # seconds of the real server


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
    names = "config pending status vncproxy termproxy vncwebsocket spiceproxy migrate clone snapshot resize interfaces"
    return [{"subdir": name} for name in (*names.split(), "rrd", "rrddata", "firewall", "feature", "template")]


@endpoint("GET", f"{CONTAINER}/config")
async def config(call: Call) -> dict[str, Any]:
    guest = call.guest("lxc")
    return {key: typed(key, value) for key, value in guest.config.items()} | {"digest": guest.digest()}


def typed(key: str, value: str) -> str | int:
    """A setting as the API shows it."""
    return int(value) if key in SETTINGS | NUMBERS else value


@endpoint("GET", f"{CONTAINER}/pending")
async def pending(call: Call) -> list[dict[str, Any]]:
    guest = call.guest("lxc")
    shown = [{"key": key, "value": typed(key, value)} for key, value in guest.config.items()]
    return [*shown, {"key": "digest", "value": guest.digest()}]


@endpoint("PUT", f"{CONTAINER}/config")
async def configure(call: Call) -> None:
    async with call.server.locks.hold(call["vmid"]):
        guest = call.guest("lxc")
        call.check_digest(guest)
        unlocked(guest)
        settings = {key: value for key, value in call.parameters.items() if key not in NOT_KEPT}
        gone = [key for key in re.split(r"[,;\s]+", call.get("delete", "")) if key]
        if not settings and not gone:
            raise ApiError(500, "no options specified")
        known = load().find("PUT", f"/nodes/x/lxc/{guest.vmid}/config")
        for key in gone:
            if known is None or known[0].parameter(key) is None:
                raise ParameterError({"delete": f"unknown option '{key}'"})
            guest.config.pop(key, None)
        guest.config |= {key: filed(key, value) for key, value in settings.items()}


def filed(key: str, value: Any) -> str:
    """A setting as the file holds it; a network card gets what was not said: its address and its kind."""
    text = kept(value)
    if not re.fullmatch(r"net\d+", key):
        return text
    members = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    members.setdefault("hwaddr", "BC:24:11:" + ":".join(f"{random.randrange(256):02X}" for _ in range(3)))
    members.setdefault("type", "veth")
    name = members.pop("name", "eth0")
    return ",".join([f"name={name}", *(f"{member}={members[member]}" for member in sorted(members))])


def kept(value: Any) -> str:
    """A setting as the file holds it."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def unlocked(guest: Guest) -> None:
    """Raises ApiError 500 where the configuration is locked."""
    if guest.lock:
        raise ApiError(500, f"CT is locked ({guest.lock})")


@endpoint("GET", f"{CONTAINER}/status")
async def status_index(call: Call) -> list[dict[str, str]]:
    call.guest("lxc")
    return [{"subdir": name} for name in ("current", "start", "stop", "shutdown", "migrate")]


@endpoint("GET", f"{CONTAINER}/status/current")
async def current(call: Call) -> dict[str, Any]:
    guest = call.guest("lxc")
    return row(call, guest) | {"ha": {"managed": 0}}


@endpoint("GET", f"{CONTAINER}/interfaces")
async def interfaces(call: Call) -> list[dict[str, Any]]:
    guest = call.guest("lxc")
    if guest.process is None:
        return []
    told = [interface("lo", "00:00:00:00:00:00", ["127.0.0.1/8", "::1/128"])]
    for key, value in guest.config.items():
        if re.fullmatch(r"net\d+", key):
            address = metrics.member(value, "ip")
            addresses = [address] if address and "/" in address else guest.addresses
            name, hardware = metrics.member(value, "name") or "eth0", metrics.member(value, "hwaddr") or ""
            told.append(interface(name, hardware.lower(), addresses))
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


@endpoint("GET", f"{CONTAINER}/rrddata")
async def history(call: Call) -> list[dict[str, Any]]:
    return metrics.guest_history(call.server, call.guest("lxc"), call["timeframe"])


@endpoint("POST", f"{CONTAINER}/status/start")
async def start(call: Call) -> str:
    guest = call.guest("lxc")
    if guest.process:
        raise ApiError(500, f"CT {guest.vmid} already running")

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            unlocked(guest)
            if guest.template:
                raise TaskError("you can't start a CT if it's a template")
            await run.sleep(START)
            begin(call, guest)

    return call.task("vzstart", guest.vmid, work)


def begin(call: Call, guest: Guest) -> None:
    """Begins a container's process."""
    node = call.estate.nodes[guest.node]
    guest.process = Process(node.next_pid(), call.server.clock.time(), cpu=random.uniform(0.005, 0.1))
    address = metrics.member(guest.config.get("net0", ""), "ip")
    if address and "/" in address:
        guest.addresses = [address]


def ending(call: Call, kind: str, seconds: float, text: str, again: bool = False) -> str:
    """A task that ends a container's process, and may begin it again."""
    guest = call.guest("lxc")
    if guest.process is None:
        raise ApiError(500, text)

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            unlocked(guest)
            await run.sleep(seconds)
            guest.process = None
            if again:
                await run.sleep(START)
                begin(call, guest)

    return call.task(kind, guest.vmid, work)


@endpoint("POST", f"{CONTAINER}/status/stop")
async def stop(call: Call) -> str:
    return ending(call, "vzstop", STOP, f"CT {call['vmid']} not running")


@endpoint("POST", f"{CONTAINER}/status/shutdown")
async def shutdown(call: Call) -> str:
    return ending(call, "vzshutdown", SHUTDOWN, f"CT {call['vmid']} is not running")


@endpoint("POST", f"{CONTAINER}/status/reboot")
async def reboot(call: Call) -> str:
    return ending(call, "vzreboot", SHUTDOWN, f"VM {call['vmid']} not running", again=True)


@endpoint("DELETE", CONTAINER)
async def remove(call: Call) -> str:
    guest = call.guest("lxc")
    if guest.config.get("protection") == "1":
        raise ApiError(500, f"can't remove CT {guest.vmid} - protection mode enabled")
    if guest.process and not call.get("force"):
        raise ApiError(500, f"unable to destroy CT {guest.vmid} - container is running")

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            unlocked(guest)
            guest.process = None
            await run.sleep(0.3)
            for key, value in guest.config.items():
                if key == "rootfs" or re.fullmatch(r"mp\d+", key):
                    call.estate.remove_volume(value.partition(",")[0], guest.node)
            forget(call, guest.vmid)

    return call.task("vzdestroy", guest.vmid, work)


def forget(call: Call, vmid: int) -> None:
    """Takes a container away, with its membership of a pool and its access control entries."""
    estate = call.estate
    estate.guests.pop(vmid, None)
    for pool in estate.pools.values():
        if vmid in pool.guests:
            pool.guests.remove(vmid)
    estate.acl = [entry for entry in estate.acl if entry.path != f"/vms/{vmid}"]


@endpoint("POST", "/nodes/{node}/lxc")
async def create(call: Call) -> str:
    vmid, estate, node = call["vmid"], call.estate, call.node
    pool = call.get("pool")
    if not (call.may(f"/vms/{vmid}", "VM.Allocate") or (pool and call.may(f"/pool/{pool}", "VM.Allocate"))):
        call.check(f"/vms/{vmid}", "VM.Allocate")
    if vmid in estate.guests:
        raise ApiError(500, f"unable to create CT {vmid} - CT {vmid} already exists on node '{node.name}'")
    settings = {key: filed(key, value) for key, value in call.parameters.items() if key not in NOT_KEPT}
    if settings.get("unprivileged") == "0":
        del settings["unprivileged"]
    defaults = {"arch": "amd64", "memory": "512", "ostype": "debian", "swap": "512"}
    guest = Guest(vmid, node.name, "lxc", {"lock": "create"}, created=call.server.clock.time())
    estate.guests[vmid] = guest

    async def work(run: Run) -> None:
        try:
            if estate.volume(call["ostemplate"], node.name) is None:
                raise TaskError(f"unable to create CT {vmid} - volume '{call['ostemplate']}' does not exist")
            settings["rootfs"] = root_disk(call, vmid, settings.get("rootfs", f"{call.get('storage', 'local')}:4"))
            run.log(f"extracting archive '{call['ostemplate']}'")
            await run.sleep(1.5)
        except BaseException:
            forget(call, vmid)
            raise
        guest.config = defaults | settings
        if pool in estate.pools:
            estate.pools[pool].guests.append(vmid)
        if call.get("start"):
            begin(call, guest)

    return call.task("vzcreate", vmid, work)


def root_disk(call: Call, vmid: int, told: str) -> str:
    """Allocates a root disk told as `storage:GiB` and gives its entry in the configuration."""
    found = re.fullmatch(r"([^:,]+):(\d+(?:\.\d+)?)(,.*)?", told)
    if not found or found[1] not in call.estate.storages:
        raise TaskError(f"unable to create CT {vmid} - storage '{told.partition(':')[0]}' does not exist")
    storage, size = call.estate.storages[found[1]], int(float(found[2]) * GIB)
    if call.server.faults.full(storage.id, call.node.name):
        raise TaskError(f"unable to create CT {vmid} - No space left on device")
    thin = storage.type == "lvmthin"
    volid = f"{storage.id}:vm-{vmid}-disk-0" if thin else f"{storage.id}:{vmid}/vm-{vmid}-disk-0.raw"
    now = call.server.clock.seconds()
    call.estate.add_volume(Volume(volid, "rootdir", "raw", size, used=size // 4, ctime=now, vmid=vmid), call.node.name)
    return f"{volid}{found[3] or ''},size={int(float(found[2]))}G"
