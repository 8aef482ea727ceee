"""A server: one Proxmox VE installation that we manage, with its addresses, its token and how TLS is verified."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

from comserv.domain.errors import Invalid
from comserv.domain.gentleness import PACES, Gentleness, Pace
from comserv.domain.maintenance import Maintenance

SERVER_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
DEFAULT_PORT = 8006
SUPPORTED_FROM, SUPPORTED_BELOW = (8, 4), (9, 2)


class TlsMode(StrEnum):
    SYSTEM = "system"
    CA = "ca"
    FINGERPRINT = "fingerprint"


@dataclass(frozen=True)
class Tls:
    """How a server's certificate is verified. There is no "off".

    fingerprints: SHA-256, `AA:BB:…`, by address (`https://host:8006`); a pin belongs to an address, since every node has its own.
    """

    mode: TlsMode = TlsMode.SYSTEM
    ca_pem: str = ""
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenId:
    """`USER@REALM!TOKENID`, for example `comserv@pve!manager`."""

    user: str
    realm: str
    name: str

    def __str__(self) -> str:
        return f"{self.user}@{self.realm}!{self.name}"

    @property
    def userid(self) -> str:
        return f"{self.user}@{self.realm}"


class ServerState(StrEnum):
    """What we know of whether it answers: `unreached` was never reached, `up` answered at the last sweep.

    `maintenance`: somebody asked that nothing is sent to it.
    """

    UNREACHED = "unreached"
    UP = "up"
    SLOW = "slow"
    DOWN = "down"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True)
class Server:
    """id: stable, in addresses, for example `rack`. addresses: `https://host:8006`, in order of preference.

    maintenance: while it lasts nothing is sent there.
    """

    id: str
    name: str
    addresses: tuple[str, ...]
    token_id: TokenId
    tls: Tls = field(default_factory=Tls)
    default_node: str = ""
    maintenance: Maintenance | None = None
    gentleness: Gentleness = Gentleness.USUAL
    created_at: datetime | None = None
    revision: int = 0

    @property
    def enabled(self) -> bool:
        """Whether anything may be sent there."""
        return self.maintenance is None

    @property
    def pace(self) -> Pace:
        return PACES[self.gentleness]

    def log_context(self) -> dict[str, str]:
        return {"server": self.id}


def parse_server_id(text: str) -> str:
    """A server id: 1 to 32 lower-case letters, digits and inner hyphens. Raises Invalid."""
    text = text.strip()
    if not SERVER_ID.fullmatch(text):
        raise Invalid(fields={"id": "use 1 to 32 lower-case letters, digits and hyphens, for example fra-prod"})
    return text


def parse_address(text: str) -> str:
    """`host`, `host:port` or `https://host:port/api2/json` → `https://host:port`. Raises Invalid, each slip in words."""
    text = text.strip()
    if text.lower().startswith("http://"):
        raise Invalid(fields={"addresses": "Proxmox VE answers over https only; leave http:// away"})
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
    except ValueError:
        raise Invalid(fields={"addresses": f"{text} is no address; an IPv6 address stands in [ and ]"}) from None
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise Invalid(fields={"addresses": f"the port of {text} is not a number between 1 and 65535"}) from None
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme != "https" or not host or parts.username or re.search(r"[^\w.:%-]", host) or not _is_a_name(host):
        raise Invalid(
            fields={"addresses": f"{text or 'an empty line'} is no address; give host, host:port or https://host:8006"}
        )
    if parts.path.rstrip("/") not in ("", "/api2/json") and not parts.path.startswith("/"):
        raise Invalid(fields={"addresses": f"{text} has a path that is not Proxmox's API"})
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _is_a_name(host: str) -> bool:
    """Whether it could be looked up at all: no label empty or longer than 63."""
    try:
        return len(host.encode("idna")) <= 253
    except UnicodeError:
        return False


def parse_token_id(text: str) -> TokenId:
    """Raises Invalid that says which part is missing."""
    text = text.strip()
    if "=" in text:
        raise Invalid(fields={"token_id": "this looks like a whole token; put what stands after = into the value"})
    user, at, rest = text.rpartition("@")
    realm, bang, name = rest.partition("!")
    if not at or not user:
        raise Invalid(fields={"token_id": "the realm is missing: USER@REALM!TOKENID, for example comserv@pve!manager"})
    if not bang or not name:
        raise Invalid(fields={"token_id": "the token's name is missing after !: USER@REALM!TOKENID"})
    if not re.fullmatch(r"[^\s:/]{1,60}", user) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9.\-_]+", realm):
        raise Invalid(fields={"token_id": "user or realm has a character that Proxmox does not allow"})
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9.\-_]+", name):
        raise Invalid(fields={"token_id": "the token's name begins with a letter; letters, digits, . - _ follow"})
    return TokenId(user, realm, name)


def parse_token_secret(text: str) -> str:
    """The UUID that Proxmox shows once. Raises Invalid."""
    text = text.strip()
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise Invalid(
            fields={
                "token_secret": "a token's value is a UUID like 5f0c9d2e-…; it is shown once, when the token is made"
            }
        )
    return text.lower()


def parse_fingerprint(text: str) -> str:
    """SHA-256 in any usual spelling → `AA:BB:…` (32 bytes). Raises Invalid."""
    digits = re.sub(
        r"[^0-9a-fA-F]",
        "",
        text.strip().removeprefix("sha256:").removeprefix("SHA256:").removeprefix("sha256 Fingerprint="),
    )
    if len(digits) != 64:
        raise Invalid(fields={"tls.fingerprint": "a SHA-256 fingerprint has 32 bytes: AA:BB:…"})
    return ":".join(digits[i : i + 2] for i in range(0, 64, 2)).upper()
