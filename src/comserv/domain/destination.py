"""Where Comserv may connect to on behalf of people: a server's address is data, and must not open ways that they have not."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address

# Where clouds answer questions about a machine, keys included, to whoever asks from it.
METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"))
)
Listener = tuple[str, int]


def refused_destination(address: str, port: int, own: Collection[Listener] = ()) -> str:
    """Why nothing is sent to this IP address, as a sentence; empty where it may be. own: (IP address, port) on which this process
    itself listens. Private and other loopback addresses are where servers stand, and are allowed."""
    found = _plain(address)
    if found is None:
        return f"{address[:60]} is not an IP address."
    if found in METADATA:
        return f"{found} is where a cloud tells secrets about this machine, and no server."
    if found.is_link_local:
        return f"{found} is a link-local address, which no server is registered by."
    if found.is_multicast or found.is_unspecified or str(found) == "255.255.255.255":
        return f"{found} is not the address of one machine."
    if any(port == listens and _same_machine(found, at) for at, listens in own):
        return f"{found}:{port} is Comserv itself."
    return ""


def _plain(address: str) -> IPv4Address | IPv6Address | None:
    """Without zone; an IPv4 address written as IPv6 (mapped, 6to4, NAT64) as the IPv4 address that it leads to."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or _nat64(found)
        return inner or found
    return found


def _nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if int(address) >> 32 == 0x0064FF9B << 64 else None


def _same_machine(found: IPv4Address | IPv6Address, at: str) -> bool:
    """Whether a connection to `found` reaches what listens at `at`; one that listens on every address has loopback ones too."""
    listens = _plain(at)
    if listens is None:
        return False
    return found == listens or (listens.is_unspecified and found.is_loopback)
