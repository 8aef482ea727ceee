"""Another token for a server: tested to its rights and compared with the one in use before that one is let go."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from comserv.domain.connection import Stage, StageName, StageState
from comserv.domain.errors import ConnectionTestFailed, FewerRights, ProxmoxError
from comserv.domain.person import Action, Actor
from comserv.domain.pveum import acl_lines, remove_line, rotation_lines, successor
from comserv.domain.rights import Rights, RightsChange
from comserv.domain.server import Server, TokenId
from comserv.jobs.clients import Clients
from comserv.persistence import servers
from comserv.persistence.database import Database
from comserv.proxmox.client import Client
from comserv.services.permission import permit
from comserv.services.servers import ServerEdit, Servers, ServerView

NEEDED = tuple(list(StageName)[: list(StageName).index(StageName.RIGHTS) + 1])


@dataclass(frozen=True)
class TokenReplaced:
    """remove_line: what takes the old token away on the server; empty where it had the same id, so that it is gone."""

    view: ServerView
    change: RightsChange
    remove_line: str


@dataclass(frozen=True)
class TokenLines:
    """What makes the next token on the server: its id, and the lines to run there."""

    token_id: TokenId
    lines: str


class ServerToken:
    """Every method needs MANAGE_SERVERS and raises NotFound, ServerInMaintenance."""

    def __init__(self, database: Database, clients: Clients, registered: Servers) -> None:
        self._db, self._clients, self._servers = database, clients, registered

    async def next_lines(self, actor: Actor, server_id: str) -> TokenLines:
        view = await self._servers.get(actor, server_id)
        token = successor(view.server.token_id)
        return TokenLines(token, "\n".join(rotation_lines(token)))

    async def test(self, actor: Actor, server_id: str, token_id: TokenId, value: str) -> AsyncIterator[Stage]:
        """The stages of the connection test with the new token; nothing is kept."""
        wanted = await self._wanted(actor, server_id, token_id)
        async for stage in self._servers.probe(wanted, value):
            yield stage

    async def replace(
        self, actor: Actor, server_id: str, token_id: TokenId, value: str, *, fewer_rights: bool = False
    ) -> TokenReplaced:
        """The new token counts once it passed every stage up to the rights; all that runs takes it from its next call on.

        fewer_rights: take it though it may do less. Raises ConnectionTestFailed, FewerRights.
        """
        wanted = await self._wanted(actor, server_id, token_id)
        stages = [stage async for stage in self._servers.probe(wanted, value)]
        failed = next((one for one in stages if one.stage in NEEDED and one.state is StageState.FAILED), None)
        if failed:
            raise ConnectionTestFailed(tuple(stages), failed.text)
        before = (await self._clients.of(server_id)).server.token_id
        change = await self._compared(server_id, wanted, value)
        if change.lost and not fewer_rights:
            lines = "\n".join(acl_lines(token_id))
            raise FewerRights(change.words, cure=f"Give it the same rights, or say that fewer are enough.\n{lines}")
        edit = ServerEdit(token_id=token_id, token_secret=value)
        told = f"{before} → {token_id}" if before != token_id else f"{token_id}, a new value"
        view = await self._servers.edit(actor, server_id, edit, action="replace_token", detail=told)
        await self._clients.refresh(server_id)
        return TokenReplaced(view, change, remove_line(before) if before != token_id else "")

    async def _wanted(self, actor: Actor, server_id: str, token_id: TokenId) -> Server:
        await permit(self._db, actor, Action.MANAGE_SERVERS, f"server {server_id}")
        await self._clients.of(server_id)
        async with self._db.read() as tx:
            return replace(await servers.get(tx, server_id), token_id=token_id)

    async def _compared(self, server_id: str, wanted: Server, value: str) -> RightsChange:
        before: Rights | None
        try:
            before = await (await self._clients.of(server_id)).access.rights()
        except ProxmoxError:  # the old one may have ended already, which is why it is replaced; the words say so
            before = None
        async with Client(wanted, value) as client:
            return RightsChange.between(before, await client.access.rights())
