"""`/access/ticket`: signing in; `/access/password` and `/access/permissions`."""

from __future__ import annotations

import re
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError, PermissionDenied
from pve_simulator.permissions import Permissions

CAPABILITIES = {
    "vms": ("/vms", "VM."),
    "storage": ("/storage", "Datastore."),
    "nodes": ("/nodes", "Sys."),
    "access": ("/access", ("User.", "Group.")),
    "dc": ("/", ("Sys.Audit", "Sys.Modify", "SDN.")),
    "sdn": ("/sdn", "SDN."),
    "mapping": ("/mapping", "Mapping."),
}


@endpoint("GET", "/access/ticket")
async def look(call: Call) -> None:
    return None


@endpoint("POST", "/access/ticket")
async def sign_in(call: Call) -> dict[str, Any]:
    user = call["username"]
    if "realm" in call and not user.endswith(f"@{call['realm']}"):
        user = f"{user}@{call['realm']}"
    authentication = call.server.authentication
    if not authentication.login(user, call["password"]):
        raise ApiError(401, "authentication failure")
    if "path" in call:
        wanted = [privilege for privilege in re.split(r"[,;\s]+", call["privs"]) if privilege]
        if not call.permissions.may(user, call["path"], *wanted):
            raise ApiError(401, "authentication failure")
    reply = {"username": user, "cap": capabilities(call.permissions, user)}
    if "path" not in call:
        reply |= {"ticket": authentication.ticket(user), "CSRFPreventionToken": authentication.csrf(user)}
    if call.estate.cluster:
        reply["clustername"] = call.estate.cluster
    return reply


def capabilities(permissions: Permissions, user: str) -> dict[str, dict[str, int]]:
    """What the web interface asks: privileges by subject, as somebody has them at its top."""
    found: dict[str, dict[str, int]] = {}
    for subject, (path, prefix) in CAPABILITIES.items():
        have = permissions.of(user, path)
        mine = {name: 1 for name in have if name.startswith(prefix)}
        if subject != "dc" and "Permissions.Modify" in have:
            mine["Permissions.Modify"] = 1
        found[subject] = mine
    return found


@endpoint("GET", "/access/permissions")
async def effective(call: Call) -> dict[str, dict[str, int]]:
    who = call.get("userid", call.user)
    if who != call.user:
        call.check("/access", "Sys.Audit")
    if "path" in call:
        have = call.permissions.of(who, call["path"])
        return {call["path"]: {name: int(below) for name, below in have.items()}} if have else {}
    return {
        path: {name: int(below) for name, below in have.items()}
        for path, have in call.permissions.effective(who).items()
    }


@endpoint("PUT", "/access/password")
async def change_password(call: Call) -> None:
    user = call["userid"]
    if not user.endswith("@pve") and not call.is_root:
        raise PermissionDenied
    if not call.is_root:
        if "confirmation-password" not in call:
            raise ParameterError({"confirmation-password": "password is required to modify user"})
        if not call.server.authentication.login(call.user, call["confirmation-password"]):
            raise ApiError(401, "authentication failure")
    if user not in call.estate.users:
        raise ApiError(500, f"no such user ('{user}')")
    call.estate.users[user].password = call["password"]
