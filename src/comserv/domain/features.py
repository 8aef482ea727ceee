"""Every feature of Comserv with the privileges it needs on a server, at which kind of path: one row each.

The checks are Proxmox's own (semantics section 5 and `permissions` in its API's description). What a role of ours holds, what the
doctor says, what a plan finds and which buttons are greyed out all come from this table; a new feature adds its row here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from comserv.domain.cluster import Version

NEWEST, NO_LIMIT = (9, 1), (99, 0)


class Where(StrEnum):
    """The kind of path at which a privilege is needed."""

    SERVER = "server"
    NODE = "node"
    POOL = "pool"
    STORAGE = "storage"
    DISKS = "storage for disks"
    BRIDGE = "network"
    GUEST = "guest"
    VM = "VM"
    TEMPLATE = "template"
    NEW = "new VM"

    @property
    def general(self) -> str:
        """The path above all paths of this kind."""
        return _GENERAL[self]

    @property
    def of_guests(self) -> bool:
        return self.general == "/vms"


_GENERAL = {
    Where.SERVER: "/",
    Where.NODE: "/nodes",
    Where.POOL: "/pool",
    Where.STORAGE: "/storage",
    Where.DISKS: "/storage",
    Where.BRIDGE: "/sdn/zones",
    Where.GUEST: "/vms",
    Where.VM: "/vms",
    Where.TEMPLATE: "/vms",
    Where.NEW: "/vms",
}


@dataclass(frozen=True)
class Need:
    """One privilege at one kind of path. instead: privileges of which any will do as well.

    since, below: Proxmox VE versions (major, minor) in which it is this privilege.
    """

    where: Where
    privilege: str
    instead: tuple[str, ...] = ()
    since: tuple[int, int] = (0, 0)
    below: tuple[int, int] = NO_LIMIT

    def applies_to(self, version: Version) -> bool:
        """A version that is not known counts as the newest."""
        numbers = version.numbers if version.numbers != (0, 0) else NEWEST
        return self.since <= numbers < self.below

    def met_by(self, held: frozenset[str]) -> bool:
        return self.privilege in held or not held.isdisjoint(self.instead)


class FeatureId(StrEnum):
    """Names for programs; a later row adds its own."""

    SEE_GUESTS = "see_guests"
    SEE_NODES = "see_nodes"
    SEE_QUORUM = "see_quorum"
    SEE_TASKS = "see_tasks"
    SEE_STORAGES = "see_storages"
    SEE_POOLS = "see_pools"
    SEE_ADDRESSES = "see_addresses"
    CREATE_VM = "create_vm"
    SET_SIZE = "set_size"
    SET_CLOUD_INIT = "set_cloud_init"
    SET_NETWORK = "set_network"
    GROW_DISK = "grow_disk"
    POWER = "power"
    CHANGE_CPU = "change_cpu"
    CHANGE_MEMORY = "change_memory"
    CHANGE_OPTIONS = "change_options"
    DELETE_GUEST = "delete_guest"
    SNAPSHOT = "snapshot"
    BACK_UP = "back_up"
    RESTORE = "restore"
    MIGRATE = "migrate"
    CONSOLE = "console"
    CHANGE_HARDWARE = "change_hardware"
    FETCH_IMAGE = "fetch_image"
    UPLOAD_IMAGE = "upload_image"
    BUILD_TEMPLATE = "build_template"
    MANAGE_POOLS = "manage_pools"


@dataclass(frozen=True)
class Feature:
    """title: what a person would call it. without: what happens where it is not allowed. today: Comserv does it already;
    only these are shown, and are what a role for Comserv holds."""

    id: FeatureId
    title: str
    needs: tuple[Need, ...]
    without: str = ""
    today: bool = True

    def needed(self, version: Version) -> tuple[Need, ...]:
        return tuple(need for need in self.needs if need.applies_to(version))


AUDIT = Need(Where.GUEST, "VM.Audit")
AGENT = (
    Need(Where.VM, "VM.Monitor", below=(9, 0)),
    Need(Where.VM, "VM.GuestAgent.Audit", ("VM.GuestAgent.Unrestricted",), since=(9, 0)),
)
_USE = Need(Where.BRIDGE, "SDN.Use")
_SPACE = Need(Where.DISKS, "Datastore.AllocateSpace")

FEATURES: tuple[Feature, ...] = (
    Feature(FeatureId.SEE_GUESTS, "See guests and their figures", (AUDIT,), "Guests are missing from the lists."),
    Feature(
        FeatureId.SEE_ADDRESSES,
        "Read addresses from guest agents",
        (Need(Where.VM, "VM.Audit"), *AGENT),
        "Addresses are known from cloud-init only, and a new VM's cannot be proven.",
    ),
    Feature(
        FeatureId.SEE_NODES,
        "See how busy nodes are",
        (Need(Where.NODE, "Sys.Audit"),),
        "Nodes show no CPU and memory, and new VMs are placed without knowing them.",
    ),
    Feature(
        FeatureId.SEE_QUORUM,
        "See the cluster and its quorum",
        (Need(Where.SERVER, "Sys.Audit"),),
        "A lost quorum is noticed only when a change fails.",
    ),
    Feature(
        FeatureId.SEE_STORAGES,
        "See storages and how full they are",
        (Need(Where.STORAGE, "Datastore.Audit"),),
        "Storages are missing from the lists, and nothing warns before one is full.",
    ),
    Feature(
        FeatureId.SEE_POOLS,
        "See pools",
        (Need(Where.POOL, "Pool.Audit"),),
        "Pools cannot be offered when a VM is made.",
    ),
    Feature(
        FeatureId.SEE_TASKS,
        "See tasks that others began",
        (Need(Where.NODE, "Sys.Audit"),),
        "A guest's page shows only tasks that Comserv began.",
    ),
    Feature(
        FeatureId.CREATE_VM,
        "Create a VM from a template",
        (
            Need(Where.TEMPLATE, "VM.Audit"),
            Need(Where.TEMPLATE, "VM.Clone"),
            Need(Where.NEW, "VM.Allocate"),
            Need(Where.NEW, "VM.Audit"),
            Need(Where.NEW, "VM.Config.Options"),
            _SPACE,
            _USE,
        ),
        "No VM can be made there.",
    ),
    Feature(
        FeatureId.SET_SIZE,
        "Give a new VM its CPU and memory",
        (Need(Where.NEW, "VM.Config.CPU"), Need(Where.NEW, "VM.Config.Memory")),
        "A new VM keeps the template's size.",
    ),
    Feature(
        FeatureId.SET_CLOUD_INIT,
        "Give a new VM its user, keys and address",
        (Need(Where.NEW, "VM.Config.Cloudinit", ("VM.Config.Network",)),),
        "Cloud-init cannot be filled in.",
    ),
    Feature(
        FeatureId.SET_NETWORK,
        "Choose a new VM's network and VLAN",
        (Need(Where.NEW, "VM.Config.Network"), _USE),
        "A new VM stays in the template's network.",
    ),
    Feature(
        FeatureId.GROW_DISK,
        "Grow a new VM's disk",
        (Need(Where.NEW, "VM.Config.Disk"), _SPACE),
        "A new VM keeps the template's disk size.",
    ),
    Feature(
        FeatureId.POWER,
        "Start, shut down, pause and stop guests",
        (AUDIT, Need(Where.GUEST, "VM.PowerMgmt")),
        "Power buttons are greyed out.",
    ),
    Feature(
        FeatureId.CHANGE_OPTIONS,
        "Change name, tags, notes and start on boot",
        (AUDIT, Need(Where.GUEST, "VM.Config.Options")),
        "They cannot be changed.",
    ),
    Feature(
        FeatureId.CHANGE_CPU, "Change a guest's CPU", (AUDIT, Need(Where.GUEST, "VM.Config.CPU")), "It stays as it is."
    ),
    Feature(
        FeatureId.CHANGE_MEMORY,
        "Change a guest's memory",
        (AUDIT, Need(Where.GUEST, "VM.Config.Memory")),
        "It stays as it is.",
    ),
    Feature(
        FeatureId.DELETE_GUEST,
        "Delete guests",
        (AUDIT, Need(Where.GUEST, "VM.Allocate")),
        "Deleting is greyed out.",
    ),
    Feature(FeatureId.SNAPSHOT, "Take and roll back snapshots", (Need(Where.GUEST, "VM.Snapshot"),), today=False),
    Feature(
        FeatureId.BACK_UP,
        "Back guests up",
        (Need(Where.GUEST, "VM.Backup"), Need(Where.STORAGE, "Datastore.AllocateSpace")),
        today=False,
    ),
    Feature(
        FeatureId.RESTORE,
        "Restore backups",
        (
            Need(Where.GUEST, "VM.Backup"),
            Need(Where.NEW, "VM.Allocate"),
            Need(Where.STORAGE, "Datastore.AllocateSpace"),
        ),
        today=False,
    ),
    Feature(FeatureId.MIGRATE, "Move guests to another node", (Need(Where.GUEST, "VM.Migrate"),), today=False),
    Feature(FeatureId.CONSOLE, "Open consoles", (Need(Where.GUEST, "VM.Console"),), today=False),
    Feature(
        FeatureId.CHANGE_HARDWARE,
        "Change disks, network cards and other hardware",
        (
            Need(Where.GUEST, "VM.Config.Disk"),
            Need(Where.GUEST, "VM.Config.CDROM"),
            Need(Where.GUEST, "VM.Config.HWType"),
            Need(Where.GUEST, "VM.Config.Network"),
            Need(Where.GUEST, "VM.Config.Cloudinit", ("VM.Config.Network",)),
            _SPACE,
            _USE,
        ),
        today=False,
    ),
    Feature(
        FeatureId.FETCH_IMAGE,
        "Fetch images by URL",
        (Need(Where.STORAGE, "Datastore.AllocateTemplate"), Need(Where.NODE, "Sys.AccessNetwork")),
        today=False,
    ),
    Feature(FeatureId.UPLOAD_IMAGE, "Upload images", (Need(Where.STORAGE, "Datastore.AllocateTemplate"),), today=False),
    Feature(
        FeatureId.BUILD_TEMPLATE,
        "Build templates from images",
        (
            Need(Where.NEW, "VM.Allocate"),
            Need(Where.NEW, "VM.Config.Disk"),
            Need(Where.NEW, "VM.Config.CDROM"),
            Need(Where.NEW, "VM.Config.HWType"),
            _SPACE,
            _USE,
        ),
        today=False,
    ),
    Feature(FeatureId.MANAGE_POOLS, "Make and fill pools", (Need(Where.POOL, "Pool.Allocate"),), today=False),
)
TODAY = tuple(feature for feature in FEATURES if feature.today)
BY_ID = {feature.id: feature for feature in FEATURES}


def privileges_of(features: Iterable[Feature], version: Version) -> tuple[str, ...]:
    """All that these features need and nothing more, sorted: where another privilege will do as well and is needed anyway
    (VM.Config.Network for cloud-init), that is enough."""
    needs = [need for feature in features for need in feature.needed(version)]
    certain = frozenset(need.privilege for need in needs if not need.instead)
    return tuple(sorted(certain | {need.privilege for need in needs if not need.met_by(certain)}))


@dataclass(frozen=True)
class Never:
    """What Proxmox refuses to every API token, and what is done instead."""

    what: str
    instead: str


NEVER: tuple[Never, ...] = (
    Never(
        "Remove the lock of a guest whose task has died",
        "Comserv tells the command: qm unlock VMID, to be run as root on the node.",
    ),
    Never(
        "Set raw QEMU arguments (args) and hook scripts",
        "Set them on a template as root@pam: every clone takes them over.",
    ),
    Never(
        "Give a guest devices of the host",
        "Map them once under Datacenter, Resource Mappings; a mapping may be used with a token.",
    ),
    Never(
        "Use disks by a path of the host",
        "Put the file on a storage; Comserv names volumes only.",
    ),
    Never(
        "Change passwords and second factors of the server's users",
        "Their owners do so in Proxmox itself; Comserv has people of its own.",
    ),
)


# --- what a call needs


_CPU = frozenset({"cores", "sockets", "vcpus", "cpu", "cpulimit", "cpuunits", "numa", "affinity"})
_MEMORY = frozenset({"memory", "balloon", "shares", "swap"})
_CLOUD_INIT = frozenset({"ciuser", "cipassword", "sshkeys", "nameserver", "searchdomain", "ipconfig0"})
_NO_OPTIONS = frozenset({"digest", "delete"})


def config_needs(keys: Iterable[str], where: Where) -> Iterator[Need]:
    """Privileges for changing these keys of a configuration (semantics section 5), for the keys that Comserv sends."""
    for key in sorted(set(keys) - _NO_OPTIONS):
        if key in _CPU:
            yield Need(where, "VM.Config.CPU")
        elif key in _MEMORY:
            yield Need(where, "VM.Config.Memory")
        elif key in _CLOUD_INIT:
            yield Need(where, "VM.Config.Cloudinit", ("VM.Config.Network",))
        elif key.startswith("net"):
            yield Need(where, "VM.Config.Network")
        else:
            yield Need(where, "VM.Config.Options")
