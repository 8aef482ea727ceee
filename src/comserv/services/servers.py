"""Servers: look, add, test, edit, disable, remove; and how they stand."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from comserv.domain.connection import CertificateSeen, Stage
from comserv.domain.person import Actor
from comserv.domain.picture import Health, Picture
from comserv.domain.server import Server, Tls, TokenId


@dataclass(frozen=True)
class NewServer:
    """What it takes to register one; already parsed (domain/server.py). token_secret is a secret."""

    id: str
    name: str
    addresses: tuple[str, ...]
    token_id: TokenId
    token_secret: str
    tls: Tls
    default_node: str = ""


@dataclass(frozen=True)
class ServerEdit:
    """None: stays as it is. Addresses, TLS and token are tested before they count."""

    name: str | None = None
    addresses: tuple[str, ...] | None = None
    token_id: TokenId | None = None
    token_secret: str | None = None
    tls: Tls | None = None
    default_node: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True)
class LastTest:
    at: datetime
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class ServerView:
    """A server as it is shown. stale: its picture is older than 30 s, or it does not answer. Sums over its nodes (bytes, cpu 0 to 1)."""

    server: Server
    health: Health
    picture: Picture
    stale: bool
    last_test: LastTest | None
    guests: int
    running: int
    cpu: float | None
    memory: int | None
    memory_used: int | None
    disk: int | None
    disk_used: int | None


class Servers:
    async def list(self, actor: Actor) -> tuple[ServerView, ...]:
        """All servers by id. Needs SEE."""
        raise NotImplementedError

    async def get(self, actor: Actor, server_id: str) -> ServerView:
        """Raises NotFound."""
        raise NotImplementedError

    async def look(self, actor: Actor, address: str) -> CertificateSeen:
        """The certificate that stands at an address, before anything is trusted. Raises Invalid, ServerUnreachable."""
        raise NotImplementedError

    def test_new(self, actor: Actor, new: NewServer) -> AsyncIterator[Stage]:
        """The stages of the connection test as they end; nothing is kept."""
        raise NotImplementedError

    async def add(self, actor: Actor, new: NewServer) -> ServerView:
        """After the test and the first sweep, at the latest after 10 s. Raises Conflict (id taken), ConnectionTestFailed."""
        raise NotImplementedError

    def test(self, actor: Actor, server_id: str) -> AsyncIterator[Stage]:
        """The stages as they end; kept as the last test."""
        raise NotImplementedError

    async def edit(self, actor: Actor, server_id: str, edit: ServerEdit) -> ServerView:
        """What touches the connection is tested before it counts. Raises ConnectionTestFailed, NotFound."""
        raise NotImplementedError

    async def remove(self, actor: Actor, server_id: str) -> None:
        """Nothing on the server itself changes. Raises Conflict while jobs run there."""
        raise NotImplementedError

    def pveum_lines(self, version: str, user: str, token: str) -> str:
        """The lines that make a role of our own, a user, a token and the ACLs on a server, ready to copy."""
        raise NotImplementedError
