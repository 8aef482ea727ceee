"""/cluster and /version: the whole server in one call, its cluster, its tasks, and the next free number."""

from dataclasses import dataclass
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from comserv.domain.cluster import ClusterNode, ClusterStatus, Version
from comserv.domain.guest import Guest, GuestKey, GuestStatus, GuestType
from comserv.domain.picture import Node, Storage
from comserv.domain.task import TaskRow
from comserv.proxmox.decoding import Flag, Text, flag, share, whole
from comserv.proxmox.exchange import Exchange
from comserv.proxmox.guests import guest_status, split_tags
from comserv.proxmox.tasks import TaskRecord, task_row

LONGEST_WORD = 20  # characters of a version, or of a lock: Proxmox's own have at most 16
LONGEST = 1024  # characters of a name, or of all tags together, that are kept; Proxmox allows a name 255
KINDS = {str(kind): kind for kind in GuestType}


class Resource(msgspec.Struct, gc=False):  # rows hold no cycles, and come by the thousand
    """A row of /cluster/resources, of any type (recordings 04 cluster.resources, 08 qemu lists, semantics section 15)."""

    type: str
    node: str = ""
    vmid: int = 0
    name: Text = ""
    status: str = ""
    template: Flag = None
    lock: str = ""
    tags: Text = ""
    pool: Text = ""
    hastate: str = ""
    maxcpu: int | float | None = None
    cpu: int | float | None = None
    maxmem: int | float | None = None
    mem: int | float | None = None
    maxdisk: int | float | None = None
    disk: int | float | None = None
    uptime: int | float | None = None
    storage: Text = ""
    plugintype: str = ""
    content: str = ""
    shared: Flag = None


class StatusRow(msgspec.Struct):
    """A row of /cluster/status (recording 04 GET /cluster/status)."""

    type: str
    name: Text = ""
    quorate: Flag = None
    online: Flag = None
    local: Flag = None
    ip: str = ""


class NodeRow(msgspec.Struct):
    """A row of /nodes (recording 05), which are told to everybody."""

    node: str
    status: str = ""


class VnetRow(msgspec.Struct):
    """A row of /cluster/sdn/vnets, of those that the token may see (the API schema)."""

    vnet: str
    zone: str = ""


class VersionRow(msgspec.Struct):
    """/version (recording 01 version)."""

    version: Text
    release: Text = ""


@dataclass(frozen=True)
class Resources:
    """One GET of /cluster/resources, each part in a stable order: nodes, storages, pools by name, guests by number."""

    nodes: tuple[Node, ...]
    storages: tuple[Storage, ...]
    guests: tuple[Guest, ...]
    pools: tuple[str, ...] = ()


class Cluster:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def resources(self) -> Resources:
        """Everything in one call; Proxmox renews it every 10 s, so it never pays to ask more often."""
        rows = await self.rows()
        server = self._exchange.server_id
        nodes, storages = hosts_of(rows)
        return Resources(
            nodes=nodes,
            storages=storages,
            guests=tuple(sorted((guest_of(server, r) for r in rows if r.type in KINDS), key=lambda g: g.key.vmid)),
            pools=tuple(sorted(str(r.pool) for r in rows if r.type == "pool" and r.pool)),
        )

    async def rows(self) -> list[Resource]:
        """The same as it came, in no order."""
        return await self._exchange.get("/cluster/resources", list[Resource])

    async def status(self) -> ClusterStatus:
        """Name, quorum and members. Needs Sys.Audit on /, else PermissionMissing."""
        rows = await self._exchange.get("/cluster/status", list[StatusRow])
        nodes = (ClusterNode(str(r.name), flag(r.online), flag(r.local), r.ip) for r in rows if r.type == "node")
        cluster = next((row for row in rows if row.type == "cluster"), None)
        return ClusterStatus(
            name=str(cluster.name) if cluster else "",
            quorate=flag(cluster.quorate) if cluster else True,
            nodes=tuple(sorted(nodes, key=lambda node: node.name)),
        )

    async def next_id(self) -> int:
        """The lowest free number; nothing is reserved by asking (semantics section 7)."""
        return await self._exchange.get("/cluster/nextid", int)

    async def is_free(self, vmid: int) -> None:
        """Raises VmidTaken, or ParametersRefused where `vmid` is no number of a guest."""
        await self._exchange.get("/cluster/nextid", int, {"vmid": vmid})

    async def tasks(self) -> tuple[TaskRow, ...]:
        """Some 25 tasks of all nodes, running and ended; an older one is only in its node's list."""
        rows = await self._exchange.get("/cluster/tasks", list[TaskRecord])
        return tuple(task_row(self._exchange.server_id, row) for row in rows)

    async def nodes(self) -> tuple[str, ...]:
        """Names of the nodes that are online."""
        rows = await self._exchange.get("/nodes", list[NodeRow])
        return tuple(sorted(row.node for row in rows if row.status == "online"))

    async def vnets(self) -> tuple[tuple[str, str], ...]:
        """Virtual networks with their zones."""
        rows = await self._exchange.get("/cluster/sdn/vnets", list[VnetRow])
        return tuple(sorted((row.vnet, row.zone) for row in rows))

    async def version(self) -> Version:
        row = await self._exchange.get("/version", VersionRow)
        return Version(str(row.version)[:LONGEST_WORD], str(row.release)[:LONGEST_WORD])


def hosts_of(rows: list[Resource]) -> tuple[tuple[Node, ...], tuple[Storage, ...]]:
    """Nodes by name, storages by node and name."""
    nodes = sorted((node_of(row) for row in rows if row.type == "node"), key=lambda node: node.name)
    storages = sorted((storage_of(row) for row in rows if row.type == "storage"), key=lambda one: (one.node, one.name))
    return tuple(nodes), tuple(storages)


def node_of(row: Resource) -> Node:
    return Node(
        name=row.node,
        online=row.status == "online",
        cpu=share(row.cpu),
        cores=whole(row.maxcpu),
        memory=whole(row.maxmem),
        memory_used=whole(row.mem),
        uptime=whole(row.uptime),
    )


def storage_of(row: Resource) -> Storage:
    return Storage(
        node=row.node,
        name=str(row.storage),
        type=row.plugintype,
        content=_contents(row.content),
        shared=flag(row.shared),
        active=row.status == "available",
        total=whole(row.maxdisk),
        used=whole(row.disk),
    )


@lru_cache(maxsize=1024)  # the same few texts come with every sweep
def _contents(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))


def guest_of(server: str, row: Resource) -> Guest:
    """A VM's fill of its disks is not known to Proxmox, which says 0: that is None here."""
    kind = KINDS[row.type]
    status = guest_status(row.status, row.lock)
    return Guest(
        key=GuestKey(server, row.vmid),
        type=kind,
        node=row.node,
        name=str(row.name)[:LONGEST],
        status=status,
        template=flag(row.template),
        lock=row.lock[:LONGEST_WORD],
        tags=split_tags(str(row.tags)[:LONGEST]),
        pool=str(row.pool)[:LONGEST],
        cores=share(row.maxcpu),
        cpu=share(row.cpu) if status is not GuestStatus.UNKNOWN else None,
        memory=whole(row.maxmem),
        memory_used=whole(row.mem),
        disk=whole(row.maxdisk),
        disk_used=whole(row.disk) if kind is GuestType.LXC else None,
        uptime=whole(row.uptime),
        hastate=row.hastate,
    )


def with_figures(known: Guest, row: Resource) -> Guest:
    """The guest as it was told before, with the row's figures: what `guest_of` gives where nothing else is new.

    Made a thousand times a sweep, so that what is as usual (whole numbers, a share) goes without a call.
    """
    cpu, used, uptime = row.cpu, row.mem, row.uptime
    if cpu.__class__ is not float or not 0.0 <= cpu < 2.0:  # type: ignore[operator] # a float by then
        cpu = share(cpu)
    if used.__class__ is not int:
        used = whole(used)
    if uptime.__class__ is not int:
        uptime = whole(uptime)
    if known.status is GuestStatus.UNKNOWN:
        cpu = None
    if known.type is GuestType.LXC:
        return replace(known, cpu=cpu, memory_used=used, uptime=uptime, disk_used=whole(row.disk))
    return replace(known, cpu=cpu, memory_used=used, uptime=uptime)
