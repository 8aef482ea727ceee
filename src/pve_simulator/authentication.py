"""Who is asking: tickets in a cookie or a header, API tokens, and the token against forged requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import unquote

from pve_simulator.clock import Clock
from pve_simulator.errors import SimulatorError
from pve_simulator.permissions import split
from pve_simulator.world.estate import Estate

TICKET_LIFE = 2 * 3600
VNC_TICKET_LIFE = 40
FUTURE = 300
PUBLIC = {
    ("GET", "/access/domains"),
    ("GET", "/access/ticket"),
    ("POST", "/access/ticket"),
    ("POST", "/access/vncticket"),
    ("POST", "/access/openid/auth-url"),
    ("POST", "/access/openid/login"),
}
NO_TICKET, FAILED, FORGED = "No ticket", "Authentication failed!", "Permission denied - invalid csrf token"


class Unauthenticated(SimulatorError):
    """401 with an empty body; the text is the reason."""


@dataclass(frozen=True)
class Identity:
    """Who asks: `user` is `user@realm`, `user@realm!token` or empty (public calls)."""

    user: str = ""
    token: bool = False
    ticket: str = ""


class Authentication:
    """Issues and verifies for one estate."""

    def __init__(self, estate: Estate, clock: Clock) -> None:
        self.estate = estate
        self.clock = clock

    def identify(self, method: str, path: str, cookie: str, authorization: str, csrf: str) -> Identity:
        """Who asks, in the real order: cookie, ticket in the header, API token. Raises Unauthenticated."""
        if (method, path) in PUBLIC:
            return Identity()
        ticket = cookie_value(cookie) or header_value(authorization, "PVEAuthCookie")
        if ticket:
            user = self.ticket_user(unquote(ticket))
            if user is None:
                raise Unauthenticated(FAILED)
            if method != "GET" and not is_upload(path) and not self.valid_csrf(csrf, user):
                raise Unauthenticated(FORGED)
            return Identity(user, ticket=unquote(ticket))
        told = re.fullmatch(r"PVEAPIToken(?:=|\s+)(.*)", authorization.strip())
        if not told:
            raise Unauthenticated(NO_TICKET)
        return Identity(self.token_user(told[1]), token=True)

    def token_user(self, told: str) -> str:
        """The token id of `user@realm!name=secret`; raises Unauthenticated."""
        who, _, secret = told.partition("=")
        user, name = split(who)
        if name is None or not self.enabled(user):
            raise Unauthenticated(FAILED)
        token = self.estate.users[user].tokens.get(name)
        if token is None or not hmac.compare_digest(token.secret.encode(), secret.encode()):
            raise Unauthenticated(FAILED)
        if token.expire and token.expire < self.clock.time():
            raise Unauthenticated(FAILED)
        return who

    def enabled(self, user: str) -> bool:
        """Whether a user exists, is enabled and has not expired."""
        known = self.estate.users.get(user)
        return known is not None and known.enable and not (known.expire and known.expire < self.clock.time())

    def login(self, user: str, password: str) -> bool:
        """Whether a password, or a valid ticket in its place, is right."""
        if not self.enabled(user):
            return False
        if password.startswith("PVE:"):
            return self.ticket_user(password) == user
        known = self.estate.users[user].password
        return bool(known) and hmac.compare_digest(known.encode(), password.encode())

    def ticket(self, user: str, kind: str = "PVE", data: str = "") -> str:
        """A ticket `PVE:user@realm:<8 hex time>::<signature>`; `kind` is PVEVNC for consoles."""
        head = f"{kind}:{user}:" if kind == "PVE" else f"{kind}:"
        plain = f"{head}{self.clock.seconds():08X}"
        return f"{plain}::{self._signature(f'{plain}:{data}' if data else plain)}"

    def ticket_user(self, ticket: str) -> str | None:
        """The user of a valid ticket, else None."""
        found = re.fullmatch(r"(PVE:([^:]+@[^:]+):([0-9A-F]{8}))::(.+)", ticket)
        if not found or not hmac.compare_digest(self._signature(found[1]).encode(), found[4].encode()):
            return None
        age = self.clock.time() - int(found[3], 16)
        return found[2] if -FUTURE < age < TICKET_LIFE and self.enabled(found[2]) else None

    def vnc_ticket(self, ticket: str, user: str, path: str) -> bool:
        """Whether a ticket of a console was given to this user for this path, within the last 40 s."""
        found = re.fullmatch(r"(PVEVNC:([0-9A-F]{8}))::(.+)", ticket)
        if not found or not hmac.compare_digest(
            self._signature(f"{found[1]}:{user}:{path}").encode(), found[3].encode()
        ):
            return False
        return -20 < self.clock.time() - int(found[2], 16) < VNC_TICKET_LIFE

    def csrf(self, user: str) -> str:
        """The token that has to accompany a ticket on all that writes."""
        return self._csrf(f"{self.clock.seconds():08X}", user)

    def valid_csrf(self, told: str, user: str) -> bool:
        """Whether such a token was issued to the user and is not too old."""
        found = re.fullmatch(r"([0-9A-F]{8}):\S+", told)
        if not found or not hmac.compare_digest(self._csrf(found[1], user).encode(), told.encode()):
            return False
        return -FUTURE < self.clock.time() - int(found[1], 16) < TICKET_LIFE

    def _csrf(self, stamp: str, user: str) -> str:
        made = hmac.new(f"csrf{self.estate.secret}".encode(), f"{stamp}:{user}".encode(), hashlib.sha256).digest()
        return f"{stamp}:{base64.b64encode(made).decode().rstrip('=')}"

    def _signature(self, plain: str) -> str:
        parts = (
            hmac.new(f"{number}{self.estate.secret}".encode(), plain.encode(), hashlib.sha512).digest()
            for number in range(4)
        )
        return base64.b64encode(b"".join(parts)).decode()


def is_upload(path: str) -> bool:
    """Whether a path takes a file: then pveproxy asks for no CSRF token."""
    return re.fullmatch(r"/nodes/[^/]+/storage/[^/]+/upload", path) is not None


def cookie_value(cookie: str) -> str:
    """The ticket of a Cookie header, as sent; empty without one."""
    for part in cookie.split(";"):
        name, _, value = part.strip().partition("=")
        if name == "PVEAuthCookie":
            return value.strip('"')
    return ""


def header_value(authorization: str, scheme: str) -> str:
    """What follows `scheme=` in an Authorization header."""
    found = re.fullmatch(rf"{scheme}(?:=|\s+)(.*)", authorization.strip())
    return found[1] if found else ""
