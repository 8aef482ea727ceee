"""`/version` and the indexes at the top."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint


@endpoint("GET", "/version")
async def version(call: Call) -> dict[str, str]:
    return call.version.told


@endpoint("GET", "/")
async def index(call: Call) -> list[dict[str, Any]]:
    return [{"subdir": name} for name in ("version", "cluster", "nodes", "storage", "access", "pools")]


@endpoint("GET", "/access")
async def access(call: Call) -> list[dict[str, Any]]:
    names = ("users", "groups", "roles", "acl", "domains", "openid", "tfa", "ticket", "password")
    return [{"subdir": name} for name in names]
