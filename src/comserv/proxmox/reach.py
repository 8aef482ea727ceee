"""The first stages of a connection test, for every address: its name, its port, its certificate."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from comserv.domain.connection import CertificateSeen, StageState
from comserv.domain.errors import CertificateRefused, ProxmoxError, ServerUnreachable
from comserv.domain.reaching import Unreached, cure_of, judge_handshake, judge_name, judge_port
from comserv.domain.server import Server
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
            return judge_name(host, tls.kind_of(error), tls.words(error))
        return ok(f"{host} is {', '.join(sorted(found))}.")

    async def _port(self, address: str) -> Verdict:
        host, port = tls.host_and_port(address)
        try:
            async with asyncio.timeout(self._timeouts.connect):
                writer = await open_connection(host, port)
        except (OSError, TimeoutError) as error:
            return judge_port(host, port, tls.kind_of(error), tls.words(error))
        writer.transport.abort()
        return ok(f"Port {port} of {host} is open.")

    async def _certificate(self, address: str) -> Verdict:
        try:
            seen = await tls.look(address)
        except ServerUnreachable as error:
            return await self._no_tls(address, error)
        await agreed(self._server, seen)
        return judge_certificate(seen, self._now())

    async def _no_tls(self, address: str, error: ServerUnreachable) -> Verdict:
        cause = error.__cause__ or error
        kind = tls.kind_of(cause)
        if kind is Unreached.CLOSED and await tls.speaks_old(address):
            kind = Unreached.TLS_TOO_OLD
        asks = kind in (Unreached.NO_TLS, Unreached.CLOSED)
        return judge_handshake(address, kind, tls.words(cause), await tls.plain_answer(address) if asks else b"")


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
    if refused := await tls.refused(address, verification):
        kind, why = refused
        told = f"{address} shows {seen.subject}, by {seen.issuer}, SHA-256 {seen.fingerprint}: {why}."
        cure = cure_of(kind, server.tls.mode, tls.host_and_port(address)[0])
        raise CertificateRefused(told, cure=cure, server=server.id, address=address, seen=seen.fingerprint)


def _together(verdicts: Sequence[Verdict], any_good: bool) -> Verdict:
    """One verdict for all addresses: failed when none is good, a warning when one is not."""
    text = " ".join(verdict.text for verdict in verdicts)
    cure = "\n".join(dict.fromkeys(verdict.cure for verdict in verdicts if verdict.cure))
    if not any_good:
        told = failed(text or "No address is known.", cure or "Give one.")
        return replace(told, silent=all(verdict.silent for verdict in verdicts))
    return warning(text, cure) if any(v.state is not StageState.OK for v in verdicts) else ok(text)
