"""Uploads: a multipart body whose fields come in order, the file last."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pve_simulator.permissions import Permissions
from pve_simulator.replies import Reply, empty

if TYPE_CHECKING:
    from pve_simulator.dispatch import Request
    from pve_simulator.http import Connection, Head

UPLOAD_BYTES = 256 * 1024 * 1024
DELAY_403 = 3.0
SILENCE = 5.0


async def upload(connection: Connection, head: Head, request: Request) -> Reply | None:
    """Reads an upload into `request.values` and `request.files`; a reply where it is refused before it is read."""
    server = connection.server
    storage = request.path.split("/")[4]
    if not Permissions(server.estate).may(request.identity.user, f"/storage/{storage}", "Datastore.AllocateTemplate"):
        await server.clock.sleep(DELAY_403)
        return empty(403, f"Permission check failed (/storage/{storage}, Datastore.AllocateTemplate)")
    boundary = re.fullmatch(r"multipart/form-data;\s*boundary=\"?([^\";]+)\"?.*", head.headers.get("content-type", ""))
    if not boundary:
        await server.clock.sleep(SILENCE)
        raise EOFError("an upload that is no multipart body gets no reply")
    body = await connection.body(head, UPLOAD_BYTES)
    request.values, request.files = parts(body, boundary[1].encode())
    return None


def parts(body: bytes, boundary: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """Fields up to the file part, and the file by its base name; what follows the file is ignored."""
    values: dict[str, str] = {}
    for part in body.split(b"--" + boundary):
        header, separator, content = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        if not separator:
            continue
        told = header.decode("utf-8", "replace")
        name = re.search(r'[; ]name="([^"]*)"', told)
        if not name:
            continue
        content = content.removesuffix(b"\r\n")
        file = re.search(r'filename="([^"]*)"', told)
        if file:
            base = re.split(r"[/\\]", file[1])[-1]
            base = re.sub(r"[^-a-zA-Z0-9_.]", "_", base)
            values["filename"] = base
            return values, {base: content}
        values[name[1]] = content.decode("utf-8", "replace")
    return values, {}
