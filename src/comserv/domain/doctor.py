"""The doctor: what of Comserv works on a server with the rights its token has, where, and the lines that mend the rest. Pure.

A feature works everywhere, at some paths only, or is blocked by a privilege that is missing at a path.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from comserv.domain.cluster import Version
from comserv.domain.features import TODAY, Feature, Need, Where
from comserv.domain.guest import Guest, GuestType
from comserv.domain.mending import Mend, Missing, mend
from comserv.domain.picture import Picture
from comserv.domain.rights import Rights, RightsSeen
from comserv.domain.server import TokenId

MOST_NAMED = 6
LOCAL_ZONE = "/sdn/zones/localnetwork/"
DISKS = "images"


class FeatureState(StrEnum):
    WORKS = "works"
    PARTLY = "partly"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Place:
    """Something with an ACL path. pools: paths of pools whose rights count there too. within: the pool it is in, by its
    place's name, which stands for it where both are alike. barred: its pool has NoAccess, which cancels all of it."""

    path: str
    name: str
    pools: tuple[str, ...] = ()
    within: str = ""
    barred: bool = False

    def held(self, rights: Rights) -> frozenset[str]:
        if self.barred:
            return frozenset()
        return rights.at(self.path).union(*(rights.at(pool) for pool in self.pools))


@dataclass(frozen=True)
class Scope:
    """Of one kind of path: where it works and where it does not, by name. everywhere: also at what is not there yet."""

    where: Where
    works: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    everywhere: bool = False

    @property
    def text(self) -> str:
        """“only on local”, “not for web-01 (105)”; empty where there is nothing to say."""
        if self.everywhere:
            return f"not {_named(self.where, self.lacks)}" if self.lacks else ""
        return f"only {_named(self.where, self.works)}" if self.works else ""


@dataclass(frozen=True)
class FeatureVerdict:
    """missing: what is lacking and where, without repetition. lines: `pveum` lines that give just that."""

    feature: Feature
    state: FeatureState
    scopes: tuple[Scope, ...] = ()
    missing: tuple[Missing, ...] = ()
    mend: Mend = field(default_factory=Mend)

    @property
    def reason(self) -> str:
        """What is missing or where it works, a sentence; empty where it works everywhere."""
        if self.state is FeatureState.WORKS:
            return ""
        if self.state is FeatureState.BLOCKED:
            return f"{lacking_words(self.missing)}."
        text = "; ".join(scope.text for scope in self.scopes if scope.text)
        return f"{text[0].upper()}{text[1:]}." if text else f"{lacking_words(self.missing)}."


@dataclass(frozen=True)
class Diagnosis:
    """mend: for all that is blocked at once. nothing: the token has no rights at all."""

    verdicts: tuple[FeatureVerdict, ...]
    mend: Mend
    nothing: bool = False

    def of(self, state: FeatureState) -> tuple[FeatureVerdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.state == state)

    @property
    def needs_attention(self) -> bool:
        """Something that Comserv does today is blocked. What works at some paths only is taken for intended."""
        return any(verdict.state is FeatureState.BLOCKED for verdict in self.verdicts)


def lacking_words(missing: Iterable[Missing], token: str = "") -> str:
    """“The token lacks VM.Clone, VM.Allocate at /vms; SDN.Use at /sdn/zones”."""
    by_path: dict[str, list[str]] = {}
    for one in missing:
        names = by_path.setdefault(one.path, [])
        if one.privilege not in names:
            names.append(one.privilege)
    paths = list(by_path)
    told = [f"{', '.join(by_path[path])} at {path}" for path in paths[:MOST_NAMED]]
    more = f" and at {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return f"The token{f' {token}' if token else ''} lacks {'; '.join(told)}{more}"


def examine(
    seen: RightsSeen, picture: Picture | None, token: TokenId, features: Sequence[Feature] = TODAY
) -> Diagnosis:
    """Every feature against one look at the rights. picture: None where nothing of the server was seen yet."""
    version = Version(seen.version or (picture.version if picture else ""))
    places = places_of(seen, picture)
    found = [_judge(feature, version, seen, places) for feature in features]
    verdicts = tuple(
        FeatureVerdict(feature, state, scopes, missing, mend(seen, token, missing, version) if missing else Mend())
        for feature, state, scopes, missing in found
    )
    blocked = [one for verdict in verdicts if verdict.state is FeatureState.BLOCKED for one in verdict.missing]
    return Diagnosis(verdicts, mend(seen, token, blocked, version) if blocked else Mend(), seen.rights.none_at_all)


_Found = tuple[Feature, FeatureState, tuple[Scope, ...], tuple[Missing, ...]]


def _judge(feature: Feature, version: Version, seen: RightsSeen, places: Mapping[Where, tuple[Place, ...]]) -> _Found:
    needs: dict[Where, list[Need]] = {}
    for need in feature.needed(version):
        needs.setdefault(need.where, []).append(need)
    scopes, missing, state = list[Scope](), list[Missing](), FeatureState.WORKS
    for where, asked in needs.items():
        scope, lacking = _scope(where, asked, seen.rights, places.get(where, ()))
        scopes.append(scope)
        missing += lacking
        if not scope.everywhere and not scope.works:
            state = FeatureState.BLOCKED
        elif (scope.lacks or not scope.everywhere) and state is FeatureState.WORKS:
            state = FeatureState.PARTLY
    return feature, state, tuple(scopes), tuple(dict.fromkeys(missing))


def _scope(where: Where, needs: Sequence[Need], rights: Rights, places: Sequence[Place]) -> tuple[Scope, list[Missing]]:
    general = rights.at("/") if where is Where.SERVER else rights.below(where.general)
    general_lacks = [need for need in needs if not need.met_by(general)]
    works, lacks, missing = list[str](), list[str](), list[Missing]()
    for need in general_lacks:
        missing.append(Missing(where, where.general, need.privilege, need.instead))
    for place in places:
        held = place.held(rights)
        lacking = [need for need in needs if not need.met_by(held)]
        if not (named := lacks if lacking else works) or place.within not in named:
            named.append(place.name)
        if not general_lacks and not place.pools:
            missing += [Missing(where, place.path, need.privilege, need.instead) for need in lacking]
    return Scope(where, tuple(works), tuple(lacks), not general_lacks), missing


def _named(where: Where, names: Sequence[str]) -> str:
    word = {
        Where.STORAGE: "on ",
        Where.DISKS: "on ",
        Where.BRIDGE: "with ",
        Where.NEW: "into ",
        Where.TEMPLATE: "from ",
    }
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{word.get(where, 'for ')}{', '.join(names[:MOST_NAMED])}{more}"


# --- places


def places_of(seen: RightsSeen, picture: Picture | None) -> dict[Where, tuple[Place, ...]]:
    """What there is of each kind: from the picture, and from paths that the rights or the ACL name themselves."""
    told = {*seen.rights.paths, *seen.rights.empty}
    guests = picture.guests if picture else ()
    storages = {storage.name: storage for storage in picture.storages} if picture else {}
    pools = {guest.pool for guest in guests if guest.pool} | set(_below(told, "/pool/"))
    of_guests = [
        (guest, Place(f"/vms/{guest.key.vmid}", guest_name(guest), within=f"pool {guest.pool}" if guest.pool else ""))
        for guest in guests
    ]
    seen_paths = {place.path for _, place in of_guests}
    hidden = [
        Place(path, path.rpartition("/")[2])
        for path in sorted(told)
        if path.startswith("/vms/") and path not in seen_paths and path in seen.rights.empty
    ]
    names = sorted({*storages, *_below(told, "/storage/")})
    for_disks = [name for name in names if name not in storages or DISKS in storages[name].content]
    bridges = {bridge.path: bridge.name for bridge in seen.bridges}
    bridges |= {path: path.rpartition("/")[2] for path in told if path.startswith(LOCAL_ZONE) and path.count("/") == 4}
    barred = {entry.path for entry in seen.acl or () if entry.role == "NoAccess" and _counts(entry.who, seen)}
    in_pools = tuple(
        Place("/vms/new", f"pool {name}", (f"/pool/{name}",), barred=f"/pool/{name}" in barred)
        for name in sorted(pools)
    )

    def those(kept: Callable[[Guest], bool]) -> tuple[Place, ...]:
        return tuple(place for guest, place in of_guests if kept(guest))

    return {
        Where.GUEST: (*in_pools, *those(lambda guest: not guest.template), *hidden),
        Where.VM: (*in_pools, *those(lambda guest: not guest.template and guest.type is GuestType.QEMU), *hidden),
        Where.TEMPLATE: (*in_pools, *those(lambda guest: guest.template and guest.type is GuestType.QEMU)),
        Where.NEW: in_pools,
        Where.STORAGE: tuple(Place(f"/storage/{name}", name) for name in names),
        Where.DISKS: tuple(Place(f"/storage/{name}", name) for name in for_disks),
        Where.BRIDGE: tuple(Place(path, bridges[path]) for path in sorted(bridges)),
        Where.NODE: tuple(Place(f"/nodes/{node.name}", node.name) for node in (picture.nodes if picture else ())),
        Where.POOL: tuple(Place(f"/pool/{name}", name) for name in sorted(pools)),
    }


def _counts(who: str, seen: RightsSeen) -> bool:
    names = seen.names
    return names is None or who in names


def guest_name(guest: Guest) -> str:
    return f"{guest.name} ({guest.key.vmid})" if guest.name else str(guest.key.vmid)


def _below(paths: Iterable[str], start: str) -> Iterator[str]:
    for path in paths:
        if path.startswith(start):
            yield path.removeprefix(start)


# --- one guest, before something is asked of it


def lacking_for(feature: Feature, seen: RightsSeen, guest: Guest, version: str = "") -> tuple[Missing, ...]:
    """What is missing for doing this with one guest that is there."""
    path = f"/vms/{guest.key.vmid}"
    held = seen.rights.at(path)
    needed = feature.needed(Version(seen.version or version))
    return tuple(
        Missing(need.where, path, need.privilege, need.instead)
        for need in needed
        if need.where.of_guests and not need.met_by(held)
    )
