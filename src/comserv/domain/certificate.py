"""Certificates of a node, as the node itself tells them over the trusted connection."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class NodeCertificate:
    """A row of `GET /nodes/{node}/certificates/info`. filename: `pve-root-ca.pem` (the cluster's own CA), `pve-ssl.pem`,
    `pveproxy-ssl.pem` (shown on 8006 instead of pve-ssl.pem where it is there). fingerprint: SHA-256, `AA:BB:…`."""

    node: str
    filename: str
    fingerprint: str
    subject: str
    issuer: str
    not_before: datetime | None
    not_after: datetime | None
    names: tuple[str, ...] = ()
    pem: str = ""
