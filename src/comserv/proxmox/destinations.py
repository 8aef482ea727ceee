"""Every connection to a server begins here: names are looked up, and where they lead is judged each time, before anything is sent.

A name may lead elsewhere at the next look (DNS rebinding), so what is judged is the very address that is connected to.
"""

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Iterable

from comserv.domain.destination import Listener, refused_destination

_own: list[Listener] = []  # of this process: a socket that listens is the process's, whoever asks


class DestinationRefused(OSError):
    """An address to which nothing is sent; `strerror` says why."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EACCES, why)


def listening_on(addresses: Iterable[Listener]) -> None:
    """Tells on which (IP address, port) this process itself listens from now on."""
    _own[:] = addresses


def own_addresses(listener: socket.socket) -> list[Listener]:
    """Where a listening socket is reached; one on every address is reached on each that this machine has."""
    host, port = listener.getsockname()[:2]
    if host not in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        return [(host, port)]
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:  # a machine whose own name is unknown: every address and loopback are still told
        found = set[str]()
    return [(host, port), *((address, port) for address in sorted(found))]


def judge(address: str, port: int) -> None:
    """Raises DestinationRefused for an IP address to which nothing is sent."""
    if why := refused_destination(address, port, _own):
        raise DestinationRefused(why)


def judge_literal(host: str, port: int) -> None:
    """The same for what stands in a URL; a name is judged when it has been looked up."""
    if _is_address(host):
        judge(host, port)


async def resolved(host: str, port: int) -> list[str]:
    """The IP addresses of a host, each once, in order. Raises OSError, DestinationRefused where any of them is refused."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        judge(address, port)
    return addresses


async def open_connection(host: str, port: int, context: ssl.SSLContext | None = None) -> asyncio.StreamWriter:
    """A connection to the first address that takes one, TLS with `context`. Raises OSError, DestinationRefused."""
    failed: OSError | None = None
    for address in await resolved(host, port):
        try:
            _, writer = await asyncio.open_connection(
                address, port, ssl=context, server_hostname=host if context else None
            )
        except ssl.SSLError:
            raise
        except OSError as error:
            failed = failed or error
        else:
            return writer
    raise failed or OSError(errno.EADDRNOTAVAIL, "no address is known for this name")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
