"""Creating a VM from a template: one form in three cards, and beside it the plan that follows what is typed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData

from comserv.domain.errors import ComservError, Conflict, Invalid, PlanBlocked, ProxmoxError
from comserv.domain.person import Action, Actor
from comserv.domain.picture import Storage
from comserv.domain.plan import Finding, Level, Plan
from comserv.domain.server import ServerState
from comserv.domain.units import size
from comserv.domain.vmrequest import parse_vm_request
from comserv.services.servers import ServerView
from comserv.services.vms import Choices, TemplateChoice
from comserv.web import links
from comserv.web.context import Web, see_other, text_of, wants_part
from comserv.web.measures import mebibytes
from comserv.web.pages import Page
from comserv.web.problems import faults, status_of

TEXTS = (
    "server", "node", "storage", "pool", "template", "hostname", "vmid", "description", "tags", "cpu_cores", "memory_gib",
    "disk_gb", "user", "ssh_keys", "type", "ip_address", "gateway", "bridge", "vlan", "dns_servers", "search_domain",
    "ipv6", "ipv6_address", "ipv6_gateway", "agent", "full_clone", "start_on_boot", "start", "request_key",
)  # fmt: skip
KEPT_FOR_ANOTHER = (
    "hostname",
    "description",
    "tags",
    "user",
    "ssh_keys",
    "dns_servers",
    "search_domain",
    "request_key",
)
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
class CreatePage(Page):
    """values: the form as it stands. choices None: there is no server that could be asked."""

    template: ClassVar[str] = "create.html"
    section: ClassVar[str] = "Guests"

    servers: tuple[ServerView, ...]
    values: Mapping[str, str]
    choices: Choices | None
    chosen: TemplateChoice | None
    sketch: Sketch
    storages: tuple[tuple[str, str], ...] = ()
    bridges: tuple[str, ...] = ()


def router(web: Web) -> APIRouter:
    routes = web.router()

    async def page(
        request: Request, values: Mapping[str, str], sketch: Sketch | None = None, status: int = 200
    ) -> Response:
        visitor = await web.visitor(request)
        servers = await web.services.servers.list(visitor.actor)
        choices, problem = await _choices(web, visitor.actor, values["server"])
        shown = CreatePage(
            servers=servers,
            values=values,
            choices=choices,
            chosen=chosen_template(choices, values["template"]),
            sketch=sketch or Sketch(problem=problem),
            storages=storages_of(choices, values["node"]),
            bridges=bridges_of(choices, values["node"]),
        )
        return await web.page(request, visitor, shown, status=status)

    @routes.get("/guests/new")
    async def show(request: Request) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.CREATE_VM)
        asked = {name: request.query_params.get(name, "")[:200] for name in ("server", "template", "node", "hostname")}
        server = asked["server"] or await _first_server(web, visitor.actor)
        choices, _ = await _choices(web, visitor.actor, server)
        values = begin(web.request_key(), server, chosen_template(choices, asked["template"]))
        return await page(request, {**values, "node": asked["node"], "hostname": asked["hostname"]})

    @routes.post("/guests/new")
    async def create(request: Request) -> Response:
        visitor, form = await web.form(request)
        await web.require(visitor, Action.CREATE_VM, "vms")
        values, doing = read(form), text_of(form, "do")
        if doing in ("server", "template"):
            choices, _ = await _choices(web, visitor.actor, values["server"])
            wanted = values["template"] if doing == "template" else ""
            fresh = begin(values["request_key"], values["server"], chosen_template(choices, wanted))
            kept = KEPT_FOR_ANOTHER if doing == "server" else tuple(n for n in TEXTS if n not in OF_TEMPLATE)
            return await page(request, {**fresh, **{name: values[name] for name in kept}})
        if doing == "plan":
            return await page(request, values, await _sketch(web, visitor.actor, form))
        try:
            wish = parse_vm_request(to_request(values, _secret(form)))
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
        plan = await web.services.vms.plan(actor, parse_vm_request(to_request(values, _secret(form))))
    except ComservError as error:
        return Sketch(None, values["hostname"], error, _form_faults(faults(error)))
    blame = {one.field: one.text for one in reversed(plan.findings) if one.level == Level.BLOCKER and one.field}
    return Sketch(plan, values["hostname"], None, _form_faults(blame))


def _form_faults(found: Mapping[str, str]) -> dict[str, str]:
    """Fields of the request → hints of the form; several of them may share one."""
    return {("network.ip_address" if name == "network.subnet_mask" else name): text for name, text in found.items()}


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


def _has_template(view: ServerView) -> bool:
    return any(guest.template for guest in view.picture.guests)


def read(form: FormData) -> dict[str, str]:
    return {name: text_of(form, name, 65536) for name in TEXTS}


def _secret(form: FormData) -> str:
    value = form.get("password")
    return value if isinstance(value, str) else ""


OF_TEMPLATE = ("template", "cpu_cores", "memory_gib", "disk_gb", "bridge", "user")


def begin(key: str, server: str, template: TemplateChoice | None) -> dict[str, str]:
    """A form with the defaults filled in: what the template says, DHCP, started at the end."""
    values = dict.fromkeys(TEXTS, "") | {
        "server": server,
        "request_key": key,
        "type": "dhcp",
        "ipv6": "none",
        "start": "1",
    }
    if template is not None:
        values |= {
            "template": str(template.guest.key.vmid),
            "cpu_cores": "" if template.cores is None else str(template.cores),
            "memory_gib": "" if template.memory_mb is None else f"{template.memory_mb / 1024:g}",
            "disk_gb": "" if template.disk_gb is None else f"{template.disk_gb:.0f}",
            "bridge": template.bridge,
            "user": template.user,
        }
    return values


def to_request(values: Mapping[str, str], password: str) -> dict[str, Any]:
    """The form as the body of `POST /vms`; what is empty stays away."""
    static, static6 = values["type"] == "static", values["ipv6"] == "static"
    address6, _, prefix6 = values["ipv6_address"].partition("/")
    network = {
        "type": values["type"],
        "ip_address": values["ip_address"] if static else "",
        "gateway": values["gateway"] if static else "",
        "bridge": values["bridge"],
        "vlan": values["vlan"],
        "dns_servers": values["dns_servers"].replace(",", " ").split(),
        "search_domain": values["search_domain"],
        "ipv6": {
            "type": values["ipv6"],
            "address": address6 if static6 else "",
            "prefix": prefix6 if static6 else "",
            "gateway": values["ipv6_gateway"] if static6 else "",
        },
    }
    return {
        "server": values["server"],
        "template": {"server": values["server"], "vmid": values["template"]},
        "hostname": values["hostname"],
        **{name: values[name] for name in ("node", "storage", "pool", "vmid", "description", "cpu_cores", "disk_gb")},
        "memory_mb": mebibytes(values["memory_gib"]),
        "tags": values["tags"].replace(",", " ").split(),
        "network": network,
        "cloud_init": {
            "user": values["user"],
            "password": password,
            "ssh_keys": [line for line in values["ssh_keys"].splitlines() if line.strip()],
        },
        "full_clone": values["full_clone"] == "1",
        "start_after_creation": values["start"] == "1",
        "start_on_boot": values["start_on_boot"] == "1",
        "enable_qemu_agent": {"on": True, "off": False}.get(values["agent"]),
    }


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
