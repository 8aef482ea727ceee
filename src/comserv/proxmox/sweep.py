"""The picture of a server: one GET of /cluster/resources, and now and then name, quorum and version beside it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from comserv.domain.errors import PermissionMissing
from comserv.domain.picture import Picture
from comserv.proxmox.client import Client


async def sweep(
    client: Client, now: Callable[[], datetime], last: Picture | None = None, *, whole: bool = False
) -> Picture:
    """A new picture with the revision of `last`. whole: reads cluster status and version too (also where there is no last).

    now: gives the aware time of reading. Raises as the client does.
    """
    resources = await client.cluster.resources()
    picture = replace(
        last or Picture(client.server.id, None),
        as_of=now(),
        nodes=resources.nodes,
        storages=resources.storages,
        guests=resources.guests,
    )
    return await _with_status(client, picture) if whole or last is None else picture


async def _with_status(client: Client, picture: Picture) -> Picture:
    version = await client.version()
    try:
        status = await client.cluster.status()
    except PermissionMissing:  # Sys.Audit on /: the picture says that it was not told
        return replace(picture, version=version.text, cluster="", quorate=None)
    return replace(picture, version=version.text, cluster=status.name, quorate=status.quorate)
