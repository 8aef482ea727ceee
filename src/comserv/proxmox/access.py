"""/access: what our token may do, and until when it lives."""

import msgspec

from comserv.domain.errors import PermissionMissing
from comserv.domain.rights import Rights, TokenFacts
from comserv.domain.server import TokenId
from comserv.proxmox.decoding import Flag, flag, moment
from comserv.proxmox.encoding import path
from comserv.proxmox.exchange import Exchange


class TokenRow(msgspec.Struct):
    """/access/users/{user}/token/{name} (recording 06 token.get). expire: 0 is never."""

    expire: float | None = None
    privsep: Flag = 1


class Access:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def rights(self) -> Rights:
        """The token's effective privileges by path; propagating or not (recording 05 GET /access/permissions)."""
        paths = await self._exchange.get("/access/permissions", dict[str, dict[str, Flag]])
        return Rights({at: {name: flag(spreads) for name, spreads in given.items()} for at, given in paths.items()})

    async def token(self, token: TokenId) -> TokenFacts | None:
        """None where it may not be read: a token is not its user's self, so it needs User.Modify (semantics section 5)."""
        try:
            row = await self._exchange.get(path("access", "users", token.userid, "token", token.name), TokenRow)
        except PermissionMissing:
            return None
        return TokenFacts(moment(row.expire), flag(row.privsep))
