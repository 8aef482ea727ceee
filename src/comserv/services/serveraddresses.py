"""A server's addresses and whom they are trusted by: changed certificates decided once, a cluster's other nodes and its CA."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from comserv.domain.certificate import NodeCertificate
from comserv.domain.cluster import ClusterNode
from comserv.domain.connection import CertificateSeen
from comserv.domain.errors import CertificateRefused, Conflict, Invalid, ProxmoxError
from comserv.domain.person import Action, Actor
from comserv.domain.server import Server, Tls, TlsMode, parse_address, parse_fingerprint
from comserv.domain.trust import (
    CA,
    CertificateReview,
    ChangedCertificate,
    OfferedAddress,
    OfferedCa,
    Offers,
    address_of,
    compare_command,
    differences,
    judge_change,
    shown_on_8006,
)
from comserv.jobs.clients import Clients
from comserv.persistence import pictures, servers
from comserv.persistence.database import Database
from comserv.proxmox.client import Client
from comserv.proxmox.reach import agreed
from comserv.proxmox.tls import certificate_of_pem, look
from comserv.services.permission import permit
from comserv.services.servers import ServerEdit, Servers, ServerView

NODES_AT_ONCE = 4


class ServerAddresses:
    """Every method needs MANAGE_SERVERS and raises NotFound where there is no such server."""

    def __init__(self, database: Database, clients: Clients, registered: Servers) -> None:
        self._db, self._clients, self._servers = database, clients, registered

    async def certificates(self, actor: Actor, server_id: str) -> CertificateReview:
        """What every address shows now, beside what was agreed. Nothing is sent, nothing is trusted by it."""
        await permit(self._db, actor, Action.MANAGE_SERVERS, f"server {server_id}")
        async with self._db.read() as tx:
            server = await servers.get(tx, server_id)
            pems = await servers.certificates(tx, server_id)
            picture = await pictures.get(tx, server_id)
        nodes = tuple(node.name for node in picture.nodes) if picture else ()
        looks = await asyncio.gather(*(_looked(server, address) for address in server.addresses))
        refused = [seen for seen, why in looks if isinstance(seen, CertificateSeen) and why]
        return CertificateReview(
            changed=tuple(self._changes(server, refused, pems, nodes)),
            agreed=tuple(seen for seen, why in looks if isinstance(seen, CertificateSeen) and not why),
            problems={seen: why for seen, why in looks if isinstance(seen, str)},
        )

    def _changes(
        self, server: Server, refused: list[CertificateSeen], pems: Mapping[str, str], nodes: tuple[str, ...]
    ) -> list[ChangedCertificate]:
        """One for all addresses that went from the same certificate to the same other one."""
        groups: dict[tuple[str, str], list[CertificateSeen]] = {}
        for seen in refused:
            kept = certificate_of_pem(seen.address, pems.get(seen.address, ""))
            before = server.tls.fingerprints.get(seen.address, "") or (kept.fingerprint if kept else "")
            groups.setdefault((before, seen.fingerprint), []).append(seen)
        changes = []
        for (before, _), group in groups.items():
            now = group[0]
            kept = next((k for one in group if (k := certificate_of_pem(one.address, pems.get(one.address, "")))), None)
            kept = kept if kept and kept.fingerprint == before else None
            words, cure = judge_change(kept, now, self._db.clock())
            changes.append(
                ChangedCertificate(
                    addresses=tuple(one.address for one in group),
                    before=kept,
                    before_fingerprint=before,
                    now=now,
                    differences=differences(kept, before, now),
                    words=words,
                    cure=cure,
                    command=compare_command(now, nodes),
                )
            )
        return changes

    async def accept(self, actor: Actor, server_id: str, shown: Mapping[str, str]) -> ServerView:
        """Trusts these certificates from now on. shown: fingerprints by address, as the person saw them.

        Raises Conflict where an address shows another one meanwhile, ConnectionTestFailed, Invalid.
        """
        review = await self.certificates(actor, server_id)
        now = {address: change.now for change in review.changed for address in change.addresses}
        if not shown:
            raise Invalid("No certificate was named.", fields={"fingerprints": "name what you accept, by address"})
        for address, fingerprint in shown.items():
            if address not in now or now[address].fingerprint != fingerprint:
                raise Conflict(
                    f"{address} does not show the certificate any more that you looked at; nothing was accepted.",
                    cure="Look at what it shows now, and decide again.",
                )
        async with self._db.read() as tx:
            tls = (await servers.get(tx, server_id)).tls
        pins = (
            {**tls.fingerprints}
            if tls.mode is TlsMode.FINGERPRINT
            else {s.address: s.fingerprint for s in review.agreed}
        )
        told = "; ".join(f"{address} {fingerprint}" for address, fingerprint in shown.items())
        edit = ServerEdit(tls=Tls(TlsMode.FINGERPRINT, fingerprints={**pins, **shown}))
        pems = {address: now[address].pem for address in shown}
        return await self._servers.edit(actor, server_id, edit, action="accept_certificate", detail=told, pems=pems)

    async def offers(self, actor: Actor, server_id: str) -> Offers:
        """The cluster's other nodes with their certificates, and its CA, read over the connection that is trusted now."""
        await permit(self._db, actor, Action.MANAGE_SERVERS, f"server {server_id}")
        client = await self._clients.of(server_id)
        try:
            status = await client.cluster.status()
        except ProxmoxError as error:
            return Offers(problem=f"{error.title} {error.detail}".strip(), cure=error.cure)
        places = asyncio.Semaphore(NODES_AT_ONCE)
        async with self._db.read() as tx:
            pems = await servers.certificates(tx, server_id)
        told = await asyncio.gather(*(_told(client, node, places) for node in status.nodes))
        ours = {
            address: pin
            for address, pin in client.server.tls.fingerprints.items()
            if address in client.server.addresses
        }
        for address in client.server.addresses:
            kept = certificate_of_pem(address, pems.get(address, ""))
            ours.setdefault(address, kept.fingerprint if kept else "")
        offered = tuple(
            _offer(client.server, node, certificates, problem, ours)
            for node, (certificates, problem) in zip(status.nodes, told, strict=True)
        )
        ca = next((one for certificates, _ in told for one in certificates if one.filename == CA and one.pem), None)
        return Offers(offered, await self._offered_ca(client.server, ca) if ca else None)

    async def _offered_ca(self, server: Server, ca: NodeCertificate) -> OfferedCa:
        trusting = replace(server, tls=Tls(TlsMode.CA, ca_pem=ca.pem))
        looks = await asyncio.gather(*(_looked(trusting, address) for address in server.addresses))
        refused = {address: why for address, (_, why) in zip(server.addresses, looks, strict=True) if why}
        in_use = server.tls.mode is TlsMode.CA and _same_pem(server.tls.ca_pem, ca.pem)
        return OfferedCa(ca, refused, in_use)

    async def take(self, actor: Actor, server_id: str, ticked: Mapping[str, str]) -> ServerView:
        """Adds offered addresses. ticked: fingerprints by address, as they were shown. Raises Conflict where one is not
        offered like that any more, ConnectionTestFailed, Invalid."""
        if not ticked:
            raise Invalid("No address was chosen.", fields={"addresses": "choose one that is offered"})
        offered = {
            one.address: one.certificate for one in (await self.offers(actor, server_id)).addresses if one.can_be_taken
        }
        for address, fingerprint in ticked.items():
            certificate = offered.get(address)
            if certificate is None or certificate.fingerprint != fingerprint:
                raise Conflict(
                    f"{address} is not offered with that certificate any more; nothing was added.",
                    cure="Look at what is offered now.",
                )
        async with self._db.read() as tx:
            server = await servers.get(tx, server_id)
        pins = {**server.tls.fingerprints, **ticked} if server.tls.mode is TlsMode.FINGERPRINT else {}
        tls = replace(server.tls, fingerprints=pins) if pins else None
        addresses = tuple(dict.fromkeys((*server.addresses, *ticked)))
        edit = ServerEdit(addresses=addresses, tls=tls)
        pems = {address: certificate.pem for address in ticked if (certificate := offered[address]) and certificate.pem}
        told = ", ".join(ticked)
        return await self._servers.edit(actor, server_id, edit, action="add_addresses", detail=told, pems=pems)

    async def trust_ca(self, actor: Actor, server_id: str, fingerprint: str) -> ServerView:
        """Trusts the cluster's own CA instead of single certificates. fingerprint: of the CA, as it was shown.

        Raises Conflict where it is another one meanwhile, or an address shows a certificate that it did not sign.
        """
        ca = (await self.offers(actor, server_id)).ca
        if ca is None or ca.certificate.fingerprint != fingerprint:
            raise Conflict("The cluster does not show that CA any more.", cure="Look at what it shows now.")
        if ca.refused_by:
            told = "; ".join(f"{address}: {why}" for address, why in ca.refused_by.items())
            raise Conflict(
                f"With this CA not every address would be trusted; nothing was changed. {told}",
                cure="Take that address away, or stay with fingerprints.",
            )
        edit = ServerEdit(tls=Tls(TlsMode.CA, ca_pem=ca.certificate.pem))
        return await self._servers.edit(actor, server_id, edit, action="trust_ca", detail=fingerprint)


async def _looked(server: Server, address: str) -> tuple[CertificateSeen | str, str]:
    """The certificate and why it is refused (empty where it is as agreed); or the address and why it cannot be seen."""
    try:
        seen = await look(address)
    except ProxmoxError as error:
        return address, error.detail
    try:
        await agreed(server, seen)
    except CertificateRefused as error:
        return seen, error.detail
    return seen, ""


async def _told(
    client: Client, node: ClusterNode, places: asyncio.Semaphore
) -> tuple[tuple[NodeCertificate, ...], str]:
    if not node.online:
        return (), "It is offline; its certificate can be read when it is back."
    async with places:
        try:
            return await client.node(node.name).certificates(), ""
        except ProxmoxError as error:
            return (), f"{error.title} {error.detail}".strip()


def _offer(
    server: Server, node: ClusterNode, told: tuple[NodeCertificate, ...], problem: str, ours: Mapping[str, str]
) -> OfferedAddress:
    certificate = shown_on_8006(told)
    address = address_of(node, certificate, server.tls)
    address, wrong = _readable(address, certificate)
    problem = problem or wrong
    same = next((a for a, pin in ours.items() if certificate and pin == certificate.fingerprint), "")
    known = address if address in server.addresses else same
    if not problem and not certificate:
        problem = "It does not tell which certificate it shows."
    if not problem and not address:
        problem = "It does not tell at which address the other nodes see it."
    return OfferedAddress(node.name, address, certificate, node.online, known, problem)


def _readable(address: str, certificate: NodeCertificate | None) -> tuple[str, str]:
    """What a server tells is read like what people write: an address that is none is not offered."""
    try:
        if certificate:
            parse_fingerprint(certificate.fingerprint)
        return parse_address(address) if address else "", ""
    except Invalid as error:
        return "", f"What it tells cannot be read: {error.detail}."


def _same_pem(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())
