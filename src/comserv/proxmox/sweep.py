"""A look at a server: one GET of /cluster/resources, and now and then name, quorum and version beside it.

A guest of which nothing but figures is new is not built again from its texts: of a thousand, that are nearly all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from comserv.domain.errors import PermissionMissing
from comserv.domain.guest import Guest, same_guests
from comserv.domain.picture import Picture, same_hosts
from comserv.proxmox.client import Client
from comserv.proxmox.cluster import KINDS, Resource, guest_of, hosts_of, with_figures

Says = tuple[Any, ...]

_says = attrgetter(
    "type", "node", "name", "status", "template", "lock", "tags", "pool", "hastate", "maxcpu", "maxmem", "maxdisk"
)


@dataclass(frozen=True)
class Reading:
    """What a look gave. same: nothing but figures differs from the look before.

    guests, and said, what a row says beside figures: by number, for the next look; empty where the picture came from elsewhere.
    """

    picture: Picture
    same: bool = False
    guests: Mapping[int, Guest] = field(default_factory=dict, repr=False)
    said: dict[int, Says] = field(default_factory=dict, repr=False)


async def sweep(
    client: Client, now: Callable[[], datetime], last: Reading | None = None, *, whole: bool = False
) -> Reading:
    """A new picture with the revision of `last`. whole: reads cluster status and version too (also where there is no last).

    now: gives the aware time of reading. Raises as the client does.
    """
    rows = await client.cluster.rows()
    known = last.picture if last else Picture(client.server.id, None)
    guests, said, same = _guests_of(client.server.id, rows, last)
    nodes, storages = hosts_of(rows)
    picture = replace(known, as_of=now(), nodes=nodes, storages=storages, guests=tuple(guests.values()))
    if whole or last is None:
        picture = await _with_status(client, picture)
    if last and not last.said:  # of a picture that comes from elsewhere no texts are known, only what was made of them
        same = same_guests(known.guests, picture.guests)
    return Reading(picture, same and same_hosts(known, picture), guests, said)


def _guests_of(
    server: str, rows: list[Resource], last: Reading | None
) -> tuple[dict[int, Guest], dict[int, Says], bool]:
    """(guests, what their rows say, both by number and in order; whether all of it was said before)."""
    said, known = (last.said, last.guests) if last else ({}, {})
    guests: dict[int, Guest] = {}
    fresh: dict[int, Says] = {}
    for row in rows:
        if row.type in KINDS:
            vmid, says = row.vmid, _says(row)
            if said.get(vmid) == says:
                guests[vmid] = with_figures(known[vmid], row)
            else:
                guests[vmid], fresh[vmid] = guest_of(server, row), says
    if not fresh and len(guests) == len(said):
        return {vmid: guests[vmid] for vmid in said}, said, True
    order = sorted(guests)
    return {vmid: guests[vmid] for vmid in order}, {vmid: fresh.get(vmid) or said[vmid] for vmid in order}, False


async def _with_status(client: Client, picture: Picture) -> Picture:
    version = await client.version()
    try:
        status = await client.cluster.status()
    except PermissionMissing:  # Sys.Audit on /: the picture says that it was not told
        return replace(picture, version=version.text, cluster="", quorate=None)
    return replace(picture, version=version.text, cluster=status.name, quorate=status.quorate)
