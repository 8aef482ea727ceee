"""`/sessions`: the browsers in which one is signed in. They are opened by the pages only, never here."""

from fastapi import APIRouter, Response

from comserv.api.paging import Cursor, Limit, cut
from comserv.api.replies import answers, nothing, reply
from comserv.api.route import Given, Route, RowId, Who
from comserv.api.shapes.person import Session, SessionList
from comserv.domain.person import Action

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=Route)


@router.get("", **answers(SessionList, 422, needs=Action.OWN_ACCOUNT))
async def list_sessions(who: Who, services: Given, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """One's own sessions."""
    page = cut(await services.people.sessions(who), lambda session: session.id, cursor, limit)
    return reply(SessionList([Session.of(session) for session in page.items], page.next_cursor))


@router.delete("/{session_id}", **answers(None, 404, 422, needs=Action.OWN_ACCOUNT, status=204))
async def revoke_session(who: Who, services: Given, session_id: RowId) -> Response:
    """Signs that browser out at once."""
    await services.people.revoke_session(who, session_id)
    return nothing()
