"""A storage as it is configured for the whole cluster; how it is on a node is in domain/picture.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StorageConfig:
    """A row of `GET /storage`. content: images, iso, import, …; nodes: those that have it, all where it is empty."""

    name: str
    type: str
    content: frozenset[str]
    shared: bool
    enabled: bool
    nodes: frozenset[str] = frozenset()

    def on(self, node: str) -> bool:
        return not self.nodes or node in self.nodes
