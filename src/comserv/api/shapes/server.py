"""A server with its health, its last picture's sums, and its last connection test."""

from datetime import datetime

from msgspec import Struct

from comserv.api.shapes.outage import Outage
from comserv.api.shapes.problem import Stage
from comserv.domain import picture as domain
from comserv.domain import standing as domain_standing
from comserv.domain.connection import CertificateSeen
from comserv.domain.gentleness import Gentleness
from comserv.domain.maintenance import Maintenance as DomainMaintenance
from comserv.domain.server import ServerState, TlsMode
from comserv.domain.server import Tls as DomainTls
from comserv.services.servers import LastTest, ServerView


class Tls(Struct):
    """How the certificate is verified. `fingerprint` is that of the first address, `fingerprints` are by address."""

    mode: TlsMode
    fingerprint: str | None
    fingerprints: dict[str, str]
    ca_pem: str

    @classmethod
    def of(cls, tls: DomainTls, addresses: tuple[str, ...]) -> "Tls":
        first = tls.fingerprints.get(addresses[0]) if addresses else None
        return cls(tls.mode, first, dict(tls.fingerprints), tls.ca_pem)


class Node(Struct):
    """A host. cpu: 0 to 1; sizes in bytes; null where the token lacks Sys.Audit."""

    name: str
    online: bool
    cpu: float | None
    cores: int | None
    memory: int | None
    memory_used: int | None
    uptime: int | None

    @classmethod
    def of(cls, node: domain.Node) -> "Node":
        return cls(node.name, node.online, node.cpu, node.cores, node.memory, node.memory_used, node.uptime)


class Storage(Struct):
    """A storage as seen from one node; sizes in bytes."""

    node: str
    name: str
    type: str
    content: list[str]
    shared: bool
    active: bool
    total: int | None
    used: int | None

    @classmethod
    def of(cls, one: domain.Storage) -> "Storage":
        content = sorted(one.content)
        return cls(one.node, one.name, one.type, content, one.shared, one.active, one.total, one.used)


class Trouble(Struct):
    """Why the last sweep failed, and what to do."""

    title: str
    detail: str
    cure: str


class KeptCertificate(Struct):
    """The certificate on which an address was last trusted."""

    address: str
    fingerprint: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, kept: domain_standing.KeptCertificate) -> "KeptCertificate":
        return cls(kept.address, kept.fingerprint, kept.subject, kept.issuer, kept.not_before, kept.not_after)


class AddressTrouble(Struct):
    """Why an address is not used now. certificate_refused: it shows a certificate that was not agreed, with the
    fingerprint `shown`."""

    address: str
    since: datetime
    detail: str
    cure: str
    certificate_refused: bool
    shown: str | None

    @classmethod
    def of(cls, one: domain_standing.AddressTrouble) -> "AddressTrouble":
        return cls(one.address, one.since, one.detail, one.cure, one.refused, one.shown or None)


class Health(Struct):
    """How the sweeps go. latency_ms: of the last good one; failures: in a row; address: the one that answered last.

    token_expires: null where it never ends, and where `token_read_at` is null too it is not known.
    """

    latency_ms: float | None
    last_good: datetime | None
    failing_since: datetime | None
    failures: int
    next_try: datetime | None
    requests_last_minute: int
    trouble: Trouble | None
    address: str | None
    address_troubles: list[AddressTrouble]
    certificates: list[KeptCertificate]
    token_expires: datetime | None
    token_read_at: datetime | None

    @classmethod
    def of(cls, health: domain.Health) -> "Health":
        told = health.error_title or health.error_detail
        return cls(
            latency_ms=health.latency_ms,
            last_good=health.last_good,
            failing_since=health.failing_since,
            failures=health.failures,
            next_try=health.next_try,
            requests_last_minute=health.requests_last_minute,
            trouble=Trouble(health.error_title, health.error_detail, health.error_cure) if told else None,
            address=health.address or None,
            address_troubles=[AddressTrouble.of(one) for one in health.troubles],
            certificates=[KeptCertificate.of(one) for one in health.certificates],
            token_expires=health.token_expires,
            token_read_at=health.token_read_at,
        )


class Test(Struct):
    """The last connection test."""

    at: datetime
    stages: list[Stage]

    @classmethod
    def of(cls, test: LastTest) -> "Test":
        return cls(test.at, [Stage.of(stage) for stage in test.stages])


class Maintenance(Struct):
    """Since when nothing is sent there, who asked for it, why, and when it ends by itself; null: when it is ended."""

    since: datetime
    by: str
    why: str
    until: datetime | None

    @classmethod
    def of(cls, one: DomainMaintenance | None) -> "Maintenance | None":
        return cls(one.since, one.by, one.why, one.until) if one else None


class Server(Struct):
    """A Proxmox VE installation, a node or a cluster. `as_of`: when its picture was taken; `stale`: that is too long ago.

    enabled: false in maintenance. Sums over its nodes: cpu 0 to 1, sizes in bytes. The token's value is never told.
    """

    id: str
    name: str
    state: ServerState
    addresses: list[str]
    token_id: str
    tls: Tls
    default_node: str | None
    enabled: bool
    maintenance: Maintenance | None
    gentleness: Gentleness
    created_at: datetime | None
    as_of: datetime | None
    stale: bool
    version: str | None
    cluster: str | None
    quorate: bool | None
    guests: int
    running: int
    cpu: float | None
    memory: int | None
    memory_used: int | None
    disk: int | None
    disk_used: int | None
    nodes: list[Node]
    storages: list[Storage]
    health: Health
    last_test: Test | None

    @classmethod
    def of(cls, view: ServerView) -> "Server":
        server, picture = view.server, view.picture
        return cls(
            id=server.id,
            name=server.name,
            state=view.health.state,
            addresses=list(server.addresses),
            token_id=str(server.token_id),
            tls=Tls.of(server.tls, server.addresses),
            default_node=server.default_node or None,
            enabled=server.enabled,
            maintenance=Maintenance.of(server.maintenance),
            gentleness=server.gentleness,
            created_at=server.created_at,
            as_of=picture.as_of,
            stale=view.stale,
            version=picture.version or None,
            cluster=picture.cluster or None,
            quorate=picture.quorate,
            guests=view.guests,
            running=view.running,
            cpu=view.cpu,
            memory=view.memory,
            memory_used=view.memory_used,
            disk=view.disk,
            disk_used=view.disk_used,
            nodes=[Node.of(node) for node in picture.nodes],
            storages=[Storage.of(storage) for storage in picture.storages],
            health=Health.of(view.health),
            last_test=Test.of(view.last_test) if view.last_test else None,
        )


class ServerList(Struct):
    """By id. incomplete: those of all servers that are shown as last seen."""

    items: list[Server]
    next_cursor: str | None
    incomplete: list[Outage]


class Stages(Struct):
    """What a connection test found, in the order of its stages. `passed`: none of them failed."""

    stages: list[Stage]
    passed: bool


class Certificate(Struct):
    """A certificate as it stands at an address, before anything is trusted."""

    address: str
    fingerprint: str
    subject: str
    issuer: str
    not_before: str
    not_after: str
    trusted_by_system: bool
    pem: str

    @classmethod
    def of(cls, seen: CertificateSeen) -> "Certificate":
        return cls(
            seen.address,
            seen.fingerprint,
            seen.subject,
            seen.issuer,
            seen.not_before,
            seen.not_after,
            seen.trusted_by_system,
            seen.pem,
        )
