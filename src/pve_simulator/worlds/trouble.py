"""The world `trouble`: what administrators meet sooner or later, all at once, each at its place.

`ILLS` names them; docs/simulator.md tells them. It takes the first guests of a default world and spoils them one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from pve_simulator.errors import SimulatorError
from pve_simulator.world.access import AclEntry, Token, User
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import Guest
from pve_simulator.world.storage import GIB, Storage, Volume
from pve_simulator.world.task import Task

DAY = 86400
Ill = Callable[[Estate, Guest], None]
ILLS: dict[str, Ill] = {}
# A node that nobody reaches, and an agent that does not answer.
FAULTS: list[dict[str, Any]] = [
    {"match": {"node": "pve3"}, "effect": "node_down"},
    {"match": {"path": r"/qemu/\d*[02468]/agent"}, "effect": "agent_silent"},
]


class TooSmall(SimulatorError):
    """Fewer VMs than troubles; the text says how many are needed."""


def ill(name: str) -> Callable[[Ill], Ill]:
    """Registers what befalls one VM."""

    def register(befall: Ill) -> Ill:
        ILLS[name] = befall
        return befall

    return register


def spoil(estate: Estate) -> None:
    """Spoils a default world; raises TooSmall where it has fewer VMs than there are ills."""
    vms = machines(estate)
    for name, befall in ILLS.items():
        guest = next(vms, None)
        if guest is None:
            raise TooSmall(f"the world trouble needs {len(ILLS)} VMs on nodes that are up: ask for more --guests")
        guest.config["description"] = f"In trouble: {name}"
        befall(estate, guest)
    add_storages(estate)
    add_people(estate)


def machines(estate: Estate) -> Iterator[Guest]:
    """VMs on the nodes that are up, in the order of their ids."""
    found = sorted(estate.guests.values(), key=lambda guest: guest.vmid)
    return (one for one in found if one.type == "qemu" and not one.template and one.node != "pve3")


def ended(estate: Estate, guest: Guest, kind: str, exitstatus: str, *log: str) -> None:
    """A task of root's that ended an hour ago."""
    node = estate.nodes[guest.node]
    began, pid = int(time.time()) - 3600, node.next_pid()
    upid = f"UPID:{node.name}:{pid:08X}:{pid:08X}:{began:08X}:{kind}:{guest.vmid}:root@pam:"
    task = Task(upid, node.name, pid, pid, began, kind, str(guest.vmid), "root@pam", began + 40, exitstatus, list(log))
    estate.tasks[upid] = task


@ill("locked by a backup whose task is dead")
def _(estate: Estate, guest: Guest) -> None:
    guest.config["lock"] = "backup"
    ended(estate, guest, "vzdump", "unexpected status", f"INFO: Starting Backup of VM {guest.vmid} (qemu)")


@ill("a clone's target that its task left behind")
def _(estate: Estate, guest: Guest) -> None:
    guest.process = None
    guest.config = {"lock": "clone", "description": " qmclone temporary file"}
    ended(estate, guest, "qmclone", "unexpected status", "transferred 1.2 GiB of 16.0 GiB (7.52%)")


@ill("suspended to disk")
def _(estate: Estate, guest: Guest) -> None:
    guest.process = None
    guest.config["lock"] = "suspended"


@ill("paused")
def _(estate: Estate, guest: Guest) -> None:
    running(estate, guest)
    if guest.process:
        guest.process.qmpstatus = "paused"


@ill("stopped by a write that its storage did not take")
def _(estate: Estate, guest: Guest) -> None:
    running(estate, guest)
    if guest.process:
        guest.process.qmpstatus = "io-error"


@ill("changes wait for a restart")
def _(estate: Estate, guest: Guest) -> None:
    running(estate, guest)
    guest.pending = {"memory": str(2 * int(guest.config.get("memory", "512"))), "cores": "8"}


@ill("its bridge is not there")
def _(estate: Estate, guest: Guest) -> None:
    guest.process = None
    guest.config["net0"] = guest.config["net0"].replace("bridge=vmbr0", "bridge=vmbr9")
    ended(estate, guest, "qmstart", "bridge 'vmbr9' does not exist")


@ill("a CD-ROM whose image is gone")
def _(estate: Estate, guest: Guest) -> None:
    guest.process = None
    guest.config["ide0"] = "local:iso/rescue-2019.iso,media=cdrom"
    ended(estate, guest, "qmstart", "volume 'local:iso/rescue-2019.iso' does not exist")


@ill("a disk that its configuration no longer uses")
def _(estate: Estate, guest: Guest) -> None:
    volid = f"local-lvm:vm-{guest.vmid}-disk-7"
    estate.add_volume(Volume(volid, "images", "raw", 50 * GIB, used=12 * GIB, vmid=guest.vmid), guest.node)
    guest.config["unused0"] = volid


@ill("protected")
def _(estate: Estate, guest: Guest) -> None:
    guest.config["protection"] = "1"


@ill("kept running by HA")
def _(estate: Estate, guest: Guest) -> None:
    running(estate, guest)
    told = {"sid": f"vm:{guest.vmid}", "type": "vm", "state": "started"}
    estate.sections.setdefault("ha/resources", {})[f"vm:{guest.vmid}"] = told


@ill("the name of another")
def _(estate: Estate, guest: Guest) -> None:
    guest.config["name"] = other(estate, guest).name


@ill("the address of another")
def _(estate: Estate, guest: Guest) -> None:
    twin = other(estate, guest)
    guest.config["ipconfig0"] = twin.config["ipconfig0"] = "ip=10.1.99.7/24,gw=10.1.99.1"
    guest.addresses = twin.addresses = ["10.1.99.7/24"]


def other(estate: Estate, guest: Guest) -> Guest:
    """The VM with the highest id, which nothing else befalls."""
    return max((one for one in machines(estate) if one is not guest), key=lambda one: one.vmid)


def running(estate: Estate, guest: Guest) -> None:
    """Lets a VM run that does not: as one that runs already."""
    if guest.process is None:
        model = next(one for one in machines(estate) if one.process)
        assert model.process  # noqa: S101 - it was chosen by that
        node = estate.nodes[guest.node]
        guest.process = type(model.process)(node.next_pid(), time.time() - DAY, facts=dict(model.process.facts))


def add_storages(estate: Estate) -> None:
    """One almost full, with a backup of a guest that is gone; one whose host does not answer; one that is disabled."""
    files = ["backup", "iso"]
    share = {"server": "10.0.0.5", "export": "/backup", "path": "/mnt/pve/backup-nfs"}
    estate.storages["backup-nfs"] = Storage("backup-nfs", "nfs", files, share, True, False, 100 * GIB, 97 * GIB)
    estate.storages["old-nfs"] = Storage("old-nfs", "nfs", files, dict(share, path="/mnt/pve/old-nfs"), True, True)
    name = "vzdump-qemu-777-2025_02_03-04_05_06.vma.zst"
    kept = Volume(f"backup-nfs:backup/{name}", "backup", "vma.zst", GIB, used=GIB, vmid=777, subtype="qemu")
    kept.ctime, kept.notes = 1_738_555_506, "gone-01"
    estate.add_volume(kept, "")


def add_people(estate: Estate) -> None:
    """Tokens that do not work, or for less than one would think."""
    secret = "5f0c8a52-0000-4000-8000-00000000000"
    estate.users["ci@pve"] = User(
        "ci@pve",
        "cipass1234",
        tokens={
            "expired": Token("expired", secret + "1", privsep=False, expire=1_000_000_000),
            "soon": Token("soon", secret + "2", privsep=False, expire=int(time.time()) + 5 * DAY),
        },
    )
    estate.users["gone@pve"] = User(
        "gone@pve", "gonepass12", enable=False, tokens={"left": Token("left", secret + "3", privsep=False)}
    )
    estate.acl += [
        AclEntry("/", "user", "ci@pve", "PVEVMAdmin"),
        AclEntry("/pool/production", "user", "ci@pve", "NoAccess"),
    ]
