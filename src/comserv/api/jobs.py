"""`/jobs`: what was asked for and how it goes."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from comserv.api.paging import Cursor, Limit, cut_in_order
from comserv.api.replies import answers, job_reply, reply
from comserv.api.route import Given, IdempotencyKey, JobId, Route, Who
from comserv.api.shapes.job import Call, CallList, Job, JobList, Remains
from comserv.api.shapes.vm import VmDraft
from comserv.domain.errors import Invalid
from comserv.domain.guest import GuestKey
from comserv.domain.job import JobKind, JobState, RunningTask
from comserv.domain.person import Action
from comserv.services.jobs import JobQuery

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)

Secret = Annotated[str, Field(max_length=1024)]


class Cancel(BaseModel):
    """What becomes of Proxmox's task that is running."""

    model_config = ConfigDict(extra="forbid")

    running_task: RunningTask = Field(
        default=RunningTask.FINISH, description="`finish`: let it end; `stop`: stop it too."
    )


class Retry(BaseModel):
    """Secrets of the first try, by field name: they are deleted once a job has ended."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"secrets": {}}]})

    secrets: dict[Annotated[str, Field(max_length=64)], Secret] = Field(
        default_factory=dict, examples=[{"cloud_init.password": "…"}]
    )


def guest_key(text: str) -> GuestKey:
    """`rack/105`. Raises Invalid."""
    server, _, vmid = text.partition("/")
    if not server or not (vmid.isascii() and vmid.isdigit() and len(vmid) <= 9):
        raise Invalid(fields={"guest": "name it as server/vmid, for example rack/105"})
    return GuestKey(server, int(vmid))


@router.get("", **answers(JobList, 422, needs=Action.SEE))
async def list_jobs(
    who: Who,
    services: Given,
    state: Annotated[list[JobState] | None, Query(description="One or more.")] = None,
    kind: Annotated[list[JobKind] | None, Query(description="One or more.")] = None,
    server: Annotated[str, Query(max_length=32)] = "",
    person: Annotated[str, Query(max_length=64)] = "",
    guest: Annotated[str, Query(max_length=48, description="`server/vmid`", examples=["rack/105"])] = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Response:
    """Jobs, newest first."""
    query = JobQuery(
        states=tuple(state or ()),
        kinds=tuple(kind or ()),
        server=server,
        person=person,
        guest=guest_key(guest) if guest else None,
        cursor=cursor,
        limit=limit,
    )
    page = await services.jobs.list(who, query)
    return reply(JobList([Job.of(job) for job in page.items], page.next_cursor))


@router.get("/{job_id}", **answers(Job, 404, needs=Action.SEE))
async def get_job(who: Who, services: Given, job_id: JobId) -> Response:
    """A job with its steps, its result or its error."""
    return reply(Job.of(await services.jobs.get(who, job_id)))


@router.get("/{job_id}/request", **answers(VmDraft, 404, 409, needs=Action.PLAN))
async def get_job_request(who: Who, services: Given, job_id: JobId) -> Response:
    """A body for `POST /vms` that asks for another VM like the one of this job: a next name, next addresses, no password."""
    return reply(VmDraft.of((await services.another.like_job(who, job_id)).request))


@router.get("/{job_id}/calls", **answers(CallList, 404, 422, needs=Action.SEE))
async def list_calls(who: Who, services: Given, job_id: JobId, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """Every call to Proxmox behind a job."""
    page = cut_in_order(await services.jobs.calls(who, job_id), cursor, limit)
    return reply(CallList([Call.of(call) for call in page.items], page.next_cursor))


@router.post("/{job_id}/cancel", **answers(Job, 404, 409, 422, needs=Action.CANCEL_JOB, status=202))
async def cancel_job(who: Who, services: Given, job_id: JobId, cancel: Cancel | None = None) -> Response:
    """Asks a job to end. Until it has, it is `running` with `cancel_requested`."""
    wish = cancel or Cancel(running_task=RunningTask.FINISH)
    return job_reply(await services.jobs.cancel(who, job_id, wish.running_task))


@router.post("/{job_id}/retry", **answers(Job, 404, 409, 422, needs=Action.RETRY_JOB, status=202))
async def retry_job(who: Who, services: Given, job_id: JobId, again: Retry | None = None) -> Response:
    """Goes on with a failed or cancelled job from where it stopped: the same id, `attempt` + 1."""
    return job_reply(await services.jobs.retry(who, job_id, again.secrets if again else {}))


@router.get("/{job_id}/remains", **answers(Remains, 404, 409, 502, 503, needs=Action.SEE))
async def get_remains(who: Who, services: Given, job_id: JobId) -> Response:
    """Asks the server what is left of a creation that did not end well."""
    found = await services.jobs.remains(who, job_id)
    server, vmid = (found.guest.server, found.guest.vmid) if found.guest else (None, None)
    return reply(Remains(server, vmid, found.text, found.removable))


@router.delete("/{job_id}/remains", **answers(Job, 404, 409, 502, 503, needs=Action.DELETE_GUEST, status=202))
async def remove_remains(who: Who, services: Given, job_id: JobId, key: IdempotencyKey) -> Response:
    """Makes a job that removes what is left, where it is provably ours."""
    return job_reply(await services.jobs.remove_remains(who, job_id, key))
