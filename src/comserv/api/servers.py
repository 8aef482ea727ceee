"""`/servers`: look, add, test, edit, remove."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from comserv.api.paging import Cursor, Limit, cut
from comserv.api.problems import problem_of, request_id_of
from comserv.api.replies import PREFIX, answers, nothing, reply
from comserv.api.route import Given, Route, ServerId, Who
from comserv.api.serverbody import LookAt, MaintenanceBody, ServerBody, ServerPatch
from comserv.api.shapes.doctor import Doctor
from comserv.api.shapes.load import ServerLoad
from comserv.api.shapes.outage import Outage
from comserv.api.shapes.problem import Stage
from comserv.api.shapes.server import Certificate, Server, ServerList, Stages
from comserv.domain.connection import Stage as DomainStage
from comserv.domain.connection import StageState
from comserv.domain.errors import ComservError
from comserv.domain.person import Action

router = APIRouter(prefix="/servers", tags=["servers"], route_class=Route)

NDJSON = "application/x-ndjson"
Accept = Annotated[str, Header(description=f"`{NDJSON}` streams the stages as they end, one a line.")]

_line = msgspec.json.Encoder().encode


def _with_stream(route: dict[str, Any]) -> dict[str, Any]:
    route["responses"][200]["content"][NDJSON] = {"schema": {"type": "string"}}
    return route


async def _lines(request: Request, first: DomainStage | None, rest: AsyncIterator[DomainStage]) -> AsyncIterator[bytes]:
    """A stage a line. What goes wrong midway is the last line, `{"problem": …}`: the status is already sent."""
    try:
        if first is not None:
            yield _line(Stage.of(first)) + b"\n"
        async for stage in rest:
            yield _line(Stage.of(stage)) + b"\n"
    except ComservError as error:
        yield _line({"problem": problem_of(error, request_id_of(request))}) + b"\n"


async def _stages(request: Request, stages: AsyncIterator[DomainStage]) -> Response:
    """All at once, or as they come. What is refused outright is refused before the first line."""
    if NDJSON in request.headers.get("accept", ""):
        first = await anext(stages, None)
        return StreamingResponse(_lines(request, first, stages), media_type=NDJSON)
    async with aclosing(stages) as found:  # pyright: ignore[reportArgumentType] # an async generator, told as an iterator
        shapes = [Stage.of(stage) async for stage in found]
    return reply(Stages(shapes, all(stage.state != StageState.FAILED for stage in shapes)))


@router.get("", **answers(ServerList, 422, needs=Action.SEE))
async def list_servers(who: Who, services: Given, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """All servers, by id, also those that do not answer."""
    views = await services.servers.list(who)
    page = cut(views, lambda view: view.server.id, cursor, limit)
    missing = [Outage.of(view.outage) for view in views if view.outage]
    return reply(ServerList([Server.of(view) for view in page.items], page.next_cursor, missing))


@router.post("", **answers(Server, 409, 422, needs=Action.MANAGE_SERVERS, status=201))
async def add_server(who: Who, services: Given, server: ServerBody) -> Response:
    """Registers a server: after the connection test and the first sweep, at the latest after 10 s.

    One that does not answer is kept with `state` unreached. One that answers but fails a stage before `rights` is 422
    with `stages`, and nothing is kept.
    """
    view = await services.servers.add(who, server.parsed())
    return reply(Server.of(view), 201, {"Location": f"{PREFIX}/servers/{view.server.id}"})


@router.post("/look", **answers(Certificate, 422, 503, needs=Action.MANAGE_SERVERS))
async def look_at_server(who: Who, services: Given, place: LookAt) -> Response:
    """The certificate that stands at an address, to be compared and accepted; nothing is trusted or kept."""
    return reply(Certificate.of(await services.servers.look(who, place.address)))


@router.post("/test", **_with_stream(answers(Stages, 422, needs=Action.MANAGE_SERVERS)))
async def test_new_server(
    request: Request, who: Who, services: Given, server: ServerBody, accept: Accept = "*/*"
) -> Response:
    """The connection test of a server that is not registered yet; nothing is kept."""
    return await _stages(request, services.servers.test_new(who, server.parsed()))


@router.get("/{server_id}", **answers(Server, 404, needs=Action.SEE))
async def get_server(who: Who, services: Given, server_id: ServerId) -> Response:
    """A server with its nodes, storages, health and last test."""
    return reply(Server.of(await services.servers.get(who, server_id)))


@router.patch("/{server_id}", **answers(Server, 404, 409, 422, needs=Action.MANAGE_SERVERS))
async def edit_server(who: Who, services: Given, server_id: ServerId, changes: ServerPatch) -> Response:
    """Changes what is given. Addresses, TLS and token are tested before they count."""
    addresses = ()
    if changes.needs_addresses:
        addresses = (await services.servers.get(who, server_id)).server.addresses
    edit = changes.parsed(addresses)
    if edit.words() or (changes.enabled is None and changes.gentleness is None):
        await services.servers.edit(who, server_id, edit)
    if changes.gentleness is not None:
        await services.loads.set_gentleness(who, server_id, changes.gentleness)
    if changes.enabled is False:
        await services.maintenances.begin(who, server_id)
    elif changes.enabled:
        await services.maintenances.end(who, server_id)
    return reply(Server.of(await services.servers.get(who, server_id)))


@router.get("/{server_id}/load", **answers(ServerLoad, 404, needs=Action.SEE))
async def get_server_load(who: Who, services: Given, server_id: ServerId) -> Response:
    """What Comserv asks of it: requests in the last minute by what for, in flight, slow calls, errors, breaker and budget."""
    return reply(ServerLoad.of(await services.loads.get(who, server_id)))


@router.post("/{server_id}/maintenance", **answers(Server, 404, 422, needs=Action.MANAGE_SERVERS))
async def begin_maintenance(who: Who, services: Given, server_id: ServerId, wish: MaintenanceBody) -> Response:
    """From now on nothing is sent there: no sweep, no test, no call of a job. Calls in flight end, jobs wait, what was
    seen stays with its age. Sent again it changes reason and end."""
    await services.maintenances.begin(who, server_id, wish.why, wish.until)
    return reply(Server.of(await services.servers.get(who, server_id)))


@router.delete("/{server_id}/maintenance", **answers(Server, 404, needs=Action.MANAGE_SERVERS))
async def end_maintenance(who: Who, services: Given, server_id: ServerId) -> Response:
    """The server is asked again at once, and jobs that waited go on."""
    await services.maintenances.end(who, server_id)
    return reply(Server.of(await services.servers.get(who, server_id)))


@router.delete("/{server_id}", **answers(None, 404, 409, needs=Action.MANAGE_SERVERS, status=204))
async def remove_server(who: Who, services: Given, server_id: ServerId) -> Response:
    """Forgets a server. Nothing on it changes. Refused while jobs run there."""
    await services.servers.remove(who, server_id)
    return nothing()


@router.post("/{server_id}/test", **_with_stream(answers(Stages, 404, needs=Action.TEST_SERVER)))
async def test_server(
    request: Request, who: Who, services: Given, server_id: ServerId, accept: Accept = "*/*"
) -> Response:
    """The connection test, stage by stage; kept as the last test."""
    return await _stages(request, services.servers.test(who, server_id))


@router.get("/{server_id}/doctor", **answers(Doctor, 404, needs=Action.SEE))
async def get_doctor(who: Who, services: Given, server_id: ServerId) -> Response:
    """What the server's token may do, feature by feature, with the lines that mend the rest; from the last look."""
    return reply(Doctor.of(await services.doctor.get(who, server_id)))


@router.post("/{server_id}/doctor", **answers(Doctor, 404, 409, 502, 503, needs=Action.TEST_SERVER))
async def look_again(who: Who, services: Given, server_id: ServerId) -> Response:
    """The same after another look at the server."""
    return reply(Doctor.of(await services.doctor.look(who, server_id)))
