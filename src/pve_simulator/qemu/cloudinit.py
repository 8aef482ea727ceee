"""Cloud-init: what Proxmox writes onto the drive, and what it tells of that."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pve_simulator.errors import ApiError
from pve_simulator.parameters.verification import parse_property_string
from pve_simulator.qemu.drives import drives
from pve_simulator.qemu.options import CLOUD_INIT, HIDDEN, network

if TYPE_CHECKING:
    from pve_simulator.world.estate import Estate
    from pve_simulator.world.guest import Guest
    from pve_simulator.world.storage import Volume

KEY = re.compile(
    r"(?:[\w\-,.\"=@/*: ]+ )?(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp\d+|sk-ssh-ed25519@openssh\.com|"
    r"sk-ecdsa-sha2-nistp256@openssh\.com) (?P<data>[A-Za-z0-9+/]+={0,2})(?: .*)?"
)


def concerns(name: str) -> bool:
    """Whether an option goes onto the drive."""
    return name in CLOUD_INIT or re.fullmatch(r"ipconfig\d+", name) is not None


def check_keys(encoded: str) -> None:
    """Raises ApiError 500 for what is no list of SSH public keys; `encoded` is percent-encoded."""
    for line in unquote(encoded).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = KEY.fullmatch(line.strip())
        try:
            data = base64.b64decode(found["data"] + "=" * (-len(found["data"]) % 4)) if found else b""
        except ValueError:
            data = b""
        if len(data) < 12 or int.from_bytes(data[:4], "big") > 64:
            raise ApiError(500, "SSH public key validation error")


def hashed(password: str) -> str:
    """A password as the configuration keeps it. Only looks like SHA-crypt: nobody ever logs in here."""
    if re.match(r"\$\d\$", password):
        return password
    salt = base64.b64encode(secrets.token_bytes(6), b"./").decode()
    digest = base64.b64encode(hashlib.sha256((salt + password).encode()).digest(), b"./").decode().rstrip("=")
    return f"$5${salt}${digest}"


def drive_of(estate: Estate, guest: Guest) -> Volume | None:
    """The volume of a VM's cloud-init drive."""
    for drive in drives(guest.config):
        if drive.cloud_init:
            return estate.volume(drive.file, guest.node)
    return None


def generate(estate: Estate, guest: Guest) -> bool:
    """Writes the drive anew; whether there is one. Its `facts` are what the guest will read."""
    volume = drive_of(estate, guest)
    if volume is None:
        return False
    volume.facts = {name: value for name, value in guest.config.items() if concerns(name)}
    volume.facts["name"] = guest.config.get("name", f"VM{guest.vmid}")
    return True


def told(estate: Estate, guest: Guest) -> list[dict[str, Any]]:
    """`GET .../cloudinit`: what stands on the drive, and what will stand there once it is written anew."""
    volume = drive_of(estate, guest)
    written = volume.facts if volume is not None else guest.config
    rows: list[dict[str, Any]] = []
    for name in sorted(CLOUD_INIT):
        old, new = written.get(name), guest.config.get(name)
        if old in (None, "", "0") and new in (None, "", "0"):
            continue
        shown = [HIDDEN if name == "cipassword" and value else value for value in (old, new)]
        row: dict[str, Any] = {"key": name}
        if shown[0]:
            row["value"] = shown[0]
        if old != new:
            row |= {"pending": shown[1]} if new else {"delete": 1}
        rows.append(row)
    return rows


def dump(guest: Guest, kind: str) -> str:
    """`GET .../cloudinit/dump`: user, network or meta data."""
    if kind == "user":
        return user_data(guest)
    if kind == "network":
        return network_data(guest)
    return f"instance-id: {hashlib.sha1((user_data(guest) + network_data(guest)).encode()).hexdigest()}\n"  # noqa: S324


def user_data(guest: Guest) -> str:
    """The user data of the nocloud form."""
    config = guest.config
    name = config.get("name", f"VM{guest.vmid}")
    host, _, domain = name.partition(".")
    domain = domain or config.get("searchdomain", "").split(" ")[0]
    lines = ["#cloud-config", f"hostname: {host}", "manage_etc_hosts: true"]
    lines.append(f"fqdn: {host}.{domain}" if domain else f"fqdn: {host}")
    if "ciuser" in config:
        lines.append(f"user: {config['ciuser']}")
    if "cipassword" in config:
        lines.append(f"password: {config['cipassword']}")
    if "sshkeys" in config:
        keys = [key for key in unquote(config["sshkeys"]).splitlines() if key.strip()]
        lines += ["ssh_authorized_keys:", *(f"  - {key}" for key in keys)]
    lines += ["chpasswd:", "  expire: False"]
    if config.get("ciuser") != "root":
        lines += ["users:", "  - default"]
    if config.get("ciupgrade") != "0":
        lines.append("package_upgrade: true")
    return "\n".join(lines) + "\n"


def network_data(guest: Guest) -> str:
    """The network data, version 1."""
    config, lines = guest.config, ["version: 1", "config:"]
    for number in range(32):
        if f"net{number}" in config and f"ipconfig{number}" in config:
            address = network(config[f"net{number}"]).get("macaddr", "").lower()
            lines += ["    - type: physical", f"      name: eth{number}", f"      mac_address: '{address}'"]
            lines += ["      subnets:", *subnets(ip_config(config[f"ipconfig{number}"]))]
    if "nameserver" in config or "searchdomain" in config:
        lines += ["    - type: nameserver"]
        for title, name in (("address", "nameserver"), ("search", "searchdomain")):
            values = re.split(r"[,;\s]+", config[name]) if name in config else []
            lines += [f"      {title}:", *(f"      - '{value}'" for value in values if value)] if values else []
    return "\n".join(lines) + "\n"


def subnets(told: dict[str, str]) -> list[str]:
    """The lines of one card's addresses."""
    lines: list[str] = []
    if told.get("ip") == "dhcp":
        lines.append("      - type: dhcp4")
    elif "ip" in told:
        interface = ipaddress.ip_interface(told["ip"])
        lines += [
            "      - type: static",
            f"        address: '{interface.ip}'",
            f"        netmask: '{interface.netmask}'",
        ]
        lines += [f"        gateway: '{told['gw']}'"] if "gw" in told else []
    if told.get("ip6") == "auto":
        lines.append("      - type: ipv6_slaac")
    elif told.get("ip6") == "dhcp":
        lines.append("      - type: dhcp6")
    elif "ip6" in told:
        lines += ["      - type: static6", f"        address: '{told['ip6']}'"]
        lines += [f"        gateway: '{told['gw6']}'"] if "gw6" in told else []
    return lines


def ip_config(value: str) -> dict[str, str]:
    """The members of `ip=10.0.0.5/24,gw=10.0.0.1`."""
    return parse_property_string("pve-qm-ipconfig", value)
