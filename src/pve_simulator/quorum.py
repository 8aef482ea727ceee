"""Who has a majority, and who sees whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError

if TYPE_CHECKING:
    from pve_simulator.server import Server

NO_QUORUM = "cluster not ready - no quorum?"


class Quorum:
    """The votes of one cluster. Where the number of nodes is even, a QDevice outside of it has a vote too."""

    def __init__(self, server: Server) -> None:
        self.server = server

    @property
    def device(self) -> bool:
        """Whether there is a QDevice, so that half of the nodes are enough."""
        nodes = len(self.server.estate.nodes)
        return bool(self.server.estate.cluster) and nodes % 2 == 0

    @property
    def expected(self) -> int:
        """All votes."""
        return len(self.server.estate.nodes) + self.device

    def cut_off(self, node: str) -> bool:
        """Whether a fault rule puts a node on the side without a majority."""
        return self.server.faults.without_quorum(node)

    def sees(self, viewer: str, node: str) -> bool:
        """Whether a node is a member of the cluster as another one sees it: up, and on the same side."""
        if self.server.node_down(node):
            return False
        return viewer == node or self.cut_off(viewer) == self.cut_off(node)

    def votes(self, node: str) -> int:
        """The votes that a node counts; the QDevice votes for the side that no rule cuts off."""
        present = sum(self.sees(node, other) for other in self.server.estate.nodes)
        return present + (self.device and not self.cut_off(node))

    def holds(self, node: str) -> bool:
        """Whether a node may write: it is one of a majority."""
        if not self.server.estate.cluster and not self.server.faults.rules:
            return True
        if self.cut_off(node):
            return False
        return not self.server.estate.cluster or 2 * self.votes(node) > self.expected

    def need(self, node: str) -> None:
        """Raises ApiError 500 in the words of calls that ask for it first."""
        if not self.holds(node):
            raise ApiError(500, NO_QUORUM)
