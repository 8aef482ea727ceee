"""How a server stands beside its sweeps: the certificate of every address, what keeps one from being used, and the token's
end. Looked at anew every ten minutes, and when its registration changes."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from comserv.domain.connection import CertificateSeen
from comserv.domain.errors import CertificateRefused, ProxmoxError
from comserv.domain.picture import Health, Node
from comserv.domain.standing import AddressTrouble, KeptCertificate
from comserv.proxmox.client import Client
from comserv.proxmox.reach import stand
from comserv.proxmox.tls import certificate_seen

LOOK_EVERY = timedelta(minutes=10)
log = structlog.get_logger(__name__)


class Standing:
    """Of one server. pems: certificates that were trusted and are not kept yet, by address."""

    def __init__(self) -> None:
        self._looked: datetime | None = None
        self._revision = 0
        self._problems: dict[str, ProxmoxError] = {}
        self._ders: dict[str, bytes] = {}
        self._seen: dict[str, CertificateSeen] = {}
        self.pems: dict[str, str] = {}

    def kept(self, pems: Mapping[str, str]) -> None:
        """These are in the database."""
        self.pems = {address: pem for address, pem in self.pems.items() if pems.get(address) != pem}

    def told_by(self, client: Client, health: Health, last: Health, now: datetime) -> Health:
        """`health` with what the client's own calls found out, beside what is known from `last`. Asks nobody."""
        self._take_all(client.certificates)
        problems = {**self._problems, **client.failing_addresses}
        if not health.error_title:
            problems.pop(client.address_in_use, None)
        known = {one.address: one for one in last.certificates} | {a: kept_of(seen) for a, seen in self._seen.items()}
        addresses = client.server.addresses
        return replace(
            health,
            address=client.address_in_use if client.address_in_use in addresses else "",
            troubles=tuple(_trouble(a, problems[a], now, last.troubles) for a in addresses if a in problems),
            certificates=tuple(known[a] for a in addresses if a in known),
            token_expires=last.token_expires,
            token_read_at=last.token_read_at,
            node_versions=last.node_versions,
        )

    async def look(self, client: Client, health: Health, nodes: Iterable[Node], now: datetime) -> Health:
        """The same after a closer look, where it is time for one. An address that cannot be seen is told, not raised.

        nodes: as the last sweep saw them.
        """
        same = self._revision == client.server.revision
        if same and self._looked is not None and now - self._looked < LOOK_EVERY:
            return health
        self._looked, self._revision = now, client.server.revision
        for address in client.server.addresses:
            if address != client.address_in_use and not client.server.maintenance:
                await self._look_at(client, address)
        health = self.told_by(client, health, health, now)
        health = await self._with_token(client, health, now)
        return await self._with_versions(client, health, nodes)

    async def _look_at(self, client: Client, address: str) -> None:
        self._problems.pop(address, None)
        try:
            self._take(await stand(client.server, address))
        except ProxmoxError as error:
            self._problems[address] = error

    async def _with_token(self, client: Client, health: Health, now: datetime) -> Health:
        try:
            facts = await client.access.token(client.server.token_id)
        except ProxmoxError as error:
            log.info("the token's end could not be read", detail=error.detail)
            return health
        if facts is None:
            return replace(health, token_expires=None, token_read_at=None)
        return replace(health, token_expires=facts.expires, token_read_at=now)

    async def _with_versions(self, client: Client, health: Health, nodes: Iterable[Node]) -> Health:
        """Of a cluster; a node that does not answer keeps what it last said."""
        online = [node.name for node in nodes if node.online]
        known = {name: text for name, text in health.node_versions.items() if name in {node.name for node in nodes}}
        for name in online if len(online) > 1 else ():
            try:
                known[name] = (await client.node(name).version()).text
            except ProxmoxError as error:
                log.info("a node's version could not be read", node=name, detail=error.detail)
        return replace(health, node_versions=known)

    def _take_all(self, certificates: Mapping[str, bytes]) -> None:
        for address, der in certificates.items():
            if self._ders.get(address) != der:
                self._ders[address] = der
                self._take(certificate_seen(address, der, trusted=False))

    def _take(self, seen: CertificateSeen) -> None:
        before = self._seen.get(seen.address)
        if before is None or before.fingerprint != seen.fingerprint:
            self._seen[seen.address], self.pems[seen.address] = seen, seen.pem


def kept_of(seen: CertificateSeen) -> KeptCertificate:
    """What stays of a certificate with the server's health."""
    return KeptCertificate(
        seen.address,
        seen.fingerprint,
        seen.subject,
        seen.issuer,
        datetime.fromisoformat(seen.not_before),
        datetime.fromisoformat(seen.not_after),
    )


def _trouble(address: str, error: ProxmoxError, now: datetime, last: Iterable[AddressTrouble]) -> AddressTrouble:
    """since: from the last time on where it was the same trouble."""
    refused = isinstance(error, CertificateRefused)
    before = next((one for one in last if one.address == address and one.refused == refused), None)
    since = before.since if before else now
    return AddressTrouble(address, since, error.detail, error.cure, refused, str(error.facts.get("seen", "")))
