"""The connection test: its stages in order, and what each found, with time, result and cure."""

from dataclasses import dataclass
from enum import StrEnum

from comserv.domain.errors import ProxmoxSaid


class StageName(StrEnum):
    """In this order. Everything before RIGHTS has to pass before a server is kept."""

    NAME = "name"
    TCP = "tcp"
    TLS = "tls"
    HTTP = "http"
    VERSION = "version"
    TOKEN = "token"
    RIGHTS = "rights"
    CLOCK = "clock"
    NODES = "nodes"
    STORAGES = "storages"
    GUESTS = "guests"


BEFORE_RIGHTS = (StageName.NAME, StageName.TCP, StageName.TLS, StageName.HTTP, StageName.VERSION, StageName.TOKEN)


class StageState(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Stage:
    """silent: it failed because nothing came back, which is no answer: the server may be off or starting."""

    stage: StageName
    state: StageState
    ms: float
    text: str
    cure: str = ""
    proxmox: ProxmoxSaid | None = None
    silent: bool = False


@dataclass(frozen=True)
class CertificateSeen:
    """A certificate as a server shows it before anything was agreed: PEM and dates for the eye, fingerprint for the pin.

    names: hosts and addresses that it is for. key: SHA-256 of its public key, so that a renewal with the same key is seen.
    """

    address: str
    fingerprint: str
    subject: str
    issuer: str
    not_before: str
    not_after: str
    trusted_by_system: bool
    pem: str = ""
    names: tuple[str, ...] = ()
    key: str = ""
