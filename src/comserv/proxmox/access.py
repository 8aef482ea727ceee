"""/access: what our token may do, what stands behind that, and until when it lives."""

from collections.abc import Iterable

import msgspec

from comserv.domain.errors import PermissionMissing, RequestRefused
from comserv.domain.rights import AclEntry, Rights, TokenFacts, rights_as_told
from comserv.domain.server import TokenId
from comserv.proxmox.decoding import Flag, flag, moment
from comserv.proxmox.encoding import path
from comserv.proxmox.exchange import Exchange

Told = dict[str, dict[str, Flag]]


class TokenRow(msgspec.Struct):
    """One of `tokens` in /access/users/{user} (recording 05). expire: 0 is never."""

    expire: float | None = None
    privsep: Flag = 1


class UserRow(msgspec.Struct):
    """/access/users/{user} (recordings 05 and 06). expire: 0 is never; tokens: by name, null where there are none."""

    enable: Flag = 1
    expire: float | None = None
    groups: list[str] | None = None
    tokens: dict[str, TokenRow] | None = None


class AclRow(msgspec.Struct):
    """A row of /access/acl (recording 05)."""

    path: str
    type: str
    ugid: str
    roleid: str
    propagate: Flag = 1


class Access:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def rights(
        self, acl: Iterable[AclEntry] | None = None, names: Iterable[str] | None = None, *, of: str = ""
    ) -> Rights:
        """Effective privileges by path (recording 05 GET /access/permissions): the token's own, or those `of` a user,
        which needs Sys.Audit at /access. acl, names: as in `rights_as_told`."""
        paths = await self._exchange.get("/access/permissions", Told, {"userid": of} if of else None)
        plain = {at: {name: flag(spreads) for name, spreads in given.items()} for at, given in paths.items()}
        return rights_as_told(plain, acl, names)

    async def acl(self) -> tuple[AclEntry, ...]:
        """Entries that the token may see: all with Sys.Audit at /access, else none or few."""
        rows = await self._exchange.get("/access/acl", list[AclRow])
        return tuple(AclEntry(row.path, row.type, row.ugid, row.roleid, flag(row.propagate)) for row in rows)

    async def role(self, name: str) -> frozenset[str] | None:
        """A role's privileges; None where there is no such role (500 `role '…' does not exist`, recording 06)."""
        try:
            return frozenset(await self._exchange.get(path("access", "roles", name), dict[str, Flag]))
        except RequestRefused:
            return None

    async def token(self, token: TokenId) -> TokenFacts | None:
        """None where it may not be read: a token is not its user's self, so it needs Sys.Audit or User.Modify at
        /access/groups (semantics section 5)."""
        try:
            user = await self._exchange.get(path("access", "users", token.userid), UserRow)
        except PermissionMissing:
            return None
        row = (user.tokens or {}).get(token.name)
        if row is None:
            return None
        return TokenFacts(
            expires=moment(row.expire),
            separated=flag(row.privsep),
            user_enabled=flag(user.enable),
            user_expires=moment(user.expire),
            groups=tuple(user.groups or ()),
        )
