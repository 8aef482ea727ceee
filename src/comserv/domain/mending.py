"""The `pveum` lines that give a token what it lacks: least privilege, on a role of our own, where the lack is. Pure.

Entries on one path add up, but a deeper entry replaces what would come down, and a user's entry replaces those of its groups
(semantics section 5). So a line stands at the path that decides now, and the role then holds there what was used there already.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from shlex import quote

from comserv.domain.cluster import Version
from comserv.domain.features import TODAY, Where, privileges_of
from comserv.domain.rights import RightsSeen, parent
from comserv.domain.server import TokenId

ROLE = "Comserv"
ROOT = "root@pam"
MOST_PATHS = 20
NO_ACCESS = "If it helps nothing: a NoAccess on the same path cancels every role; see: pveum acl list"


@dataclass(frozen=True)
class Missing:
    """A privilege that is lacking at a path, of the kind `where`; any of `instead` would do as well."""

    where: Where
    path: str
    privilege: str
    instead: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mend:
    """lines: to be run as root on the server, in order. notes: when some of them are not needed, sentences."""

    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def mend(seen: RightsSeen, token: TokenId, missing: Collection[Missing], version: Version) -> Mend:
    """Nothing missing: no lines."""
    if not missing:
        return Mend()
    return _Mending(seen, token, version).of(missing)


@dataclass
class _Mending:
    seen: RightsSeen
    token: TokenId
    version: Version
    used: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.used = frozenset(privileges_of(TODAY, self.version))
        rights, user = self.seen.rights, self.seen.user_rights
        spread = rights.below("/") or (user.below("/") if user and rights.none_at_all else frozenset())
        self.whole = bool(spread) or rights.none_at_all
        """The server is given as a whole, and not some pools or guests of it."""

    def of(self, missing: Collection[Missing]) -> Mend:
        wanted: dict[str, set[str]] = {}
        asked = {(one.path, one.privilege) for one in missing}
        for one in missing:
            if any((one.path, name) in asked for name in one.instead):
                continue  # what will be given anyway is enough
            for path in (*self._targets(one), *self._deeper(one)):
                wanted.setdefault(path, set()).add(one.privilege)
        held = {name for given in self.seen.rights.paths.values() for name in given} & self.used
        privileges = sorted(held.union(*wanted.values()))
        lines, doubtful = list(self._role(privileges)), list[str]()
        for path in sorted(wanted):
            narrow = path == "/" and not self.whole
            lines += self._no_access(path)
            if self._token_needs(path):
                lines += self._entry(path, "tokens", f"'{self.token}'", str(self.token), narrow)
            user = self._user_needs(path, wanted[path])
            entry = self._entry(path, "users", quote(self.token.userid), self.token.userid, narrow)
            if user is None:
                doubtful += entry
            elif user:
                lines += entry
        if doubtful:
            lines += [f"# {self._only_if}", *doubtful]
        notes = [self._only_if] if doubtful else []
        if self.seen.acl is None:
            notes.append(NO_ACCESS)
            lines.append(f"# {NO_ACCESS}")
        return Mend(tuple(lines), tuple(notes))

    @property
    def _only_if(self) -> str:
        user = quote(self.token.userid)
        return f"Only if the user {self.token.userid} has not got them itself; see: pveum user permissions {user}"

    def _role(self, privileges: list[str]) -> Iterable[str]:
        if self.seen.role is None:
            yield role_add(privileges)
        elif lacking := [name for name in privileges if name not in self.seen.role]:
            yield role_append(lacking)

    def _entry(self, path: str, kind: str, shown: str, who: str, narrow: bool) -> list[str]:
        """Nothing where the ACL shows that it is there already."""
        there = any(
            entry.path == path and entry.who == who and entry.role == ROLE and (entry.propagate or narrow)
            for entry in self.seen.acl or ()
        )
        spread = " --propagate 0" if narrow else ""
        return [] if there else [f"pveum acl modify {path} --{kind} {shown} --roles {ROLE}{spread}"]

    def _no_access(self, path: str) -> Iterable[str]:
        """NoAccess cancels every other role on its path, so it has to go first."""
        for entry in self.seen.acl or ():
            if entry.path == path and entry.role == "NoAccess":
                if entry.who == str(self.token):
                    yield f"pveum acl delete {path} --tokens '{entry.who}' --roles NoAccess"
                elif entry.who == self.token.userid:
                    yield f"pveum acl delete {path} --users {quote(entry.who)} --roles NoAccess"

    def _token_needs(self, path: str) -> bool:
        """A token that is not separated has its user's rights, and entries of its own count for nothing."""
        facts = self.seen.token_facts
        return facts is None or facts.separated

    def _user_needs(self, path: str, privileges: set[str]) -> bool | None:
        """None: cannot be told."""
        if self.token.userid == ROOT:
            return False
        facts = self.seen.token_facts
        if facts is not None and not facts.separated:
            return True
        if self.seen.user_rights is None:
            return None
        return not privileges <= self.seen.user_rights.at(path)

    # --- where

    def _targets(self, one: Missing) -> tuple[str, ...]:
        if decisive := self._decisive(one.path):
            return (decisive,)
        if self.whole or one.where is Where.SERVER:
            return ("/",)
        if one.path != one.where.general:
            return (one.path,)
        return self._given(one.where) or (one.where.general,)

    def _deeper(self, one: Missing) -> Iterable[str]:
        """Paths below with entries of their own that lack it too. NoAccess there is meant, and stays."""
        if one.path != one.where.general or one.where is Where.SERVER:
            return
        for path, given in self.seen.rights.paths.items():
            if path.startswith(f"{one.path}/") and one.privilege not in given and self._has_entry(path):
                yield path

    def _decisive(self, path: str) -> str:
        """The deepest path from `path` up that has an entry of its own for token or user, so that what is above does not count."""
        while path != "/":
            if self._has_entry(path):
                return path
            path = parent(path)
        return "/" if self.whole and self._has_entry("/") else ""

    def _has_entry(self, path: str) -> bool:
        if self.seen.acl is not None:
            facts = self.seen.token_facts
            names = {str(self.token), self.token.userid, *(facts.groups if facts else ())}
            return any(entry.path == path and entry.who in names for entry in self.seen.acl)
        rights = self.seen.rights
        if path not in rights.paths and path not in rights.empty:
            return False
        above = rights.below(parent(path)) if path != "/" else frozenset[str]()
        return rights.at(path) != above and not (path.startswith("/vms/") and self._given(Where.GUEST))

    def _given(self, where: Where) -> tuple[str, ...]:
        """Paths of this kind that were given one by one: pools, guests, storages, networks."""
        told = [path for path, given in self.seen.rights.paths.items() if given]
        if where.of_guests and (pools := [path for path in told if path.startswith("/pool/")]):
            return tuple(sorted(pools))[:MOST_PATHS]
        start = f"{where.general}/" if where.general != "/" else "/"
        found = [path for path in told if path.startswith(start) and where is not Where.NEW]
        return tuple(sorted(found))[:MOST_PATHS]


def role_add(privileges: Iterable[str]) -> str:
    return f'pveum role add {ROLE} --privs "{" ".join(sorted(privileges))}"'


def role_append(privileges: Iterable[str]) -> str:
    """Adds what is missing to the role that is there."""
    return f'pveum role modify {ROLE} --append 1 --privs "{" ".join(sorted(privileges))}"'


def refusal_cure(path: str, privileges: Sequence[str], server: str) -> str:
    """For a refusal of Proxmox that names its path and privileges, of which any will do."""
    known = privileges_of(TODAY, Version(""))
    wanted = next((name for name in privileges if name in known), privileges[0])
    return (
        f"Give the token {wanted} at {path}. Where it has our role already, this line does it, run as root on the server: "
        f"{role_append((wanted,))}. The page of {server} has the exact lines under “What the token may do”."
    )
