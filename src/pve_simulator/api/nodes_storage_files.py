"""Files that come onto a storage: by upload, or downloaded by the node itself from a web server (truly asked)."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import re
import secrets
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

from pve_simulator.api.nodes_system import TEMPLATES
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError, TaskError
from pve_simulator.qemu import volumes
from pve_simulator.tasks import Run
from pve_simulator.world.storage import Storage, Volume

EXTENSIONS = {
    "iso": r"\.(?:iso|img)$",
    "vztmpl": r"\.tar\.(?:gz|xz|zst|bz2)$",
    "import": r"\.(?:qcow2|raw|vmdk|ova)$",
}
TEMPLATE_FORMATS = {"gz": "tgz", "xz": "txz", "zst": "tzst", "bz2": "tbz2"}
QCOW2 = b"QFI\xfb"
CHUNK = 1024 * 1024


def checked_name(call: Call) -> str:
    """The file's name without path and odd characters; raises ParameterError for a wrong extension."""
    name = re.sub(r"[^-a-zA-Z0-9_.]", "_", re.split(r"[/\\]", call["filename"])[-1])
    if not re.search(EXTENSIONS[call["content"]], name, re.IGNORECASE):
        text = "invalid filename or wrong extension" if call["content"] == "import" else "wrong file extension"
        raise ParameterError({"filename": text})
    return name


def form(content: str, name: str) -> str:
    """The format of a file as listings tell it."""
    suffix = name.rpartition(".")[2].lower()
    if content == "iso":
        return "iso"
    return TEMPLATE_FORMATS.get(suffix, suffix) if content == "vztmpl" else suffix


def put(run: Run, storage: Storage, node: str, content: str, name: str, length: int, head: bytes) -> None:
    """Makes the volume of a file; the virtual size of a disk image stands in its facts. Raises TaskError if full."""
    if length > volumes.room(run.server, storage, node):
        raise TaskError("import failed: No space left on device")
    virtual = int.from_bytes(head[24:32], "big") if head.startswith(QCOW2) else length
    volume = Volume(
        f"{storage.id}:{content}/{name}",
        content,
        form(content, name),
        length,
        used=-(-length // 4096) * 4096,
        ctime=run.server.clock.seconds(),
        facts={"virtual": str(virtual)},
    )
    run.server.estate.add_volume(volume, node)


@endpoint("POST", "/nodes/{node}/storage/{storage}/upload")
async def upload(call: Call) -> str:
    """An existing file is overwritten."""
    node, content = call.node.name, call["content"]
    storage = volumes.usable(call.server, call["storage"], node)
    if content not in storage.content:
        raise ApiError(500, f"storage '{storage.id}' does not support '{content}' content")
    if "filename" not in call or not call.files:
        raise ParameterError({"filename": "property is missing and it is not optional"})
    name, data = checked_name(call), next(iter(call.files.values()))
    target = volumes.path(storage, f"{storage.id}:{content}/{name}")
    source = f"/var/tmp/pveupload-{secrets.token_hex(16)}"  # noqa: S108 - only told in a log

    async def work(run: Run) -> None:
        run.log(f"starting file import from: {source}")
        if "checksum" in call:
            found = hashlib.new(call["checksum-algorithm"], data).hexdigest()
            if found != call["checksum"].lower():
                run.log("calculating checksum...")
                raise TaskError(f"checksum mismatch: got '{found}' != expect '{call['checksum']}'")
            run.log("calculating checksum...OK, checksum verified")
        run.log(f"target node: {node}", f"target file: {target}", f"file size is: {len(data)}")
        run.log(f"command: cp -- {source} {target}")
        put(run, storage, node, content, name, len(data), data[:64])
        run.log("finished file import successfully")

    return call.task("imgcopy", "", work)


@dataclass(frozen=True)
class Fetched:
    """What a download found: bytes in all, the first of them, and the checksum asked for."""

    length: int
    head: bytes
    checksum: str


def fetch(url: str, algorithm: str) -> Fetched:
    """Reads a file from a web server and keeps nothing of it; raises TaskError in wget's words."""
    where = urllib.parse.urlsplit(url)
    port = where.port or (443 if where.scheme == "https" else 80)
    digest, length, head = hashlib.new(algorithm), 0, b""
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:  # noqa: S310 - the description lets only http(s) pass
            while data := reply.read(CHUNK):
                head = head or data[:64]
                length += len(data)
                digest.update(data)
    except urllib.error.HTTPError:
        raise TaskError("download failed: exit code 8") from None
    except (urllib.error.URLError, OSError) as fault:
        reason = getattr(fault, "reason", fault)
        if isinstance(reason, ConnectionRefusedError):
            told = f"Connecting to {where.hostname}:{port}... failed: Connection refused."
        else:
            told = f"wget: unable to resolve host address '{where.hostname}'"
        raise TaskError(f"download failed: {told}") from None
    return Fetched(length, head, digest.hexdigest())


@endpoint("POST", "/nodes/{node}/storage/{storage}/download-url")
async def download(call: Call) -> str:
    node, content = call.node.name, call["content"]
    storage = volumes.usable(call.server, call["storage"], node)
    if content not in storage.content:
        raise ApiError(500, f"storage '{storage.id}' is not configured for content-type '{content}'")
    for given, lacking in (("checksum", "checksum-algorithm"), ("checksum-algorithm", "checksum")):
        if given in call and lacking not in call:
            raise ParameterError({lacking: f"missing property required by '{given}'"})
    if content == "import" and "compression" in call:
        raise ApiError(500, "decompression not supported for import")
    name, url = checked_name(call), call["url"]
    volid = f"{storage.id}:{content}/{name}"
    path = volumes.path(storage, volid)

    async def work(run: Run) -> None:
        run.log(f"downloading {url} to {path}")
        if run.server.estate.volume(volid, node) is not None and "checksum" not in call:
            raise TaskError(f"refusing to override existing file '{path}'")
        now = datetime.datetime.fromtimestamp(run.server.clock.seconds(), datetime.UTC)
        run.log(f"--{now:%Y-%m-%d %H:%M:%S}--  {url}")
        found = await asyncio.to_thread(fetch, url, call.get("checksum-algorithm", "md5"))
        if "checksum" in call:
            if found.checksum != call["checksum"].lower():
                run.log("calculating checksum...")
                raise TaskError(f"checksum mismatch: got '{found.checksum}' != expect '{call['checksum']}'")
            run.log("calculating checksum...OK, checksum verified")
        if content == "import" and name.endswith(".qcow2") and not found.head.startswith(QCOW2):
            reason = f"qemu-img: Could not open '{path}': Image is not in qcow2 format"
            raise TaskError(f"failed to verify file: {reason}")
        put(run, storage, node, content, name, found.length, found.head)
        run.log(f"download of '{url}' to '{path}' finished")

    return call.task("download", name, work)


@endpoint("POST", "/nodes/{node}/aplinfo")
async def download_template(call: Call) -> str:
    """A container template of the publisher's list; its size is made up."""
    node, name = call.node.name, call["template"]
    if name not in {row[2] for row in TEMPLATES}:
        raise ParameterError({"template": "no such template"})
    call.check(f"/storage/{call['storage']}", "Datastore.AllocateTemplate")
    storage = volumes.usable(call.server, call["storage"], node)
    url = f"http://download.proxmox.com/images/system/{name}"
    target = volumes.path(storage, f"{storage.id}:vztmpl/{name}")

    async def work(run: Run) -> None:
        run.log(f"downloading {url} to {target}")
        await run.sleep(3)
        put(run, storage, node, "vztmpl", name, 120 * CHUNK, b"")
        run.log(f"download of '{url}' to '{target}' finished")

    return call.task("download", name, work)
