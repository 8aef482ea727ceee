"""People, their API tokens and sessions, and the audit."""

from datetime import datetime

from msgspec import Struct

from comserv.domain import person as domain
from comserv.domain.session import OwnKey
from comserv.services.people import ApiTokenView, SessionView


class Person(Struct):
    """Somebody who may sign in."""

    name: str
    role: domain.Role
    disabled: bool
    created_at: datetime | None
    last_seen: datetime | None

    @classmethod
    def of(cls, person: domain.Person) -> "Person":
        return cls(person.name, person.role, person.disabled, person.created_at, person.last_seen)


class PersonList(Struct):
    """By name."""

    items: list[Person]
    next_cursor: str | None


class Account(Struct):
    """Who the token belongs to. role: the lower of the person's and the token's."""

    name: str
    role: domain.Role
    via: str


class Token(Struct):
    """An API token, without its value."""

    id: int
    name: str
    role: domain.Role
    created_at: datetime
    expires_at: datetime | None
    last_used: datetime | None

    @classmethod
    def of(cls, view: ApiTokenView) -> "Token":
        return cls(view.id, view.name, view.role, view.created_at, view.expires_at, view.last_used)


class TokenList(Struct):
    """By id."""

    items: list[Token]
    next_cursor: str | None


class NewToken(Struct):
    """The token's value, told this once."""

    token: str


class Session(Struct):
    """A browser that is signed in."""

    id: int
    created_at: datetime
    last_seen: datetime
    address: str
    user_agent: str
    device: str

    @classmethod
    def of(cls, view: SessionView) -> "Session":
        return cls(view.id, view.created_at, view.last_seen, view.address, view.user_agent, view.device)


class SessionList(Struct):
    """By id."""

    items: list[Session]
    next_cursor: str | None


class SessionsEnded(Struct):
    """How many there were."""

    ended: int


class SshKey(Struct):
    """An SSH public key that a person keeps. key: a line of authorized_keys. default: ticked when a VM is made on the page."""

    id: int
    name: str
    type: str
    bits: int
    fingerprint: str
    key: str
    default: bool
    created_at: datetime

    @classmethod
    def of(cls, own: OwnKey) -> "SshKey":
        key = own.key
        return cls(own.id, key.name, key.type, key.bits, key.fingerprint, key.text, own.offered, own.created)


class SshKeyList(Struct):
    """By id."""

    items: list[SshKey]
    next_cursor: str | None
