"""Who there is and what they may: users, tokens, groups, roles, access control list, pools."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Token:
    """An API token; `expire` in seconds since the epoch, 0 for never."""

    name: str
    secret: str
    privsep: bool = True
    expire: int = 0
    comment: str = ""


@dataclass
class User:
    """`id` is `name@realm`; the password is kept readable, this is a stand-in."""

    id: str
    password: str = ""
    enable: bool = True
    expire: int = 0
    comment: str = ""
    email: str = ""
    firstname: str = ""
    lastname: str = ""
    keys: str = ""
    groups: list[str] = field(default_factory=list)
    tokens: dict[str, Token] = field(default_factory=dict)


@dataclass
class Group:
    """A group; who is in it stands with the users."""

    id: str
    comment: str = ""


@dataclass
class Realm:
    """A way to sign in."""

    id: str
    type: str
    comment: str = ""
    options: dict[str, str] = field(default_factory=dict)


@dataclass
class AclEntry:
    """One line of the access control list. `who` is a user, a group or a token (`user@realm!name`)."""

    path: str
    kind: Literal["user", "group", "token"]
    who: str
    role: str
    propagate: bool = True


@dataclass
class Pool:
    """A pool; its guests and storages by id."""

    id: str
    comment: str = ""
    guests: list[int] = field(default_factory=list)
    storages: list[str] = field(default_factory=list)
