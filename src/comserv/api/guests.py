"""`/guests`: the list over all servers, one guest, power, a change, and the end."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from comserv.api.paging import Cursor, Limit, cut_in_order
from comserv.api.replies import answers, job_reply, reply
from comserv.api.route import Given, IdempotencyKey, RawBody, Route, ServerId, Vmid, Who
from comserv.api.shapes.guest import (
    AgentReport,
    DeletionPreview,
    Guest,
    GuestChange,
    GuestConfig,
    GuestList,
    PowerOutcome,
    PowerOutcomes,
    Task,
    TaskList,
    pending_changes,
)
from comserv.api.shapes.job import Job
from comserv.api.shapes.vm import VmDraft
from comserv.domain.change import parse_change_request
from comserv.domain.guest import GuestKey, GuestType
from comserv.domain.person import Action
from comserv.domain.power import PowerAction
from comserv.services.guests import GuestQuery

router = APIRouter(prefix="/guests", tags=["guests"], route_class=Route)

Word = Annotated[str, Field(max_length=64)]
IfMatch = Annotated[
    str,
    Header(
        max_length=66,
        pattern=r'^("?[0-9a-f]*"?)$',
        description="The digest of the configuration that was seen: nothing is overwritten that was changed since.",
    ),
]
Words = Annotated[list[Word] | None, Query(description="One or more.")]


class StatusFilter(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"
    LOCKED = "locked"
    STALE = "stale"


class Sort(StrEnum):
    NAME = "name"
    VMID = "vmid"
    SERVER = "server"
    NODE = "node"
    STATUS = "status"
    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    UPTIME = "uptime"
    NAME_DOWN = "-name"
    VMID_DOWN = "-vmid"
    SERVER_DOWN = "-server"
    NODE_DOWN = "-node"
    STATUS_DOWN = "-status"
    CPU_DOWN = "-cpu"
    MEMORY_DOWN = "-memory"
    DISK_DOWN = "-disk"
    UPTIME_DOWN = "-uptime"


class Power(BaseModel):
    model_config = ConfigDict(extra="forbid")

    action: PowerAction


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    server: Annotated[str, Field(max_length=32)] = Field(examples=["rack"])
    vmid: Annotated[int, Field(ge=100, le=999_999_999)] = Field(examples=[105])


class PowerMany(BaseModel):
    """The same for many guests; each is checked, and answered, for itself."""

    model_config = ConfigDict(extra="forbid")

    guests: Annotated[list[Place], Field(min_length=1, max_length=500)]
    action: PowerAction


class Confirmed(BaseModel):
    """`confirm` is the guest's name, or its VM id where it has none."""

    model_config = ConfigDict(extra="forbid")

    confirm: Annotated[str, Field(max_length=255)] = Field(examples=["web-01"])


@router.get("", **answers(GuestList, 422, needs=Action.SEE))
async def list_guests(
    who: Who,
    services: Given,
    text: Annotated[str, Query(max_length=200, description="Part of a name, VM id, tag or address.")] = "",
    server: Words = None,
    node: Words = None,
    status: Annotated[list[StatusFilter] | None, Query(description="One or more.")] = None,
    tag: Words = None,
    type: Annotated[list[GuestType] | None, Query(description="One or more.")] = None,
    template: Annotated[bool | None, Query(description="Only templates, or all but templates.")] = None,
    sort: Sort = Sort.NAME,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """Guests of all servers, templates included, as last seen; it asks no server."""
    query = GuestQuery(
        text=text,
        servers=tuple(server or ()),
        nodes=tuple(node or ()),
        statuses=tuple(str(one) for one in status or ()),
        tags=tuple(tag or ()),
        types=tuple(str(one) for one in type or ()),
        templates=template,
        sort=str(sort),
        cursor=cursor,
        limit=limit,
    )
    return reply(GuestList.of(await services.guests.list(who, query)))


@router.post("/power", **answers(PowerOutcomes, 422, needs=Action.POWER, status=202))
async def power_many(who: Who, services: Given, wish: PowerMany, key: IdempotencyKey) -> Response:
    """A power job each, for up to 500 guests. An `Idempotency-Key` counts for the whole request."""
    keys = [GuestKey(place.server, place.vmid) for place in wish.guests]
    outcomes = await services.guests.power_many(who, keys, wish.action, key)
    return reply(PowerOutcomes([PowerOutcome.of(outcome) for outcome in outcomes]), 202)


@router.get("/{server_id}/{vmid}", **answers(Guest, 404, 422, 502, 503, 504, needs=Action.SEE))
async def get_guest(
    who: Who,
    services: Given,
    server_id: ServerId,
    vmid: Vmid,
    live: Annotated[bool, Query(description="Also ask the server now, and answer with `live`.")] = False,
) -> Response:
    """A guest as last seen; with `?live=1` also as it is now."""
    key = GuestKey(server_id, vmid)
    if not live:
        return reply(Guest.of(await services.guests.get(who, key)))
    found = await services.guests.live(who, key)
    return reply(Guest.of(found.view, found))


@router.get("/{server_id}/{vmid}/config", **answers(GuestConfig, 404, 422, 502, 503, 504, needs=Action.SEE))
async def get_guest_config(who: Who, services: Given, server_id: ServerId, vmid: Vmid) -> Response:
    """The configuration as the server has it now."""
    found = await services.guests.live(who, GuestKey(server_id, vmid))
    shape = GuestConfig(dict(found.config.values), found.config.digest, pending_changes(found))
    return reply(shape, headers={"ETag": f'"{found.config.digest}"'})


@router.get("/{server_id}/{vmid}/request", **answers(VmDraft, 404, 409, 422, 502, 503, 504, needs=Action.PLAN))
async def get_guest_request(who: Who, services: Given, server_id: ServerId, vmid: Vmid) -> Response:
    """A body for `POST /vms` that asks for another one like this: a next name, next addresses, no password.

    From the request of the job that made it, else from its configuration as far as that tells.
    """
    return reply(VmDraft.of((await services.another.like_guest(who, GuestKey(server_id, vmid))).request))


@router.get("/{server_id}/{vmid}/agent", **answers(AgentReport, 404, 409, 422, 502, 503, 504, needs=Action.SEE))
async def get_guest_agent(who: Who, services: Given, server_id: ServerId, vmid: Vmid) -> Response:
    """What the guest's agent tells now: addresses, operating system, host name."""
    return reply(AgentReport.of(await services.guests.agent(who, GuestKey(server_id, vmid))))


@router.get("/{server_id}/{vmid}/tasks", **answers(TaskList, 404, 422, 502, 503, 504, needs=Action.SEE))
async def list_guest_tasks(
    who: Who, services: Given, server_id: ServerId, vmid: Vmid, limit: Limit = 100, cursor: Cursor = ""
) -> Response:
    """Proxmox's tasks of this guest, whoever started them."""
    page = cut_in_order(await services.guests.tasks(who, GuestKey(server_id, vmid)), cursor, limit)
    return reply(TaskList([Task.of(task) for task in page.items], page.next_cursor))


@router.post("/{server_id}/{vmid}/power", **answers(Job, 404, 409, 422, needs=Action.POWER, status=202))
async def power_guest(
    who: Who, services: Given, server_id: ServerId, vmid: Vmid, wish: Power, key: IdempotencyKey
) -> Response:
    """Makes a job of it; refused where it makes no sense in the state that we know."""
    return job_reply(await services.guests.power(who, GuestKey(server_id, vmid), wish.action, key))


@router.patch(
    "/{server_id}/{vmid}",
    **answers(
        Job,
        400,
        404,
        409,
        415,
        422,
        needs=Action.CHANGE_GUEST,
        status=202,
        body=GuestChange,
        examples={"memory": {"memory_mb": 4096}, "name and tags": {"name": "web-02", "tags": ["web", "prod"]}},
    ),
)
async def change_guest(
    who: Who,
    services: Given,
    server_id: ServerId,
    vmid: Vmid,
    body: RawBody,
    key: IdempotencyKey,
    if_match: IfMatch = "",
) -> Response:
    """Makes a job that changes what is given; what a running guest cannot take waits for its next stop."""
    guest = GuestKey(server_id, vmid)
    await services.audit.require(who, Action.CHANGE_GUEST, f"guest {guest}")
    change, digest = parse_change_request(body), if_match.strip('"')
    return job_reply(await services.guests.change(who, guest, change, key, digest))


@router.get(
    "/{server_id}/{vmid}/deletion", **answers(DeletionPreview, 404, 422, 502, 503, 504, needs=Action.DELETE_GUEST)
)
async def preview_deletion(who: Who, services: Given, server_id: ServerId, vmid: Vmid) -> Response:
    """What a deletion would take and leave; nothing is done."""
    return reply(DeletionPreview.of(await services.guests.deletion(who, GuestKey(server_id, vmid))))


@router.delete("/{server_id}/{vmid}", **answers(Job, 404, 409, 422, needs=Action.DELETE_GUEST, status=202))
async def delete_guest(
    who: Who, services: Given, server_id: ServerId, vmid: Vmid, wish: Confirmed, key: IdempotencyKey
) -> Response:
    """Makes a job that removes the guest with its disks. Its name has to be given."""
    return job_reply(await services.guests.delete(who, GuestKey(server_id, vmid), wish.confirm, key))
