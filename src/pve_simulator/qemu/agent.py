"""What a guest agent answers, command by command; results as QEMU's agent words them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError
from pve_simulator.qemu import machine
from pve_simulator.qemu.drives import boot_disk
from pve_simulator.qemu.options import network
from pve_simulator.qemu.status import processors
from pve_simulator.replies import JSON_FALSE, JSON_TRUE

if TYPE_CHECKING:
    from pve_simulator.server import Server
    from pve_simulator.world.guest import Guest

Answer = Callable[["Server", "Guest"], Any]
BLOCK = 128 * 1024**2  # bytes of a memory block
VERSION = "10.0.13"
SILENT = {"guest-suspend-hybrid", "guest-suspend-ram", "guest-suspend-disk", "guest-shutdown"}
COMMANDS = (
    "guest-network-get-route",
    "guest-get-load",
    "guest-get-cpustats",
    "guest-get-diskstats",
    "guest-ssh-remove-authorized-keys",
    "guest-ssh-add-authorized-keys",
    "guest-ssh-get-authorized-keys",
    "guest-get-osinfo",
    "guest-get-timezone",
    "guest-get-users",
    "guest-get-host-name",
    "guest-exec",
    "guest-exec-status",
    "guest-get-memory-block-info",
    "guest-set-memory-blocks",
    "guest-get-memory-blocks",
    "guest-set-user-password",
    "guest-get-fsinfo",
    "guest-get-disks",
    "guest-set-vcpus",
    "guest-get-vcpus",
    "guest-network-get-interfaces",
    "guest-suspend-hybrid",
    "guest-suspend-ram",
    "guest-suspend-disk",
    "guest-fstrim",
    "guest-fsfreeze-thaw",
    "guest-fsfreeze-freeze-list",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-status",
    "guest-file-flush",
    "guest-file-seek",
    "guest-file-write",
    "guest-file-read",
    "guest-file-close",
    "guest-file-open",
    "guest-shutdown",
    "guest-info",
    "guest-set-time",
    "guest-get-time",
    "guest-ping",
    "guest-sync",
    "guest-sync-delimited",
)


def info(server: Server, guest: Guest) -> dict[str, Any]:
    """What the agent can do."""
    told = [
        {"name": name, "enabled": JSON_TRUE, "success-response": JSON_FALSE if name in SILENT else JSON_TRUE}
        for name in COMMANDS
    ]
    return {"version": VERSION, "supported_commands": told}


def os_info(server: Server, guest: Guest) -> dict[str, str]:
    """The operating system."""
    system = machine.system(server, guest)
    return {
        "id": system.id,
        "name": system.name,
        "version": system.version,
        "version-id": system.version_id,
        "pretty-name": system.pretty,
        "kernel-release": system.release,
        "kernel-version": system.kernel,
        "machine": "x86_64",
    }


def host_name(server: Server, guest: Guest) -> dict[str, str]:
    """The name the system gave itself."""
    known = guest.process.facts.get(machine.HOSTNAME) if guest.process else None
    return {"host-name": known or guest.name}


def interfaces(server: Server, guest: Guest) -> list[dict[str, Any]]:
    """Network interfaces with their addresses; `lo` first."""
    told = [interface("lo", "00:00:00:00:00:00", ["127.0.0.1/8", "::1/128"], 0)]
    facts = guest.process.facts if guest.process else {}
    for number in machine.cards(guest.config):
        address = network(guest.config[f"net{number}"])["macaddr"].lower()
        known = facts.get(f"net{number}")
        given = (
            [part for part in known.split(",") if part] if known is not None else guest.addresses if number == 0 else []
        )
        told.append(interface(f"eth{number}", address, [*given, machine.interface6("fe80::/64", address)], 1))
    return told


def interface(name: str, hardware: str, addresses: list[str], packets: int) -> dict[str, Any]:
    """One interface."""
    split = [address.partition("/") for address in addresses]
    counters = [f"{way}-{what}" for way in ("rx", "tx") for what in ("bytes", "dropped", "errs", "packets")]
    return {
        "name": name,
        "hardware-address": hardware,
        "ip-addresses": [
            {"ip-address": ip, "ip-address-type": "ipv6" if ":" in ip else "ipv4", "prefix": int(prefix)}
            for ip, _, prefix in split
        ],
        "statistics": {counter: packets * (70 if counter.endswith("bytes") else 0) for counter in counters},
    }


def cpus(server: Server, guest: Guest) -> list[dict[str, Any]]:
    """Processors; the first cannot be taken away."""
    return [
        {"logical-id": number, "online": JSON_TRUE, "can-offline": JSON_TRUE if number else JSON_FALSE}
        for number in range(processors(server, guest))
    ]


def memory_blocks(server: Server, guest: Guest) -> list[dict[str, Any]]:
    """Blocks of memory."""
    count = max(1, machine.memory(guest.config) // BLOCK)
    return [{"phys-index": number, "online": JSON_TRUE, "can-offline": JSON_TRUE} for number in reversed(range(count))]


def file_systems(server: Server, guest: Guest) -> list[dict[str, Any]]:
    """Mounted file systems: the root, on the disk that was booted from; none where all is in memory."""
    disk = boot_disk(guest.config)
    volume = server.estate.volume(disk.file, guest.node) if disk else None
    if volume is None or not machine.system(server, guest).cloud_init:
        return []
    total = max(volume.size - 128 * 1024**2, 0)
    return [
        {
            "name": "sda1",
            "mountpoint": "/",
            "type": "ext4",
            "total-bytes": total,
            "used-bytes": min(total, max(volume.used, 900 * 1024**2)),
            "disk": [{"bus-type": "scsi", "bus": 0, "target": 0, "unit": 0, "dev": "/dev/sda1"}],
        }
    ]


READS: dict[str, Answer] = {
    "info": info,
    "get-osinfo": os_info,
    "get-host-name": host_name,
    "get-time": lambda server, guest: int(server.clock.time() * 1_000_000_000),
    "get-timezone": lambda server, guest: {"offset": 0, "zone": "UTC"},
    "get-users": lambda server, guest: [],
    "get-vcpus": cpus,
    "get-fsinfo": file_systems,
    "get-memory-blocks": memory_blocks,
    "get-memory-block-info": lambda server, guest: {"size": BLOCK},
    "network-get-interfaces": interfaces,
}
WRITES: dict[str, Answer] = {
    "ping": lambda server, guest: {},
    "fsfreeze-status": lambda server, guest: "thawed",
    "fsfreeze-freeze": lambda server, guest: len(file_systems(server, guest)),
    "fsfreeze-thaw": lambda server, guest: len(file_systems(server, guest)),
    "fstrim": lambda server, guest: {
        "paths": [{"path": fs["mountpoint"], "trimmed": 0, "minimum": 0} for fs in file_systems(server, guest)]
    },
}
INDEX = (
    "exec exec-status file-read file-write fsfreeze-freeze fsfreeze-status fsfreeze-thaw fstrim get-fsinfo "
    "get-host-name get-memory-block-info get-memory-blocks get-osinfo get-time get-timezone get-users get-vcpus info "
    "network-get-interfaces ping set-user-password shutdown suspend-disk suspend-hybrid suspend-ram"
)


def execute(guest: Guest, command: list[str]) -> int:
    """Runs a program in the guest and gives its process id; the guest knows a few words of a shell."""
    if guest.process is None:
        return 0
    name = command[0].rpartition("/")[2] if command else ""
    if name not in PROGRAMS:
        text = (
            f"Failed to execute child process \u201c{command[0] if command else ''}\u201d (No such file or directory)"
        )
        raise ApiError(500, f"Agent error: Guest agent command failed, error was '{text}'")
    facts = guest.process.facts
    pid = int(facts.get("last-pid", "220")) + 2
    facts["last-pid"] = str(pid)
    script = command[2] if name in ("sh", "bash") and command[1:2] == ["-c"] else shlex.join(command)
    facts[f"pid-{pid}"] = json.dumps(shell(guest, script))
    return pid


PROGRAMS = ("sh", "bash", "echo", "true", "false", "hostname", "cat", "exit")


def shell(guest: Guest, script: str) -> dict[str, Any]:
    """What a script of simple commands prints and ends with."""
    out, err, code = "", "", 0
    for line in re.split(r"[;\n]|&&", script):
        words = shlex.split(line)
        to_err = words[-1:] == [">&2"]
        words = words[:-1] if to_err else words
        name, text = (words[0].rpartition("/")[2] if words else ""), ""
        if name == "echo":
            text, code = " ".join(words[1:]) + "\n", 0
        elif name == "hostname":
            text, code = f"{guest.process.facts.get(machine.HOSTNAME, guest.name) if guest.process else ''}\n", 0
        elif name == "cat":
            text = "".join(files(guest).get(path, "") for path in words[1:])
        elif name == "exit":
            code = int(words[1]) if len(words) > 1 else code
            break
        elif name in ("true", "false"):
            code = int(name == "false")
        elif name:
            err, code = err + f"sh: 1: {words[0]}: not found\n", 127
        out, err = (out, err + text) if to_err else (out + text, err)
    told: dict[str, Any] = {"exited": 1, "exitcode": code}
    for name, text in (("out", out), ("err", err)):
        if text:
            told |= {f"{name}-data": text, f"{name}-truncated": 0}
    return told


def executed(guest: Guest, pid: int) -> dict[str, Any]:
    """How a program ended; its result is told once."""
    found = guest.process.facts.pop(f"pid-{pid}", None) if guest.process else None
    if found is None:
        raise ApiError(500, "Agent error: PID ld does not exist")
    return json.loads(found)


def files(guest: Guest) -> dict[str, str]:
    """Files that were written through the agent since the start."""
    facts = guest.process.facts if guest.process else {}
    return {name.removeprefix("file:"): text for name, text in facts.items() if name.startswith("file:")}


def write(guest: Guest, path: str, content: str) -> None:
    """Writes a file."""
    if guest.process:
        guest.process.facts[f"file:{path}"] = content


def read(guest: Guest, path: str) -> dict[str, Any]:
    """A file's content."""
    known = files(guest)
    if path == "/etc/hostname" and guest.process:
        known.setdefault(path, guest.process.facts.get(machine.HOSTNAME, guest.name) + "\n")
    if path not in known:
        raise ApiError(500, f"Agent error: failed to open file '{path}' (mode: 'r'): No such file or directory")
    return {"content": known[path], "bytes-read": len(known[path].encode())}
