"""The estate of one server: all that the API of one Proxmox VE installation speaks of."""

from __future__ import annotations

from dataclasses import dataclass, field

from pve_simulator.errors import ApiError
from pve_simulator.world.access import AclEntry, Group, Pool, Realm, User
from pve_simulator.world.guest import Guest
from pve_simulator.world.node import Node
from pve_simulator.world.storage import Storage, Volume
from pve_simulator.world.task import Task


@dataclass
class Estate:
    """One installation: a single node (`cluster` empty) or a cluster. Kept over restarts as it stands here.

    Only values that `msgspec` can write and read again belong here: no locks, no futures, no functions.
    """

    secret: str
    cluster: str = ""
    nodes: dict[str, Node] = field(default_factory=dict)
    guests: dict[int, Guest] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)  # key: `node|volid`, node empty where shared
    users: dict[str, User] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    realms: dict[str, Realm] = field(default_factory=dict)
    roles: dict[str, list[str]] = field(default_factory=dict)  # those that somebody made
    acl: list[AclEntry] = field(default_factory=list)
    pools: dict[str, Pool] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)  # by UPID, oldest first
    options: dict[str, str] = field(default_factory=dict)  # datacenter.cfg
    sections: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)  # ha, jobs, firewall, ...: kind, id
    names: list[str] = field(default_factory=list)  # hosts whose name resolves though nobody is there
    world: str = "default"

    @property
    def entry(self) -> Node:
        """The node whose address clients use."""
        return next(iter(self.nodes.values()))

    def guest(self, vmid: int, kind: str = "qemu", node: str | None = None) -> Guest:
        """A guest; raises ApiError 500 in the words used for a missing configuration file."""
        found = self.guests.get(vmid)
        if found is None or found.type != kind or (node is not None and found.node != node):
            folder = "qemu-server" if kind == "qemu" else "lxc"
            where = node or self.entry.name
            raise ApiError(500, f"Configuration file 'nodes/{where}/{folder}/{vmid}.conf' does not exist")
        return found

    def pool_of(self, vmid: int) -> str | None:
        """The pool a guest is in."""
        return next((pool.id for pool in self.pools.values() if vmid in pool.guests), None)

    def volume_key(self, volid: str, node: str) -> str:
        """Under what a volume stands in `volumes`, seen from a node."""
        storage = self.storages.get(volid.partition(":")[0])
        return f"|{volid}" if storage and storage.shared else f"{node}|{volid}"

    def volume(self, volid: str, node: str) -> Volume | None:
        """A volume seen from a node."""
        return self.volumes.get(self.volume_key(volid, node))

    def add_volume(self, volume: Volume, node: str) -> Volume:
        """Puts a volume on its storage."""
        storage = self.storages.get(volume.storage)
        volume.node = "" if storage and storage.shared else node
        self.volumes[f"{volume.node}|{volume.volid}"] = volume
        return volume

    def remove_volume(self, volid: str, node: str) -> Volume | None:
        """Takes a volume away; None if there was none."""
        return self.volumes.pop(self.volume_key(volid, node), None)

    def volumes_on(self, storage: str, node: str) -> list[Volume]:
        """What a node sees on a storage."""
        shared = storage in self.storages and self.storages[storage].shared
        prefix = f"{'' if shared else node}|{storage}:"
        return [volume for key, volume in self.volumes.items() if key.startswith(prefix)]

    def used(self, storage: str, node: str) -> int:
        """Bytes in use on a storage, seen from a node."""
        base = self.storages[storage].base_used
        return base + sum(volume.used for volume in self.volumes_on(storage, node))

    def next_id(self, lower: int = 100, upper: int = 1_000_000) -> int | None:
        """The lowest free VMID in [lower, upper)."""
        return next((vmid for vmid in range(lower, upper) if vmid not in self.guests), None)
