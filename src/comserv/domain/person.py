"""A person, a role, and what each role may do: the one table that services ask."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from comserv.domain.errors import Forbidden


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


class Action(StrEnum):
    """Every intention that services know, with the role it needs in `NEEDED`."""

    SEE = "see"
    PLAN = "plan"
    CREATE_VM = "create_vm"
    POWER = "power"
    CHANGE_GUEST = "change_guest"
    DELETE_GUEST = "delete_guest"
    CANCEL_JOB = "cancel_job"
    RETRY_JOB = "retry_job"
    MANAGE_SERVERS = "manage_servers"
    TEST_SERVER = "test_server"
    TAKE_BUNDLE = "take_bundle"
    MANAGE_PEOPLE = "manage_people"
    SEE_AUDIT = "see_audit"
    OWN_ACCOUNT = "own_account"


NEEDED: dict[Action, Role] = {
    Action.SEE: Role.VIEWER,
    Action.OWN_ACCOUNT: Role.VIEWER,
    Action.PLAN: Role.OPERATOR,
    Action.CREATE_VM: Role.OPERATOR,
    Action.POWER: Role.OPERATOR,
    Action.CHANGE_GUEST: Role.OPERATOR,
    Action.DELETE_GUEST: Role.OPERATOR,
    Action.CANCEL_JOB: Role.OPERATOR,
    Action.RETRY_JOB: Role.OPERATOR,
    Action.MANAGE_SERVERS: Role.ADMIN,
    Action.TEST_SERVER: Role.ADMIN,
    Action.TAKE_BUNDLE: Role.ADMIN,
    Action.MANAGE_PEOPLE: Role.ADMIN,
    Action.SEE_AUDIT: Role.ADMIN,
}


@dataclass(frozen=True)
class Person:
    id: int
    name: str
    role: Role
    disabled: bool = False
    created_at: datetime | None = None
    last_seen: datetime | None = None
    theme: str = ""


@dataclass(frozen=True)
class Actor:
    """Who asks, and by which way (`page`, `api`, `cli`, `local`): what permission checks and audit rows are about.

    role: the lower of the person's and the API token's. `local` is whoever may write the data folder.
    """

    name: str
    role: Role
    via: str
    person_id: int | None = None
    request_id: str = ""
    address: str = ""

    def may(self, action: Action) -> bool:
        return _RANK[self.role] >= _RANK[NEEDED[action]]

    def require(self, action: Action) -> None:
        """Raises Forbidden naming the role that is needed."""
        if not self.may(action):
            raise Forbidden(
                f"{action} needs the role {NEEDED[action]}, you have {self.role}.", needed=str(NEEDED[action])
            )


def at_most(role: Role, limit: Role) -> bool:
    return _RANK[role] <= _RANK[limit]


def lower(one: Role, other: Role) -> Role:
    return one if _RANK[one] <= _RANK[other] else other
