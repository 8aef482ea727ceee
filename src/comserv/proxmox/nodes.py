"""/nodes/{node}: what a node has (storages, bridges, certificates), how it is, and what its clock says."""

from datetime import UTC, datetime

import msgspec

from comserv.domain.certificate import NodeCertificate
from comserv.domain.cluster import NodeStatus, NodeTime, Version
from comserv.domain.guest import Guest, GuestType
from comserv.domain.network import Bridge
from comserv.domain.picture import Storage
from comserv.proxmox.decoding import Flag, Text, flag, moment, share, whole
from comserv.proxmox.encoding import path
from comserv.proxmox.exchange import Exchange
from comserv.proxmox.guests import CurrentRow, Lxc, Qemu, listed_guest
from comserv.proxmox.tasks import NodeTasks


class MemoryRow(msgspec.Struct):
    total: float | None = None
    used: float | None = None


class CpuRow(msgspec.Struct):
    cpus: float | None = None
    model: Text = ""


class NodeStatusRow(msgspec.Struct):
    """/nodes/{node}/status (recording 05)."""

    cpu: float | None = None
    uptime: float | None = None
    memory: MemoryRow = msgspec.field(default_factory=MemoryRow)
    cpuinfo: CpuRow = msgspec.field(default_factory=CpuRow)
    pveversion: str = ""


class NodeVersionRow(msgspec.Struct):
    """/nodes/{node}/version: as /version."""

    version: Text
    release: Text = ""


class TimeRow(msgspec.Struct):
    time: float
    timezone: str = ""


class StorageRow(msgspec.Struct):
    """A row of /nodes/{node}/storage (recording 05)."""

    storage: Text
    type: str = ""
    content: str = ""
    shared: Flag = None
    active: Flag = None
    enabled: Flag = None
    total: float | None = None
    used: float | None = None


class InterfaceRow(msgspec.Struct):
    """A row of /nodes/{node}/network (recording 05 network.type-any_bridge)."""

    iface: str
    type: str = ""
    active: Flag = None
    bridge_vlan_aware: Flag = None
    cidr: str = ""
    cidr6: str = ""
    comments: Text = ""


class CertificateRow(msgspec.Struct):
    """A row of /nodes/{node}/certificates/info (the API schema; any signed-in user may read it)."""

    filename: str = ""
    fingerprint: str = ""
    subject: str = ""
    issuer: str = ""
    notbefore: float | None = None
    notafter: float | None = None
    san: list[str] = []
    pem: str = ""


class Node:
    """One node; guests of it by `qemu(105)` and `lxc(300)`."""

    def __init__(self, exchange: Exchange, name: str) -> None:
        self._exchange, self.name = exchange, name
        self._path = path("nodes", name)

    def qemu(self, vmid: int) -> Qemu:
        return Qemu(self._exchange, self.name, vmid)

    def lxc(self, vmid: int) -> Lxc:
        return Lxc(self._exchange, self.name, vmid)

    def guest(self, kind: GuestType, vmid: int) -> Qemu | Lxc:
        return self.qemu(vmid) if kind is GuestType.QEMU else self.lxc(vmid)

    async def version(self) -> Version:
        """Of this node, which during an upgrade may not be that of the others."""
        row = await self._exchange.get(f"{self._path}/version", NodeVersionRow)
        return Version(str(row.version), str(row.release))

    @property
    def tasks(self) -> NodeTasks:
        return NodeTasks(self._exchange, self.name)

    async def status(self) -> NodeStatus:
        """Live figures. Needs Sys.Audit on the node."""
        row = await self._exchange.get(f"{self._path}/status", NodeStatusRow)
        return NodeStatus(
            node=self.name,
            cpu=share(row.cpu),
            cores=whole(row.cpuinfo.cpus),
            memory=whole(row.memory.total),
            memory_used=whole(row.memory.used),
            uptime=whole(row.uptime),
            version=row.pveversion,
            cpu_model=str(row.cpuinfo.model),
        )

    async def time(self) -> NodeTime:
        """Needs Sys.Audit on the node."""
        row = await self._exchange.get(f"{self._path}/time", TimeRow)
        return NodeTime(moment(row.time) or datetime.fromtimestamp(0, UTC), row.timezone)

    async def guests(self, kind: GuestType) -> tuple[Guest, ...]:
        """VMs or containers of this node, live, by number; those that the token may see."""
        rows = await self._exchange.get(f"{self._path}/{kind}", list[CurrentRow], heavy_on=self.name)
        guests = (listed_guest(self._exchange.server_id, self.name, kind, row) for row in rows)
        return tuple(sorted(guests, key=lambda guest: guest.key.vmid))

    async def storages(self) -> tuple[Storage, ...]:
        """Live, disabled ones among them, by name. It asks every storage (60 to 90 ms, semantics section 15): where fill
        and content are enough, take them from the cluster's resources."""
        rows = await self._exchange.get(f"{self._path}/storage", list[StorageRow], heavy_on=self.name)
        return tuple(sorted((storage_of(self.name, row) for row in rows), key=lambda storage: storage.name))

    async def bridges(self) -> tuple[Bridge, ...]:
        """Bridges and virtual networks a guest can be plugged into, by name."""
        rows = await self._exchange.get(f"{self._path}/network", list[InterfaceRow], {"type": "any_bridge"})
        return tuple(sorted((bridge_of(self.name, row) for row in rows), key=lambda bridge: bridge.name))

    async def certificates(self) -> tuple[NodeCertificate, ...]:
        """The cluster's CA and what this node shows on 8006, as read over the connection that is trusted already."""
        rows = await self._exchange.get(f"{self._path}/certificates/info", list[CertificateRow])
        return tuple(certificate_of(self.name, row) for row in rows)


def storage_of(node: str, row: StorageRow) -> Storage:
    return Storage(
        node=node,
        name=str(row.storage),
        type=row.type,
        content=frozenset(filter(None, row.content.split(","))),
        shared=flag(row.shared),
        active=flag(row.active),
        total=whole(row.total),
        used=whole(row.used),
        enabled=flag(row.enabled),
    )


def bridge_of(node: str, row: InterfaceRow) -> Bridge:
    return Bridge(
        node=node,
        name=row.iface,
        type=row.type,
        active=flag(row.active),
        vlan_aware=flag(row.bridge_vlan_aware),
        cidr=row.cidr,
        cidr6=row.cidr6,
        comment=str(row.comments).strip(),
    )


def certificate_of(node: str, row: CertificateRow) -> NodeCertificate:
    return NodeCertificate(
        node=node,
        filename=row.filename,
        fingerprint=row.fingerprint.upper(),
        subject=row.subject,
        issuer=row.issuer,
        not_before=moment(row.notbefore),
        not_after=moment(row.notafter),
        names=tuple(row.san),
        pem=row.pem,
    )
