"""Ways in: a browser's session, an API token, a set-up link. Of each secret only the SHA-256 is kept."""

from dataclasses import dataclass
from datetime import datetime

from comserv.domain.person import Role
from comserv.domain.sshkey import SshKey


@dataclass(frozen=True)
class Session:
    """id: public, to list and revoke; it is not the secret in the cookie."""

    id: int
    person_id: int
    created: datetime
    last_seen: datetime
    expires: datetime
    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True)
class ApiToken:
    """A token of a person, with at most the person's role. expires: None for never."""

    id: int
    person_id: int
    name: str
    role: Role
    created: datetime
    expires: datetime | None = None
    last_used: datetime | None = None


@dataclass(frozen=True)
class OwnKey:
    """An SSH public key that a person keeps. offered: ticked from the beginning when a VM is made."""

    id: int
    person_id: int
    key: SshKey
    offered: bool
    created: datetime


@dataclass(frozen=True)
class Attempts:
    """Failed sign-ins since the last good one, for the name and for the address, and when the last one was."""

    by_name: int = 0
    by_address: int = 0
    last_by_name: datetime | None = None
    last_by_address: datetime | None = None
