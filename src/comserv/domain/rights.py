"""What a token may do: its effective privileges by ACL path, as `GET /access/permissions` tells them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Rights:
    """paths: ACL path → privileges with whether they propagate, for example `{"/vms": {"VM.Audit": True}}`."""

    paths: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)

    def at(self, path: str) -> frozenset[str]:
        """Privileges at a path: those told for the path itself, else those of the deepest parent that propagate."""
        if path in self.paths:
            return frozenset(self.paths[path])
        parent = path
        while parent != "/":
            parent = parent.rpartition("/")[0] or "/"
            if parent in self.paths:
                return frozenset(name for name, propagates in self.paths[parent].items() if propagates)
        return frozenset()

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


@dataclass(frozen=True)
class TokenFacts:
    """What `GET /access/users/{user}/token/{name}` tells of a token. expires: None where it never does."""

    expires: datetime | None
    separated: bool
