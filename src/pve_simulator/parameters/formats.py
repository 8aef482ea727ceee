"""The named formats of the description (`pve-vmid`, `dns-name`, ...) and the texts with which they refuse.

A format is a function that raises FormatError, or a mapping of properties: then the value is a property string.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from pve_simulator.errors import SimulatorError

Checker = Callable[[str], None]


class FormatError(SimulatorError):
    """A value has not the form asked for."""


FORMATS: dict[str, Checker | dict[str, dict[str, Any]]] = {}

CONTENT_TYPES = ("images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none")
PROTOCOL_NAMES = """
tcp udp icmp igmp ggp ipencap st egp igp pup hmp xns-idp rdp iso-tp4 dccp xtp ddp idpr-cmtp ipv6 ipv6-route
ipv6-frag idrp rsvp gre esp ah skip ipv6-icmp icmpv6 ipv6-nonxt ipv6-opts vmtp eigrp ospf ax.25 ipip etherip
encap pim ipcomp vrrp l2tp isis sctp fc mobility-header udplite mpls-in-ip hip
"""
PROTOCOLS = frozenset(PROTOCOL_NAMES.split())
DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
CALENDAR = (
    rf"(?:minutely|hourly|daily|weekly|monthly|yearly|quarterly|semiannually|{DAY}(?:(?:\.\.|,){DAY})*"
    r"|[\d*/,.]+(?:-[\d*/,.]+){1,2}|[\d*/,.]+(?::[\d*/,.]+){1,2}|\*/\d+|\d+)(?=\s|$)"
)
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?"
DNS_NAME = re.compile(rf"(?:{LABEL}\.)*{LABEL}")
HOOK_VOLUME = re.compile(r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]:\S+")
BOOT_DEVICE = re.compile(r"(?:ide[0-3]|sata[0-5]|scsi(?:[12]?\d|30)|virtio(?:\d|1[0-5])|net\d+|usb\d+|hostpci\d+)")


def named(*names: str) -> Callable[[Checker], Checker]:
    """Registers a checker under its names."""

    def register(checker: Checker) -> Checker:
        FORMATS.update(dict.fromkeys(names, checker))
        return checker

    return register


def pattern(text: str, expression: str, *names: str, flags: int = 0) -> None:
    """Registers formats that are a regular expression; `{}` in the text becomes the value."""
    compiled = re.compile(expression, flags)

    def check(value: str) -> None:
        if not compiled.fullmatch(value):
            raise FormatError(text.replace("{}", value))

    named(*names)(check)


pattern("value does not look like a valid VM ID", r"[1-9][0-9]{2,8}", "pve-vmid")
pattern("value does not look like a valid node name", LABEL, "pve-node")
pattern("value does not look like a valid DNS name", rf"(?:{LABEL}\.)*{LABEL}", "dns-name")
pattern("invalid configuration ID '{}'", r"[a-zA-Z][a-zA-Z0-9_\-]+", "pve-configid")
pattern("invalid poolid '{}'", r"[A-Za-z0-9.\-_]+(?:/[A-Za-z0-9.\-_]+){0,2}", "pve-poolid")
pattern("invalid characters in tag", r"[a-zA-Z0-9_][a-zA-Z0-9_\-+.]*", "pve-tag")
pattern("unable to parse volume ID '{}'", HOOK_VOLUME.pattern, "pve-volume-id")
pattern(
    "unable to parse volume ID '{}'",
    rf"none|cdrom|/.*|{HOOK_VOLUME.pattern}",
    "pve-volume-id-or-qm-path",
    "pve-volume-id-or-absolute-path",
)
pattern(
    "value does not look like a valid unicast MAC address",
    r"[0-9a-f][02468ace](?::[0-9a-f]{2}){5}",
    "mac-addr",
    flags=re.IGNORECASE,
)
pattern(
    "value does not look like a valid (unicast) MAC address prefix",
    r"[0-9a-f][02468ace](?::[0-9a-f]{2}){0,2}:?",
    "mac-prefix",
    flags=re.IGNORECASE,
)
pattern("value does not look like a valid email address", r"[\w+\-~.!#$%&*/=?^`{|}]+@[\w\-.]+", "email")
pattern("value '{}' does not look like a valid role name", r"[A-Za-z0-9.\-_]+", "pve-roleid")
pattern("group name '{}' contains invalid characters", r"[A-Za-z0-9.\-_]+", "pve-groupid")
pattern("value '{}' does not look like a valid realm", r"[A-Za-z][A-Za-z0-9.\-_]+", "pve-realm")
pattern("token name '{}' contains invalid characters", r"\S+@\S+![A-Za-z][A-Za-z0-9.\-_]+", "pve-tokenid")
pattern("invalid network interface name '{}'", r"[a-zA-Z][a-zA-Z0-9_]{1,20}(?:[:.]\d+)?", "pve-iface")
pattern("invalid bridge name '{}'", r"[a-zA-Z][a-zA-Z0-9_\-.]{0,14}", "pve-bridge-id")
pattern("value does not look like a valid storage server", r"\S+", "pve-storage-server")
pattern("invalid hotplug feature '{}'", r"0|1|network|disk|cpu|memory|usb|cloudinit", "pve-hotplug-feature")
pattern("value does not look like an absolute path", r"/.*", "pve-storage-path")
pattern("value does not look like a valid ha resource ID", r"[^:\s]+:\S+|\d+", "pve-ha-resource-or-vm-id")


@named("pve-storage-id")
def storage_id(value: str) -> None:
    if len(value) < 2:
        raise FormatError(f"storage ID '{value}' cannot be shorter than 2 characters")
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]", value):
        raise FormatError(f"storage ID '{value}' contains illegal characters")


@named("pve-storage-content")
def storage_content(value: str) -> None:
    if value not in CONTENT_TYPES:
        raise FormatError(f"invalid content type '{value}'")


@named("pve-userid")
def user_id(value: str) -> None:
    if len(value) < 3:
        raise FormatError(f"user name '{value}' is too short")
    if len(value) > 64:
        raise FormatError(f"user name '{value}' is too long ({len(value)} > 64)")
    if not re.fullmatch(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+", value):
        raise FormatError(f"value '{value}' does not look like a valid user name")


@named("pve-priv")
def privilege(value: str) -> None:
    from pve_simulator.versions import CURRENT

    if value not in CURRENT.get().privileges:
        raise FormatError(f"invalid privilege '{value}'")


@named("urlencoded")
def urlencoded(value: str) -> None:
    if not re.fullmatch(r"(?:[A-Za-z0-9\-._~]|%[0-9A-Fa-f]{2})*", value):
        raise FormatError(f"invalid urlencoded string: {value}")
    unquote(value)


@named("pve-fw-protocol-spec")
def protocol(value: str) -> None:
    if value not in PROTOCOLS and not (value.isdigit() and int(value) < 256):
        raise FormatError(f"unknown protocol '{value}'")


@named("pve-calendar-event")
def calendar_event(value: str) -> None:
    rest = re.sub(CALENDAR, "", value, flags=re.IGNORECASE).strip()
    if rest:
        fault = f"unable to parse calendar event - unparsed token '{rest}'"
        raise FormatError(f"invalid calendar event '{value}' - {fault}\n")


@named("pve-startup-order")
def startup(value: str) -> None:
    for part in re.split(r"[,;]", value):
        if not re.fullmatch(r"(?:order=)?\d+|up=\d+|down=\d+", part):
            raise FormatError("unable to parse startup options")


@named("pve-cpuset")
def cpuset(value: str) -> None:
    for part in value.split(","):
        if not re.fullmatch(r"\s*\d+(?:-\d+)?\s*", part):
            raise FormatError(f"cpu set: invalid set part '{part}'")


@named("pve-boot-devices")
def boot_devices(value: str) -> None:
    if not BOOT_DEVICE.fullmatch(value):
        raise FormatError(f"invalid boot device '{value}'")


@named("pve-qm-bootdisk")
def boot_disk(value: str) -> None:
    if not re.fullmatch(r"(?:ide|sata|scsi|virtio)\d+", value):
        raise FormatError(f"invalid boot disk '{value}'")


def address(text: str, parse: Callable[[str], object], *names: str) -> None:
    """Registers formats that are an address or a network."""

    def check(value: str) -> None:
        try:
            parse(value)
        except ValueError:
            raise FormatError(text) from None

    named(*names)(check)


def _network(value: str, version: int = 0) -> None:
    if not re.search(r"/\d+$", value):
        raise ValueError(value)
    found = ipaddress.ip_interface(value)
    if version and found.version != version:
        raise ValueError(value)


address("value does not look like a valid IP address", ipaddress.ip_address, "ip")
address("value does not look like a valid IPv4 address", ipaddress.IPv4Address, "ipv4")
address("value does not look like a valid IPv6 address", ipaddress.IPv6Address, "ipv6")
address("value does not look like a valid CIDR network", _network, "CIDR")
address("value does not look like a valid IPv4 network", lambda value: _network(value, 4), "CIDRv4")
address("value does not look like a valid IPv6 network", lambda value: _network(value, 6), "CIDRv6")
address("value does not look like a valid IP address or CIDR network", ipaddress.ip_interface, "IPorCIDR")
address("value does not look like a valid IP netmask", ipaddress.IPv4Address, "ipv4mask")


@named("pve-ipv4-config")
def ipv4_config(value: str) -> None:
    if value == "dhcp":
        return
    try:
        _network(value, 4)
    except ValueError:
        raise FormatError("value does not look like a valid ipv4 network configuration") from None


@named("pve-ipv6-config")
def ipv6_config(value: str) -> None:
    if value in ("auto", "dhcp"):
        return
    try:
        _network(value, 6)
    except ValueError:
        raise FormatError("value does not look like a valid ipv6 network configuration") from None


@named("address")
def host_address(value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not DNS_NAME.fullmatch(value):
            raise FormatError("value does not look like a valid DNS name or IP address") from None
