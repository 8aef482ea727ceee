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


@dataclass(frozen=True)
class TokenFacts:
    """What `GET /access/users/{user}/token/{name}` tells of a token. expires: None where it never does."""

    expires: datetime | None
    separated: bool
