"""Maps from a guest's storages or bridges to those of the target: `a:b,c:d`, with `e` for all others; `1` is to itself."""

from __future__ import annotations

from dataclasses import dataclass, field


class BadMap(Exception):
    """A map that contradicts itself; the text is Proxmox's own."""


@dataclass(frozen=True)
class Map:
    """`entries` from source to target; the rest goes to `default`, or stays as it is called."""

    entries: dict[str, str] = field(default_factory=dict)
    default: str | None = None
    identity: bool = False

    @classmethod
    def parse(cls, text: str) -> Map:
        """A map from its text; raises BadMap."""
        entries: dict[str, str] = {}
        default, identity = None, False
        for part in (piece.strip() for piece in text.replace(";", ",").split(",")):
            source, colon, target = part.partition(":")
            if colon:
                if source in entries:
                    raise BadMap(f"duplicate mapping for source '{source}'\n")
                entries[source] = target
            elif part == "1":
                identity = True
            elif part:
                if default is not None:
                    raise BadMap("default target ID can only be provided once\n")
                default = part
        if identity and (entries or default):
            raise BadMap("identity (default) mapping must not be combined with other mappings\n")
        return cls(entries, default, identity)

    def of(self, source: str) -> str:
        """Where a source goes."""
        return self.entries.get(source, self.default or source)

    @property
    def targets(self) -> set[str]:
        """All that are named."""
        return {*self.entries.values(), *((self.default,) if self.default else ())}
