"""One look at what our token may do on a server, and at what stands behind it. Reads only, some ten small calls."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from comserv.domain.errors import PermissionMissing, RequestRefused, ServerUnreachable
from comserv.domain.mending import ROLE
from comserv.domain.rights import AclEntry, BridgePlace, ForeignTask, Rights, RightsSeen
from comserv.domain.task import TaskRow
from comserv.proxmox.client import Client

Value = TypeVar("Value")
MOST_NODES = 16
LOCAL_ZONE = "localnetwork"


async def look_at_rights(client: Client, now: Callable[[], datetime]) -> RightsSeen:
    """What may not be read is None in it. `foreign` holds all tasks of the token that are told: which are ours is not known
    here. Raises as the client does where the server does not answer, or refuses the token."""
    token, access = client.server.token_id, client.access
    version, first, role = await asyncio.gather(client.version(), access.rights(), access.role(ROLE))
    facts = await access.token(token)
    acl = await access.acl() if "Sys.Audit" in first.at("/access") else None
    names = RightsSeen(now(), str(token), token_facts=facts).names
    rights, user, bridges, tasks = await asyncio.gather(
        access.rights(acl, names),
        _of_user(client, acl, None if facts is None else frozenset(facts.groups)),
        _bridges(client),
        _or_none(client.cluster.tasks),
    )
    return RightsSeen(
        as_of=now(),
        token=str(token),
        version=version.text,
        rights=rights,
        user_rights=user,
        acl=acl,
        role=role,
        token_facts=facts,
        bridges=bridges,
        foreign=tuple(_task(row) for row in tasks or () if row.upid.user == str(token)),
    )


async def _of_user(client: Client, acl: tuple[AclEntry, ...] | None, groups: frozenset[str] | None) -> Rights | None:
    user = client.server.token_id.userid
    names = None if groups is None else {user, *groups}
    return None if acl is None else await _or_none(lambda: client.access.rights(acl, names, of=user))


async def _bridges(client: Client) -> tuple[BridgePlace, ...]:
    """Of all nodes, once each. A virtual network is in a zone of its own; all else is in Proxmox's local one."""
    nodes = await _or_none(client.cluster.nodes) or ()
    online = [client.node(name) for name in nodes[:MOST_NODES]]
    zones = dict(await _or_none(client.cluster.vnets) or ())
    found = await asyncio.gather(*(_or_none(node.bridges) for node in online))
    names = {bridge.name for bridges in found for bridge in bridges or ()}
    return tuple(BridgePlace(sdn_path(name, zones.get(name, "")), name) for name in sorted(names | zones.keys()))


def sdn_path(bridge: str, zone: str = "") -> str:
    """The ACL path of a bridge, or of a virtual network in its zone."""
    return f"/sdn/zones/{zone or LOCAL_ZONE}/{bridge}"


def _task(row: TaskRow) -> ForeignTask:
    return ForeignTask(row.upid.text, row.upid.type, row.upid.id, row.upid.node, row.upid.started)


async def _or_none(ask: Callable[[], Awaitable[Value]]) -> Value | None:
    """What may not be read, or stands on a node that is gone, stays unknown."""
    try:
        return await ask()
    except (PermissionMissing, RequestRefused):
        return None
    except ServerUnreachable as error:
        if error.proxmox is None:  # the server itself, and not a node behind it
            raise
        return None
