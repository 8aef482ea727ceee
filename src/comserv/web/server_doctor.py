"""What the token of a server may do: a table on the server's page, and the button that looks again."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from comserv.domain.doctor import FeatureState, FeatureVerdict
from comserv.domain.errors import ComservError
from comserv.domain.person import Action, Actor
from comserv.services.doctor import DoctorReport
from comserv.services.live import Notice
from comserv.web import links
from comserv.web.context import Web, see_other, wants_part
from comserv.web.live import PartKind

ORDER = (FeatureState.BLOCKED, FeatureState.PARTLY, FeatureState.WORKS)


def router(web: Web) -> APIRouter:
    routes, doctor = web.router(), web.services.doctor

    async def body(actor: Actor, key: str) -> str:
        return draw(web, actor, await doctor.get(actor, key))

    web.parts.register(PartKind("server-doctor", body, _of_server))

    @routes.post("/servers/{server_id}/doctor")
    async def look(request: Request, server_id: str) -> Response:
        visitor, _ = await web.form(request)
        await web.require(visitor, Action.TEST_SERVER, f"server {server_id}")
        if not wants_part(request):
            await doctor.look(visitor.actor, server_id)
            return see_other(request, f"{links.server(server_id)}#doctor")
        try:
            html = draw(web, visitor.actor, await doctor.look(visitor.actor, server_id))
        except ComservError as error:
            html = draw(web, visitor.actor, await doctor.get(visitor.actor, server_id), error)
        return HTMLResponse(html)

    return routes


def draw(web: Web, actor: Actor, report: DoctorReport, error: ComservError | None = None) -> str:
    return web.pages.text(
        "part/server-doctor.html",
        report=report,
        verdicts=in_order(report),
        may_look=actor.may(Action.TEST_SERVER),
        error=error,
    )


def in_order(report: DoctorReport) -> tuple[FeatureVerdict, ...]:
    """What is blocked first, what works last."""
    found = report.diagnosis.verdicts if report.diagnosis else ()
    return tuple(sorted(found, key=lambda verdict: ORDER.index(verdict.state)))


def _of_server(key: str, notice: Notice) -> bool:
    return notice.topic in ("server", "guests") and notice.key in ("", key)
