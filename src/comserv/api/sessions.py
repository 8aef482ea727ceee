"""`/sessions`: the browsers in which somebody is signed in. They are opened by the pages only, never here."""

from fastapi import APIRouter, Response

from comserv.api.paging import Cursor, Limit, cut
from comserv.api.replies import answers, nothing, reply
from comserv.api.route import Given, Route, RowId, Who
from comserv.api.shapes.person import Session, SessionList, SessionsEnded
from comserv.api.tokens import PersonName
from comserv.domain.person import Action

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=Route)


@router.get("", **answers(SessionList, 403, 404, 422, needs=Action.OWN_ACCOUNT))
async def list_sessions(
    who: Who, services: Given, person: PersonName = "", limit: Limit = 100, cursor: Cursor = ""
) -> Response:
    """Those that last. Those of another person need the role admin."""
    page = cut(await services.people.sessions(who, name=person), lambda session: session.id, cursor, limit)
    return reply(SessionList([Session.of(session) for session in page.items], page.next_cursor))


@router.delete("", **answers(SessionsEnded, 403, 404, 422, needs=Action.OWN_ACCOUNT))
async def revoke_sessions(who: Who, services: Given, person: PersonName = "") -> Response:
    """Signs out every browser at once; API tokens stay. Those of another person need the role admin."""
    return reply(SessionsEnded(await services.people.revoke_sessions(who, name=person)))


@router.delete("/{session_id}", **answers(None, 403, 404, 422, needs=Action.OWN_ACCOUNT, status=204))
async def revoke_session(who: Who, services: Given, session_id: RowId, person: PersonName = "") -> Response:
    """Signs that browser out at once. That of another person needs the role admin."""
    await services.people.revoke_session(who, session_id, person)
    return nothing()
