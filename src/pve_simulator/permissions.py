"""Who may what: roles on paths, inherited, replaced, joined by pools and narrowed by tokens."""

from __future__ import annotations

import re
from typing import Any

from pve_simulator import versions
from pve_simulator.errors import ApiError, PermissionDenied
from pve_simulator.parameters.formats import FormatError, user_id
from pve_simulator.world.access import User
from pve_simulator.world.estate import Estate

ROOT = "root@pam"
Privileges = dict[str, bool]  # privilege -> whether it also counts below the path


def split(who: str) -> tuple[str, str | None]:
    """User and token name of `user@realm!token` or `user@realm`."""
    user, bang, token = who.partition("!")
    return user, token if bang else None


def normal(path: str) -> str | None:
    """An access path without doubled or trailing slashes; None if it is none."""
    path = re.sub(r"/+", "/", path)
    path = "/" + path.strip("/")
    return path if re.fullmatch(r"(?:/[A-Za-z0-9.\-_\[\]]+)+|/", path) else None


class Permissions:
    """Answers for one estate. It keeps nothing: lists may change between two calls."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.version = versions.of(next(iter(estate.nodes.values()), None))

    def role(self, name: str) -> frozenset[str]:
        """A role's privileges; none for an unknown role."""
        return self.version.roles.get(name) or frozenset(self.estate.roles.get(name, ()))

    def roles(self, who: str, path: str) -> dict[str, bool]:
        """Roles on a path by the access control list alone: {role: propagates}."""
        user, token = split(who)
        if token is not None:
            known = self.estate.users.get(user, User(user)).tokens.get(token)
            if known is None:
                return {}
            if not known.privsep:
                return self.roles(user, path)
        groups = set(self.estate.users[user].groups) if token is None and user in self.estate.users else set()
        found: dict[str, bool] = {}
        for step in steps(path):
            final = step == path
            mine: dict[str, bool] = {}
            ours: dict[str, bool] = {}
            for entry in self.estate.acl:
                if entry.path != step or not (final or entry.propagate):
                    continue
                if entry.kind in ("user", "token") and entry.who == who:
                    mine[entry.role] = entry.propagate
                elif entry.kind == "group" and entry.who in groups:
                    ours[entry.role] = entry.propagate
            found = mine or ours or found
        return {"NoAccess": found["NoAccess"]} if "NoAccess" in found else found

    def of(self, who: str, path: str) -> Privileges:
        """Effective privileges on a path: {privilege: propagates}."""
        user, token = split(who)
        if who == ROOT:
            return dict.fromkeys(self.version.privileges, True)
        if not path:  # what was no path at all: there nobody has anything
            return {}
        if user not in self.estate.users and user != ROOT:
            return {}
        if token is not None:
            known = self.estate.users[user].tokens.get(token)
            if known is None:
                return {}
            whole = self.of(user, path)
            if not known.privsep:
                return whole
            own = self._by_roles(who, path)
            return {privilege: whole[privilege] and own[privilege] for privilege in own if privilege in whole}
        return self._by_roles(who, path)

    def _by_roles(self, who: str, path: str) -> Privileges:
        roles = self.roles(who, path)
        if "NoAccess" not in roles:
            for pool in self._pools(path):
                for role in self.roles(who, f"/pool/{pool}"):
                    roles.setdefault(role, False)
        if "NoAccess" in roles:
            return {}
        privileges: Privileges = {}
        for role, propagates in roles.items():
            for privilege in self.role(role):
                privileges[privilege] = privileges.get(privilege, False) or propagates
        return privileges

    def _pools(self, path: str) -> list[str]:
        if not self.estate.pools:
            return []
        kind, _, name = path.strip("/").partition("/")
        if kind == "vms" and name.isdigit():
            return [pool.id for pool in self.estate.pools.values() if int(name) in pool.guests]
        if kind == "storage" and name:
            return [pool.id for pool in self.estate.pools.values() if name in pool.storages]
        return []

    def may(self, who: str, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Whether all (or one, `any_of`) of the privileges are there."""
        if who == ROOT:
            return True
        have = self.of(who, path)
        return any(name in have for name in privileges) if any_of else all(name in have for name in privileges)

    def check(self, who: str, path: str, *privileges: str, any_of: bool = False) -> None:
        """Raises PermissionDenied in Proxmox's words where `may` would say no."""
        if any_of:
            if not self.may(who, path, *privileges, any_of=True):
                raise PermissionDenied(f"{path}, {'|'.join(privileges)}")
            return
        have = None if who == ROOT else self.of(who, path)
        for privilege in privileges:
            if have is not None and privilege not in have:
                raise PermissionDenied(f"{path}, {privilege}")

    def effective(self, who: str) -> dict[str, Privileges]:
        """All paths on which somebody has something, as `GET /access/permissions` tells them."""
        paths = {"/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"}
        paths.update(entry.path for entry in self.estate.acl)
        for pool in self.estate.pools.values():
            paths.update(f"/vms/{vmid}" for vmid in pool.guests)
            paths.update(f"/storage/{storage}" for storage in pool.storages)
        return {path: have for path in sorted(paths) if (have := self.of(who, path))}


def steps(path: str) -> list[str]:
    """`/`, `/vms`, `/vms/101`: the path and all above it, from the top."""
    parts = [part for part in path.split("/") if part]
    return ["/", *("/" + "/".join(parts[: index + 1]) for index in range(len(parts)))]


def check_declared(permissions: Permissions, declared: dict[str, Any] | None, who: str, values: dict[str, Any]) -> None:
    """The check that the description declares for a method; raises PermissionDenied.

    `who` is empty without authentication; `values` are those of path, query and body, not yet verified.
    """
    if not who:
        if declared and declared.get("user") == "world":
            return
        raise PermissionDenied("user != null")
    if who == ROOT:
        return
    if declared is None:
        raise PermissionDenied("user != root@pam")
    if declared.get("user") in ("all", "world"):
        return
    if "check" not in declared:
        raise PermissionDenied
    DeclaredCheck(permissions, who, values).run(declared["check"])


class DeclaredCheck:
    """Evaluates a declared check: `perm`, `and`, `or`, `userid-param`, `userid-group`, `perm-modify`."""

    def __init__(self, permissions: Permissions, who: str, values: dict[str, Any]) -> None:
        self.permissions = permissions
        self.who = who
        self.values = values

    def run(self, check: list[Any]) -> None:
        """Raises PermissionDenied."""
        kind, rest = check[0], check[1:]
        if kind == "and":
            for part in rest:
                self.run(part)
        elif kind == "or":
            if not any(self.passes(part) for part in rest):
                raise PermissionDenied
        elif kind == "perm":
            self.perm(rest[0], rest[1], dict(zip(rest[2::2], rest[3::2], strict=False)))
        elif kind == "userid-group":
            self.user_group(rest[0], dict(zip(rest[1::2], rest[2::2], strict=False)))
        elif kind == "userid-param":
            self.user_parameter(rest[0])
        elif kind == "perm-modify":
            self.modify(rest[0])

    def passes(self, check: list[Any]) -> bool:
        """Whether `run` raises nothing."""
        try:
            self.run(check)
        except ApiError:
            return False
        return True

    def path(self, template: str) -> str:
        """A path with its values; empty where they make no path."""
        filled = re.sub(r"\{([\w-]+)\}", lambda found: str(self.values.get(found[1], "")), template)
        return normal(filled) or ""

    def perm(self, template: str, privileges: list[str], options: dict[str, Any]) -> None:
        needed = options.get("require_param")
        if needed and needed not in self.values:
            raise PermissionDenied
        self.permissions.check(self.who, self.path(template), *privileges, any_of=bool(options.get("any")))

    def user_group(self, privileges: list[str], options: dict[str, Any]) -> None:
        estate, user = self.permissions.estate, str(self.values.get("userid", ""))
        exists = options.get("groups_param") == "create" or user in estate.users
        if not exists:
            raise ApiError(500, f"no such user ('{user}')")
        if self.permissions.may(self.who, "/access/groups", *privileges, any_of=True):
            return
        groups = [
            group
            for group in estate.groups
            if self.permissions.may(self.who, f"/access/groups/{group}", *privileges, any_of=True)
        ]
        if not groups:
            raise PermissionDenied
        if "groups_param" in options:
            asked = [group for group in re.split(r"[,;\s]+", str(self.values.get("groups", ""))) if group]
            lacking = "|".join(privileges)
            if not asked:
                raise PermissionDenied(f"/access/groups, {lacking}")
            for group in asked:
                if group not in groups:
                    raise PermissionDenied(f"/access/groups/{group}, {lacking}")
        if options.get("groups_param") != "create" and not set(estate.users[user].groups) & set(groups):
            raise PermissionDenied

    def user_parameter(self, test: str) -> None:
        user = str(self.values.get("userid", ""))
        try:
            user_id(user)
        except FormatError as refusal:
            raise ApiError(500, str(refusal)) from None
        if test == "self":
            if user not in self.permissions.estate.users:
                raise ApiError(500, f"no such user ('{user}')")
            if user != self.who:
                raise PermissionDenied
        else:
            self.permissions.check(self.who, f"/access/realm/{user.rpartition('@')[2]}", test)

    def modify(self, template: str) -> None:
        path = self.path(template)
        extra = {"storage": "Datastore.Allocate", "vms": "VM.Allocate", "pool": "Pool.Allocate"}
        top, _, below = path.strip("/").partition("/")
        needed = ["Permissions.Modify", extra[top]] if below and top in extra else ["Permissions.Modify"]
        self.permissions.check(self.who, path, *needed, any_of=True)
