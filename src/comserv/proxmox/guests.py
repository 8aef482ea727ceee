"""/nodes/{node}/qemu/{vmid} and /nodes/{node}/lxc/{vmid}: everything that is said to a guest and about it."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import msgspec

from comserv.domain.guest import (
    AgentAddress,
    Guest,
    GuestConfig,
    GuestKey,
    GuestState,
    GuestStatus,
    GuestType,
    PendingChange,
)
from comserv.domain.task import Upid
from comserv.proxmox.agent import Agent, InterfaceRow, addresses_of
from comserv.proxmox.decoding import Flag, Text, flag, share, texts, whole
from comserv.proxmox.encoding import Parameters, Value, encode_sshkeys, path
from comserv.proxmox.exchange import Exchange

STATUSES = {str(status): status for status in GuestStatus}


class HaRow(msgspec.Struct):
    managed: Flag = None
    state: str = ""


class CurrentRow(msgspec.Struct, rename={"running_qemu": "running-qemu"}):
    """…/status/current, and a row of a node's list (recordings 08 status.current.guest, 15 z.lxc.current#2)."""

    status: str
    vmid: int = 0
    name: Text = ""
    qmpstatus: str = ""
    lock: str = ""
    uptime: float | None = None
    cpu: float | None = None
    cpus: float | None = None
    maxmem: float | None = None
    mem: float | None = None
    maxdisk: float | None = None
    disk: float | None = None
    agent: Flag = None
    template: Flag = None
    tags: Text = ""
    ha: HaRow = msgspec.field(default_factory=HaRow)
    running_qemu: Text = ""


class PendingRow(msgspec.Struct):
    """A row of …/pending (recording 08 pending.after-revert). delete: 1, or 2 for a forced one."""

    key: str
    value: Any = None
    pending: Any = None
    delete: Flag = None


class AnyGuest:
    """What VMs and containers have in common."""

    type: GuestType

    def __init__(self, exchange: Exchange, node: str, vmid: int) -> None:
        self._exchange, self.node, self.vmid = exchange, node, vmid
        self._path = path("nodes", node, self.type, vmid)

    async def current(self) -> GuestState:
        """Live state. Raises GuestMissing."""
        return state_of(await self._exchange.get(f"{self._path}/status/current", CurrentRow))

    async def config(self, *, current: bool = False) -> GuestConfig:
        """The configuration as it will be after the next stop, or with `current` as it is now (semantics section 8).

        sshkeys is plain text here. Raises GuestMissing.
        """
        values = texts(await self._exchange.get(f"{self._path}/config", dict[str, Any], {"current": current or None}))
        return config_of(values)

    async def pending(self) -> tuple[PendingChange, ...]:
        """What waits for the next stop, by key."""
        rows = await self._exchange.get(f"{self._path}/pending", list[PendingRow])
        waiting = (row for row in rows if row.pending is not None or flag(row.delete))
        return tuple(sorted((pending_of(row) for row in waiting), key=lambda change: change.key))

    async def resize(self, disk: str, size: str, digest: str = "") -> Upid:
        """size: absolute, `32G` (so that it can be repeated). All that is wrong is told by the task (semantics section 6)."""
        return await self._task("PUT", "resize", {"disk": disk, "size": size, "digest": digest or None})

    async def start(self) -> Upid:
        """A missing guest, a running one and a lock are told by the task."""
        return await self._power("start")

    async def stop(self, *, overrule_shutdown: bool = False) -> Upid:
        """Cuts the power. overrule_shutdown: ends the user's own shutdown task first, which else holds the lock."""
        return await self._power("stop", {"overrule-shutdown": overrule_shutdown or None})

    async def shutdown(self, *, timeout: int | None = None, force_stop: bool = False) -> Upid:
        """Asks the guest. timeout: s, Proxmox takes 60; force_stop: cuts the power when it has passed."""
        return await self._power("shutdown", {"timeout": timeout, "forceStop": force_stop or None})

    async def reboot(self, *, timeout: int | None = None) -> Upid:
        """Shutdown and start; pending changes are applied in between."""
        return await self._power("reboot", {"timeout": timeout})

    async def delete(self, *, purge: bool = False, destroy_unreferenced_disks: bool = False) -> Upid:
        """Removes the guest with its disks. purge: also from backup jobs, HA and replication."""
        flags = {"purge": purge or None, "destroy-unreferenced-disks": destroy_unreferenced_disks or None}
        return await self._exchange.task("DELETE", self._path, flags)

    async def _power(self, action: str, parameters: Parameters | None = None) -> Upid:
        return await self._task("POST", f"status/{action}", parameters)

    async def _task(self, method: str, rest: str, parameters: Parameters | None = None) -> Upid:
        return await self._exchange.task(method, f"{self._path}/{rest}", parameters)


class Qemu(AnyGuest):
    """A VM: /nodes/{node}/qemu/{vmid}."""

    type = GuestType.QEMU

    @property
    def agent(self) -> Agent:
        return Agent(self._exchange, self.node, self._path)

    async def configure(self, changes: Mapping[str, Value], *, delete: tuple[str, ...] = (), digest: str = "") -> Upid:
        """POST …/config, a task, unlike the synchronous PUT. Raises DigestMismatch, GuestLocked, ParametersRefused.

        changes: as Proxmox names them; sshkeys as plain text, one key a line. delete: keys to reset to their default.
        """
        parameters = {**_written(changes), "delete": ",".join(delete) or None, "digest": digest or None}
        return await self._task("POST", "config", parameters)

    async def clone(
        self,
        newid: int,
        *,
        name: str = "",
        full: bool | None = None,
        target: str = "",
        storage: str = "",
        format: str = "",
        pool: str = "",
        description: str | None = None,
        snapname: str = "",
        bwlimit: int | None = None,
    ) -> Upid:
        """Copies this VM to `newid`. full: None is linked for a template, else full; storage and format only with full.

        target: another node, on shared storage only. bwlimit: KiB/s. Raises VmidTaken.
        """
        parameters = {
            "newid": newid,
            "name": name or None,
            "full": full,
            "target": target or None,
            "storage": storage or None,
            "format": format or None,
            "pool": pool or None,
            "description": description,
            "snapname": snapname or None,
            "bwlimit": bwlimit,
        }
        return await self._task("POST", "clone", parameters)

    async def reset(self) -> Upid:
        return await self._power("reset")

    async def suspend(self, *, to_disk: bool = False) -> Upid:
        """Pauses, or with `to_disk` hibernates: the VM is then stopped with the lock `suspended`."""
        return await self._power("suspend", {"todisk": to_disk or None})

    async def resume(self) -> Upid:
        """Of a paused VM. A hibernated one is resumed by start."""
        return await self._power("resume")


class Lxc(AnyGuest):
    """A container: /nodes/{node}/lxc/{vmid}."""

    type = GuestType.LXC

    async def configure(self, changes: Mapping[str, Value], *, delete: tuple[str, ...] = (), digest: str = "") -> None:
        """PUT …/config, which is synchronous: containers have no other (semantics section 6)."""
        parameters = {**_written(changes), "delete": ",".join(delete) or None, "digest": digest or None}
        await self._exchange.change("PUT", f"{self._path}/config", parameters)

    async def addresses(self) -> tuple[AgentAddress, ...]:
        """Of all interfaces of a running container. RequestRefused when it is stopped."""
        rows = await self._exchange.get(f"{self._path}/interfaces", list[InterfaceRow], heavy_on=self.node)
        return addresses_of(rows)


def guest_status(status: str, lock: str = "", qmpstatus: str = "") -> GuestStatus:
    """The state a person means, from status, lock and qmpstatus (semantics section 9): a paused VM is `running` with
    qmpstatus paused, a hibernated one `stopped` with the lock suspended."""
    if status == "stopped" and lock == "suspended":
        return GuestStatus.SUSPENDED
    if status == "running" and qmpstatus == "paused":
        return GuestStatus.PAUSED
    return STATUSES.get(status, GuestStatus.UNKNOWN)


@lru_cache(maxsize=4096)  # the same few texts come with every sweep
def split_tags(text: str) -> tuple[str, ...]:
    return tuple(tag for tag in re.split(r"[;,\s]+", text) if tag)


def state_of(row: CurrentRow) -> GuestState:
    return GuestState(
        status=guest_status(row.status, row.lock, row.qmpstatus),
        qmpstatus=row.qmpstatus,
        name=str(row.name),
        lock=row.lock,
        uptime=whole(row.uptime) or 0,
        cpu=share(row.cpu),
        cores=share(row.cpus),
        memory=whole(row.maxmem),
        memory_used=whole(row.mem),
        disk=whole(row.maxdisk),
        agent=flag(row.agent),
        ha_managed=flag(row.ha.managed),
        ha_state=row.ha.state,
        running_qemu=str(row.running_qemu),
    )


def listed_guest(server: str, node: str, kind: GuestType, row: CurrentRow) -> Guest:
    """A row of /nodes/{node}/qemu or …/lxc, which are live."""
    return Guest(
        key=GuestKey(server, row.vmid),
        type=kind,
        node=node,
        name=str(row.name),
        status=guest_status(row.status, row.lock, row.qmpstatus),
        template=flag(row.template),
        lock=row.lock,
        tags=split_tags(str(row.tags)),
        cores=share(row.cpus),
        cpu=share(row.cpu),
        memory=whole(row.maxmem),
        memory_used=whole(row.mem),
        disk=whole(row.maxdisk),
        disk_used=whole(row.disk) if kind is GuestType.LXC else None,
        uptime=whole(row.uptime),
    )


def config_of(values: dict[str, str]) -> GuestConfig:
    digest = values.pop("digest", "")
    if "sshkeys" in values:
        values["sshkeys"] = unquote(values["sshkeys"])
    return GuestConfig(values, digest)


def pending_of(row: PendingRow) -> PendingChange:
    known = texts({"value": row.value, "pending": row.pending})
    return PendingChange(row.key, known.get("value", ""), None if flag(row.delete) else known.get("pending"))


def _written(changes: Mapping[str, Value]) -> dict[str, Value]:
    keys = changes.get("sshkeys")
    return {**changes, "sshkeys": encode_sshkeys(keys)} if isinstance(keys, str) else dict(changes)
