"""IPv4 and IPv6 of a guest: what an address has to be inside its subnet, and who has it already."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface

from comserv.domain.guest import KnownAddress

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface


def read_address(text: str, version: int) -> Address | None:
    """The address, or None for what is none of this version (4 or 6). A zone (`%eth0`) is none."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return address if address.version == version and "%" not in text else None


def read_prefix(text: str) -> int | None:
    """`24`, `/24` or `255.255.255.0` → 24; None for what is no IPv4 mask."""
    text = text.strip().removeprefix("/")
    if text.isascii() and text.isdigit():
        return int(text) if int(text) <= 32 else None
    mask = read_address(text, 4)
    if mask is None:
        return None
    bits = f"{int(mask):032b}"
    return bits.count("1") if "01" not in bits else None


def interface(address: str, prefix: int | None) -> Interface | None:
    """Address with its subnet, or None where one of the two does not fit."""
    try:
        return ip_interface(f"{address}/{prefix}") if prefix is not None else None
    except ValueError:
        return None


def unusable(subnet: Interface) -> str:
    """Why no guest can have this address, as a sentence; empty where it can."""
    address, network = subnet.ip, subnet.network
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return f"{address} is not an address for a machine."
    roomy = network.prefixlen < network.max_prefixlen - 1
    if roomy and address == network.network_address:
        return f"{address} is the network's own address in {network}."
    if roomy and address.version == 4 and address == network.broadcast_address:
        return f"{address} is the broadcast address of {network}."
    return ""


def usable_range(subnet: Interface) -> tuple[Address, Address]:
    """The first and the last address that a machine in this subnet can have."""
    network = subnet.network
    first, last = network[0], network[-1]
    if network.prefixlen >= network.max_prefixlen - 1:
        return first, last
    return network[1], network[-2] if network.version == 4 else last


def gateway_unusable(subnet: Interface, gateway: str) -> str:
    """Why this gateway cannot serve that address, as a sentence; empty where it can. IPv6 takes link-local ones."""
    address = read_address(gateway, subnet.version)
    if address is None:
        return f"{gateway} is not an IPv{subnet.version} address."
    if address == subnet.ip:
        return f"The gateway {gateway} is the VM's own address."
    if address.version == 6 and address.is_link_local:
        return ""
    if address not in subnet.network:
        return f"The gateway {gateway} is outside the subnet {subnet.network}."
    return unusable(ip_interface(f"{address}/{subnet.network.prefixlen}"))


def holders(address: str, known: Iterable[KnownAddress]) -> tuple[KnownAddress, ...]:
    """Those that have the same address, however it is spelled, newest first."""
    wanted = read_address(address, 6 if ":" in address else 4)
    if wanted is None:
        return ()
    found = [one for one in known if read_address(one.address.partition("/")[0], wanted.version) == wanted]
    return tuple(sorted(found, key=lambda one: one.as_of, reverse=True))
