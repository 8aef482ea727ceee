"""The picture of a server: what one sweep of `/cluster/resources` and `/cluster/status` saw, with its age."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from comserv.domain.guest import Guest
from comserv.domain.load import Load
from comserv.domain.server import ServerState
from comserv.domain.standing import AddressTrouble, KeptCertificate


@dataclass(frozen=True)
class Node:
    """A host. cpu 0 to 1, sizes in bytes, None where the token lacks Sys.Audit."""

    name: str
    online: bool
    cpu: float | None = None
    cores: int | None = None
    memory: int | None = None
    memory_used: int | None = None
    uptime: int | None = None


@dataclass(frozen=True)
class Storage:
    """A storage as seen from one node. content: images, iso, backup, …; sizes in bytes.

    active: it can be reached. enabled: False only in the list of a node; `/cluster/resources` leaves disabled ones out.
    """

    node: str
    name: str
    type: str = ""
    content: frozenset[str] = frozenset()
    shared: bool = False
    active: bool = True
    total: int | None = None
    used: int | None = None
    enabled: bool = True


@dataclass(frozen=True)
class Picture:
    """What was seen of a server at `as_of`. `revision` grows when anything in it changed but figures.

    Figures are a guest's cpu, memory_used, disk_used and uptime, a node's cpu, memory_used and uptime, a storage's total and used.

    as_of: when Proxmox's answer was read; it may itself be up to 10 s old (semantics section 15).
    cluster: the cluster's name, empty on a single node. quorate: None where it was not told.
    """

    server: str
    as_of: datetime | None
    revision: int = 0
    version: str = ""
    cluster: str = ""
    quorate: bool | None = None
    nodes: tuple[Node, ...] = ()
    storages: tuple[Storage, ...] = ()
    guests: tuple[Guest, ...] = ()


_of_picture = attrgetter("server", "version", "cluster", "quorate")
_of_node = attrgetter("name", "online", "cores", "memory")
_of_storage = attrgetter("node", "name", "type", "content", "shared", "active", "enabled")


def same_hosts(before: Picture, now: Picture) -> bool:
    """Whether nothing but figures differs, the guests apart."""
    return (
        _of_picture(before) == _of_picture(now)
        and [*map(_of_node, before.nodes)] == [*map(_of_node, now.nodes)]
        and [*map(_of_storage, before.storages)] == [*map(_of_storage, now.storages)]
    )


@dataclass(frozen=True)
class Health:
    """How a server's sweeps go: state, latency of the last good one in ms, since when it fails and with which words.

    load: what the owner sent there, as of its last sweep.

    address: the one that answered last. troubles: addresses that cannot be used now, each with its reason, also while
    another one answers. certificates: by address, those on which they were last trusted (its whole PEM is kept with the
    server). token_expires: when the token ends, as read at `token_read_at`; None there means that it never ends, and
    None in `token_read_at` that the token may not read about itself. node_versions: of a cluster's nodes, by
    name. All of it is looked at anew every ten minutes.
    """

    server: str
    state: ServerState = ServerState.UNREACHED
    latency_ms: float | None = None
    last_good: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    next_try: datetime | None = None
    error_title: str = ""
    error_detail: str = ""
    error_cure: str = ""
    requests_last_minute: int = 0
    load: Load | None = None
    address: str = ""
    troubles: tuple[AddressTrouble, ...] = ()
    certificates: tuple[KeptCertificate, ...] = ()
    token_expires: datetime | None = None
    token_read_at: datetime | None = None
    node_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """A server's picture with its health, as the pages and the API show it."""

    picture: Picture
    health: Health = field(default_factory=lambda: Health(""))
