"""`/tokens`: API tokens, one's own and, for an admin, those of others."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from comserv.api.paging import Cursor, Limit, cut
from comserv.api.replies import answers, nothing, reply
from comserv.api.route import Given, Route, RowId, Who
from comserv.api.shapes.person import NewToken, Token, TokenList
from comserv.domain.person import Action, Role

router = APIRouter(prefix="/tokens", tags=["tokens"], route_class=Route)

PersonName = Annotated[str, Query(max_length=64, description="Whose; left away: one's own.")]


class TokenWish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="What it is for.", examples=["ci"])
    role: Role | None = Field(default=None, description="At most the person's own; left away: that.")
    days: Annotated[int, Field(ge=1, le=3650)] | None = Field(
        default=None, description="Left away: it does not expire."
    )
    person: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Whose; left away: one's own."
    )


@router.get("", **answers(TokenList, 403, 404, 422, needs=Action.OWN_ACCOUNT))
async def list_tokens(
    who: Who, services: Given, person: PersonName = "", limit: Limit = 100, cursor: Cursor = ""
) -> Response:
    """Tokens without their values. Those of another person need the role admin."""
    page = cut(await services.people.tokens(who, person), lambda token: token.id, cursor, limit)
    return reply(TokenList([Token.of(token) for token in page.items], page.next_cursor))


@router.post("", **answers(NewToken, 403, 404, 422, needs=Action.OWN_ACCOUNT, status=201))
async def create_token(who: Who, services: Given, wish: TokenWish) -> Response:
    """A new token; its value is told this once."""
    value = await services.people.create_token(who, wish.name, wish.role, wish.days, wish.person or "")
    return reply(NewToken(value), 201)


@router.delete("/{token_id}", **answers(None, 403, 404, 422, needs=Action.OWN_ACCOUNT, status=204))
async def revoke_token(who: Who, services: Given, token_id: RowId, person: PersonName = "") -> Response:
    """It is void at once. That of another person needs the role admin."""
    await services.people.revoke_token(who, token_id, person)
    return nothing()
