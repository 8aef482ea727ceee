"""Another VM like one that is there: a next name, next addresses, and no secret of the first."""

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote

from comserv.domain.address import interface, read_address, read_prefix, usable_range
from comserv.domain.guest import Guest, GuestConfig
from comserv.domain.hardware import agent_enabled, boot_disk, cores_of, memory_mib, network_card, values_of
from comserv.domain.ownership import strip_marker
from comserv.domain.sshkey import ssh_key_fault
from comserv.domain.units import GIB
from comserv.domain.vmrequest import CloudInit, Ipv6, Ipv6Type, Network, NetworkType, TemplateRef, VmRequest

MOST_LOOKED_AT = 65_536  # addresses of a subnet


def another(request: VmRequest, names: Iterable[str], addresses: Collection[str]) -> VmRequest:
    """The same again: what may be there only once is another (name, addresses) or left open (VM id), the password is gone.

    names, addresses: those that are taken already.
    """
    return replace(
        request,
        hostname=next_name(request.hostname, names) if request.hostname else "",
        vmid=None,
        network=_elsewhere(request.network, addresses),
        cloud_init=replace(request.cloud_init, password=""),
    )


def worth_repeating(request: VmRequest) -> VmRequest:
    """Of a request what a person's next one may begin with: no name, no notes, nothing secret. Addresses say only which were last."""
    return replace(
        request,
        hostname="",
        node="",
        vmid=None,
        description="",
        tags=(),
        pool="",
        cloud_init=replace(request.cloud_init, password=""),
    )


def next_name(name: str, taken: Iterable[str]) -> str:
    """`web-01` → `web-02`, `web-09` → `web-10`, `db` → `db-2`, `a1.example.org` → `a2.example.org`; the first that is not taken."""
    known = {one.rstrip(".").lower() for one in taken} | {name.lower()}
    first, dot, domain = name.partition(".")
    found = re.fullmatch(r"(.*?)(\d+)", first)
    stem, digits = (found[1], found[2]) if found else (f"{first}-", "1")
    number, width = int(digits), len(digits) if found else 1
    while True:
        number += 1
        label = f"{stem}{number:0{width}d}"
        candidate = f"{label}{dot}{domain}"
        if candidate.lower() not in known:
            return candidate if len(label) <= 63 else ""


def _elsewhere(network: Network, taken: Collection[str]) -> Network:
    ipv6 = network.ipv6
    if ipv6.type is Ipv6Type.STATIC:
        ipv6 = replace(ipv6, address=next_address(ipv6.address, ipv6.prefix, ipv6.gateway, taken))
    if network.type is NetworkType.STATIC:
        address = next_address(network.ip_address, network.subnet_mask, network.gateway, taken)
        network = replace(network, ip_address=address)
    return replace(network, ipv6=ipv6)


def next_address(address: str, prefix: int | None, gateway: str, taken: Collection[str]) -> str:
    """The next of the subnet that nobody is known to have, from the beginning again at its end; empty where there is none."""
    subnet = interface(address, prefix)
    if subnet is None:
        return ""
    first, last = usable_range(subnet)
    busy = {
        known for one in (*taken, gateway, address) if (known := read_address(one.partition("/")[0], subnet.version))
    }
    kind = IPv4Address if subnet.version == 4 else IPv6Address
    size = min(int(last) - int(first) + 1, MOST_LOOKED_AT)
    for step in range(1, size):
        at = int(subnet.ip) + step
        candidate = kind(at if at <= int(last) else int(first) + at - int(last) - 1)
        if candidate not in busy:
            return str(candidate)
    return ""


def request_of(guest: Guest, config: GuestConfig) -> VmRequest:
    """As far as a configuration tells how a VM like this would be asked for. Template vmid 0: it does not tell."""
    disk, card = boot_disk(config), network_card(config.get("net0"))
    linked = re.search(r"[:/-](\d{3,9})-disk", disk.linked_to) if disk and disk.linked_to else None
    return VmRequest(
        server=guest.key.server,
        hostname=config.get("name") or guest.name,
        template=TemplateRef(guest.key.server, guest.key.vmid if guest.template else int(linked[1]) if linked else 0),
        description=strip_marker(config.get("description")),
        cpu_cores=cores_of(config),
        memory_mb=memory_mib(config),
        disk_gb=math.ceil(disk.size / GIB) if disk and disk.size else None,
        storage="" if disk is None or disk.linked_to else disk.storage,
        pool=guest.pool,
        tags=tuple(sorted({tag.lower() for tag in re.split(r"[;, ]+", config.get("tags")) if tag})),
        network=replace(_network(config), bridge=card.bridge if card else "", vlan=card.vlan if card else None),
        cloud_init=CloudInit(config.get("ciuser"), "", _keys(config)),
        enable_qemu_agent=agent_enabled(config),
        start_on_boot=config.get("onboot") == "1",
    )


def _network(config: GuestConfig) -> Network:
    values = values_of(config.get("ipconfig0"))
    address, _, prefix = values.get("ip", "").partition("/")
    fixed = read_address(address, 4) is not None
    return Network(
        type=NetworkType.STATIC if fixed else NetworkType.DHCP,
        ip_address=address if fixed else "",
        subnet_mask=read_prefix(prefix) if fixed else None,
        gateway=values.get("gw", "") if fixed else "",
        ipv6=_ipv6(values.get("ip6", ""), values.get("gw6", "")),
        dns_servers=tuple(config.get("nameserver").split()),
        search_domain=config.get("searchdomain"),
    )


def _ipv6(text: str, gateway: str) -> Ipv6:
    address, _, prefix = text.partition("/")
    if read_address(address, 6) is None:
        return Ipv6(Ipv6Type(text) if text in ("auto", "dhcp") else Ipv6Type.NONE)
    return Ipv6(Ipv6Type.STATIC, address, int(prefix) if prefix.isdigit() else None, gateway)


def _keys(config: GuestConfig) -> tuple[str, ...]:
    """`sshkeys` is URL-encoded (semantics, cloud-init), lines as in authorized_keys."""
    lines = (line.strip() for line in unquote(config.get("sshkeys")).splitlines())
    return tuple(line for line in lines if line and not ssh_key_fault(line))
