"""Whom a server's addresses are trusted by: a changed certificate beside the one before, and what a cluster offers of its own."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from shlex import quote

from comserv.domain.certificate import NodeCertificate
from comserv.domain.cluster import ClusterNode
from comserv.domain.connection import CertificateSeen
from comserv.domain.server import DEFAULT_PORT, Tls, TlsMode

OWN, INSTALLED, CA = "pve-ssl.pem", "pveproxy-ssl.pem", "pve-root-ca.pem"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as before. what: for people; before is empty where no copy of the old certificate is there."""

    what: str
    before: str
    now: str


@dataclass(frozen=True)
class ChangedCertificate:
    """One change, and all addresses that show it, so that it is decided once. before: None where no copy is kept.

    words, cure: what kind of change it looks like, and what to compare. command: shows the same on the server.
    """

    addresses: tuple[str, ...]
    before: CertificateSeen | None
    before_fingerprint: str
    now: CertificateSeen
    differences: tuple[Difference, ...]
    words: str
    cure: str
    command: str


@dataclass(frozen=True)
class CertificateReview:
    """What every address shows now. problems: by address, why one cannot be seen."""

    changed: tuple[ChangedCertificate, ...] = ()
    agreed: tuple[CertificateSeen, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OfferedAddress:
    """Another node of the cluster as it tells itself over the trusted connection. address: empty where it cannot be told.

    known_as: an address that we have already and that shows this certificate. problem: why it cannot be offered now.
    """

    node: str
    address: str = ""
    certificate: NodeCertificate | None = None
    online: bool = True
    known_as: str = ""
    problem: str = ""

    @property
    def can_be_taken(self) -> bool:
        return bool(self.address and self.certificate and not self.known_as and not self.problem)


@dataclass(frozen=True)
class OfferedCa:
    """The cluster's own CA. refused_by: by address, why the certificate there would not be accepted with it; it can be
    trusted only where that is empty. in_use: it is what is trusted now."""

    certificate: NodeCertificate
    refused_by: Mapping[str, str] = field(default_factory=dict)
    in_use: bool = False


@dataclass(frozen=True)
class Offers:
    """What the cluster offers of its own. problem: why nothing could be read."""

    addresses: tuple[OfferedAddress, ...] = ()
    ca: OfferedCa | None = None
    problem: str = ""
    cure: str = ""


def differences(before: CertificateSeen | None, fingerprint: str, now: CertificateSeen) -> tuple[Difference, ...]:
    """fingerprint: the one that was agreed, which is known also where the certificate itself is not."""
    rows = [Difference("SHA-256", fingerprint, now.fingerprint)]
    if before is None:
        return tuple(rows)
    pairs = (
        ("Issued to", before.subject, now.subject),
        ("Issued by", before.issuer, now.issuer),
        ("Valid from", before.not_before[:10], now.not_before[:10]),
        ("Valid until", before.not_after[:10], now.not_after[:10]),
        ("For", ", ".join(before.names), ", ".join(now.names)),
        ("Key", before.key[:16] + "…", now.key[:16] + "…"),
    )
    return (*rows, *(Difference(*pair) for pair in pairs if pair[1] != pair[2]))


def judge_change(before: CertificateSeen | None, now: CertificateSeen, at: datetime) -> tuple[str, str]:
    """What kind of change it looks like, and what to do. It never says that a certificate is right: only a look on the
    server can."""
    compare = "Compare the fingerprint on the server before you accept it."
    if before is None:
        return "No copy of the certificate before is kept, so only its fingerprint can be compared.", compare
    if datetime.fromisoformat(now.not_after) <= at:
        return "It has expired: nobody renews a certificate with an old one.", f"Ask who changed it. {compare}"
    if now.not_before < before.not_before:
        return "It is older than the one before: it may be a restored backup, or another host.", compare
    if now.issuer != before.issuer:
        return (
            "Another authority signed it, as when a certificate of your own or of ACME is installed, or taken away again.",
            f"If nobody installed one, somebody may stand between. {compare}",
        )
    if now.subject != before.subject:
        return "The same authority signed it for another node: the address may lead to another host now.", compare
    if now.key == before.key:
        return "It looks like a renewal: the same key, authority and name, with new dates.", compare
    return "It looks like a renewal: the same authority and name, with a new key and new dates.", compare


def file_of(issuer: str) -> str:
    """The file that a node shows on 8006: its own, signed by the cluster, or the one that was installed beside it."""
    return OWN if re.search(r"PVE Cluster|Proxmox Virtual Environment", issuer) else INSTALLED


def compare_command(certificate: CertificateSeen, nodes: Iterable[str] = ()) -> str:
    """The line that shows the fingerprint, subject, issuer and dates on the server; for any node of the cluster where the
    certificate names one."""
    named = re.search(r"(?:^|,)CN=([^,.\\]+)", certificate.subject)
    node = named[1] if named and named[1] in set(nodes) else ""
    folder = f"/etc/pve/nodes/{node}" if node else "/etc/pve/local"
    return f"openssl x509 -noout -fingerprint -sha256 -subject -issuer -dates -in {quote(f'{folder}/{file_of(certificate.issuer)}')}"


def shown_on_8006(certificates: Sequence[NodeCertificate]) -> NodeCertificate | None:
    """pveproxy-ssl.pem where there is one, else pve-ssl.pem."""
    found = {certificate.filename: certificate for certificate in certificates}
    return found.get(INSTALLED) or found.get(OWN)


def address_of(node: ClusterNode, certificate: NodeCertificate | None, tls: Tls) -> str:
    """By the address at which the nodes see each other; by name where the system's CAs are asked, since those vouch for
    names. Empty where neither is told."""
    names = [name for name in (certificate.names if certificate else ()) if "." in name and not name[0].isdigit()]
    host = names[0] if tls.mode is TlsMode.SYSTEM and names else node.address
    if not host:
        return ""
    return f"https://[{host}]:{DEFAULT_PORT}" if ":" in host else f"https://{host}:{DEFAULT_PORT}"
