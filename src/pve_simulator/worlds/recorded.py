"""The world with which the recordings begin: one node `pve1`, three storages, no guest."""

from __future__ import annotations

import secrets
import time
import uuid

from pve_simulator.qemu.machine import UNPLUGGED
from pve_simulator.world.access import AclEntry, Group, Pool, Realm, Token, User
from pve_simulator.world.estate import Estate
from pve_simulator.world.node import Node, bridge, network_card
from pve_simulator.world.storage import Storage, Volume

MIB = 1024**2
MINI_ISO = 17_340_416  # bytes
VM_OPS = [
    "Datastore.AllocateSpace",
    "Datastore.Audit",
    "Pool.Audit",
    "SDN.Use",
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.PowerMgmt",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
]
EXPIRED = 1_000_000_000


def realms() -> dict[str, Realm]:
    """The two realms that every installation has."""
    return {
        "pam": Realm("pam", "pam", "Linux PAM standard authentication"),
        "pve": Realm("pve", "pve", "Proxmox VE authentication server"),
    }


def make() -> Estate:
    """A fresh estate."""
    estate = Estate(secret=secrets.token_hex(32), world="recorded", names=["pve2"], options={"keyboard": "en-us"})
    estate.nodes["pve1"] = node()
    estate.realms = realms()
    for storage in (
        Storage(
            "local",
            "dir",
            ["images", "import", "rootdir", "vztmpl", "snippets", "iso", "backup"],
            {"path": "/var/lib/vz"},
            total=270553174016,
            base_used=30914707456,
        ),
        Storage(
            "store2",
            "dir",
            ["images", "iso", "backup"],
            {"path": "/var/lib/vz2", "disable": "0"},
            total=270553174016,
            base_used=30914707456,
        ),
        Storage("offstore", "dir", ["images"], {"path": "/var/lib/off"}, disable=True),
    ):
        estate.storages[storage.id] = storage
    now = int(time.time())
    for volid, content, form, size, facts in (
        ("local:iso/mini.iso", "iso", "iso", MINI_ISO, {"system": "mini"}),
        ("local:vztmpl/mini.tar.gz", "vztmpl", "tgz", MIB, {}),
    ):
        estate.add_volume(Volume(volid, content, form, size, used=0, ctime=now, facts=facts), "pve1")
    people(estate)
    estate.pools["labpool"] = Pool("labpool", "lab pool")
    return estate


def node() -> Node:
    """The one node."""
    made = Node(
        "pve1",
        address="10.99.0.2",
        cores=2,
        memory=25276502016,
        disk=270553174016,
        started=time.time() - 4400,
        pid=216,
    )
    made.dns = {"dns1": "127.0.0.1"}
    made.facts[UNPLUGGED] = "eth0"  # of the recording machine: a VLAN tag on vmbr0 found no network card there
    interfaces = (
        network_card("eth0", 3),
        bridge("vmbr0", "eth0", 4, "10.99.0.2/24", "10.99.0.1"),
        bridge("vmbr1", "", 5),
    )
    made.interfaces = {interface.iface: interface for interface in interfaces}
    return made


def people(estate: Estate) -> None:
    """Users, their tokens, group, role and access control list."""
    for user in (
        User("root@pam", "pveroot123", tokens=tokens(full=False, sep=True)),
        User("admin@pve", "adminpass1", comment="admin user", tokens=tokens(full=False, sep=True)),
        User("low@pve", "lowpass123", tokens=tokens(none=False)),
        User("vmuser@pve", "vmuserpass1", groups=["ops"], tokens=tokens(vm=False, sep=True)),
        User("off@pve", "offpass123", enable=False),
        User("expired@pve", "exppass123", expire=EXPIRED),
    ):
        estate.users[user.id] = user
    estate.groups["ops"] = Group("ops", "ops group")
    estate.roles["VMOps"] = VM_OPS
    estate.acl = [
        AclEntry("/", "user", "admin@pve", "Administrator"),
        AclEntry("/pool/labpool", "user", "vmuser@pve", "VMOps"),
    ]


def tokens(**named: bool) -> dict[str, Token]:
    """Tokens by name, each with whether its privileges are separated."""
    return {name: Token(name, str(uuid.uuid4()), privsep) for name, privsep in named.items()}
