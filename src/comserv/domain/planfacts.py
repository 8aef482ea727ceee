"""What the plan needs to know, gathered by a service from the picture and the server; whatever could not be read is unknown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from comserv.domain.cluster import Version
from comserv.domain.guest import Guest, GuestConfig, GuestStatus, KnownAddress
from comserv.domain.maintenance import Maintenance
from comserv.domain.picture import Health, Node, Picture, Storage
from comserv.domain.reservation import Reservation
from comserv.domain.rights import Rights, RightsSeen
from comserv.domain.units import GIB, MIB


@dataclass(frozen=True)
class PlanFacts:
    """Everything about one server that a plan weighs. None (or a node that a mapping does not name) means: not readable.

    template: its row; None where it was not seen. template_missing: the server itself said that there is none.
    template_problem: why its configuration could not be read just now; empty where it was, or where the token may not.
    nodes, storages: asked live where that was needed, else the picture's are used.
    rights: of the token, as they are now. seen: the last look at what stands behind them, None before the first one.
    bridges: node → names of bridges and vnets that a VM can be plugged into there.
    free_vmid: what `/cluster/nextid` said. vmid_taken: whether the request's number is in use.
    reservations: of all our active jobs, on every server. addresses: of all servers' guests.
    job: the job for which the plan is made again, whose own reservation does not count. accepted: that job is accepted
    already, so that a server that does not answer holds it and does not refuse it. problem: why the server could not be
    asked, a sentence, empty where it answered.
    """

    server: str
    server_name: str = ""
    maintenance: Maintenance | None = None
    default_node: str = ""
    token_id: str = ""
    health: Health | None = None
    picture: Picture | None = None
    nodes: tuple[Node, ...] | None = None
    storages: tuple[Storage, ...] | None = None
    template: Guest | None = None
    template_missing: bool = False
    template_config: GuestConfig | None = None
    template_problem: str = ""
    rights: Rights | None = None
    seen: RightsSeen | None = None
    bridges: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pools: frozenset[str] | None = None
    free_vmid: int | None = None
    vmid_taken: bool | None = None
    reservations: tuple[Reservation, ...] = ()
    addresses: tuple[KnownAddress, ...] = ()
    version: str = ""
    quorate: bool | None = None
    job: str = ""
    accepted: bool = False
    problem: str = ""
    old_after: timedelta = timedelta(seconds=60)

    @property
    def name(self) -> str:
        return self.server_name or self.server

    @property
    def guests(self) -> tuple[Guest, ...]:
        return self.picture.guests if self.picture else ()

    @property
    def known_nodes(self) -> tuple[Node, ...]:
        return self.nodes if self.nodes is not None else (self.picture.nodes if self.picture else ())

    @property
    def known_storages(self) -> tuple[Storage, ...]:
        return self.storages if self.storages is not None else (self.picture.storages if self.picture else ())

    @property
    def other_reservations(self) -> tuple[Reservation, ...]:
        """Those of other jobs on this server."""
        return tuple(one for one in self.reservations if one.guest.server == self.server and not self._own(one))

    @property
    def own_vmids(self) -> frozenset[int]:
        """VM ids of the job for which the plan is made again."""
        return frozenset(
            one.guest.vmid for one in self.reservations if self._own(one) and one.guest.server == self.server
        )

    def _own(self, reservation: Reservation) -> bool:
        return bool(self.job) and reservation.job == self.job

    def memory_to_come(self, node: str) -> int:
        """Bytes that our running jobs will take of a node and Proxmox does not count yet: their VM does not run."""
        running = {guest.key.vmid for guest in self.guests if guest.status == GuestStatus.RUNNING}
        return sum(
            one.memory_mb * MIB for one in self.other_reservations if one.node == node and one.guest.vmid not in running
        )

    def disk_to_come(self, storage: Storage) -> int:
        """Bytes that our running jobs will take of a storage and Proxmox does not count yet: their clone has not ended."""
        cloned = {guest.key.vmid for guest in self.guests if not guest.lock and guest.status != GuestStatus.UNKNOWN}
        waiting = [
            one for one in self.other_reservations if one.storage == storage.name and one.guest.vmid not in cloned
        ]
        return sum(int(one.disk_gb * GIB) for one in waiting if storage.shared or one.node == storage.node)

    @property
    def known_version(self) -> Version | None:
        """None where it is not known."""
        text = self.version or (self.picture.version if self.picture else "")
        return Version(text) if Version(text).numbers != (0, 0) else None

    def storage_at(self, node: str, name: str) -> Storage | None:
        return next((one for one in self.known_storages if one.node == node and one.name == name), None)
