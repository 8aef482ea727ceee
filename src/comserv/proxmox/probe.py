"""The connection test: from the name to the guests, stage by stage, each with its time, its finding and its cure."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import perf_counter

import msgspec

from comserv.domain.cluster import Version
from comserv.domain.connection import Stage, StageName, StageState
from comserv.domain.errors import PermissionMissing, ProxmoxError, ReplyUnreadable, TokenRefused
from comserv.domain.load import Purpose
from comserv.domain.reaching import judge_error, judge_no_proxmox, product_at
from comserv.domain.rights import TokenFacts
from comserv.domain.server import Server
from comserv.domain.tokenrefused import NEVER_WORKED, TokenKnown, Worked, how_to_check, why_refused
from comserv.domain.verdicts import (
    Verdict,
    failed,
    judge_clock,
    judge_guests,
    judge_nodes,
    judge_rights,
    judge_storages,
    judge_token,
    judge_version,
    ok,
)
from comserv.proxmox.access import Access
from comserv.proxmox.cluster import Cluster, Resources, VersionRow
from comserv.proxmox.connections import Connections, Timeouts
from comserv.proxmox.encoding import Call
from comserv.proxmox.exchange import Exchange
from comserv.proxmox.limits import Limits
from comserv.proxmox.meter import Meter
from comserv.proxmox.nodes import Node
from comserv.proxmox.reach import Reach
from comserv.proxmox.tls import host_and_port


class RealmRow(msgspec.Struct):
    """A row of /access/domains (recording 01); every Proxmox VE has pam and pve."""

    realm: str


NOT_TRIED = "Not tried: something before it failed."
NODES_ASKED = 8


def utc_now() -> datetime:
    return datetime.now(UTC)


async def probe(
    server: Server,
    secret: str,
    timeouts: Timeouts | None = None,
    now: Callable[[], datetime] = utc_now,
    meter: Meter | None = None,
    worked: Worked = NEVER_WORKED,
) -> AsyncIterator[Stage]:
    """worked: what is known of this token from before, so that a refusal can be narrowed by it.

    All stages of StageName, in order, each as soon as it ended. After a failed one the rest are skipped.

    Nothing is changed on the server. Raises nothing of its own: what goes wrong is a stage.
    """
    test = _Test(server, secret, timeouts or Timeouts(), now, worked, meter or Meter())
    stopped = False
    try:
        for name in StageName:
            if stopped:
                yield Stage(name, StageState.SKIPPED, 0, NOT_TRIED)
                continue
            began = perf_counter()
            verdict = await test.verdict(name)
            ms = (perf_counter() - began) * 1000
            yield Stage(name, verdict.state, ms, verdict.text, verdict.cure, verdict.proxmox, verdict.silent)
            stopped = verdict.state is StageState.FAILED
    finally:
        await test.close()


class _Test:
    """What the stages find out for each other."""

    def __init__(
        self,
        server: Server,
        secret: str,
        timeouts: Timeouts,
        now: Callable[[], datetime],
        worked: Worked,
        meter: Meter,
    ) -> None:
        self._worked, self._realms, self._meter = worked, tuple[str, ...](), meter
        self._server, self._secret, self._timeouts, self._now = server, secret, timeouts, now
        self._reach = Reach(server, timeouts, now)
        self._exchanges: dict[bool, Exchange] = {}
        self._connections: list[Connections] = []
        self._version = Version("")
        self._token_refused: TokenRefused | None = None
        self._token: TokenFacts | None = None
        self._ahead = 0.0
        self._resources: Resources | None = None

    async def close(self) -> None:
        for connections in self._connections:
            await connections.close()

    async def verdict(self, name: StageName) -> Verdict:
        stages: dict[StageName, Callable[[], Awaitable[Verdict]]] = {
            StageName.NAME: self._reach.names,
            StageName.TCP: self._reach.ports,
            StageName.TLS: self._reach.certificates,
            StageName.HTTP: self._http,
            StageName.VERSION: self._version_stage,
            StageName.TOKEN: self._token_stage,
            StageName.RIGHTS: self._rights,
            StageName.CLOCK: self._clock,
            StageName.NODES: self._nodes,
            StageName.STORAGES: self._storages,
            StageName.GUESTS: self._guests,
        }
        try:
            return await stages[name]()
        except ReplyUnreadable as error:
            return judge_no_proxmox(error.detail, error.proxmox)
        except ProxmoxError as error:
            return judge_error(error)

    async def _http(self) -> Verdict:
        """Asks for the realms, which anybody may read, without the token: it goes to nobody that is no Proxmox VE."""
        exchange = self._exchange(with_token=False)
        reply = await exchange.send(Call("GET", "/access/domains"))
        software = reply.software.lower()
        realms = frozenset(row.realm for row in exchange.decoded(reply, list[RealmRow]).data)
        self._realms = tuple(sorted(realms))
        if product := product_at(software, realms, host_and_port(reply.address)[1]):
            return failed(
                f"It is {product} that answers there.", "Give the address of a Proxmox VE, usually port 8006."
            )
        if "pve-api-daemon" in software:
            return ok("A Proxmox VE answers.")
        return ok(f"It answers as a Proxmox VE does, through {reply.software or 'something else'}.")

    async def _version_stage(self) -> Verdict:
        """Proxmox tells its version to a valid token only, so this is where the token is tried."""
        began = self._now()
        try:
            reply = await self._authenticated.send(Call("GET", "/version"))
        except TokenRefused as error:
            self._token_refused = error
            return Verdict(StageState.SKIPPED, "Proxmox tells its version only to a valid token.")
        row = self._authenticated.decoded(reply, VersionRow).data
        self._version = Version(str(row.version), str(row.release))
        self._ahead = _ahead(reply.date, began, self._now())
        return judge_version(self._version)

    async def _token_stage(self) -> Verdict:
        if self._token_refused:
            known = TokenKnown(self._server.token_id, self._realms, self._worked)
            return failed(why_refused(known, self._now()), how_to_check(known), self._token_refused.proxmox)
        self._token = await Access(self._authenticated).token(self._server.token_id)
        return judge_token(self._server.token_id, self._token, self._now())

    async def _rights(self) -> Verdict:
        rights = await Access(self._authenticated).rights()
        return judge_rights(rights, self._server.token_id, self._version, self._token)

    async def _clock(self) -> Verdict:
        """By the header Date, and by what the nodes themselves say, as far as the token may read that."""
        ahead = {"": self._ahead}
        for node in [node.name for node in (await self._seen()).nodes if node.online][:NODES_ASKED]:
            try:
                asked = self._now()
                told = await Node(self._authenticated, node).time()
                ahead[node] = (told.now - (asked + (self._now() - asked) / 2)).total_seconds()
            except ProxmoxError:  # Sys.Audit is missing, or it is off: the header's time is told all the same
                continue
        where = max(ahead, key=lambda node: abs(ahead[node]))
        return judge_clock(ahead[where], where)

    async def _nodes(self) -> Verdict:
        status, said = None, None
        try:
            status = await Cluster(self._authenticated).status()
        except PermissionMissing as error:
            said = error.proxmox
        return judge_nodes((await self._seen()).nodes, status, self._server.default_node, said)

    async def _storages(self) -> Verdict:
        return judge_storages((await self._seen()).storages)

    async def _guests(self) -> Verdict:
        return judge_guests((await self._seen()).guests)

    async def _seen(self) -> Resources:
        if self._resources is None:
            self._resources = await Cluster(self._authenticated).resources()
        return self._resources

    @property
    def _authenticated(self) -> Exchange:
        return self._exchange(with_token=True)

    def _exchange(self, with_token: bool) -> Exchange:
        """To the addresses that are left when it is first used."""
        if with_token not in self._exchanges:
            server = replace(self._server, addresses=tuple(self._reach.addresses))
            connections = Connections(server, self._secret if with_token else "", self._timeouts)
            self._connections.append(connections)
            self._exchanges[with_token] = Exchange(connections, Limits(), meter=self._meter, purpose=Purpose.TEST)
        return self._exchanges[with_token]


def _ahead(date: str, asked: datetime, answered: datetime) -> float:
    """Seconds by which the server's clock is ahead; its header tells whole seconds. 0 where it tells none."""
    try:
        told = parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    return (told.replace(tzinfo=told.tzinfo or UTC) - (asked + (answered - asked) / 2)).total_seconds()
