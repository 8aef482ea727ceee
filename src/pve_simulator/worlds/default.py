"""The world that the command makes by default: nodes, storages, guests and templates, the same for the same seed."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass

from pve_simulator.world.access import AclEntry, Group, Pool, Token, User
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import Guest, Process
from pve_simulator.world.node import Interface, Node
from pve_simulator.world.storage import GIB, Storage, Volume
from pve_simulator.worlds import Plan
from pve_simulator.worlds.recorded import realms

ROLES = ("web", "db", "app", "cache", "mail", "git", "build", "proxy", "dns", "files", "monitor", "queue")
SYSTEMS = ("debian-12", "ubuntu-24.04", "rocky-9", "alpine-3.20")
FIRST_GUEST, FIRST_TEMPLATE = 100, 9000
MIB = 1024**2


def make(plan: Plan) -> Estate:
    """A fresh estate."""
    chance = random.Random(f"{plan.seed}/{plan.number}")
    estate = Estate(
        secret=f"{chance.getrandbits(256):064x}",
        cluster=f"cluster{plan.number + 1}" if plan.nodes > 1 else "",
        options={"keyboard": "en-us"},
    )
    estate.realms = realms()
    memory = max(64, -(-(plan.guests * 4 + 64) // plan.nodes)) * GIB
    for number in range(1, plan.nodes + 1):
        estate.nodes[f"pve{number}"] = node(number, memory, chance)
    storages(estate, plan)
    people(estate, chance)
    for number in range(plan.templates):
        template(estate, plan, number, chance)
    for number in range(plan.guests):
        guest(estate, plan, number, chance)
    estate.pools["production"] = Pool("production", "what must not stop", list(estate.guests)[1::5])
    return estate


def node(number: int, memory: int, chance: random.Random) -> Node:
    """A node with one bridge."""
    made = Node(
        f"pve{number}",
        address=f"192.168.10.{10 + number}",
        cores=32,
        memory=memory,
        disk=200 * GIB,
        started=time.time() - chance.randint(1, 90) * 86400,
        number=number,
    )
    made.interfaces = {
        "vmbr0": Interface(
            "vmbr0",
            "bridge",
            {
                "address": made.address,
                "netmask": "24",
                "cidr": f"{made.address}/24",
                "gateway": "192.168.10.1",
                "bridge_ports": "eno1",
            },
        ),
        "eno1": Interface("eno1", "eth", {}),
    }
    return made


def storages(estate: Estate, plan: Plan) -> None:
    """`local` for files and `local-lvm` for disks on every node; a cluster also shares `tank`."""
    files = ["iso", "vztmpl", "backup", "import", "snippets"]
    estate.storages["local"] = Storage(
        "local", "dir", files, {"path": "/var/lib/vz"}, total=200 * GIB, base_used=12 * GIB
    )
    size = max(4096, plan.guests * 40) * GIB
    estate.storages["local-lvm"] = Storage(
        "local-lvm", "lvmthin", ["images", "rootdir"], {"vgname": "pve", "thinpool": "data"}, total=size
    )
    if plan.nodes > 1:
        estate.storages["tank"] = Storage(
            "tank",
            "nfs",
            ["images", "backup", "iso"],
            {"path": "/mnt/pve/tank", "server": "192.168.10.5", "export": "/tank"},
            shared=True,
            total=size,
            base_used=100 * GIB,
        )
    for name in estate.nodes:
        estate.add_volume(Volume("local:iso/debian-12.iso", "iso", "iso", 650 * MIB, used=650 * MIB), name)
        estate.add_volume(
            Volume("local:vztmpl/debian-12-standard.tar.zst", "vztmpl", "tzst", 120 * MIB, used=120 * MIB), name
        )


def people(estate: Estate, chance: random.Random) -> None:
    """root, an administrator with a full and a separated token, and somebody who may nothing."""

    def token(name: str, privsep: bool) -> Token:
        return Token(name, str(uuid.UUID(int=chance.getrandbits(128), version=4)), privsep)

    for user in (
        User("root@pam", "pveroot123"),
        User("admin@pve", "adminpass1", tokens={"full": token("full", False), "sep": token("sep", True)}),
        User("low@pve", "lowpass123", tokens={"none": token("none", False)}),
    ):
        estate.users[user.id] = user
    estate.groups["ops"] = Group("ops")
    estate.acl = [AclEntry("/", "user", "admin@pve", "Administrator")]


@dataclass(frozen=True)
class Disk:
    """A disk to be made; sizes in bytes. `system` is what it boots."""

    storage: str
    node: str
    vmid: int
    size: int
    used: int
    system: str
    base: bool = False
    content: str = "images"


def disk(estate: Estate, wanted: Disk) -> str:
    """Puts a disk on its storage and gives its volume id."""
    thin = estate.storages[wanted.storage].type == "lvmthin"
    name = f"{'base' if wanted.base else 'vm'}-{wanted.vmid}-disk-0"
    volid = f"{wanted.storage}:{name}" if thin else f"{wanted.storage}:{wanted.vmid}/{name}.qcow2"
    volume = Volume(
        volid,
        wanted.content,
        "raw" if thin else "qcow2",
        wanted.size,
        used=wanted.used,
        ctime=int(time.time()),
        vmid=wanted.vmid,
        facts={"system": wanted.system},
    )
    estate.add_volume(volume, wanted.node)
    return volid


def cloud_init(estate: Estate, storage: str, node: str, vmid: int) -> str:
    """Puts a cloud-init drive on a storage and gives its entry in the configuration."""
    thin = estate.storages[storage].type == "lvmthin"
    volid = f"{storage}:vm-{vmid}-cloudinit" if thin else f"{storage}:{vmid}/vm-{vmid}-cloudinit.qcow2"
    form = "raw" if thin else "qcow2"
    estate.add_volume(Volume(volid, "images", form, 4 * MIB, used=4 * MIB, ctime=int(time.time()), vmid=vmid), node)
    return f"{volid},media=cdrom"


def identity(chance: random.Random) -> str:
    """A UUID."""
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def mac(chance: random.Random) -> str:
    """An address of Proxmox's own prefix."""
    return "BC:24:11:" + ":".join(f"{chance.randrange(256):02X}" for _ in range(3))


def template(estate: Estate, plan: Plan, number: int, chance: random.Random) -> None:
    """A template; of several the last has no agent."""
    vmid, where = FIRST_TEMPLATE + number, f"pve{number % plan.nodes + 1}"
    storage = "tank" if plan.nodes > 1 and number == 0 else "local-lvm"
    size = (3 + number % 4) * GIB
    system = SYSTEMS[number % len(SYSTEMS)]
    volid = disk(estate, Disk(storage, where, vmid, size, size // 2, system, base=True))
    agent = plan.templates == 1 or number < plan.templates - 1
    config = {
        **({"agent": "enabled=1"} if agent else {}),
        "boot": "order=scsi0",
        "cores": "2",
        "cpu": "x86-64-v2-AES",
        "ide2": cloud_init(estate, storage, where, vmid),
        "ipconfig0": "ip=dhcp",
        "memory": "2048",
        "meta": f"creation-qemu=10.0.13,ctime={int(time.time())}",
        "name": f"{system}-template",
        "net0": f"virtio={mac(chance)},bridge=vmbr0",
        "ostype": "l26",
        "scsi0": f"{volid},size={size // GIB}G",
        "scsihw": "virtio-scsi-single",
        "serial0": "socket",
        "smbios1": f"uuid={identity(chance)}",
        "sockets": "1",
        "tags": "template",
        "template": "1",
        "vmgenid": identity(chance),
    }
    estate.guests[vmid] = Guest(vmid, where, "qemu", config, created=time.time())


def guest(estate: Estate, plan: Plan, number: int, chance: random.Random) -> None:
    """A VM, or every fourth a container."""
    vmid, where = FIRST_GUEST + number, f"pve{chance.randrange(plan.nodes) + 1}"
    role = ROLES[number % len(ROLES)]
    name = f"{role}-{number // len(ROLES) + 1:02d}"
    running = chance.random() < 0.7
    address = f"192.168.{20 + number // 200}.{10 + number % 200}/24"
    storage = "tank" if plan.nodes > 1 and chance.random() < 0.3 else "local-lvm"
    size = chance.choice((8, 16, 32)) * GIB
    container = number % 4 == 3
    if container:
        storage = "local-lvm"
    used, system = int(size * chance.uniform(0.1, 0.6)), SYSTEMS[number % len(SYSTEMS)]
    content = "rootdir" if container else "images"
    volid = disk(estate, Disk(storage, where, vmid, size, used, system, content=content))
    config = (
        container_config(name, chance, volid, size, address)
        if container
        else vm_config(name, chance, volid, size, address)
    )
    config["tags"] = chance.choice(("prod", "test", "prod;web", "dev"))
    made = Guest(vmid, where, "lxc" if container else "qemu", config, created=time.time())
    if not container:
        config["ide2"] = cloud_init(estate, storage, where, vmid)
    if running:
        began = time.time() - chance.randint(600, 30 * 86400)
        made.process = Process(estate.nodes[where].next_pid(), began, agent_at=began, cpu=chance.uniform(0.005, 0.5))
        made.addresses = [address]
    estate.guests[vmid] = made


def vm_config(name: str, chance: random.Random, volid: str, size: int, address: str) -> dict[str, str]:
    """A VM's configuration."""
    gateway = address.rsplit(".", 1)[0] + ".1"
    return {
        "agent": "1",
        "boot": "order=scsi0",
        "cores": str(chance.choice((1, 2, 4))),
        "cpu": "x86-64-v2-AES",
        "ipconfig0": f"ip={address},gw={gateway}",
        "memory": str(chance.choice((512, 1024, 2048, 4096))),
        "meta": f"creation-qemu=10.0.13,ctime={int(time.time())}",
        "name": name,
        "net0": f"virtio={mac(chance)},bridge=vmbr0",
        "onboot": "1",
        "ostype": "l26",
        "scsi0": f"{volid},size={size // GIB}G",
        "scsihw": "virtio-scsi-single",
        "smbios1": f"uuid={identity(chance)}",
        "sockets": "1",
        "vmgenid": identity(chance),
    }


def container_config(name: str, chance: random.Random, volid: str, size: int, address: str) -> dict[str, str]:
    """A container's configuration."""
    gateway = address.rsplit(".", 1)[0] + ".1"
    return {
        "arch": "amd64",
        "cores": str(chance.choice((1, 2))),
        "hostname": name,
        "memory": str(chance.choice((512, 1024))),
        "net0": f"name=eth0,bridge=vmbr0,gw={gateway},hwaddr={mac(chance)},ip={address},type=veth",
        "ostype": "debian",
        "rootfs": f"{volid},size={size // GIB}G",
        "swap": "512",
        "unprivileged": "1",
    }
