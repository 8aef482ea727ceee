"""What a server's token may do, feature by feature."""

from datetime import datetime

from msgspec import Struct

from comserv.api.shapes.plan import Finding
from comserv.domain.doctor import FeatureState, FeatureVerdict, Scope
from comserv.services.doctor import DoctorReport


class MissingRight(Struct):
    """A privilege that is lacking at a path of the server's ACL."""

    privilege: str
    path: str


class FeatureScope(Struct):
    """Of one kind of thing (guest, storage, network …): where it works, and where not. `everywhere`: also at new ones."""

    kind: str
    everywhere: bool
    works: list[str]
    lacks: list[str]

    @classmethod
    def of(cls, scope: Scope) -> "FeatureScope":
        return cls(str(scope.where), scope.everywhere, list(scope.works), list(scope.lacks))


class FeatureRights(Struct):
    """`lines`: to be run as root on the server; they give just what is missing for this."""

    feature: str
    title: str
    state: FeatureState
    reason: str
    scopes: list[FeatureScope]
    missing: list[MissingRight]
    lines: list[str]

    @classmethod
    def of(cls, verdict: FeatureVerdict) -> "FeatureRights":
        return cls(
            feature=str(verdict.feature.id),
            title=verdict.feature.title,
            state=verdict.state,
            reason=verdict.reason,
            scopes=[FeatureScope.of(scope) for scope in verdict.scopes],
            missing=[MissingRight(one.privilege, one.path) for one in verdict.missing],
            lines=list(verdict.mend.lines),
        )


class NeverAllowed(Struct):
    """What Proxmox refuses to every token, and what is done instead."""

    what: str
    instead: str


class Doctor(Struct):
    """What works on a server with the rights of its token. `as_of` null: it was not looked at yet, and `features` is empty.

    `old`: looked at too long ago, so that nothing is refused by it. `lines`: mend all that is blocked. `notes`: what else is
    known of the token.
    """

    server: str
    token_id: str
    as_of: datetime | None
    old: bool
    version: str | None
    needs_attention: bool
    features: list[FeatureRights]
    lines: list[str]
    notes: list[Finding]
    never: list[NeverAllowed]

    @classmethod
    def of(cls, report: DoctorReport) -> "Doctor":
        found = report.diagnosis
        return cls(
            server=report.server,
            token_id=report.token,
            as_of=report.as_of,
            old=report.old,
            version=report.version or None,
            needs_attention=found.needs_attention if found else False,
            features=[FeatureRights.of(verdict) for verdict in found.verdicts] if found else [],
            lines=list(found.mend.lines) if found else [],
            notes=[Finding.of(note) for note in report.notes],
            never=[NeverAllowed(one.what, one.instead) for one in report.never],
        )
