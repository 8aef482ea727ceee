"""Certificates that changed, what a cluster offers of its own, and a token that was replaced."""

from msgspec import Struct

from comserv.api.shapes.server import Certificate, Server
from comserv.domain import trust as domain
from comserv.services.servertoken import TokenReplaced


class Difference(Struct):
    """One thing that is not as before."""

    what: str
    before: str
    now: str

    @classmethod
    def of(cls, one: domain.Difference) -> "Difference":
        return cls(one.what, one.before, one.now)


class ChangedCertificate(Struct):
    """One change, with all addresses that show it. `before` is null where no copy of the old one is kept.

    `command` shows the same on the server.
    """

    addresses: list[str]
    before: Certificate | None
    before_fingerprint: str
    now: Certificate
    differences: list[Difference]
    text: str
    cure: str
    command: str

    @classmethod
    def of(cls, one: domain.ChangedCertificate) -> "ChangedCertificate":
        return cls(
            list(one.addresses),
            Certificate.of(one.before) if one.before else None,
            one.before_fingerprint,
            Certificate.of(one.now),
            [Difference.of(row) for row in one.differences],
            one.words,
            one.cure,
            one.command,
        )


class Certificates(Struct):
    """What every address shows now. `problems`: by address, why one cannot be seen."""

    changed: list[ChangedCertificate]
    agreed: list[Certificate]
    problems: dict[str, str]

    @classmethod
    def of(cls, review: domain.CertificateReview) -> "Certificates":
        changed = [ChangedCertificate.of(one) for one in review.changed]
        return cls(changed, [Certificate.of(seen) for seen in review.agreed], dict(review.problems))


class OfferedAddress(Struct):
    """Another node of the cluster. `known_as`: an address that is registered already; `problem`: why it is not offered."""

    node: str
    address: str | None
    fingerprint: str | None
    subject: str | None
    issuer: str | None
    online: bool
    known_as: str | None
    problem: str | None

    @classmethod
    def of(cls, one: domain.OfferedAddress) -> "OfferedAddress":
        shown = one.certificate
        return cls(
            one.node,
            one.address or None,
            shown.fingerprint if shown else None,
            shown.subject if shown else None,
            shown.issuer if shown else None,
            one.online,
            one.known_as or None,
            one.problem or None,
        )


class OfferedCa(Struct):
    """The cluster's own CA. `refused_by`: by address, why its certificate would not be accepted with it."""

    fingerprint: str
    subject: str
    pem: str
    in_use: bool
    refused_by: dict[str, str]

    @classmethod
    def of(cls, ca: domain.OfferedCa) -> "OfferedCa":
        shown = ca.certificate
        return cls(shown.fingerprint, shown.subject, shown.pem, ca.in_use, dict(ca.refused_by))


class Offers(Struct):
    """What the cluster offers of its own, read over the connection that is trusted now."""

    addresses: list[OfferedAddress]
    ca: OfferedCa | None
    problem: str | None
    cure: str | None

    @classmethod
    def of(cls, offers: domain.Offers) -> "Offers":
        ca = OfferedCa.of(offers.ca) if offers.ca else None
        return cls([OfferedAddress.of(o) for o in offers.addresses], ca, offers.problem or None, offers.cure or None)


class ReplacedToken(Struct):
    """`lost`, `gained`: privileges by path, beside the old token's; `rights_known` false where that could not be read.

    `remove_line`: to be run on the server, takes the old token away.
    """

    server: Server
    lost: dict[str, list[str]]
    gained: dict[str, list[str]]
    rights_known: bool
    remove_line: str | None

    @classmethod
    def of(cls, done: TokenReplaced) -> "ReplacedToken":
        return cls(
            Server.of(done.view),
            {path: list(names) for path, names in done.change.lost.items()},
            {path: list(names) for path, names in done.change.gained.items()},
            done.change.known,
            done.remove_line or None,
        )
