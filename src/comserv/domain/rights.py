"""What a token may do: its effective privileges by ACL path, as `GET /access/permissions` tells them, and what stands behind them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

ALWAYS_TOLD = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")
"""Paths that `GET /access/permissions` tells wherever there is anything (recording 05): left out means nothing there."""


@dataclass(frozen=True)
class AclEntry:
    """A row of `GET /access/acl`. kind: user, group or token; who: `comserv@pve`, `ops`, `comserv@pve!manager`."""

    path: str
    kind: str
    who: str
    role: str
    propagate: bool = True


@dataclass(frozen=True)
class Rights:
    """paths: ACL path → privileges with whether they propagate, for example `{"/vms": {"VM.Audit": True}}`.

    empty: paths at which the server is known to give nothing, with whether that goes for all below them too.
    """

    paths: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    empty: Mapping[str, bool] = field(default_factory=dict)

    def at(self, path: str) -> frozenset[str]:
        """Privileges at a path: those told for the path itself, else those that come down from above it."""
        if path in self.paths:
            return frozenset(self.paths[path])
        if path in self.empty or path == "/":
            return frozenset()
        return self.below(parent(path))

    def below(self, path: str) -> frozenset[str]:
        """Privileges that come down to what lies below a path and has no entry of its own.

        Entries that do not propagate hide nothing: then those from further above count (semantics section 5).
        """
        while True:
            spreading = frozenset(name for name, spreads in self.paths.get(path, {}).items() if spreads)
            if spreading or path == "/" or self.empty.get(path, False):
                return spreading
            path = parent(path)

    def lacking(self, path: str, privileges: Iterable[str]) -> tuple[str, ...]:
        """Those of `privileges` that are missing at `path`, sorted."""
        return tuple(sorted(set(privileges) - self.at(path)))

    @property
    def none_at_all(self) -> bool:
        return not any(self.paths.values())


def rights_lost(before: Rights, now: Rights) -> dict[str, tuple[str, ...]]:
    """By path, what was allowed with `before` and is not with `now`; a path is left out where it is as at a shorter one."""
    lost: dict[str, tuple[str, ...]] = {}
    for path in sorted(before.paths.keys() | now.paths.keys(), key=len):
        gone = now.lacking(path, before.at(path))
        parents = [told for told in lost if told == "/" or path.startswith(told + "/")]
        if gone and not any(set(lost[told]) >= set(gone) for told in parents):
            lost[path] = gone
    return lost


@dataclass(frozen=True)
class RightsChange:
    """What another token may do that the one before may not, by path. known: False where the old one's rights could not be
    read, so that nothing can be compared."""

    lost: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gained: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: bool = True

    @classmethod
    def between(cls, before: Rights | None, now: Rights) -> "RightsChange":
        if before is None:
            return cls(known=False)
        return cls(rights_lost(before, now), rights_lost(now, before))

    @property
    def words(self) -> str:
        if not self.known:
            return "The old token's rights could not be read, so the two cannot be compared."
        told = [f"less at {path}: {', '.join(names)}" for path, names in self.lost.items()]
        told += [f"more at {path}: {', '.join(names)}" for path, names in self.gained.items()]
        return f"The new token may do {'; '.join(told)}." if told else "The new token may do the same as the old one."


def parent(path: str) -> str:
    """`/vms` of `/vms/105`, `/` of `/vms`."""
    return path.rpartition("/")[0] or "/"


def rights_as_told(
    paths: Mapping[str, Mapping[str, bool]],
    acl: Iterable[AclEntry] | None = None,
    names: Iterable[str] | None = None,
) -> Rights:
    """Of one reply of `GET /access/permissions`. acl: None where it may not be seen. names: of token, user and its groups,
    whose entries count; None: all might.

    The server tells every path that has an entry, whoever it is for, so a path with an entry that is not told has nothing.
    """
    told = {path: given for path, given in paths.items() if given}
    empty = {path: acl is None for path in ALWAYS_TOLD if path not in told}
    ours = None if names is None else frozenset(names)
    for entry in acl or ():
        if entry.path not in told:
            counts = entry.propagate and (ours is None or entry.who in ours)
            empty[entry.path] = empty.get(entry.path, False) or counts
    return without_repetition(Rights(told, empty))


def without_repetition(rights: Rights) -> Rights:
    """Guests and storages of pools are all told; those that only have what comes down to them anyway are left out."""
    whole = {path: given for path, given in rights.paths.items() if not path.startswith(("/vms/", "/storage/"))}
    bare = replace(rights, paths=whole)
    special = {
        path: given for path, given in rights.paths.items() if path not in whole and frozenset(given) != bare.at(path)
    }
    return replace(rights, paths={**whole, **special})


@dataclass(frozen=True)
class TokenFacts:
    """What `GET /access/users/{user}` tells of a token. expires: None where it never does.

    user_enabled, user_expires: of the user it belongs to. groups: that the user is in.
    """

    expires: datetime | None
    separated: bool
    user_enabled: bool = True
    user_expires: datetime | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class BridgePlace:
    """A bridge or virtual network with the ACL path at which `SDN.Use` lets a guest be plugged into it."""

    path: str
    name: str


@dataclass(frozen=True)
class ForeignTask:
    """A task that the token began and Comserv did not."""

    upid: str
    type: str
    id: str
    node: str
    started: datetime


@dataclass(frozen=True)
class RightsSeen:
    """One look at what a token may do, and at what stands behind it.

    as_of: when it was read. token: whose. rights: its effective ones. user_rights: those of its user, None where they may
    not be read. acl: None where it may not be seen. role: privileges of our own role, None where there is no such role.
    token_facts: None where they may not be read. foreign: tasks by this token that are none of ours.
    """

    as_of: datetime
    token: str
    version: str = ""
    rights: Rights = field(default_factory=Rights)
    user_rights: Rights | None = None
    acl: tuple[AclEntry, ...] | None = None
    role: frozenset[str] | None = None
    token_facts: TokenFacts | None = None
    bridges: tuple[BridgePlace, ...] = ()
    foreign: tuple[ForeignTask, ...] = ()

    @property
    def names(self) -> frozenset[str] | None:
        """Of whom entries of the ACL count for the token: itself, its user, its groups; None where that is not known."""
        facts, user = self.token_facts, self.token.partition("!")[0]
        if facts is None:
            return None
        return frozenset({user, *facts.groups, *((self.token,) if facts.separated else ())})
