"""`/account`: who one is, and one's own password."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from comserv.api.people import Password
from comserv.api.replies import answers, nothing, reply
from comserv.api.route import Given, Route, Who
from comserv.api.shapes.person import Account
from comserv.domain.person import Action

router = APIRouter(prefix="/account", tags=["account"], route_class=Route)


class OwnPassword(BaseModel):
    model_config = ConfigDict(extra="forbid")

    current: Password
    new: Password


@router.get("", **answers(Account, needs=Action.OWN_ACCOUNT))
async def get_account(who: Who) -> Response:
    """Who the token belongs to, and what role it has."""
    return reply(Account(who.name, who.role, who.via))


@router.put("/password", **answers(None, 422, 429, needs=Action.OWN_ACCOUNT, status=204))
async def set_own_password(who: Who, services: Given, password: OwnPassword) -> Response:
    """A new password for oneself; ends one's sessions. Wrong tries at the present one are slowed down as at sign-in."""
    await services.people.own_password(who, password.current, password.new)
    return nothing()
