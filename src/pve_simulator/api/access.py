"""`/access`: realms, roles and the access control list."""

from __future__ import annotations

import re
from typing import Any, Literal

from pve_simulator.api.access_users import names
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.permissions import normal, split
from pve_simulator.world.access import AclEntry, Realm
from pve_simulator.world.guest import digest

BUILT_IN_REALMS = ("pam", "pve")
PART = r"[A-Za-z0-9._-]+"
ACL_PATH = re.compile(
    rf"/|/access|/access/(?:groups|realm)(?:/{PART})?|/mapping(?:/{PART}(?:/{PART})?)?|/nodes(?:/{PART})?"
    rf"|/pool(?:/{PART}){{0,3}}|/sdn(?:/{PART}){{0,4}}|/storage(?:/{PART})?|/vms(?:/[1-9][0-9]{{2,}})?"
)
Kind = Literal["user", "group", "token"]
KINDS: tuple[Kind, ...] = ("group", "user", "token")
NOBODY = "either 'users', 'groups' or 'tokens' is required."


@endpoint("GET", "/access/domains")
async def domains(call: Call) -> list[dict[str, Any]]:
    return [
        {"realm": realm.id, "type": realm.type, **({"comment": realm.comment} if realm.comment else {})}
        for realm in call.estate.realms.values()
    ]


def known_realm(call: Call) -> Realm:
    """The realm of the path; raises ApiError 500."""
    found = call.estate.realms.get(call["realm"])
    if found is None:
        raise ApiError(500, f"domain '{call['realm']}' does not exist")
    return found


def realms_file(call: Call) -> str:
    """What stands in domains.cfg: built-in realms only once they were changed."""
    return "".join(
        f"{realm.type}: {realm.id}\n" + "".join(f"\t{key} {value}\n" for key, value in sorted(realm.options.items()))
        for realm in call.estate.realms.values()
        if realm.id not in BUILT_IN_REALMS or realm.options
    )


@endpoint("GET", "/access/domains/{realm}")
async def domain(call: Call) -> dict[str, Any]:
    found = known_realm(call)
    told = {"type": found.type, "digest": digest(realms_file(call)), **found.options}
    if found.comment:
        told["comment"] = found.comment
    return {**told, "plugin": "PVE::Auth::PAM"} if found.id == "pam" else told


@endpoint("POST", "/access/domains")
async def create_domain(call: Call) -> None:
    name = call["realm"]
    if name in call.estate.realms:
        raise ApiError(500, f"add auth server failed: domain '{name}' already exists")
    options = {key: str(call.sent[key]) for key in call.sent if key not in ("realm", "type", "comment", "password")}
    call.estate.realms[name] = Realm(name, call["type"], call.get("comment", ""), options)


@endpoint("PUT", "/access/domains/{realm}")
async def update_domain(call: Call) -> None:
    found = known_realm(call)
    found.comment = call.get("comment", found.comment)
    for name in names(call.get("delete", "")):
        found.options.pop(name, None)
    found.options |= {
        key: str(value)
        for key, value in call.sent.items()
        if key not in ("realm", "comment", "digest", "delete", "password")
    }


@endpoint("DELETE", "/access/domains/{realm}")
async def delete_domain(call: Call) -> None:
    """Deleting a built-in realm succeeds, and it is still there."""
    if known_realm(call).id not in BUILT_IN_REALMS:
        del call.estate.realms[call["realm"]]


@endpoint("GET", "/access/roles")
async def roles(call: Call) -> list[dict[str, Any]]:
    built_in = [
        {"roleid": name, "privs": ",".join(sorted(have)), "special": 1} for name, have in call.version.roles.items()
    ]
    made = [{"roleid": name, "privs": ",".join(sorted(have))} for name, have in call.estate.roles.items()]
    return built_in + [{**role, "special": 0} for role in made]


@endpoint("POST", "/access/roles")
async def create_role(call: Call) -> None:
    name = call["roleid"]
    if name.lower().startswith("pve"):
        raise ParameterError({"roleid": "cannot use role ID starting with the (case-insensitive) 'PVE' namespace"})
    if name in call.version.roles or name in call.estate.roles:
        raise ApiError(500, f"create role failed: role '{name}' already exists")
    call.estate.roles[name] = names(call.get("privs", ""))


def known_role(call: Call) -> frozenset[str]:
    """What the role of the path may; raises ApiError 500."""
    name = call["roleid"]
    if name not in call.version.roles and name not in call.estate.roles:
        raise ApiError(500, f"role '{name}' does not exist")
    return call.permissions.role(name)


@endpoint("GET", "/access/roles/{roleid}")
async def role(call: Call) -> dict[str, int]:
    return dict.fromkeys(known_role(call), 1)


@endpoint("PUT", "/access/roles/{roleid}")
async def update_role(call: Call) -> None:
    name = call["roleid"]
    if name in call.version.roles:
        raise ApiError(500, f"auto-generated role '{name}' cannot be modified")
    have = known_role(call)
    added = names(call.get("privs", ""))
    call.estate.roles[name] = sorted({*have, *added}) if call.get("append") else added


@endpoint("DELETE", "/access/roles/{roleid}")
async def delete_role(call: Call) -> None:
    name = call["roleid"]
    if name in call.version.roles:
        raise ApiError(500, f"auto-generated role '{name}' cannot be deleted")
    known_role(call)
    del call.estate.roles[name]
    call.estate.acl = [entry for entry in call.estate.acl if entry.role != name]


@endpoint("GET", "/access/acl")
async def access_list(call: Call) -> list[dict[str, Any]]:
    audits = call.may("/access", "Sys.Audit")
    return [
        {
            "path": entry.path,
            "type": entry.kind,
            "ugid": entry.who,
            "roleid": entry.role,
            "propagate": int(entry.propagate),
        }
        for entry in sorted(call.estate.acl, key=lambda entry: entry.path)
        if audits or call.may(entry.path, "Permissions.Modify")
    ]


@endpoint("PUT", "/access/acl")
async def change_access_list(call: Call) -> None:
    """Adds or takes away entries: each role for each user, group and token."""
    path = normal(call["path"])
    if path is None or not ACL_PATH.fullmatch(path):
        raise ParameterError({"path": f"invalid ACL path '{call['path']}'"})
    whom: list[tuple[Kind, str]] = [(kind, name) for kind in KINDS for name in names(call.get(f"{kind}s", ""))]
    if not whom:
        raise ParameterError(dict.fromkeys(("users", "groups", "tokens"), NOBODY))
    for role in names(call["roles"]):
        check_role(call, path, role)
        for kind, who in whom:
            check_existence(call, kind, who)
    for role in names(call["roles"]):
        for kind, who in whom:
            rest = [
                entry
                for entry in call.estate.acl
                if (entry.path, entry.kind, entry.who, entry.role) != (path, kind, who, role)
            ]
            fresh = [] if call.get("delete") else [AclEntry(path, kind, who, role, call.get("propagate", True))]
            call.estate.acl = rest + fresh


def check_role(call: Call, path: str, role: str) -> None:
    """Raises ApiError 500 for an unknown role, or one that gives more than the caller has and may give."""
    if role not in call.version.roles and role not in call.estate.roles:
        raise ApiError(500, f"ACL update failed: role '{role}' does not exist")
    if not call.may(path, "Permissions.Modify") and not call.may(path, *call.permissions.role(role)):
        reason = "requires 'Permissions.Modify' or superset of privileges."
        raise ApiError(500, f"ACL update failed: Cannot modify role '{role}' - {reason}")


def check_existence(call: Call, kind: str, who: str) -> None:
    """Raises ApiError 500 where there is nobody of that name."""
    if kind == "group" and who not in call.estate.groups:
        raise ApiError(500, f"ACL update failed: group '{who}' does not exist")
    if kind == "user" and who not in call.estate.users:
        raise ApiError(500, f"ACL update failed: user '{who}' does not exist")
    if kind == "token":
        owner, name = split(who)
        if owner not in call.estate.users:
            raise ApiError(500, f"ACL update failed: no such user ('{owner}')")
        if name not in call.estate.users[owner].tokens:
            raise ApiError(500, f"ACL update failed: no such token '{name}' for user '{owner}'")
