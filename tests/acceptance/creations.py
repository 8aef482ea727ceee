"""VMs asked for by a seeded choice, and the simulated server's own world compared with what was asked."""

from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import unquote

GIB = 1024**3
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@example.test"
PASSWORD = "a password that nobody sees"
FIRST_VMID = 2000  # of those that are asked for by number; the next free one lies far below


@dataclass
class Creation:
    """One VM that is asked for. vmid: asked for by number, else None. job: its id, once it was accepted."""

    number: int
    body: dict[str, Any]
    job: str = ""
    retries: int = field(default=0)

    @property
    def name(self) -> str:
        return self.body["hostname"]

    @property
    def vmid(self) -> int | None:
        return self.body.get("vmid")

    @property
    def template(self) -> int:
        return self.body["template"]["vmid"]


def chosen(random: Random, number: int, template: int, *, server: str = "lab", **asked: Any) -> Creation:
    """A VM with a seeded choice of everything that can be asked; `asked` is laid over it."""
    body: dict[str, Any] = {
        "server": server,
        "hostname": f"vm-{number:03d}",
        "template": {"server": server, "vmid": template},
        "cpu_cores": random.choice((1, 2, 3)),
        "memory_mb": random.choice((512, 768, 1024)),
        "disk_gb": random.randint(8, 12),
        "tags": random.sample(["blue", "green", "red"], random.randint(0, 2)),
        "network": _network(random, number),
        "cloud_init": _cloud_init(random),
        "start_on_boot": random.random() < 0.5,
        "full_clone": random.random() < 0.3,
    }
    if random.random() < 0.7:
        body["vmid"] = FIRST_VMID + number
    if random.random() < 0.3:
        body["description"] = f"Made for the test.\nNumber {number}"
    if random.random() < 0.15:
        body["start_after_creation"] = False
    if random.random() < 0.1:
        del body["disk_gb"]
    return Creation(number, {**body, **asked})


def _network(random: Random, number: int) -> dict[str, Any]:
    if random.random() < 0.3:
        return {"type": "dhcp", "bridge": "vmbr0"}
    network: dict[str, Any] = {
        "type": "static",
        "ip_address": f"10.20.{30 + number // 200}.{20 + number % 200}",
        "subnet_mask": random.choice(("24", "255.255.255.0")),
        "gateway": f"10.20.{30 + number // 200}.1",
        "bridge": random.choice(("vmbr0", "vmbr1")),
        "dns_servers": random.choice(([], ["10.20.30.2"], ["10.20.30.2", "10.20.30.3"])),
    }
    if random.random() < 0.4 and network["bridge"] == "vmbr0":  # the other has no physical interface to tag for
        network["vlan"] = random.randint(2, 4000)
    if network["dns_servers"]:
        network["search_domain"] = "example.test"
    return network


def _cloud_init(random: Random) -> dict[str, Any]:
    asked: dict[str, Any] = {"user": random.choice(("ada", "debian"))}
    if random.random() < 0.7:
        asked["ssh_keys"] = [KEY]
    if random.random() < 0.4:
        asked["password"] = PASSWORD
    return asked


def secrets_of(creation: Creation) -> dict[str, str]:
    """For a retry."""
    return {"cloud_init.password": PASSWORD} if "password" in creation.body["cloud_init"] else {}


# --- what is there


def differences(
    creation: Creation, job: dict[str, Any], world: dict[str, Any], templates: dict[int, dict]
) -> list[str]:
    """What of this creation is not as asked, in words; empty where all is. templates: configurations by VM id."""
    named = [guest for guest in world["guests"] if guest["name"] == creation.name]
    if len(named) != 1:
        return [f"{creation.name}: {len(named)} guests have this name: {[guest['vmid'] for guest in named]}"]
    guest = named[0]
    expected = _expected(creation, job, templates[creation.template])
    found = _found(guest, world)
    return [
        f"{creation.name} ({guest['vmid']}): {key} is {found.get(key)!r}, asked {value!r}"
        for key, value in expected.items()
        if found.get(key) != value
    ]


def _expected(creation: Creation, job: dict[str, Any], template: dict[str, str]) -> dict[str, Any]:
    body, network, cloud = creation.body, creation.body["network"], creation.body["cloud_init"]
    static = network["type"] == "static"
    ip = f"ip={network['ip_address']}/24,gw={network['gateway']}" if static else "ip=dhcp"
    started = body.get("start_after_creation", True)
    return {
        "vmid": body.get("vmid", job["vmid"]),
        "type": "qemu",
        "template": False,
        "status": "running" if started else "stopped",
        "lock": "",
        "pending": {},
        "snapshots": {},
        "cores": str(body["cpu_cores"]),
        "sockets": "1",
        "memory": str(body["memory_mb"]),
        "disk": body["disk_gb"] * GIB if "disk_gb" in body else _size(template["scsi0"]),
        "disk as it is": body["disk_gb"] * GIB if "disk_gb" in body else _size(template["scsi0"]),
        "bridge": network["bridge"],
        "vlan": str(network["vlan"]) if "vlan" in network else None,
        "ipconfig0": _parts(ip),
        "nameserver": " ".join(network.get("dns_servers", ())) or None,
        "searchdomain": network.get("search_domain"),
        "ciuser": cloud["user"],
        "sshkeys": "\n".join(cloud.get("ssh_keys", ())),
        "password": "password" in cloud,
        "tags": set(body["tags"]) or {"template"},
        "onboot": body["start_on_boot"],
        "agent": template.get("agent"),
        "boot": template["boot"],
        "notes": body.get("description", template["description"]),
        "linked": not body["full_clone"],
    }


def _found(guest: dict[str, Any], world: dict[str, Any]) -> dict[str, Any]:
    config = guest["config"]
    card = _parts(config["net0"])
    volume = next(one for one in world["volumes"] if one["volid"] == config["scsi0"].partition(",")[0])
    return {
        **{name: guest[name] for name in ("vmid", "type", "template", "status", "pending", "snapshots")},
        "lock": guest["lock"] or "",
        "cores": config["cores"],
        "sockets": config.get("sockets", "1"),
        "memory": config["memory"],
        "disk": _size(config["scsi0"]),
        "disk as it is": volume["size"],
        "bridge": card["bridge"],
        "vlan": card.get("tag"),
        "ipconfig0": _parts(config["ipconfig0"]),
        "nameserver": config.get("nameserver"),
        "searchdomain": config.get("searchdomain"),
        "ciuser": config.get("ciuser"),
        "sshkeys": unquote(config.get("sshkeys", "")),
        "password": bool(config.get("cipassword")),
        "tags": set(config.get("tags", "").split(";")) - {""},
        "onboot": config.get("onboot") == "1",
        "agent": config.get("agent"),
        "boot": config.get("boot"),
        "notes": "\n".join(_without_marker(config["description"])).strip(),
        "linked": bool(volume.get("parent")),
    }


def _without_marker(description: str) -> list[str]:
    """The marker is one line that names Comserv, and the line for people above it."""
    return [line for line in description.splitlines() if "comserv" not in line.lower()]


def _parts(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (part.partition("=") for part in text.split(","))}


def _size(drive: str) -> int:
    told = next(part for part in drive.split(",") if part.startswith("size="))
    return int(told.removeprefix("size=").removesuffix("G")) * GIB


def unclean(world: dict[str, Any], before: set[int], creations: int) -> list[str]:
    """What a server must not have when all jobs have ended, in words. before: the VM ids that it had at first."""
    guests = {guest["vmid"] for guest in world["guests"]}
    found = [f"the guest {guest['vmid']} is locked: {guest['lock']}" for guest in world["guests"] if guest["lock"]]
    found += [f"a task runs: {task['upid']}" for task in world["tasks"] if task["status"] == "running"]
    found += [
        f"{one['volid']} belongs to no guest" for one in world["volumes"] if one["vmid"] and one["vmid"] not in guests
    ]
    if before - guests:
        found.append(f"guests that are gone: {before - guests}")
    if len(guests) != len(before) + creations:
        found.append(
            f"{len(guests) - len(before)} guests more than before, {creations} were asked for: {sorted(guests - before)}"
        )
    return found
