"""Requests, configurations and facts by chance, for the properties of the domain; and one plain estate for single cases."""

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from msgspec import structs

from comserv.domain.guest import AddressSource, Guest, GuestConfig, GuestKey, GuestStatus, GuestType, KnownAddress
from comserv.domain.maintenance import Maintenance
from comserv.domain.picture import Health, Node, Picture, Storage
from comserv.domain.planfacts import PlanFacts
from comserv.domain.reservation import Reservation
from comserv.domain.rights import Rights
from comserv.domain.server import ServerState
from comserv.domain.units import GIB
from comserv.domain.vmrequest import CloudInit, Ipv6, Ipv6Type, Network, NetworkType, TemplateRef, VmRequest

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG2k1nXh6Vt3s6B1M2QxQ0V9q0T8Jm3lqz7b5uF5m5dY me@host"
TEMPLATE_CONFIG = GuestConfig(
    {
        "name": "debian-12",
        "template": "1",
        "cores": "1",
        "memory": "512",
        "scsihw": "virtio-scsi-pci",
        "boot": "order=scsi0",
        "scsi0": "local:9000/base-9000-disk-0.qcow2,discard=on,size=2G",
        "ide2": "local:9000/vm-9000-cloudinit.qcow2,media=cdrom",
        "net0": "virtio=BC:24:11:39:C9:C8,bridge=vmbr0,firewall=1",
        "agent": "enabled=1",
        "ipconfig0": "ip=dhcp",
        "smbios1": "uuid=f4effb74-05dc-42dd-8884-a614b6534d8f",
    },
    "a3fadc171ed7c0bc3e2fd23fe3cf878c07528b59",
)


def sign(message: bytes) -> str:
    return hmac.new(b"a key for tests", message, hashlib.sha256).hexdigest()


def a_request(**changes: object) -> VmRequest:
    """web-01 from template 9000 of `rack`, with a static address."""
    request = VmRequest(
        server="rack",
        hostname="web-01",
        template=TemplateRef("rack", 9000),
        cpu_cores=2,
        memory_mb=1024,
        disk_gb=20,
        tags=("prod", "web"),
        network=Network(NetworkType.STATIC, "10.20.30.41", 24, "10.20.30.1", "vmbr0"),
        cloud_init=CloudInit("debian", "top secret", (KEY,)),
    )
    return replace(request, **changes)  # type: ignore[arg-type]


def a_guest(vmid: int, node: str = "pve1", name: str = "", **changes: object) -> Guest:
    guest = Guest(GuestKey("rack", vmid), GuestType.QEMU, node, name or f"vm-{vmid}", GuestStatus.STOPPED)
    return structs.replace(guest, **changes)


def some_facts(**changes: object) -> PlanFacts:
    """Three nodes with 32 GiB each, `local` on every node and the shared `ceph`; template 9000 on pve1's local."""
    nodes = tuple(Node(f"pve{i}", True, 0.1, 16, 32 * GIB, i * 4 * GIB, 1000) for i in (1, 2, 3))
    images = frozenset({"images", "iso"})
    storages = tuple(
        storage
        for node in nodes
        for storage in (
            Storage(node.name, "local", "dir", images, False, True, 500 * GIB, 100 * GIB),
            Storage(node.name, "ceph", "rbd", frozenset({"images"}), True, True, 4000 * GIB, 1000 * GIB),
            Storage(node.name, "isos", "nfs", frozenset({"iso"}), True, True, 100 * GIB, 10 * GIB),
        )
    )
    template = a_guest(9000, name="debian-12", template=True)
    picture = Picture("rack", NOW, 7, "9.1.6", "rack", True, nodes, storages, (template, a_guest(100, name="db-01")))
    facts = PlanFacts(
        server="rack",
        default_node="",
        token_id="comserv@pve!manager",
        health=Health("rack", ServerState.UP, 12.0, NOW),
        picture=picture,
        template=template,
        template_config=TEMPLATE_CONFIG,
        rights=Rights({"/": dict.fromkeys(EVERYTHING, True)}),
        bridges={node.name: frozenset({"vmbr0", "vmbr1"}) for node in nodes},
        pools=frozenset({"customers"}),
        free_vmid=101,
        version="9.1.6",
        quorate=True,
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


EVERYTHING = [
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
    "VM.GuestAgent.Audit",
    "Datastore.AllocateSpace",
    "Datastore.Audit",
    "SDN.Use",
    "Sys.Audit",
    "Pool.Audit",
]

# --- by chance --------------------------------------------------------------------------------------------------------

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTNAMES = st.one_of(LABELS, st.tuples(LABELS, LABELS).map(".".join))
NOTES = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60).map(str.strip)
SERVERS = st.sampled_from(["rack", "lab"])
NODES = st.sampled_from(["pve1", "pve2", "pve3"])
STORAGES = st.sampled_from(["", "local", "ceph", "isos", "gone"])
V4 = st.integers(1, 250).map(lambda last: f"10.20.30.{last}")
V6 = st.integers(2, 65000).map(lambda last: f"2001:db8::{last:x}")


@st.composite
def networks(draw: st.DrawFn) -> Network:
    kind, ipv6 = draw(st.sampled_from(NetworkType)), draw(st.sampled_from(Ipv6Type))
    static, static6 = kind == NetworkType.STATIC, ipv6 == Ipv6Type.STATIC
    return Network(
        kind,
        draw(V4) if static else "",
        draw(st.integers(8, 30)) if static else None,
        draw(st.sampled_from(["", "10.20.30.254", "192.168.1.1"])) if static else "",
        draw(st.sampled_from(["", "vmbr0", "vmbr1", "vmbr9"])),
        draw(st.none() | st.integers(1, 4094)),
        Ipv6(ipv6, draw(V6), 64, draw(st.sampled_from(["", "fe80::1", "2001:db8::1"]))) if static6 else Ipv6(ipv6),
        tuple(draw(st.lists(V4 | V6, max_size=2))),
        draw(st.just("") | HOSTNAMES),
    )


@st.composite
def requests(draw: st.DrawFn) -> VmRequest:
    passwords = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
    return VmRequest(
        server=draw(SERVERS),
        hostname=draw(HOSTNAMES),
        template=TemplateRef(draw(SERVERS), draw(st.sampled_from([9000, 9001, 100]))),
        node=draw(st.just("") | NODES),
        vmid=draw(st.none() | st.integers(100, 120)),
        description=draw(NOTES),
        cpu_cores=draw(st.none() | st.integers(1, 64)),
        memory_mb=draw(st.none() | st.integers(16, 200_000)),
        disk_gb=draw(st.none() | st.integers(1, 2000)),
        full_clone=draw(st.booleans()),
        storage=draw(STORAGES),
        pool=draw(st.sampled_from(["", "customers", "nobody"])),
        tags=tuple(sorted(set(draw(st.lists(LABELS, max_size=3))))),
        network=draw(networks()),
        cloud_init=CloudInit(
            draw(st.sampled_from(["", "debian", "root"])),
            draw(passwords),
            tuple(draw(st.lists(st.just(KEY), max_size=2))),
        ),
        start_after_creation=draw(st.booleans()),
        enable_qemu_agent=draw(st.none() | st.booleans()),
        start_on_boot=draw(st.booleans()),
    )


@st.composite
def template_configs(draw: st.DrawFn) -> GuestConfig:
    """A template as people make them: other models, several sockets, a VLAN tag, no agent, no drive, no disk at all."""
    options = {
        "sockets": st.sampled_from(["1", "2"]),
        "cores": st.sampled_from(["1", "4"]),
        "vcpus": st.just("2"),
        "memory": st.sampled_from(["256", "4096", "current=2048"]),
        "balloon": st.sampled_from(["0", "128", "8192"]),
        "net0": st.sampled_from(
            ["virtio=BC:24:11:00:00:01,bridge=vmbr0", "e1000=BC:24:11:00:00:02,bridge=vmbr1,tag=7,firewall=1", "virtio"]
        ),
        "net1": st.just("virtio=BC:24:11:00:00:03,bridge=vmbr0"),
        "scsi0": st.sampled_from(
            [
                "local:9000/base-9000-disk-0.qcow2,size=2G",
                "ceph:base-9000-disk-0,size=3145729K",
                "local:9000/vm-9000-disk-0.raw,size=4G",
                "gone:base-9000-disk-0",
            ]
        ),
        "virtio0": st.just("ceph:base-9000-disk-1,size=8G"),
        "ide2": st.sampled_from(["local:9000/vm-9000-cloudinit.qcow2,media=cdrom", "none,media=cdrom"]),
        "boot": st.sampled_from(["order=scsi0;net0", "order=virtio0", " ", "cdn"]),
        "agent": st.sampled_from(["1", "0", "enabled=1,fstrim_cloned_disks=1", "enabled=0", ""]),
        "onboot": st.sampled_from(["0", "1"]),
        "tags": st.sampled_from(["tmpl", "a;b", ""]),
        "description": NOTES,
        "ciuser": st.just("deb"),
        "cipassword": st.just("**********"),
        "ipconfig0": st.sampled_from(["ip=dhcp", "", "ip=dhcp,ip6=auto"]),
    }
    return GuestConfig(draw(st.fixed_dictionaries({}, optional=options)), draw(st.sampled_from(["d1", "d2"])))


SIZES = st.none() | st.integers(0, 400 * GIB)


@st.composite
def facts_with_unknowns(draw: st.DrawFn) -> PlanFacts:
    """Any facts: every part may be unknown, absurd or at odds with another."""
    nodes = tuple(
        Node(name, draw(st.booleans()), None, draw(st.none() | st.integers(1, 64)), draw(SIZES), draw(SIZES))
        for name in draw(st.lists(NODES, unique=True, max_size=3))
    )
    storages = tuple(
        Storage(
            draw(NODES),
            name,
            draw(st.sampled_from(["", "dir", "lvm", "rbd", "lvmthin"])),
            draw(st.sampled_from([frozenset[str](), frozenset({"images"}), frozenset({"iso"})])),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(SIZES),
            draw(SIZES),
        )
        for name in draw(st.lists(STORAGES.filter(bool), max_size=4))
    )
    guests = tuple(
        a_guest(vmid, draw(NODES), draw(HOSTNAMES), template=draw(st.booleans()), type=draw(st.sampled_from(GuestType)))
        for vmid in draw(st.lists(st.sampled_from([100, 101, 9000, 9001]), unique=True))
    )
    as_of = draw(st.none() | st.integers(0, 9000).map(lambda s: NOW - timedelta(seconds=s)))
    quorate = draw(st.none() | st.booleans())
    picture = Picture(
        "rack", as_of, 1, draw(st.sampled_from(["", "9.1.6", "7.4-3", "odd"])), "", quorate, nodes, storages, guests
    )
    reservations = tuple(
        Reservation(
            GuestKey(draw(SERVERS), vmid),
            draw(st.sampled_from(["j1", "j2"])),
            draw(HOSTNAMES),
            (draw(V4),),
            "pve1",
            "local",
            512,
            9,
        )
        for vmid in draw(st.lists(st.integers(100, 105), unique=True, max_size=3))
    )
    rights = st.none() | st.builds(
        Rights, st.dictionaries(PATHS, st.dictionaries(st.sampled_from(EVERYTHING), st.booleans()))
    )
    return PlanFacts(
        server="rack",
        server_name=draw(st.sampled_from(["", "Rack"])),
        maintenance=draw(st.none() | st.just(Maintenance("mara", NOW, "new disks"))),
        default_node=draw(st.just("") | NODES),
        health=draw(st.none() | st.builds(Health, st.just("rack"), st.sampled_from(ServerState))),
        picture=draw(st.none() | st.just(picture)),
        nodes=draw(st.none() | st.just(nodes)),
        storages=draw(st.none() | st.just(storages)),
        template=draw(st.none() | st.sampled_from(guests)) if guests else None,
        template_missing=draw(st.booleans()),
        template_config=draw(st.none() | template_configs()),
        rights=draw(rights),
        bridges=draw(st.dictionaries(NODES, st.frozensets(st.sampled_from(["vmbr0", "vmbr1"])))),
        pools=draw(st.none() | st.frozensets(st.just("customers"))),
        free_vmid=draw(st.none() | st.integers(100, 110)),
        vmid_taken=draw(st.none() | st.booleans()),
        reservations=reservations,
        addresses=tuple(
            KnownAddress(GuestKey(draw(SERVERS), 100), address, draw(st.sampled_from(AddressSource)), NOW)
            for address in draw(st.lists(V4 | V6 | st.just("not an address"), max_size=2))
        ),
        quorate=quorate,
        job=draw(st.sampled_from(["", "j1"])),
        accepted=draw(st.booleans()),
        problem=draw(st.sampled_from(["", "No route to host."])),
    )


PATHS = st.sampled_from(["/", "/vms", "/vms/9000", "/storage", "/storage/local", "/pool/customers", "/sdn/zones"])
