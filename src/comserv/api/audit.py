"""`/audit`: who changed or tried what."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from comserv.api.paging import Cursor, Limit
from comserv.api.replies import answers, reply
from comserv.api.route import Given, Route, Who
from comserv.api.shapes.audit import AuditEntry, AuditList
from comserv.domain.audit import Outcome
from comserv.domain.person import Action
from comserv.services.audit import AuditQuery

router = APIRouter(prefix="/audit", tags=["audit"], route_class=Route)

Filter = Annotated[str, Query(max_length=128)]


@router.get("", **answers(AuditList, 422, needs=Action.SEE_AUDIT))
async def list_audit(
    who: Who,
    services: Given,
    person: Filter = "",
    action: Filter = "",
    subject: Annotated[str, Query(max_length=128, examples=["guest rack/105"])] = "",
    outcome: Annotated[Outcome | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """Every change and every refused attempt, newest first."""
    query = AuditQuery(
        who=person, action=action, subject=subject, outcome=str(outcome or ""), cursor=cursor, limit=limit
    )
    page = await services.audit.list(who, query)
    return reply(AuditList([AuditEntry.of(entry) for entry in page.items], page.next_cursor))
