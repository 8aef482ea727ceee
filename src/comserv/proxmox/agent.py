"""…/agent: what the guest agent inside a VM answers (semantics section 14). Each call may take 3 s, so they are heavy."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from comserv.domain.errors import RequestRefused
from comserv.domain.guest import AgentAddress, AgentReport
from comserv.proxmox.decoding import Text
from comserv.proxmox.encoding import Call
from comserv.proxmox.exchange import Exchange

T = TypeVar("T")
SILENT = ("QEMU guest agent is not running", "got timeout")


class Result(msgspec.Struct, Generic[T]):
    result: T


class AddressRow(msgspec.Struct, rename={"address": "ip-address"}):
    address: str = ""
    prefix: int = 0


class InterfaceRow(msgspec.Struct, rename={"mac": "hardware-address", "addresses": "ip-addresses"}):
    """A row of agent/network-get-interfaces (recording 08) and of lxc's /interfaces, which has hwaddr too."""

    name: Text = ""
    mac: str = ""
    hwaddr: str = ""
    addresses: list[AddressRow] | None = None


class OsRow(msgspec.Struct, rename="kebab"):
    """agent/get-osinfo; every field may be missing in another system."""

    pretty_name: Text = ""
    name: Text = ""
    version: Text = ""


class HostRow(msgspec.Struct, rename="kebab"):
    host_name: Text = ""


class Agent:
    """Every method but `answers` raises RequestRefused where no agent is configured, none answers, or the VM is stopped."""

    def __init__(self, exchange: Exchange, node: str, guest_path: str) -> None:
        self._exchange, self._node, self._path = exchange, node, f"{guest_path}/agent"

    async def answers(self) -> bool:
        """Whether it answers a ping (POST, but it changes nothing). Raises RequestRefused where it never can: not
        configured, or the VM is stopped."""
        try:
            await self._exchange.send(Call("POST", f"{self._path}/ping", heavy_on=self._node))
        except RequestRefused as error:
            if error.proxmox and any(word in error.proxmox.message for word in SILENT):
                return False
            raise
        return True

    async def addresses(self) -> tuple[AgentAddress, ...]:
        """Of all interfaces, loopback and link-local ones among them."""
        rows = await self._exchange.get(
            f"{self._path}/network-get-interfaces", Result[list[InterfaceRow]], heavy_on=self._node
        )
        return addresses_of(rows.result)

    async def system(self) -> str:
        """`Debian GNU/Linux 13 (trixie)`, or what the system calls itself."""
        row = (await self._exchange.get(f"{self._path}/get-osinfo", Result[OsRow], heavy_on=self._node)).result
        return str(row.pretty_name) or f"{row.name} {row.version}".strip()

    async def hostname(self) -> str:
        row = await self._exchange.get(f"{self._path}/get-host-name", Result[HostRow], heavy_on=self._node)
        return str(row.result.host_name)

    async def report(self, as_of: datetime) -> AgentReport:
        """All three, one after the other. What an agent does not know to tell (an old one) stays empty."""
        addresses = await self.addresses()
        return AgentReport(as_of, addresses, await self._or_empty(self.system), await self._or_empty(self.hostname))

    async def _or_empty(self, ask: Callable[[], Awaitable[str]]) -> str:
        try:
            return await ask()
        except RequestRefused:
            return ""


def addresses_of(rows: Iterable[InterfaceRow]) -> tuple[AgentAddress, ...]:
    return tuple(
        AgentAddress(str(row.name), row.mac or row.hwaddr, address.address, address.prefix)
        for row in rows
        for address in row.addresses or ()
        if address.address
    )
