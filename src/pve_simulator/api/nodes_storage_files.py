"""Files that come onto a storage: by upload, or downloaded by the node itself from a web server (truly asked)."""

from __future__ import annotations

import hashlib
import re
import secrets

from pve_simulator import downloads
from pve_simulator.api.nodes_system import TEMPLATES
from pve_simulator.call import Call, endpoint
from pve_simulator.downloads import File
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
UNPACKERS = {"gz": "zcat", "zst": "zstd -q -d -c", "lzo": "lzop -d -c"}  # PVE::Storage, decompressor_info
BLOCK, EXTENTS = 4096, 128 * 1024**2  # bytes: of the file system, and from where on a file needs a block of extents


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


def put(run: Run, storage: Storage, node: str, content: str, name: str, file: File) -> None:
    """Makes the volume of a file, with its checksums and the size of the disk in it. Raises TaskError if full."""
    length = file.unpacked or file.length
    if length > volumes.room(run.server, storage, node):
        raise TaskError("import failed: No space left on device")
    facts = {"virtual": str(file.virtual)} if content == "import" else {}
    if length == file.length:
        facts |= {f"digest-{algorithm}": digest for algorithm, digest in file.digests.items()}
    volume = Volume(
        f"{storage.id}:{content}/{name}",
        content,
        form(content, name),
        length,
        used=-(-length // BLOCK) * BLOCK + (BLOCK if length > EXTENTS else 0),
        ctime=run.server.clock.seconds(),
        facts=facts,
    )
    run.server.estate.add_volume(volume, node)


def digest_of(volume: Volume, algorithm: str) -> str:
    """A file's checksum; of what a world begins with, one that is at least always the same."""
    return volume.facts.get(f"digest-{algorithm}") or hashlib.new(algorithm, volume.volid.encode()).hexdigest()


def compare(run: Run, found: str, wanted: str, what: str = "", tail: str = "") -> None:
    """A checksum's lines in the log; raises TaskError where it is another."""
    if found != wanted.lower():
        run.log(f"calculating checksum{what}...")
        raise TaskError(f"checksum mismatch: got '{found}' != expect '{wanted}'{tail}")
    verified = "got correct file already, no need to download" if what else "checksum verified"
    run.log(f"calculating checksum{what}...OK, {verified}")


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
        file = File.of(data)
        run.log(f"starting file import from: {source}")
        if "checksum" in call:
            compare(run, file.digests[call["checksum-algorithm"]], call["checksum"])
        if content == "import":
            file.check_image(source, form(content, name))
        run.log(f"target node: {node}", f"target file: {target}", f"file size is: {len(data)}")
        run.log(f"command: cp -- {source} {target}")
        put(run, storage, node, content, name, file)
        run.log("finished file import successfully")

    return call.task("imgcopy", "", work)


@endpoint("POST", "/nodes/{node}/storage/{storage}/download-url")
async def download(call: Call) -> str:
    node, content = call.node.name, call["content"]
    storage = volumes.usable(call.server, call["storage"], node)
    if content not in storage.content:
        raise ApiError(500, f"storage '{storage.id}' is not configured for content-type '{content}'")
    for given, lacking in (("checksum", "checksum-algorithm"), ("checksum-algorithm", "checksum")):
        if given in call and lacking not in call:
            raise ParameterError({lacking: f"missing property required by '{given}'"})
    name = checked_name(call)

    async def work(run: Run) -> None:
        await download_to(run, call, storage, name)

    return call.task("download", name, work)


async def download_to(run: Run, call: Call, storage: Storage, name: str) -> None:
    """The worker of download: what is there already, wget, checksum, decompression, a look into the image."""
    node, content, url = call.node.name, call["content"], call["url"]
    packing = call.get("compression")
    if packing and content == "import":
        raise TaskError("decompression not supported for import")
    if packing and packing not in UNPACKERS:
        raise TaskError("no decompression method found")
    volid = f"{storage.id}:{content}/{name}"
    path = volumes.path(storage, volid)
    run.log(f"downloading {url} to {path}")
    there = run.server.estate.volume(volid, node)
    if there is not None:
        if "checksum" not in call:
            raise TaskError(f"refusing to override existing file '{path}'")
        found = digest_of(there, call["checksum-algorithm"])
        compare(run, found, call["checksum"], " of existing file", ", aborting")
        return
    temporary = f"{path}.tmp_dwnl.{run.task.pid}"
    verify, algorithm = bool(call.get("verify-certificates", True)), call.get("checksum-algorithm")
    file = await downloads.fetch(run, url, temporary, verify, packing, algorithm)
    if "checksum" in call:
        compare(run, file.digests[call["checksum-algorithm"]], call["checksum"])
    if packing:
        decompress(run, file, packing, path, temporary)
    if content == "import":
        try:
            file.check_image(temporary, form(content, name))
        except TaskError as fault:
            raise TaskError(f"failed to verify file: {fault}") from None
    put(run, storage, node, content, name, file)
    run.log(f"download of '{url}' to '{path}' finished")


def decompress(run: Run, file: File, packing: str, path: str, temporary: str) -> None:
    """Unpacks what was downloaded; raises TaskError where it is no such archive."""
    run.log(f"decompressing {temporary} to {path}.tmp_dcom.{run.task.pid}")
    if file.broken:
        if packing == "gz":
            run.log("", f"gzip: {temporary}: not in gzip format")
        raise TaskError(f"command '{UNPACKERS[packing]} {temporary}' failed: exit code 1")


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
        put(run, storage, node, "vztmpl", name, File(120 * downloads.MIB))
        run.log(f"download of '{url}' to '{target}' finished")

    return call.task("download", name, work)
