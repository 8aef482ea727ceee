"""The first stages of a connection test, for every address: its name, its port, its certificate."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from comserv.domain.connection import CertificateSeen, StageState
from comserv.domain.errors import CertificateRefused, ProxmoxError, ServerUnreachable
from comserv.domain.server import Server, TlsMode
from comserv.domain.verdicts import Verdict, failed, judge_certificate, ok, warning
from comserv.proxmox import tls
from comserv.proxmox.connections import Timeouts
from comserv.proxmox.destinations import DestinationRefused, open_connection, resolved

Check = Callable[[str], Awaitable[Verdict]]


class Reach:
    """Narrows down `addresses` to those that answer as agreed; a stage fails when none is left."""

    def __init__(self, server: Server, timeouts: Timeouts, now: Callable[[], datetime]) -> None:
        self._server, self._timeouts, self._now = server, timeouts, now
        self.addresses = list(server.addresses)

    async def names(self) -> Verdict:
        return await self._each(self._name)

    async def ports(self) -> Verdict:
        return await self._each(self._port)

    async def certificates(self) -> Verdict:
        return await self._each(self._certificate)

    async def _each(self, check: Check) -> Verdict:
        """All addresses at once. Those that fail are left out from here on."""
        verdicts = await asyncio.gather(*(self._checked(check, address) for address in self.addresses))
        good = [a for a, v in zip(self.addresses, verdicts, strict=True) if v.state is not StageState.FAILED]
        self.addresses = good or self.addresses
        return _together(verdicts, bool(good))

    async def _checked(self, check: Check, address: str) -> Verdict:
        try:
            return await check(address)
        except ProxmoxError as error:
            return failed(error.detail, error.cure)

    async def _name(self, address: str) -> Verdict:
        host, port = tls.host_and_port(address)
        try:
            async with asyncio.timeout(self._timeouts.connect):
                found = await resolved(host, port)
        except DestinationRefused as error:
            return failed(str(error.strerror), "Give the address of the Proxmox VE server itself.")
        except (OSError, UnicodeError, TimeoutError) as error:
            return failed(
                f"{host} has no address: {tls.words(error)}.",
                "Check its spelling and this machine's DNS, or give the IP address instead.",
            )
        return ok(f"{host} is {', '.join(sorted(found))}.")

    async def _port(self, address: str) -> Verdict:
        host, port = tls.host_and_port(address)
        try:
            async with asyncio.timeout(self._timeouts.connect):
                writer = await open_connection(host, port)
        except (OSError, TimeoutError) as error:
            return failed(
                f"Port {port} of {host} cannot be reached: {tls.words(error)}.",
                "Check that the host is up, that pveproxy runs there (`systemctl status pveproxy`), and firewalls between.",
            )
        writer.transport.abort()
        return ok(f"Port {port} of {host} is open.")

    async def _certificate(self, address: str) -> Verdict:
        try:
            seen = await tls.look(address)
        except ServerUnreachable as error:
            told = failed(error.detail + ".", "Check the port: Proxmox VE answers over https, usually on 8006.")
            return replace(told, silent=isinstance(error.__cause__, TimeoutError))
        await agreed(self._server, seen)
        return judge_certificate(seen, self._now())


async def stand(server: Server, address: str) -> CertificateSeen:
    """The certificate that an address shows now, where it is what was agreed. Nothing is sent. Raises ServerUnreachable, and
    CertificateRefused as the client would."""
    seen = await tls.look(address)
    await agreed(server, seen)
    return seen


async def agreed(server: Server, seen: CertificateSeen) -> None:
    """Raises CertificateRefused as the client would; `facts` has address and seen."""
    address = seen.address
    verification = tls.verification(server.tls, address, server.id)
    if isinstance(verification, tls.Pin):
        if verification.fingerprint.hex(":").upper() != seen.fingerprint:
            told = f"{address} shows {seen.fingerprint}, which is not the fingerprint that was accepted."
            raise CertificateRefused(told, server=server.id, address=address, seen=seen.fingerprint)
        return
    if refusal := await tls.refusal(address, verification):
        cure = (
            "Accept its fingerprint after comparing it, or give the cluster's own CA (/etc/pve/pve-root-ca.pem)."
            if server.tls.mode is TlsMode.SYSTEM
            else "Compare the CA with /etc/pve/pve-root-ca.pem, and the address with the names in the certificate."
        )
        told = f"{address} shows {seen.subject}, by {seen.issuer}, SHA-256 {seen.fingerprint}: {refusal}."
        raise CertificateRefused(told, cure=cure, server=server.id, address=address, seen=seen.fingerprint)


def _together(verdicts: Sequence[Verdict], any_good: bool) -> Verdict:
    """One verdict for all addresses: failed when none is good, a warning when one is not."""
    text = " ".join(verdict.text for verdict in verdicts)
    cure = "\n".join(dict.fromkeys(verdict.cure for verdict in verdicts if verdict.cure))
    if not any_good:
        told = failed(text or "No address is known.", cure or "Give one.")
        return replace(told, silent=all(verdict.silent for verdict in verdicts))
    return warning(text, cure) if any(v.state is not StageState.OK for v in verdicts) else ok(text)
