"""Creating a VM from a template: one form in three cards, and beside it the plan that follows what is typed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData

from comserv.domain.errors import ComservError, Conflict, Invalid, NotFound, PlanBlocked, ProxmoxError
from comserv.domain.person import Action, Actor
from comserv.domain.picture import Storage
from comserv.domain.plan import Finding, Level, Plan
from comserv.domain.server import ServerState
from comserv.domain.session import OwnKey
from comserv.domain.units import size
from comserv.domain.vmrequest import VmRequest, parse_vm_request
from comserv.services.another import Last, Like
from comserv.services.servers import ServerView
from comserv.services.vms import Choices, TemplateChoice
from comserv.web import createform, links
from comserv.web.context import Web, see_other, text_of, wants_part
from comserv.web.createform import KEPT_FOR_ANOTHER_SERVER, KEPT_FOR_ANOTHER_TEMPLATE, begin, read
from comserv.web.guests import read_key
from comserv.web.pages import Page
from comserv.web.problems import faults, status_of

PICTURES = "images"


@dataclass(frozen=True)
class Sketch:
    """What the plan's side shows. problem: why there is no plan. blame: faults and blockers by field of the request."""

    plan: Plan | None = None
    name: str = ""
    problem: ComservError | None = None
    blame: Mapping[str, str] = field(default_factory=dict)

    @property
    def blockers(self) -> int:
        return self._count(Level.BLOCKER) + len(self.blame if self.plan is None else ())

    @property
    def warnings(self) -> int:
        return self._count(Level.WARNING)

    @property
    def notes(self) -> int:
        return self._count(Level.NOTE)

    @property
    def ready(self) -> bool:
        return self.plan is not None and not self.plan.blocked

    def _count(self, level: Level) -> int:
        return sum(finding.level == level for finding in self.plan.findings) if self.plan else 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Blockers before warnings before notes."""
        order = list(Level)
        return tuple(sorted(self.plan.findings, key=lambda one: order.index(one.level))) if self.plan else ()


@dataclass(frozen=True)
class Begun:
    """Where a form has its first values from: a VM that it is to be like, or what was used last. gone: what is not there any more.

    proposed: the address was chosen by us, as the next that nobody is known to have.
    """

    like: Like | None = None
    last: Last | None = None
    gone: tuple[str, ...] = ()
    proposed: bool = False


@dataclass(frozen=True)
class CreatePage(Page):
    """values: the form as it stands. choices None: there is no server that could be asked. own: SSH keys to tick."""

    template: ClassVar[str] = "create.html"
    section: ClassVar[str] = "Guests"

    servers: tuple[ServerView, ...]
    values: Mapping[str, str]
    choices: Choices | None
    chosen: TemplateChoice | None
    sketch: Sketch
    own: tuple[OwnKey, ...] = ()
    begun: Begun = field(default_factory=Begun)
    storages: tuple[tuple[str, str], ...] = ()
    bridges: tuple[str, ...] = ()


def router(web: Web) -> APIRouter:
    routes = web.router()

    async def page(
        request: Request,
        values: Mapping[str, str],
        sketch: Sketch | None = None,
        status: int = 200,
        begun: Begun | None = None,
    ) -> Response:
        visitor = await web.visitor(request)
        servers = await web.services.servers.list(visitor.actor)
        choices, problem = await _choices(web, visitor.actor, values["server"])
        shown = CreatePage(
            servers=servers,
            values=createform.shown(values),
            choices=choices,
            chosen=chosen_template(choices, values["template"]),
            sketch=sketch or Sketch(problem=problem),
            own=await web.services.ssh_keys.list(visitor.actor),
            begun=begun or Begun(),
            storages=storages_of(choices, values["node"]),
            bridges=bridges_of(choices, values["node"]),
        )
        return await web.page(request, visitor, shown, status=status)

    @routes.get("/guests/new")
    async def show(request: Request) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.CREATE_VM)
        asked = {name: request.query_params.get(name, "")[:200] for name in ASKED}
        values, begun = await Beginning(web, visitor.actor, asked).values()
        return await page(request, values, begun=begun)

    @routes.post("/guests/new")
    async def create(request: Request) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.CREATE_VM, "vms")
        values, doing = read(form), text_of(form, "do")
        if doing in ("server", "template"):
            choices, _ = await _choices(web, visitor.actor, values["server"])
            wanted = values["template"] if doing == "template" else ""
            fresh = begin(values["request_key"], values["server"], chosen_template(choices, wanted))
            kept = KEPT_FOR_ANOTHER_SERVER if doing == "server" else KEPT_FOR_ANOTHER_TEMPLATE
            return await page(request, {**fresh, **{name: values[name] for name in kept}})
        if doing == "plan":
            return await page(request, values, await _sketch(web, visitor.actor, form))
        try:
            wish = await _wish(web, visitor.actor, form)
            job = await web.services.vms.create(visitor.actor, wish, values["request_key"])
        except (Invalid, Conflict, ProxmoxError) as error:
            sketch = await _sketch(web, visitor.actor, form)
            if not isinstance(error, PlanBlocked) and sketch.ready:
                sketch = Sketch(None, values["hostname"], error, faults(error))
            return await page(request, values, sketch, status_of(error))
        return see_other(request, links.job(job))

    @routes.post("/guests/new/plan")
    async def plan(request: Request) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.PLAN, "vms")
        sketch = await _sketch(web, visitor.actor, form)
        if not wants_part(request):
            return await page(request, read(form), sketch)
        html = web.pages.text("part/plan-reply.html", sketch=sketch)
        return Response(html, media_type="text/html")

    return routes


async def _sketch(web: Web, actor: Actor, form: FormData) -> Sketch:
    values = read(form)
    try:
        plan = await web.services.vms.plan(actor, await _wish(web, actor, form))
    except ComservError as error:
        return Sketch(None, values["hostname"], error, _form_faults(faults(error)))
    blame = {one.field: one.text for one in reversed(plan.findings) if one.level == Level.BLOCKER and one.field}
    return Sketch(plan, values["hostname"], None, _form_faults(blame))


async def _wish(web: Web, actor: Actor, form: FormData) -> VmRequest:
    """What the form asks for. Raises Invalid."""
    own = await web.services.ssh_keys.list(actor)
    return parse_vm_request(createform.to_request(read(form), _secret(form), own))


def _form_faults(found: Mapping[str, str]) -> dict[str, str]:
    """Fields of the request → hints of the form; several of them may share one, as the places of a list (`tags.2`) do."""
    plain = {re.sub(r"\.\d+$", "", name): text for name, text in found.items()}
    return {("network.ip_address" if name == "network.subnet_mask" else name): text for name, text in plain.items()}


async def _choices(web: Web, actor: Actor, server: str) -> tuple[Choices | None, ComservError | None]:
    """What the server offers; an error of the server is shown where the plan would be."""
    if not server:
        return None, None
    try:
        return await web.services.vms.choices(actor, server), None
    except ProxmoxError as error:
        return None, error


async def _first_server(web: Web, actor: Actor) -> str:
    """One that answers and has templates, else any."""
    servers = await web.services.servers.list(actor)
    best = sorted(servers, key=lambda view: (view.health.state != ServerState.UP, not _has_template(view)))
    return best[0].server.id if best else ""


ASKED = ("server", "template", "node", "hostname", "like", "like_job", "fresh")
"""What may stand in the page's address."""


class Beginning:
    """How a form begins: like a VM, or with what was used last where that is still there, or with the template's values."""

    def __init__(self, web: Web, actor: Actor, asked: Mapping[str, str]) -> None:
        self._web, self._actor, self._asked = web, actor, asked

    async def values(self) -> tuple[dict[str, str], Begun]:
        """Raises NotFound, Conflict, ProxmoxError where the VM to be like cannot be read."""
        own = await self._web.services.ssh_keys.list(self._actor)
        like = await self._like()
        if like is not None:
            return await self._like_values(like, own)
        last = None if self._asked["fresh"] else await self._web.services.another.last(self._actor)
        servers = {view.server.id for view in await self._web.services.servers.list(self._actor)}
        if last is not None and last.request.server not in servers:
            last = None
        known = last.request.server if last else await _first_server(self._web, self._actor)
        server = self._asked["server"] or known
        choices, _ = await _choices(self._web, self._actor, server)
        wanted = self._asked["template"] or (str(last.request.template.vmid) if last else "")
        template = chosen_template(choices, wanted)
        values = begin(self._web.request_key(), server, template, own)
        given = {"node": self._asked["node"], "hostname": self._asked["hostname"]}
        if last is None or last.request.server != server:
            return {**values, **given}, Begun()
        same = template is not None and template.guest.key.vmid == last.request.template.vmid
        found = {**values, **createform.begin_last(last, own, same)}
        there, _ = still_there(found, choices, template)
        return {**there, **given}, Begun(last=last, proposed=bool(there["ip_address"]))

    async def _like(self) -> Like | None:
        if self._asked["like"]:
            return await self._web.services.another.like_guest(self._actor, read_key(self._asked["like"]))
        if self._asked["like_job"]:
            return await self._web.services.another.like_job(self._actor, self._asked["like_job"])
        return None

    async def _like_values(self, like: Like, own: tuple[OwnKey, ...]) -> tuple[dict[str, str], Begun]:
        request = like.request
        servers = {view.server.id for view in await self._web.services.servers.list(self._actor)}
        if request.server not in servers:
            raise NotFound(noun="server", name=request.server)
        choices, _ = await _choices(self._web, self._actor, request.server)
        template = chosen_template(choices, str(request.template.vmid))
        values = begin(self._web.request_key(), request.server, template)
        wanted = createform.begin_like(request, own)
        found = {**values, **{name: value for name, value in wanted.items() if value or name not in _TEMPLATES_OWN}}
        there, gone = still_there(found, choices, template)
        if choices and (template is None or template.guest.key.vmid != request.template.vmid):
            number = request.template.vmid
            gone = (f"the template {number}" if number else "its template, which nobody noted", *gone)
        return there, Begun(like=like, gone=gone, proposed=bool(there["ip_address"]))


_TEMPLATES_OWN = ("cpu_cores", "memory_gib", "disk_gb", "bridge", "user")
"""Empty in a request: as the template has it, and so as the form begins."""


def still_there(
    values: Mapping[str, str], choices: Choices | None, template: TemplateChoice | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The form without what the server does not have any more, and what that was."""
    if choices is None:
        return dict(values), ()
    nodes = {node.name for node in choices.nodes}
    node = values["node"] if values["node"] in nodes else ""
    known = {
        "node": nodes,
        "storage": {name for name, _ in storages_of(choices, node)},
        "pool": set(choices.pools),
        "bridge": set(bridges_of(choices, node)) if choices.bridges else {values["bridge"]},
    }
    gone = [name for name, there in known.items() if values[name] and values[name] not in there]
    kept = {**values, **dict.fromkeys(gone, "")}
    least = template.disk_gb if template and template.disk_gb else 0
    if kept["disk_gb"].isdigit() and int(kept["disk_gb"]) < least:
        kept["disk_gb"] = f"{least:.0f}"
    return kept, tuple(f"the {name} {values[name]}" for name in gone)


def _has_template(view: ServerView) -> bool:
    return any(guest.template for guest in view.picture.guests)


def _secret(form: FormData) -> str:
    value = form.get("password")
    return value if isinstance(value, str) else ""


def chosen_template(choices: Choices | None, vmid: str) -> TemplateChoice | None:
    """The one that is asked for, else the first."""
    if choices is None or not choices.templates:
        return None
    named = [choice for choice in choices.templates if str(choice.guest.key.vmid) == vmid]
    return (named or list(choices.templates))[0]


def storages_of(choices: Choices | None, node: str) -> tuple[tuple[str, str], ...]:
    """Storages for disks as name and words: `local-zfs, 412 GiB free of 890 GiB`, each name once."""
    found: dict[str, Storage] = {}
    for storage in choices.storages if choices else ():
        if PICTURES in storage.content and (not node or storage.node == node or storage.shared):
            found.setdefault(storage.name, storage)
    return tuple((name, _said(storage)) for name, storage in sorted(found.items()))


def _said(storage: Storage) -> str:
    if storage.total is None or storage.used is None:
        return storage.name
    return f"{storage.name}, {size(storage.total - storage.used)} free of {size(storage.total)}"


def bridges_of(choices: Choices | None, node: str) -> tuple[str, ...]:
    """Bridges of the node, or of any where none is chosen."""
    by_node = choices.bridges if choices else {}
    names = by_node.get(node, ()) if node else [name for bridges in by_node.values() for name in bridges]
    return tuple(sorted(set(names)))
