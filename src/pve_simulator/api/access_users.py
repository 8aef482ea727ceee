"""`/access/users`: people and their API tokens; `/access/groups`."""

from __future__ import annotations

import re
import uuid
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.world.access import Group, Token, User
from pve_simulator.world.estate import Estate

FIELDS = ("comment", "email", "firstname", "lastname", "keys")


def names(text: str) -> list[str]:
    """The members of a list as a client may send it."""
    return [name for name in re.split(r"[,;\s\0]+", text) if name]


def known(call: Call) -> User:
    """The user of the path; raises ApiError 500."""
    found = call.estate.users.get(call["userid"])
    if found is None:
        raise ApiError(500, f"no such user ('{call['userid']}')")
    return found


def known_token(call: Call) -> Token:
    """The token of the path; raises ApiError 500."""
    found = known(call).tokens.get(call["tokenid"])
    if found is None:
        raise ApiError(500, f"no such token '{call['tokenid']}' for user '{call['userid']}'")
    return found


def shown(user: User) -> dict[str, Any]:
    """A user's fields. An e-mail address is told, even empty, where a later column of user.cfg is filled."""
    told: dict[str, Any] = {"enable": int(user.enable), "expire": user.expire}
    if user.email or user.comment or user.keys:
        told["email"] = user.email
    for name in ("comment", "firstname", "lastname", "keys"):
        if getattr(user, name):
            told[name] = getattr(user, name)
    return told


def shown_token(token: Token) -> dict[str, Any]:
    """A token without its secret."""
    told: dict[str, Any] = {"privsep": int(token.privsep), "expire": token.expire}
    return {**told, "comment": token.comment} if token.comment else told


@endpoint("GET", "/access/users")
async def users(call: Call) -> list[dict[str, Any]]:
    """All for an administrator of users, else those of one's groups and oneself."""
    everybody = call.may("/access/groups", "User.Modify", "Sys.Audit", any_of=True)
    groups = {
        name
        for name in call.estate.groups
        if call.may(f"/access/groups/{name}", "User.Modify", "Sys.Audit", any_of=True)
    }
    found = []
    for user in sorted(call.estate.users.values(), key=lambda user: user.id):
        if not (everybody or user.id == call.user or groups & set(user.groups)):
            continue
        if "enabled" in call and call["enabled"] != user.enable:
            continue
        row = {"userid": user.id, **shown(user)}
        realm = call.estate.realms.get(user.id.rpartition("@")[2])
        if realm:
            row["realm-type"] = realm.type
        if call.get("full"):
            row["groups"] = ",".join(user.groups)
            tokens = [{"tokenid": token.name, **shown_token(token)} for token in user.tokens.values()]
            row["tokens"] = tokens or None
        found.append(row)
    return found


@endpoint("POST", "/access/users")
async def create_user(call: Call) -> None:
    name = call["userid"]
    if name in call.estate.users:
        raise ApiError(500, f"create user failed: user '{name}' already exists")
    groups = names(call.get("groups", ""))
    check_groups(call.estate, groups, "create user failed")
    user = User(name, call.get("password", ""), call.get("enable", True), call.get("expire", 0), groups=groups)
    for field in FIELDS:
        setattr(user, field, call.get(field, ""))
    call.estate.users[name] = user


def check_groups(estate: Estate, groups: list[str], prefix: str) -> None:
    """Raises ApiError 500 on the first group that is not there."""
    for group in groups:
        if group not in estate.groups:
            raise ApiError(500, f"{prefix}: no such group '{group}'")


@endpoint("GET", "/access/users/{userid}")
async def user(call: Call) -> dict[str, Any]:
    found = known(call)
    tokens = {token.name: shown_token(token) for token in found.tokens.values()}
    return {**shown(found), "groups": found.groups, "tokens": tokens or None}


@endpoint("PUT", "/access/users/{userid}")
async def update_user(call: Call) -> None:
    found = known(call)
    groups = names(call.get("groups", ""))
    check_groups(call.estate, groups, "update user failed")
    if "groups" in call:
        found.groups = list(dict.fromkeys([*found.groups, *groups] if call.get("append") else groups))
    for field in ("enable", "expire", *FIELDS):
        if field in call:
            setattr(found, field, call[field])


@endpoint("DELETE", "/access/users/{userid}")
async def delete_user(call: Call) -> None:
    name = known(call).id
    del call.estate.users[name]
    call.estate.acl = [
        entry
        for entry in call.estate.acl
        if entry.kind == "group" or (entry.who != name and not entry.who.startswith(f"{name}!"))
    ]


@endpoint("PUT", "/access/users/{userid}/unlock-tfa")
async def unlock_second_factor(call: Call) -> bool:
    known(call)
    return False


@endpoint("GET", "/access/users/{userid}/tfa")
async def second_factor_types(call: Call) -> dict[str, Any]:
    known(call)
    return {}


@endpoint("GET", "/access/tfa")
async def second_factors(call: Call) -> list[dict[str, Any]]:
    return []


@endpoint("GET", "/access/tfa/{userid}")
async def second_factors_of(call: Call) -> list[dict[str, Any]]:
    return []


@endpoint("GET", "/access/users/{userid}/token")
async def tokens(call: Call) -> list[dict[str, Any]]:
    return [{"tokenid": token.name, **shown_token(token)} for token in known(call).tokens.values()]


@endpoint("GET", "/access/users/{userid}/token/{tokenid}")
async def token(call: Call) -> dict[str, Any]:
    return shown_token(known_token(call))


def echoed(call: Call, told: dict[str, Any]) -> dict[str, Any]:
    """A token as told, with what was just sent in the form in which it came: the real one gives that back."""
    sent = {name: call.sent[name] for name in ("comment", "expire", "privsep") if name in call.sent}
    return {**told, **sent}


@endpoint("POST", "/access/users/{userid}/token/{tokenid}")
async def create_token(call: Call) -> dict[str, Any]:
    """The only reply that ever tells a token's secret."""
    owner = known(call)
    if call["tokenid"] in owner.tokens:
        raise ParameterError({"tokenid": "Token already exists."})
    made = Token(
        call["tokenid"], str(uuid.uuid4()), call.get("privsep", True), call.get("expire", 0), call.get("comment", "")
    )
    owner.tokens[made.name] = made
    return {
        "full-tokenid": f"{owner.id}!{made.name}",
        "value": made.secret,
        "info": echoed(call, {"privsep": int(made.privsep)}),
    }


@endpoint("PUT", "/access/users/{userid}/token/{tokenid}")
async def update_token(call: Call) -> dict[str, Any]:
    found = known_token(call)
    told = echoed(call, shown_token(found))
    for field in ("privsep", "expire", "comment"):
        if field in call:
            setattr(found, field, call[field])
    return told


@endpoint("DELETE", "/access/users/{userid}/token/{tokenid}")
async def delete_token(call: Call) -> None:
    found = known_token(call)
    del call.estate.users[call["userid"]].tokens[found.name]
    who = f"{call['userid']}!{found.name}"
    call.estate.acl = [entry for entry in call.estate.acl if entry.who != who]


@endpoint("GET", "/access/groups")
async def groups(call: Call) -> list[dict[str, Any]]:
    needed = ("User.Modify", "Sys.Audit", "Group.Allocate")
    return [
        {"groupid": group.id, "users": ",".join(members(call.estate, group.id)), **commented(group)}
        for group in call.estate.groups.values()
        if call.may(f"/access/groups/{group.id}", *needed, any_of=True)
    ]


def members(estate: Estate, group: str) -> list[str]:
    """Who is in a group."""
    return [user.id for user in estate.users.values() if group in user.groups]


def commented(group: Group) -> dict[str, str]:
    """A group's comment where it has one."""
    return {"comment": group.comment} if group.comment else {}


@endpoint("POST", "/access/groups")
async def create_group(call: Call) -> None:
    if call["groupid"] in call.estate.groups:
        raise ApiError(500, f"create group failed: group '{call['groupid']}' already exists")
    call.estate.groups[call["groupid"]] = Group(call["groupid"], call.get("comment", ""))


def known_group(call: Call, prefix: str = "") -> Group:
    """The group of the path; raises ApiError 500."""
    found = call.estate.groups.get(call["groupid"])
    if found is None:
        raise ApiError(500, f"{prefix}group '{call['groupid']}' does not exist")
    return found


@endpoint("GET", "/access/groups/{groupid}")
async def group(call: Call) -> dict[str, Any]:
    found = known_group(call)
    return {"members": members(call.estate, found.id), **commented(found)}


@endpoint("PUT", "/access/groups/{groupid}")
async def update_group(call: Call) -> None:
    found = known_group(call, "update group failed: ")
    if "comment" in call:
        found.comment = call["comment"]


@endpoint("DELETE", "/access/groups/{groupid}")
async def delete_group(call: Call) -> None:
    name = known_group(call, "delete group failed: ").id
    del call.estate.groups[name]
    for user in call.estate.users.values():
        user.groups = [group for group in user.groups if group != name]
    call.estate.acl = [entry for entry in call.estate.acl if entry.kind != "group" or entry.who != name]
