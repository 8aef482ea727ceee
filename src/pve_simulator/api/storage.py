"""`/storage`: the storages as configured for the whole cluster."""

from __future__ import annotations

import json
import random
from typing import Any

from pve_simulator.api.access_users import names
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import digest
from pve_simulator.world.storage import Storage

REQUIRED = {
    "dir": ("path",),
    "btrfs": ("path",),
    "nfs": ("server", "export"),
    "cifs": ("server", "share"),
    "lvm": ("vgname",),
    "lvmthin": ("vgname", "thinpool"),
    "zfspool": ("pool",),
    "pbs": ("server", "datastore"),
    "iscsi": ("portal", "target"),
}
ALWAYS_SHARED = ("nfs", "cifs", "cephfs", "rbd", "iscsi", "pbs")
REMOTE = ("nfs", "cifs", "pbs", "iscsi")
DEFAULT_CONTENT = {
    "dir": ["images", "rootdir", "vztmpl", "iso", "backup", "snippets"],
    "btrfs": ["images", "rootdir", "vztmpl", "iso", "backup", "snippets"],
    "nfs": ["images"],
    "cifs": ["images"],
    "pbs": ["backup"],
}
BOOLEANS = ("disable", "shared", "sparse", "mkdir", "krbd", "saferemove", "create-base-path", "create-subdirs")
NOT_OPTIONS = ("storage", "type", "content", "disable", "shared", "delete", "digest", "password")


def any_order(content: list[str]) -> str:
    """Content types as one text, in no stable order."""
    return ",".join(random.sample(content, len(content)))


def configuration(storage: Storage) -> dict[str, Any]:
    """A storage's section; `disable` is told once somebody set it, even to no."""
    told: dict[str, Any] = {"storage": storage.id, "type": storage.type, "content": any_order(storage.content)}
    for name, value in storage.options.items():
        told[name] = int(value) if name in BOOLEANS else value
    if storage.disable or "disable" in storage.options:
        told["disable"] = int(storage.disable)
    if storage.shared and storage.type not in ALWAYS_SHARED:
        told["shared"] = 1
    return told


def mark(estate: Estate) -> str:
    """The digest of storage.cfg."""
    parts = [{**configuration(storage), "content": sorted(storage.content)} for storage in estate.storages.values()]
    return digest(json.dumps(parts, sort_keys=True))


def known(call: Call, prefix: str = "") -> Storage:
    """The storage of the path; raises ApiError 500."""
    found = call.estate.storages.get(call["storage"])
    if found is None:
        raise ApiError(500, f"{prefix}storage '{call['storage']}' does not exist")
    return found


@endpoint("GET", "/storage")
async def listed(call: Call) -> list[dict[str, Any]]:
    fingerprint = mark(call.estate)
    return [
        {**configuration(storage), "digest": fingerprint}
        for storage in call.estate.storages.values()
        if call.get("type") in (None, storage.type)
        and call.may(f"/storage/{storage.id}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)
    ]


@endpoint("GET", "/storage/{storage}")
async def one(call: Call) -> dict[str, Any]:
    return {**configuration(known(call)), "digest": mark(call.estate)}


@endpoint("POST", "/storage")
async def create(call: Call) -> dict[str, str]:
    """A remote storage must be online: here those are whose server another storage uses already."""
    name, kind = call["storage"], call["type"]
    for option in REQUIRED.get(kind, ()):
        if option not in call:
            raise ApiError(500, f"missing value for required option '{option}'")
    if name in call.estate.storages:
        raise ApiError(500, f"create storage failed: storage ID '{name}' already defined")
    peers = {storage.options.get("server") for storage in call.estate.storages.values()}
    if kind in REMOTE and not call.get("disable") and call.get("server") not in peers:
        raise ApiError(500, f"create storage failed: storage '{name}' is not online")
    options = sent_options(call)
    if kind in ("nfs", "cifs"):
        options.setdefault("path", f"/mnt/pve/{name}")
    content = names(call["content"]) if "content" in call else DEFAULT_CONTENT.get(kind, ["images", "rootdir"])
    made = Storage(name, kind, content, options, kind in ALWAYS_SHARED or bool(call.get("shared")))
    made.disable = bool(call.get("disable"))
    made.total = call.estate.entry.disk
    call.estate.storages[name] = made
    return {"storage": name, "type": kind}


def sent_options(call: Call) -> dict[str, str]:
    """The options of a call as the file holds them."""
    values = {name: value for name, value in call.parameters.items() if name not in NOT_OPTIONS}
    if "disable" in call:
        values["disable"] = call["disable"]
    return {name: str(int(value) if isinstance(value, bool) else value) for name, value in values.items()}


@endpoint("PUT", "/storage/{storage}")
async def update(call: Call) -> dict[str, str]:
    found = known(call, "update storage failed: ")
    for name in names(call.get("delete", "")):
        found.options.pop(name, None)
        if name == "disable":
            found.disable = False
    found.options |= sent_options(call)
    if "content" in call:
        found.content = names(call["content"])
    found.disable = call.get("disable", found.disable)
    found.shared = call.get("shared", found.shared)
    return {"storage": found.id, "type": found.type}


@endpoint("DELETE", "/storage/{storage}")
async def delete(call: Call) -> None:
    """Takes the configuration away; what lies there is forgotten with it."""
    name = known(call, "delete storage failed: ").id
    del call.estate.storages[name]
    for key in [key for key, volume in call.estate.volumes.items() if volume.storage == name]:
        del call.estate.volumes[key]
