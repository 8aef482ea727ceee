"""Gathers what a plan needs to know of a server: asked live, a few seconds kept while somebody types, always anew at creation.

Everything is asked within the server's limits and a time of its own; what cannot be read stays unknown, and the plan says so.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import monotonic
from typing import TypeVar

import msgspec

from comserv.domain.errors import (
    GuestMissing,
    PermissionMissing,
    ProxmoxError,
    RequestRefused,
    ServerUnreachable,
)
from comserv.domain.guest import Guest, GuestConfig, GuestType
from comserv.domain.load import Purpose
from comserv.domain.network import Bridge
from comserv.domain.picture import Health, Picture, Storage
from comserv.domain.planfacts import PlanFacts
from comserv.domain.rights import Rights
from comserv.domain.server import ServerState
from comserv.domain.storage import StorageConfig
from comserv.domain.vmrequest import VmRequest
from comserv.jobs.clients import Clients
from comserv.persistence import guests, reservations
from comserv.persistence.database import Database
from comserv.proxmox.client import Client
from comserv.proxmox.nodes import Node
from comserv.services.estate import Estate, Known

Value = TypeVar("Value")
KEPT = 4.0  # seconds that answers are used again while a person types
WITHIN = 8.0  # seconds for all questions of one plan
MOST_NODES = 16


@dataclass(frozen=True)
class Seen:
    """What a server told just now. picture: fresh rows in the frame of the last one; problem: why it told nothing."""

    picture: Picture | None = None
    rights: Rights | None = None
    bridges: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pools: frozenset[str] = frozenset()
    free_vmid: int | None = None
    problem: str = ""


class FactsOfServers:
    def __init__(self, database: Database, estate: Estate, clients: Clients) -> None:
        self._db, self._estate, self._clients = database, estate, clients
        self._kept: dict[str, tuple[float, asyncio.Task[Seen]]] = {}
        self._configs: dict[str, tuple[float, GuestConfig]] = {}

    async def seen(self, known: Known, *, fresh: bool = False, nodes: bool = True) -> Seen:
        """One round of questions; several plans at once share it."""
        server_id = known.server.id
        kept = self._kept.get(server_id)
        if fresh or kept is None or monotonic() - kept[0] > KEPT:
            kept = (monotonic(), asyncio.create_task(self._look(known, fresh)))
            self._kept[server_id] = kept
        return await asyncio.shield(kept[1])

    async def _look(self, known: Known, fresh: bool) -> Seen:
        """A server that was down a moment ago is left alone while somebody types, and asked when it counts."""
        if not fresh and known.health.next_try and known.health.next_try > self._db.clock() and known.health.failures:
            return Seen(problem=f"{known.health.error_title} {known.health.error_detail}".strip())
        try:
            client = (await self._clients.of(known.server.id)).for_(Purpose.PLAN)
            async with asyncio.timeout(WITHIN):
                return await _ask(client, known, self._db.clock())
        except TimeoutError:
            return Seen(problem=f"{known.server.name} gave no answer within {WITHIN:.0f} s.")
        except ProxmoxError as error:
            return Seen(problem=f"{error.title} {error.detail}".strip())

    async def template_config(self, guest: Guest, *, fresh: bool = False) -> GuestConfig | None:
        """None where the token may not read it. Raises ProxmoxError where the server does not tell it now."""
        key = str(guest.key)
        kept = self._configs.get(key)
        if not fresh and kept and monotonic() - kept[0] < KEPT:
            return kept[1]
        try:
            client = (await self._clients.of(guest.key.server)).for_(Purpose.PLAN)
            config = await client.node(guest.node).qemu(guest.key.vmid).config()
        except PermissionMissing:
            return None
        self._configs[key] = (monotonic(), config)
        return config

    async def of(self, known: Known, request: VmRequest, *, fresh: bool = False) -> PlanFacts:
        """All that is known for this request."""
        seen = await self.seen(known, fresh=fresh)
        picture = seen.picture or known.picture
        template = next((guest for guest in picture.guests if guest.key.vmid == request.template.vmid), None)
        config, missing, problem = await self._template(template, seen, fresh)
        async with self._db.read() as tx:
            reserved = await reservations.every(tx)
            addresses = await guests.known_addresses(tx)
        return PlanFacts(
            server=known.server.id,
            server_name=known.server.name,
            maintenance=known.server.maintenance,
            default_node=known.server.default_node,
            token_id=str(known.server.token_id),
            health=_health(known, seen),
            picture=picture if picture.as_of else None,
            template=template,
            template_missing=missing,
            template_config=config,
            template_problem=problem,
            rights=seen.rights,
            seen=known.rights if known.rights and known.rights.token == str(known.server.token_id) else None,
            bridges=seen.bridges,
            pools=_pools(seen, request.pool),
            free_vmid=seen.free_vmid,
            vmid_taken=await self._taken(request, seen),
            reservations=reserved,
            addresses=addresses,
            version=picture.version,
            quorate=picture.quorate,
            problem=seen.problem,
        )

    async def _template(self, row: Guest | None, seen: Seen, fresh: bool) -> tuple[GuestConfig | None, bool, str]:
        """(its configuration, whether the server itself said that there is none, why it could not be read just now)."""
        if row is None or seen.problem:
            return None, row is None and not seen.problem, ""
        if row.type is not GuestType.QEMU:
            return None, False, ""
        try:
            return await self.template_config(row, fresh=fresh), False, ""
        except GuestMissing:
            return None, True, ""
        except ProxmoxError as error:
            return None, False, f"{error.title} {error.detail}".strip()

    async def _taken(self, request: VmRequest, seen: Seen) -> bool | None:
        if request.vmid is None or seen.problem:
            return None
        try:
            client = (await self._clients.of(request.server)).for_(Purpose.PLAN)
            await client.cluster.is_free(request.vmid)
        except RequestRefused:
            return True
        except ProxmoxError:
            return None
        return False


async def _ask(client: Client, known: Known, now: datetime) -> Seen:
    """Proxmox renews its resources every 10 s only, so what is made or changed a second ago is asked of each node itself."""
    seen = known.current_rights(now)
    acl, names = (seen.acl, seen.names) if seen else (None, None)
    resources, rights, free, configs, status = await asyncio.gather(
        client.cluster.resources(),
        _or_none(client.access.rights(acl, names)),
        _or_none(client.cluster.next_id()),
        _or_none(client.storages.list()),
        _or_none(client.cluster.status()),
    )
    online = [node.name for node in resources.nodes if node.online][:MOST_NODES]
    nodes = [client.node(name) for name in online]
    bridges = await asyncio.gather(*(_or_none(node.bridges()) for node in nodes))
    guests = await asyncio.gather(*(_or_none(node.guests(kind)) for node in nodes for kind in GuestType))
    storages = await _storages(resources.storages, configs, nodes)
    picture = replace(
        known.picture,
        as_of=now,
        quorate=status.quorate if status else known.picture.quorate,
        nodes=resources.nodes,
        storages=storages,
        guests=_fresher(resources.guests, [guest for found in guests for guest in found or ()]),
    )
    return Seen(
        picture=picture,
        rights=rights,
        bridges={name: _names(found) for name, found in zip(online, bridges, strict=True) if found is not None},
        pools=frozenset(resources.pools),
        free_vmid=free,
    )


async def _or_none(asked: Awaitable[Value]) -> Value | None:
    """A right that is missing for one question, or a node that is gone, leaves that answer unknown; the plan names it."""
    try:
        return await asked
    except (PermissionMissing, RequestRefused):
        return None
    except ServerUnreachable as error:
        if error.proxmox is None:  # the server itself, and not a node behind it
            raise
        return None


def _names(bridges: Iterable[Bridge]) -> frozenset[str]:
    return frozenset(bridge.name for bridge in bridges)


def _fresher(guests: Iterable[Guest], live: Iterable[Guest]) -> tuple[Guest, ...]:
    """The cluster's rows, with name, state, lock and whether it is a template as its node tells them now."""
    now = {guest.key: guest for guest in live}
    rows = {guest.key: guest for guest in guests}
    known = [
        msgspec.structs.replace(row, name=told.name, status=told.status, lock=told.lock, template=told.template)
        if (told := now.get(key))
        else row
        for key, row in rows.items()
    ]
    return (*known, *(guest for key, guest in now.items() if key not in rows))


async def _storages(
    seen: tuple[Storage, ...], configs: tuple[StorageConfig, ...] | None, nodes: Iterable[Node]
) -> tuple[Storage, ...]:
    """Fill from the cluster's resources; which there are, whether they are enabled and what they take as configured now.

    A node that should have one that its resources do not show, or show as not there, is asked itself: it may be new.
    """
    if configs is None:
        return seen
    by_name, names = {config.name: config for config in configs}, {node.name: node for node in nodes}
    rows = {
        (row.node, row.name): replace(row, content=config.content, enabled=config.enabled)
        for row in seen
        if (config := by_name.get(row.name)) and config.on(row.node)
    }
    missing = [(node, one) for node in names for one in configs if one.on(node) and (node, one.name) not in rows]
    rows |= {
        (node, one.name): Storage(node, one.name, one.type, one.content, one.shared, active=False, enabled=False)
        for node, one in missing
        if not one.enabled
    }
    unsure = {(node, one.name) for node, one in missing if one.enabled}
    unsure |= {key for key, row in rows.items() if row.enabled and not row.active and row.node in names}
    asked = sorted({node for node, _ in unsure})
    for found in await asyncio.gather(*(_or_none(names[node].storages()) for node in asked)):
        rows |= {(row.node, row.name): row for row in found or () if (row.node, row.name) in unsure}
    return tuple(rows[key] for key in sorted(rows))


def _health(known: Known, seen: Seen) -> Health | None:
    """As the last sweep left it, unless more is known since: its own row says it at once, and one that answered us is not down."""
    said_before = (
        (ServerState.MAINTENANCE,)
        if seen.problem
        else (ServerState.MAINTENANCE, ServerState.DOWN, ServerState.UNREACHED)
    )
    return None if known.health.state in said_before else known.health


def _pools(seen: Seen, wanted: str) -> frozenset[str] | None:
    """None where the token may not see the pool that is asked for, and so cannot say that it is missing."""
    if seen.problem or seen.rights is None or "Pool.Audit" not in seen.rights.at(f"/pool/{wanted}"):
        return None
    return seen.pools
