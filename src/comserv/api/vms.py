"""`/vms`: what a server offers, the plan of a VM, and its creation."""

from fastapi import APIRouter, Query, Response

from comserv.api.replies import answers, job_reply, reply
from comserv.api.route import Given, IdempotencyKey, RawBody, Route, Who
from comserv.api.shapes.job import Job
from comserv.api.shapes.plan import Plan
from comserv.api.shapes.vm import EXAMPLES, VmChoices, VmRequest
from comserv.domain.person import Action
from comserv.domain.vmrequest import parse_vm_request

router = APIRouter(prefix="/vms", tags=["vms"], route_class=Route)

MOST_ID = 32


@router.get("/choices", **answers(VmChoices, 404, 422, needs=Action.PLAN))
async def get_choices(
    who: Who, services: Given, server: str = Query(max_length=MOST_ID, examples=["rack"])
) -> Response:
    """Templates, nodes, storages, bridges and pools of a server, for a form to begin with."""
    return reply(VmChoices.of(await services.vms.choices(who, server)))


@router.post("/plan", **answers(Plan, 400, 404, 415, 422, needs=Action.PLAN, body=VmRequest, examples=EXAMPLES))
async def plan_vm(who: Who, services: Given, body: RawBody) -> Response:
    """What a creation would do, call by call, where and why, and what stands against it. Nothing is changed."""
    await services.audit.require(who, Action.PLAN, _where(body))
    return reply(Plan.of(await services.vms.plan(who, parse_vm_request(body))))


@router.post(
    "", **answers(Job, 400, 404, 409, 415, 422, needs=Action.CREATE_VM, status=202, body=VmRequest, examples=EXAMPLES)
)
async def create_vm(who: Who, services: Given, body: RawBody, key: IdempotencyKey) -> Response:
    """Makes the plan anew and, without a blocker, the job. A blocker is 422 with `findings`."""
    await services.audit.require(who, Action.CREATE_VM, _where(body))
    return job_reply(await services.vms.create(who, parse_vm_request(body), key, body))


def _where(body: object) -> str:
    """What a refusal is about, of a body that was not parsed: whoever may not does not learn what is wrong with it."""
    server = body.get("server") if isinstance(body, dict) else None
    return f"server {server}" if isinstance(server, str) and len(server) <= MOST_ID else "vms"
