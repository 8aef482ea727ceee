"""Jobs: the list, and a job with its line of time, log, calls, request and result, and what can be done now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import QueryParams

from comserv.domain.errors import ComservError, Invalid, SecretsMissing
from comserv.domain.job import CallRecord, Job, JobKind, JobState, RunningTask, Step, StepState
from comserv.domain.person import Action, Actor
from comserv.services.jobs import JobPage as JobList
from comserv.services.jobs import JobQuery
from comserv.services.live import Notice
from comserv.web import filters, links
from comserv.web.context import Web, see_other, text_of
from comserv.web.filters import Chip, Filter
from comserv.web.guests import read_key
from comserv.web.live import PartKind
from comserv.web.pages import Page

TERMS = ("state", "kind", "server", "person", "guest")
SHOWN = 50
SECRET = "secret."  # noqa: S105 - how a form's fields that carry a secret begin


@dataclass(frozen=True)
class JobsPage(Page):
    template: ClassVar[str] = "jobs.html"
    section: ClassVar[str] = "Jobs"

    filter: Filter
    chips: tuple[Chip, ...]
    page: JobList
    following: str = ""
    at_first: bool = True


@dataclass(frozen=True)
class JobPage(Page):
    """The job is its live parts; here is what the heading and the address need."""

    template: ClassVar[str] = "job.html"
    section: ClassVar[str] = "Jobs"

    job: Job
    may_retry: bool


@dataclass(frozen=True)
class CancelPage(Page):
    """Asks what to do with Proxmox's task that is running. running: the step that has one, or None."""

    template: ClassVar[str] = "job-cancel.html"
    section: ClassVar[str] = "Jobs"

    job: Job
    running: Step | None


@dataclass(frozen=True)
class RetryPage(Page):
    """Asks for secrets that are needed again."""

    template: ClassVar[str] = "job-retry.html"
    section: ClassVar[str] = "Jobs"

    job: Job
    names: tuple[str, ...]
    error: ComservError | None = None


@dataclass(frozen=True)
class FoldedCall:
    """A call, and how often it came in a row."""

    call: CallRecord
    times: int = 1
    slowest: float = field(default=0.0)


def query_of(chosen: Filter, params: QueryParams) -> JobQuery:
    """Raises Invalid for words that are no state or kind."""
    guest = chosen.terms["guest"][:1]
    return JobQuery(
        states=_words(JobState, chosen.terms["state"]),
        kinds=_words(JobKind, chosen.terms["kind"]),
        server="".join(chosen.terms["server"][:1]),
        person="".join(chosen.terms["person"][:1]),
        guest=read_key(guest[0]) if guest else None,
        cursor=params.get("cursor", ""),
        limit=SHOWN,
    )


def _words(kind: Any, texts: tuple[str, ...]) -> tuple[Any, ...]:
    known = [str(word) for word in kind]
    for text in texts:
        if text not in known:
            raise Invalid(f"{text[:40]} is none of {', '.join(known)}.")
    return tuple(kind(text) for text in texts)


def router(web: Web) -> APIRouter:
    routes = web.router()
    _register_parts(web)

    @routes.get("/jobs")
    async def show_all(request: Request) -> Response:
        visitor = await web.visitor(request)
        chosen, typed = filters.read(request.query_params, TERMS, ())
        if typed:
            return RedirectResponse(links.jobs(**chosen.address()), 303)
        query = query_of(chosen, request.query_params)
        page = await web.services.jobs.list(visitor.actor, query)
        here = chosen.address(cursor=query.cursor)
        following = links.jobs(**{**here, "cursor": page.next_cursor}) if page.next_cursor else ""
        shown = JobsPage(chosen, chosen.chips(links.jobs), page, following, not query.cursor)
        return await web.page(request, visitor, shown, (f"jobs:{links.query(here).removeprefix('?')}",))

    @routes.get("/jobs/{job_id}")
    async def show(request: Request, job_id: str) -> Response:
        visitor = await web.visitor(request)
        job = await web.services.jobs.get(visitor.actor, job_id)
        parts = [f"{kind}:{job.id}" for kind in ("job-head", "job-steps", "job-side", "job-calls", "job-remains")]
        return await web.page(request, visitor, JobPage(job, visitor.actor.may(Action.RETRY_JOB)), parts)

    @routes.get("/jobs/{job_id}/cancel")
    async def ask_cancel(request: Request, job_id: str) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.CANCEL_JOB)
        job = await web.services.jobs.get(visitor.actor, job_id)
        running = next((step for step in job.steps if step.state == StepState.RUNNING and step.upid), None)
        return await web.page(request, visitor, CancelPage(job, running))

    @routes.post("/jobs/{job_id}/cancel")
    async def cancel(request: Request, job_id: str) -> Response:
        visitor, form = await web.form(request)
        stop = text_of(form, "running_task") == str(RunningTask.STOP)
        await web.services.jobs.cancel(visitor.actor, job_id, RunningTask.STOP if stop else RunningTask.FINISH)
        return see_other(request, links.job(job_id))

    @routes.post("/jobs/{job_id}/retry")
    async def retry(request: Request, job_id: str) -> Response:
        visitor, form = await web.form(request)
        secrets = {
            name.removeprefix(SECRET): value
            for name, value in form.items()
            if name.startswith(SECRET) and isinstance(value, str) and value
        }
        try:
            await web.services.jobs.retry(visitor.actor, job_id, secrets)
        except SecretsMissing as error:
            job = await web.services.jobs.get(visitor.actor, job_id)
            return await web.page(request, visitor, RetryPage(job, error.names, error if secrets else None), status=422)
        return see_other(request, links.job(job_id))

    @routes.post("/jobs/{job_id}/remove")
    async def remove(request: Request, job_id: str) -> Response:
        visitor, _ = await web.form(request)
        job = await web.services.jobs.remove_remains(visitor.actor, job_id)
        return see_other(request, links.job(job))

    return routes


def _register_parts(web: Web) -> None:
    jobs, text = web.services.jobs, web.pages.text

    async def rows(actor: Actor, key: str) -> str:
        params = QueryParams(key)
        page = await jobs.list(actor, query_of(filters.read(params, TERMS, ())[0], params))
        return text("part/jobs-rows.html", jobs=page.items)

    async def head(actor: Actor, key: str) -> str:
        actions = (Action.CANCEL_JOB, Action.RETRY_JOB, Action.CREATE_VM, Action.TAKE_BUNDLE)
        may = {str(action): actor.may(action) for action in actions}
        return text("part/job-head.html", job=await jobs.get(actor, key), may=may)

    async def steps(actor: Actor, key: str) -> str:
        return text("part/job-steps.html", job=await jobs.get(actor, key))

    async def side(actor: Actor, key: str) -> str:
        job = await jobs.get(actor, key)
        return text("part/job-side.html", job=job, asked=tuple(facts(job.request)), came=tuple(facts(job.result)))

    async def calls(actor: Actor, key: str) -> str:
        found = await jobs.calls(actor, key)
        return text("part/job-calls.html", calls=fold(found), number=len(found))

    async def remains(actor: Actor, key: str) -> str:
        job = await jobs.get(actor, key)
        lost = job.kind == JobKind.CREATE_VM and job.state in (JobState.FAILED, JobState.CANCELLED)
        found = await jobs.remains(actor, key) if lost else None
        return text("part/job-remains.html", job=job, remains=found, may=actor.may(Action.DELETE_GUEST))

    async def no_remains(actor: Actor, key: str) -> str:
        return ""

    web.parts.register(PartKind("jobs", rows, _of_any_job, swap="rows"))
    for kind, draw in (("job-head", head), ("job-steps", steps), ("job-side", side), ("job-calls", calls)):
        web.parts.register(PartKind(kind, draw, _of_job))
    web.parts.register(PartKind("job-remains", remains, _of_job, first=no_remains, pause=5))


def _of_any_job(key: str, notice: Notice) -> bool:
    return notice.topic == "job"


def _of_job(key: str, notice: Notice) -> bool:
    return notice.topic == "job" and notice.key in ("", key)


def fold(calls: tuple[CallRecord, ...]) -> tuple[FoldedCall, ...]:
    """Calls that repeat in a row, with the same outcome, as one: polling a task is one line, not forty."""
    folded: list[FoldedCall] = []
    for call in calls:
        last = folded[-1] if folded else None
        if last and _kin(last.call, call):
            folded[-1] = FoldedCall(call, last.times + 1, max(last.slowest, call.ms))
        else:
            folded.append(FoldedCall(call, 1, call.ms))
    return tuple(folded)


def _kin(one: CallRecord, other: CallRecord) -> bool:
    return (one.method, one.path, one.status) == (other.method, other.path, other.status) and one.method == "GET"


LABELS = {
    "cpu_cores": "Cores",
    "memory_mb": "Memory, MiB",
    "disk_gb": "Disk, GiB",
    "hostname": "Name",
    "vmid": "VM id",
    "network.ip_address": "Address",
    "network.subnet_mask": "Mask",
    "network.gateway": "Gateway",
    "network.bridge": "Bridge",
    "network.vlan": "VLAN",
    "network.type": "IPv4",
    "network.ipv6.type": "IPv6",
    "network.dns_servers": "DNS",
    "network.search_domain": "Search domain",
    "cloud_init.user": "User",
    "cloud_init.password": "Password",
    "cloud_init.ssh_keys": "SSH keys",
    "template.vmid": "Template",
    "start_after_creation": "Start it",
    "enable_qemu_agent": "Guest agent",
    "start_on_boot": "With the node",
    "full_clone": "Full clone",
}
NOT_ASKED = ("decision", "template.server")  # what the plan chose, and what stands there already
_WORDS = {True: "yes", False: "no"}


def facts(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """What was asked, or what came of it, as label and text; empty values are left out."""
    for name, value in values.items():
        dotted = f"{prefix}{name}"
        label = LABELS.get(dotted) or LABELS.get(name) or name.replace("_", " ").capitalize()
        if dotted in NOT_ASKED:
            continue
        if isinstance(value, Mapping):
            yield from facts(value, f"{dotted}.")
        elif label and value not in (None, "", [], (), "none"):
            yield label, _said(value)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, list | tuple):
        return ", ".join(str(one) if len(str(one)) < 60 else f"{str(one)[:24]}…{str(one)[-12:]}" for one in value)
    return str(value)
