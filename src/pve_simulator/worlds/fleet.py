"""Guests and templates of a default world: names, tags and pools as people give them."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass

from pve_simulator.qemu import cloudinit, machine, volumes
from pve_simulator.qemu.systems import SYSTEMS
from pve_simulator.world.access import Pool
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import Guest, Process
from pve_simulator.world.storage import GIB, Volume
from pve_simulator.worlds import Plan
from pve_simulator.worlds.hosts import DAY, SHARED

MIB = 1024**2
FIRST_GUEST, FIRST_TEMPLATE = 100, 9000
LONG_AGO = 1_760_000_000  # seconds since the epoch: about then the oldest guests were made
DHCP_SHARE, RUNNING_SHARE, SHARED_SHARE = 0.3, 0.82, 0.5


@dataclass(frozen=True)
class Role:
    """What a guest is for; sizes in MiB and GiB. `container`: built as a container."""

    name: str
    topic: str
    weight: int
    cores: tuple[int, ...]
    memory: tuple[int, ...]
    disk: tuple[int, ...]
    load: tuple[float, float]
    container: bool = False
    padded: bool = True


# No name here is one that a person would try first (web-01, db-01, app-01, test): those stay free to be made
ROLES = (
    Role("shop", "web", 6, (2, 4), (2048, 4096), (16, 32), (0.03, 0.3)),
    Role("ledger-db", "db", 4, (4, 8), (8192, 16384), (64, 100), (0.05, 0.4)),
    Role("erp", "app", 5, (2, 4), (4096, 8192), (20, 40), (0.05, 0.4)),
    Role("ci-runner", "ci", 3, (4, 8), (4096, 8192), (40, 80), (0.1, 0.8), padded=False),
    Role("edge-proxy", "web", 2, (1, 2), (512, 1024), (8,), (0.01, 0.1), container=True),
    Role("cache", "cache", 2, (2,), (4096, 8192), (16,), (0.02, 0.2)),
    Role("dns", "infra", 2, (1,), (256, 512), (4, 8), (0.002, 0.02), container=True),
    Role("k8s-worker", "k8s", 3, (4, 8), (8192, 16384), (50, 100), (0.1, 0.5), padded=False),
    Role("mail", "mail", 1, (2,), (2048, 4096), (40,), (0.01, 0.1)),
    Role("git", "ci", 1, (2, 4), (4096,), (60, 120), (0.02, 0.2)),
    Role("grafana", "monitoring", 1, (1, 2), (1024, 2048), (12,), (0.02, 0.1), container=True),
    Role("queue", "app", 2, (2,), (2048, 4096), (20,), (0.03, 0.2)),
    Role("wiki", "docs", 1, (1, 2), (1024,), (10,), (0.005, 0.05), container=True),
    Role("vpn", "infra", 1, (1,), (512,), (4,), (0.005, 0.05), container=True),
    Role("files", "files", 1, (2,), (2048,), (200, 400), (0.01, 0.1)),
    Role("sandbox", "dev", 2, (1, 2), (1024, 2048), (10, 20), (0.005, 0.1)),
)
# environment: share, pool, second number of its addresses
ENVIRONMENTS = {"prod": (0.55, "production", 1), "staging": (0.25, "staging", 2), "dev": (0.2, "development", 3)}


@dataclass
class Maker:
    """Makes guests one after another."""

    estate: Estate
    plan: Plan
    chance: random.Random

    def __post_init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.leases = 0

    def uuid(self) -> str:
        """A UUID."""
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def mac(self) -> str:
        """An address of Proxmox's own prefix."""
        return "BC:24:11:" + ":".join(f"{self.chance.randrange(256):02X}" for _ in range(3))

    def count(self, what: str) -> int:
        """How many of a kind there are now, this one included."""
        self.counts[what] = self.counts.get(what, 0) + 1
        return self.counts[what]

    def disk(self, guest: Guest, storage: str, size: int, used: int, system: str) -> str:
        """Puts a guest's first disk on a storage and gives its volume id; sizes in bytes."""
        base = "base" if guest.template else "vm"
        volid = f"{storage}:{base}-{guest.vmid}-disk-0"
        content = "rootdir" if guest.type == "lxc" else "images"
        facts = {"system": system}
        made = Volume(volid, content, "raw", size, "", used, int(guest.created), guest.vmid, facts=facts)
        self.estate.add_volume(made, guest.node)
        return volid

    def cloud_init(self, guest: Guest, storage: str) -> None:
        """Gives a VM a drive with what its cloud-init options say."""
        volid = f"{storage}:vm-{guest.vmid}-cloudinit"
        size = volumes.CLOUD_INIT_SIZE
        made = Volume(volid, "images", "raw", size, "", size, int(guest.created), guest.vmid)
        self.estate.add_volume(made, guest.node)
        guest.config["ide2"] = f"{volid},media=cdrom"
        cloudinit.generate(self.estate, guest)

    def template(self, number: int) -> None:
        """A template. Of several the last has no agent; the first of a cluster lies on the shared storage."""
        plan, nodes = self.plan, list(self.estate.nodes)
        last = plan.templates > 1 and number == plan.templates - 1
        names = [name for name in SYSTEMS if name != "mini" and SYSTEMS[name].agent]
        system = "alpine-3.20" if last else names[number % len(names)]
        node = nodes[number % len(nodes)]
        storage = SHARED if plan.nodes > 1 and number % plan.nodes == 0 else "local-lvm"
        guest = Guest(FIRST_TEMPLATE + number, node, created=LONG_AGO + self.chance.randrange(300) * DAY)
        size = 2 * GIB if last else (3 + number % 4) * GIB
        config = {
            "boot": "order=scsi0;net0",
            "cores": "2",
            "cpu": "x86-64-v2-AES",
            "description": f"{SYSTEMS[system].pretty} from the publisher's cloud image",
            "ipconfig0": "ip=dhcp",
            "memory": "2048",
            "meta": f"creation-qemu={machine.QEMU},ctime={int(guest.created)}",
            "name": template_name(system, self.count(system)),
            "net0": f"virtio={self.mac()},bridge=vmbr0",
            "ostype": "l26",
            "scsihw": "virtio-scsi-single",
            "serial0": "socket",
            "smbios1": f"uuid={self.uuid()}",
            "sockets": "1",
            "tags": "template",
            "template": "1",
            "vga": "serial0",
            "vmgenid": self.uuid(),
        }
        guest.config = config if last else {**config, "agent": "enabled=1"}
        volid = self.disk(guest, storage, size, size * 2 // 5, system)
        guest.config["scsi0"] = f"{volid},discard=on,iothread=1,size={size // GIB}G,ssd=1"
        self.cloud_init(guest, storage)
        self.estate.guests[guest.vmid] = guest

    def guest(self, vmid: int) -> None:
        """A VM or container in some environment."""
        chance = self.chance
        role = chance.choices(ROLES, [role.weight for role in ROLES])[0]
        environment = chance.choices(list(ENVIRONMENTS), [share for share, _, _ in ENVIRONMENTS.values()])[0]
        number = self.count(role.name)
        name = f"{role.name}-{number:02d}" if role.padded else f"{role.name}-{number}"
        guest = Guest(vmid, chance.choice(list(self.estate.nodes)), "lxc" if role.container else "qemu")
        guest.created = LONG_AGO + chance.randrange(300 * DAY)
        size = chance.choice(role.disk) * GIB
        storage = SHARED if self.plan.nodes > 1 and chance.random() < SHARED_SHARE else "local-lvm"
        address = self.address(environment)
        system = chance.choice(("debian-12", "debian-12", "ubuntu-24.04", "rocky-9"))
        guest.config = self.container(role, name, address) if role.container else self.machine(role, name, address)
        guest.config["tags"] = ";".join(sorted({environment, role.topic}))
        if environment == "prod":
            guest.config["onboot"] = "1"
        volid = self.disk(guest, storage, size, int(size * chance.uniform(0.08, 0.55)), system)
        disk = f"{volid},size={size // GIB}G"
        guest.config["rootfs" if role.container else "scsi0"] = disk
        if not role.container:
            guest.config["meta"] = f"creation-qemu={machine.QEMU},ctime={int(guest.created)}"
            self.cloud_init(guest, storage)
        self.estate.guests[vmid] = guest
        if chance.random() < RUNNING_SHARE:
            self.run(guest, role, address or self.lease(), system)
        pool = ENVIRONMENTS[environment][1]
        self.estate.pools.setdefault(pool, Pool(pool, f"{environment} guests")).guests.append(vmid)

    def address(self, environment: str) -> str | None:
        """A static address with prefix, or None for one by DHCP. Its network is the environment's own."""
        if self.chance.random() < DHCP_SHARE:
            return None
        number = self.count(environment) - 1
        return f"10.{ENVIRONMENTS[environment][2]}.{1 + number // 240}.{10 + number % 240}/24"

    def lease(self) -> str:
        """The next address that DHCP gave on the outer bridge."""
        self.leases += 1
        return f"10.0.{200 + self.leases // 250}.{1 + self.leases % 250}/16"

    def machine(self, role: Role, name: str, address: str | None) -> dict[str, str]:
        """A VM's configuration without its drives."""
        ip = f"ip={address},gw={gateway(address)}" if address else "ip=dhcp"
        return {
            "agent": "1",
            "boot": "order=scsi0;net0",
            "cores": str(self.chance.choice(role.cores)),
            "cpu": "x86-64-v2-AES",
            "ipconfig0": ip,
            "memory": str(self.chance.choice(role.memory)),
            "name": name,
            "net0": f"virtio={self.mac()},bridge=vmbr0",
            "ostype": "l26",
            "scsihw": "virtio-scsi-single",
            "smbios1": f"uuid={self.uuid()}",
            "sockets": "1",
            "vmgenid": self.uuid(),
        }

    def container(self, role: Role, name: str, address: str | None) -> dict[str, str]:
        """A container's configuration without its root."""
        ip = f"gw={gateway(address)},hwaddr={self.mac()},ip={address}" if address else f"hwaddr={self.mac()},ip=dhcp"
        return {
            "arch": "amd64",
            "cores": str(self.chance.choice(role.cores)),
            "features": "nesting=1",
            "hostname": name,
            "memory": str(self.chance.choice(role.memory)),
            "net0": f"name=eth0,bridge=vmbr0,{ip},type=veth",
            "ostype": "debian",
            "swap": "512",
            "unprivileged": "1",
        }

    def run(self, guest: Guest, role: Role, address: str, system: str) -> None:
        """Lets a guest have been running for a while."""
        node = self.estate.nodes[guest.node]
        longest = min(time.time() - node.started, 60 * DAY)
        began = time.time() - self.chance.uniform(600, longest)
        process = Process(node.next_pid(), began, cpu=self.chance.uniform(*role.load))
        if guest.type == "qemu":
            process.machine, process.agent_at = machine.version(guest.config), began
            process.facts = {
                machine.SYSTEM: system,
                machine.SYSTEM_AT: str(began),
                machine.HOSTNAME: guest.name,
                "net0": address,
            }
        guest.process, guest.addresses = process, [address]


def gateway(address: str) -> str:
    """The router of an address's network."""
    return address.rsplit(".", 1)[0] + ".1"


def template_name(system: str, number: int) -> str:
    """`debian-12-cloud`, and for the next of the same system `debian-12-cloud-2`."""
    name = f"{system.replace('.', '-')}-cloud"
    return f"{name}-{number}" if number > 1 else name


def populate(estate: Estate, plan: Plan, chance: random.Random) -> None:
    """Templates first, then as many guests as asked for."""
    maker = Maker(estate, plan, chance)
    for number in range(plan.templates):
        maker.template(number)
    vmid = FIRST_GUEST
    for _ in range(plan.guests):
        while vmid in estate.guests:
            vmid += 1
        maker.guest(vmid)
