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

Told = Mapping[int, tuple[tuple[Any, ...], Guest]]

_says = attrgetter(
    "type", "node", "name", "status", "template", "lock", "tags", "pool", "hastate", "maxcpu", "maxmem", "maxdisk"
)


@dataclass(frozen=True)
class Reading:
    """What a look gave. same: nothing but figures differs from the look before.

    told: by number, what a row says beside figures, and the guest that was made of it; empty where the picture came from elsewhere.
    """

    picture: Picture
    same: bool = False
    told: Told = field(default_factory=dict, repr=False)


async def sweep(
    client: Client, now: Callable[[], datetime], last: Reading | None = None, *, whole: bool = False
) -> Reading:
    """A new picture with the revision of `last`. whole: reads cluster status and version too (also where there is no last).

    now: gives the aware time of reading. Raises as the client does.
    """
    rows = await client.cluster.rows()
    known = last.picture if last else Picture(client.server.id, None)
    told, same = _told_by(client.server.id, rows, last.told if last else {})
    guests = tuple([guest for _, guest in told.values()])
    nodes, storages = hosts_of(rows)
    picture = replace(known, as_of=now(), nodes=nodes, storages=storages, guests=guests)
    if whole or last is None:
        picture = await _with_status(client, picture)
    if last and not last.told:  # of a picture that comes from elsewhere no texts are known, only what was made of them
        same = same_guests(known.guests, guests)
    return Reading(picture, same=same and same_hosts(known, picture), told=told)


def _told_by(server: str, rows: list[Resource], known: Told) -> tuple[Told, bool]:
    """By number, in order; and whether all of it was told before."""
    told, fresh = {}, 0
    for row in rows:
        if row.type in KINDS:
            says, before = _says(row), known.get(row.vmid)
            if before is not None and before[0] == says:
                told[row.vmid] = before[0], with_figures(before[1], row)
            else:
                told[row.vmid], fresh = (says, guest_of(server, row)), fresh + 1
    same = not fresh and len(told) == len(known)
    return {vmid: told[vmid] for vmid in (known if same else sorted(told))}, same


async def _with_status(client: Client, picture: Picture) -> Picture:
    version = await client.version()
    try:
        status = await client.cluster.status()
    except PermissionMissing:  # Sys.Audit on /: the picture says that it was not told
        return replace(picture, version=version.text, cluster="", quorate=None)
    return replace(picture, version=version.text, cluster=status.name, quorate=status.quorate)
