"""People, their roles, their API tokens and sessions."""

from dataclasses import dataclass
from datetime import datetime

from comserv.domain.person import Actor, Person, Role


@dataclass(frozen=True)
class ApiTokenView:
    id: int
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    last_used: datetime | None


@dataclass(frozen=True)
class SessionView:
    id: int
    created_at: datetime
    last_seen: datetime
    address: str
    user_agent: str
    current: bool


class People:
    async def list(self, actor: Actor) -> tuple[Person, ...]:
        """Needs MANAGE_PEOPLE."""
        raise NotImplementedError

    async def get(self, actor: Actor, name: str) -> Person:
        raise NotImplementedError

    async def create(self, actor: Actor, name: str, role: Role, password: str) -> Person:
        """Raises Invalid (name, password too short or well known), Conflict (name taken)."""
        raise NotImplementedError

    async def change(self, actor: Actor, name: str, role: Role | None = None, disabled: bool | None = None) -> Person:
        """Ends the person's sessions when disabled. Raises Conflict for the last admin."""
        raise NotImplementedError

    async def set_password(self, actor: Actor, name: str, password: str) -> None:
        """By an admin; ends the person's sessions."""
        raise NotImplementedError

    async def own_password(self, actor: Actor, current: str, new: str) -> None:
        """Ends one's other sessions. Raises Invalid."""
        raise NotImplementedError

    async def set_theme(self, actor: Actor, theme: str) -> None:
        """`light`, `dark`, or empty for the system's."""
        raise NotImplementedError

    async def tokens(self, actor: Actor, name: str = "") -> tuple[ApiTokenView, ...]:
        """One's own; those of another person need MANAGE_PEOPLE."""
        raise NotImplementedError

    async def create_token(
        self, actor: Actor, token_name: str, role: Role | None = None, days: int | None = None, name: str = ""
    ) -> str:
        """The token, told this once. role: at most the person's own. Raises Forbidden, Invalid."""
        raise NotImplementedError

    async def revoke_token(self, actor: Actor, token_id: int) -> None:
        raise NotImplementedError

    async def sessions(self, actor: Actor, current_token: str = "") -> tuple[SessionView, ...]:
        """One's own."""
        raise NotImplementedError

    async def revoke_session(self, actor: Actor, session_id: int) -> None:
        raise NotImplementedError
