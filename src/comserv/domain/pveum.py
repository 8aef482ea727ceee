"""The rights that Comserv needs on a server, and the lines that give them there: a role of its own, a user, a token."""

import re
from datetime import datetime
from shlex import quote

from comserv.domain.cluster import Version
from comserv.domain.features import TODAY, privileges_of
from comserv.domain.mending import ROLE, role_add
from comserv.domain.server import TokenId

USUAL_TOKEN = TokenId("comserv", "pve", "manager")


def needed_privileges(version: Version) -> tuple[str, ...]:
    """All that Comserv makes use of and nothing more; the guest agent's differs before 9."""
    return privileges_of(TODAY, version)


def role_line(version: Version) -> str:
    return role_add(needed_privileges(version))


def user_line(token: TokenId) -> str:
    return f"pveum user add {quote(token.userid)} --comment Comserv"


def token_line(token: TokenId, expires: datetime | None = None) -> str:
    """Prints the token's value, once. privsep 1: the token gets rights of its own, with the lines of `acl_lines`."""
    expire = f" --expire {int(expires.timestamp())}" if expires else ""
    return f"pveum user token add {quote(token.userid)} {quote(token.name)} --privsep 1{expire}"


def successor(token: TokenId) -> TokenId:
    """An id for the token that comes after this one: `manager` → `manager-2` → `manager-3`. Two can be there at once."""
    found = re.fullmatch(r"(.+)-(\d{1,4})", token.name)
    name = f"{found[1]}-{int(found[2]) + 1}" if found else f"{token.name}-2"
    return TokenId(token.user, token.realm, name)


def rotation_lines(token: TokenId, expires: datetime | None = None) -> tuple[str, str]:
    """Makes the successor, with the role at / as the first one has it."""
    return token_line(token, expires), acl_lines(token)[1]


def remove_line(token: TokenId) -> str:
    return f"pveum user token remove {quote(token.userid)} {quote(token.name)}"


def acl_lines(token: TokenId) -> tuple[str, str]:
    """A separated token may do what both its user and it itself are allowed, so each gets the role."""
    return (
        f"pveum acl modify / --users {quote(token.userid)} --roles {ROLE}",
        f"pveum acl modify / --tokens '{token}' --roles {ROLE}",
    )


def setup_lines(version: Version, token: TokenId = USUAL_TOKEN, expires: datetime | None = None) -> tuple[str, ...]:
    """All five, to be run as root on the server, in this order."""
    user, itself = acl_lines(token)
    return role_line(version), user_line(token), user, token_line(token, expires), itself
