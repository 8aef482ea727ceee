"""`/overview`, `/find` and `/health`: at a glance."""

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query, Response

from comserv.api.paging import Limit
from comserv.api.replies import answers, reply
from comserv.api.route import Given, PublicRoute, Route, Who
from comserv.api.shapes.outage import Outage
from comserv.api.shapes.overview import Alive, Match, MatchList, Overview
from comserv.domain.person import Action

router = APIRouter(tags=["overview"], route_class=Route)
public = APIRouter(tags=["overview"], route_class=PublicRoute)


@router.get("/overview", **answers(Overview, needs=Action.SEE))
async def get_overview(who: Who, services: Given) -> Response:
    """What needs attention, how the servers stand, what runs."""
    summary = await services.overview.summary(who)
    return reply(Overview.of(summary, await services.overview.counts(who)))


@router.get("/find", **answers(MatchList, 422, needs=Action.SEE))
async def find(
    who: Who,
    services: Given,
    text: Annotated[str, Query(max_length=200, description='For example "web" or "start web-01".')] = "",
    limit: Limit = 20,
) -> Response:
    """Guests, verbs on them, jobs and servers by what is typed; only what the role may do."""
    found = await services.finder.find(who, text, limit)
    missing = Outage.all_of(await services.finder.coverage(who))
    return reply(MatchList([Match.of(match) for match in found[:limit]], None, missing))


@public.get("/health", **answers(Alive))
async def get_health(services: Given) -> Response:
    """Whether Comserv runs and reads its database. Needs no token, also before set-up."""
    return reply(Alive("ok", version("comserv"), await services.sessions.set_up()))
