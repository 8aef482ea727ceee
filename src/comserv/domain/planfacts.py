"""What the plan needs to know, gathered by a service from the picture and the server; whatever could not be read is unknown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from comserv.domain.guest import Guest, GuestConfig, KnownAddress
from comserv.domain.picture import Health, Node, Picture, Storage
from comserv.domain.rights import Rights


@dataclass(frozen=True)
class Claim:
    """What a running job of ours will take and Proxmox does not show yet. memory and disk in bytes, 0 once it is shown."""

    job: str
    hostname: str
    vmid: int | None
    node: str
    storage: str = ""
    memory: int = 0
    disk: int = 0


@dataclass(frozen=True)
class PlanFacts:
    """Everything about one server that a plan weighs. None (or a node that a mapping does not name) means: not readable.

    template: its row; None where it was not seen. template_missing: the server itself said that there is none.
    nodes, storages: asked live where that was needed, else the picture's are used.
    bridges: node → names of bridges and vnets that a VM can be plugged into there.
    free_vmid: what `/cluster/nextid` said. vmid_taken: whether the request's number is in use.
    claims: of all our active jobs on this server. reserved: VM ids that they hold. addresses: of all servers' guests.
    job: the job for which the plan is made again, whose own claim does not count. accepted: that job is accepted already,
    so that a server that does not answer holds it and does not refuse it.
    """

    server: str
    server_name: str = ""
    enabled: bool = True
    default_node: str = ""
    token_id: str = ""
    health: Health | None = None
    picture: Picture | None = None
    nodes: tuple[Node, ...] | None = None
    storages: tuple[Storage, ...] | None = None
    template: Guest | None = None
    template_missing: bool = False
    template_config: GuestConfig | None = None
    rights: Rights | None = None
    bridges: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pools: frozenset[str] | None = None
    free_vmid: int | None = None
    vmid_taken: bool | None = None
    claims: tuple[Claim, ...] = ()
    reserved: frozenset[int] = frozenset()
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
    def other_claims(self) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.claims if not self.job or claim.job != self.job)

    def storage_at(self, node: str, name: str) -> Storage | None:
        return next((one for one in self.known_storages if one.node == node and one.name == name), None)

    def is_cluster(self) -> bool:
        return bool(self.picture and self.picture.cluster) or len(self.known_nodes) > 1
