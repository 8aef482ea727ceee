"""Coming in: the first set-up, signing in and out, and who a session or an API token belongs to."""

from dataclasses import dataclass

from comserv.domain.person import Actor, Person


@dataclass(frozen=True)
class SignedIn:
    """token: goes into the cookie; csrf: goes into every form of this session."""

    token: str
    csrf: str
    person: Person


@dataclass(frozen=True)
class Visitor:
    """Who a session belongs to."""

    actor: Actor
    person: Person
    csrf: str


class Sessions:
    async def set_up(self) -> bool:
        """Whether a person exists."""
        raise NotImplementedError

    async def make_setup_link(self) -> str:
        """A fresh token for /set-up/{token}, 32 random bytes, good for an hour; the former one is void. Raises Conflict when set up."""
        raise NotImplementedError

    async def check_setup_link(self, token: str) -> bool:
        """Whether it is good; does not use it up."""
        raise NotImplementedError

    async def use_setup_link(self, token: str, name: str, password: str, address: str, user_agent: str) -> SignedIn:
        """Makes the first administrator and signs in. Raises Invalid, Conflict (used, expired, a person exists)."""
        raise NotImplementedError

    async def sign_in(self, name: str, password: str, address: str, user_agent: str) -> SignedIn:
        """Raises Unauthenticated (never says which of the two was wrong), TooManyAttempts with `retry_after` seconds."""
        raise NotImplementedError

    async def sign_in_by_link(self, token: str, address: str, user_agent: str) -> SignedIn:
        """A one-time sign-in link of the demo. Raises Unauthenticated."""
        raise NotImplementedError

    async def visitor(self, token: str, request_id: str = "", address: str = "") -> Visitor | None:
        """Who a session's cookie belongs to; None when it is unknown, revoked or over."""
        raise NotImplementedError

    async def bearer(self, token: str, request_id: str = "", address: str = "") -> Actor:
        """Who an API token belongs to. Raises Unauthenticated."""
        raise NotImplementedError

    async def sign_out(self, token: str) -> None:
        raise NotImplementedError
