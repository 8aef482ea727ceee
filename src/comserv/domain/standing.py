"""How a server's addresses stand, beside its sweeps: the certificate that each shows, and what keeps one from being used."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class KeptCertificate:
    """The certificate on which an address was last trusted. fingerprint: SHA-256, `AA:BB:…`."""

    address: str
    fingerprint: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True)
class AddressTrouble:
    """Why an address is not used now. since: when it was first seen so.

    refused: it shows a certificate that was not agreed; shown: that one's fingerprint, where it was seen.
    """

    address: str
    since: datetime
    detail: str
    cure: str = ""
    refused: bool = False
    shown: str = ""
