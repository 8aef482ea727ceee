"""A server: one Proxmox VE installation that we manage, with its addresses, its token and how TLS is verified."""

import ipaddress
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
    """What people write or copy → `https://host:port`: a host, with or without port, an IPv6 address with or without
    brackets, the address bar of the browser (`https://pve1:8006/#v1:0:18:4`), `http://`, quotes around it, `root@pve1` of
    an ssh line. Raises Invalid, each slip in words."""
    bare = _unquoted(text)
    scheme, slashes, rest = _schemed(bare)
    if slashes and scheme not in ("http", "https"):
        raise Invalid(fields={"addresses": f"{bare} begins with {scheme}://; Proxmox VE answers over https"})
    if not slashes and (user := re.fullmatch(r"[\w.-]+@([^@/]+)", rest)):
        rest = user[1]
    if _is_ipv6(rest.partition("%")[0]):
        rest = f"[{rest}]"
    elif rest.count(":") > 1 and not rest.startswith("[") and _is_ipv6(rest.partition("/")[0].partition("#")[0]):
        raise Invalid(fields={"addresses": f"{bare}: put [ and ] around the IPv6 address, for example [fd00::1]:8006"})
    return _address(bare, rest)


def _unquoted(text: str) -> str:
    """Without what surrounds a value where it is copied from."""
    return re.sub(r"[\u200b\u200c\u200d\ufeff]", "", text).strip().strip("\"'`<>,; \t\u00a0").strip()


def _schemed(text: str) -> tuple[str, str, str]:
    """Scheme in lower case, slashes, the rest; also for a slash or the colon forgotten."""
    text = text.removeprefix("//")
    found = re.match(r"(https?)(:/{1,3}|//)(.*)", text, re.I | re.S)
    found = found or re.match(r"([a-z][a-z0-9+.-]*)(://)(.*)", text, re.I | re.S)
    return (found[1].lower(), found[2], found[3]) if found else ("https", "", text)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _address(told: str, rest: str) -> str:
    try:
        parts = urlsplit(f"https://{rest}")
    except ValueError:
        raise Invalid(fields={"addresses": f"{told} is no address; an IPv6 address stands in [ and ]"}) from None
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise Invalid(fields={"addresses": f"the port of {told} is not a number between 1 and 65535"}) from None
    host = (parts.hostname or "").rstrip(".")
    if parts.username is not None:
        raise Invalid(fields={"addresses": "leave the user in front of the @ away; the token says who we are"})
    if not host or re.search(r"[^\w.:%-]", host) or not _is_a_name(host):
        text = f"{told or 'an empty line'} is no address; give host, host:port or https://host:8006"
        raise Invalid(fields={"addresses": text})
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def parse_addresses(text: str) -> tuple[str, ...]:
    """Several, apart by lines, blanks or commas, each once, in their order. Raises Invalid."""
    return tuple(dict.fromkeys(parse_address(one) for one in re.split(r"[\s,;]+", text) if one))


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
    text = _unquoted(text)
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise Invalid(
            fields={
                "token_secret": "a token's value is a UUID like 5f0c9d2e-…; it is shown once, when the token is made"
            }
        )
    return text.lower()


def parse_fingerprint(text: str) -> str:
    """SHA-256 as openssl, `pvenode cert info`, browsers or people write it → `AA:BB:…` (32 bytes). Raises Invalid."""
    found = {one.replace(":", "").upper() for one in _FINGERPRINT.findall(text)}
    digits = found.pop() if len(found) == 1 else re.sub(r"sha-?256|fingerprint|[\s:=-]", "", text, flags=re.I)
    if found:
        raise Invalid(fields={"tls.fingerprint": "these are several fingerprints; give the one of this address"})
    if re.fullmatch(r"[0-9a-fA-F]{40}", re.sub(r"sha-?1|fingerprint|[\s:=-]", "", text, flags=re.I)):
        raise Invalid(fields={"tls.fingerprint": "this is a SHA-1 fingerprint; the SHA-256 one has 32 bytes: AA:BB:…"})
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise Invalid(fields={"tls.fingerprint": "a SHA-256 fingerprint has 32 bytes: AA:BB:…"})
    return ":".join(digits[i : i + 2] for i in range(0, 64, 2)).upper()


_FINGERPRINT = re.compile(r"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:])")
