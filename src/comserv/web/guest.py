"""A guest's own page: what was last seen at once, live parts that arrive by themselves, power, a change, and the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response

from comserv.domain.change import ChangeRequest, parse_change_request
from comserv.domain.errors import ComservError, Conflict, Invalid, ProxmoxError, RequestRefused, ServerUnreachable
from comserv.domain.guest import AgentReport, GuestConfig, KnownAddress
from comserv.domain.hardware import NetworkCard, agent_enabled, cores_of, disks, memory_mib, network_card
from comserv.domain.person import Action, Actor
from comserv.services.guests import Deletion, GuestLive, GuestView
from comserv.services.jobs import JobQuery
from comserv.services.live import Notice
from comserv.web import links
from comserv.web.context import Web, see_other, text_of
from comserv.web.guests import read_key, read_verb
from comserv.web.live import Draw, Moment, PartKind
from comserv.web.measures import gibibytes, mebibytes
from comserv.web.pages import Page
from comserv.web.problems import faults, status_of
from comserv.web.verbs import Verb

RECENT = 8


@dataclass(frozen=True)
class GuestPage(Page):
    """What was last seen; the rest are live parts."""

    template: ClassVar[str] = "guest.html"
    section: ClassVar[str] = "Guests"

    view: GuestView


@dataclass(frozen=True)
class PowerPage(Page):
    """A hard act, before it is done. key: makes a second click the same request."""

    template: ClassVar[str] = "guest-power.html"
    section: ClassVar[str] = "Guests"

    view: GuestView
    verb: Verb
    request_key: str


@dataclass(frozen=True)
class ChangePage(Page):
    """values: as they stand in the form, by field."""

    template: ClassVar[str] = "guest-change.html"
    section: ClassVar[str] = "Guests"

    view: GuestView
    values: Mapping[str, str]
    request_key: str
    running: bool
    faults: Mapping[str, str] = field(default_factory=dict)
    error: ComservError | None = None


@dataclass(frozen=True)
class DeletePage(Page):
    """What goes, what makes it risky, what stays; and the name that has to be typed."""

    template: ClassVar[str] = "guest-delete.html"
    section: ClassVar[str] = "Guests"

    deletion: Deletion
    name: str
    request_key: str
    typed: str = ""
    error: ComservError | None = None


@dataclass(frozen=True)
class Card:
    """A network card with what the agent knows behind it."""

    key: str
    card: NetworkCard
    addresses: tuple[str, ...] = ()


def router(web: Web) -> APIRouter:
    routes = web.router()
    _register_parts(web)

    @routes.get("/guests/{server}/{vmid}")
    async def show(request: Request, server: str, vmid: str) -> Response:
        visitor = await web.visitor(request)
        key = read_key(f"{server}/{vmid}")
        view = await web.services.guests.get(visitor.actor, key)
        parts = [f"{kind}:{key}" for kind in ("guest-head", "guest-jobs", "guest-live", "guest-agent", "guest-tasks")]
        whole = request.query_params.get("whole") == "yes"
        return await web.page(request, visitor, GuestPage(view), parts, whole=whole)

    @routes.get("/guests/{server}/{vmid}/power/{action}")
    async def ask_power(request: Request, server: str, vmid: str, action: str) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.POWER)
        view = await web.services.guests.get(visitor.actor, read_key(f"{server}/{vmid}"))
        return await web.page(request, visitor, PowerPage(view, read_verb(action), web.request_key()))

    @routes.post("/guests/{server}/{vmid}/power")
    async def power(request: Request, server: str, vmid: str) -> Response:
        visitor, form = await web.form(request)
        key, verb = read_key(f"{server}/{vmid}"), read_verb(text_of(form, "action"))
        if verb.hard and text_of(form, "sure") != "yes":
            await web.require(visitor, Action.POWER, f"guest {key}")
            view = await web.services.guests.get(visitor.actor, key)
            return await web.page(request, visitor, PowerPage(view, verb, web.request_key()))
        job = await web.services.guests.power(visitor.actor, key, verb.action, text_of(form, "request_key"))
        return see_other(request, links.job(job) if text_of(form, "then") == "job" else links.guest(key))

    @routes.get("/guests/{server}/{vmid}/change")
    async def ask_change(request: Request, server: str, vmid: str) -> Response:
        visitor = await web.visitor(request)
        visitor.actor.require(Action.CHANGE_GUEST)
        live = await web.services.guests.live(visitor.actor, read_key(f"{server}/{vmid}"))
        running = live.state.status == "running"
        return await web.page(request, visitor, ChangePage(live.view, current(live), web.request_key(), running))

    @routes.post("/guests/{server}/{vmid}/change")
    async def change(request: Request, server: str, vmid: str) -> Response:
        visitor, form = await web.form(request)
        key = read_key(f"{server}/{vmid}")
        values = {name: text_of(form, name) for name in FIELDS}
        before = {name: text_of(form, f"was.{name}") for name in FIELDS}
        try:
            wish = changed(values, before)
            job = await web.services.guests.change(visitor.actor, key, wish, text_of(form, "request_key"))
        except (Invalid, Conflict, ProxmoxError) as error:
            view = await web.services.guests.get(visitor.actor, key)
            running = view.guest.status == "running"
            page = ChangePage(
                view,
                values | {f"was.{n}": v for n, v in before.items()},
                text_of(form, "request_key"),
                running,
                faults(error),
                error,
            )
            return await web.page(request, visitor, page, status=status_of(error))
        return see_other(request, links.job(job))

    @routes.get("/guests/{server}/{vmid}/delete")
    async def ask_delete(request: Request, server: str, vmid: str) -> Response:
        visitor = await web.visitor(request)
        deletion = await web.services.guests.deletion(visitor.actor, read_key(f"{server}/{vmid}"))
        return await web.page(request, visitor, DeletePage(deletion, name_of(deletion.view), web.request_key()))

    @routes.post("/guests/{server}/{vmid}/delete")
    async def delete(request: Request, server: str, vmid: str) -> Response:
        visitor, form = await web.form(request)
        key, typed = read_key(f"{server}/{vmid}"), text_of(form, "name")
        try:
            job = await web.services.guests.delete(visitor.actor, key, typed, text_of(form, "request_key"))
        except (Invalid, Conflict) as error:
            deletion = await web.services.guests.deletion(visitor.actor, key)
            page = DeletePage(deletion, name_of(deletion.view), text_of(form, "request_key"), typed, error)
            return await web.page(request, visitor, page, status=status_of(error))
        return see_other(request, links.job(job))

    return routes


def _register_parts(web: Web) -> None:
    guests = web.services.guests
    readings: Moment[GuestLive] = Moment()

    def draw_head(actor: Actor, view: GuestView, live: GuestLive | None) -> str:
        may = {
            str(action): actor.may(action)
            for action in (Action.POWER, Action.CHANGE_GUEST, Action.DELETE_GUEST, Action.CREATE_VM)
        }
        return web.pages.text("part/guest-head.html", view=view, live=live, name=name_of(view), may=may)

    async def head(actor: Actor, key: str) -> str:
        try:
            live = await readings.of((key, actor.role), lambda: guests.live(actor, read_key(key)))
        except ProxmoxError:  # the part `guest-live` tells it; here the last known has to do
            return await first_head(actor, key)
        return draw_head(actor, live.view, live)

    async def first_head(actor: Actor, key: str) -> str:
        return draw_head(actor, await guests.get(actor, read_key(key)), None)

    async def live(actor: Actor, key: str) -> str:
        seen = await readings.of((key, actor.role), lambda: guests.live(actor, read_key(key)))
        return web.pages.text(
            "part/guest-live.html",
            live=seen,
            facts=config_facts(seen),
            cards=cards(seen.config),
            may_change=actor.may(Action.CHANGE_GUEST),
        )

    async def agent(actor: Actor, key: str) -> str:
        try:
            report = await guests.agent(actor, read_key(key))
        except (RequestRefused, ServerUnreachable) as error:
            view = await guests.get(actor, read_key(key))
            why = (
                "No agent answers."
                if isinstance(error, RequestRefused)
                else f"{view.guest.key.server} does not answer."
            )
            return web.pages.text("part/guest-silent.html", known=each_address(view), why=why, said=error.proxmox)
        return web.pages.text("part/guest-agent.html", report=report, addresses=agent_addresses(report))

    async def tasks(actor: Actor, key: str) -> str:
        try:
            found = await guests.tasks(actor, read_key(key))
        except ServerUnreachable:  # the part `guest-live` tells why and what to do
            return web.pages.text("part/guest-untold.html", server=read_key(key).server)
        return web.pages.text("part/guest-tasks.html", tasks=found[:RECENT], more=max(0, len(found) - RECENT))

    async def jobs(actor: Actor, key: str) -> str:
        page = await web.services.jobs.list(actor, JobQuery(guest=read_key(key), limit=RECENT))
        return web.pages.text("part/guest-jobs.html", jobs=page.items)

    def asking(what: str) -> Draw:
        async def first(actor: Actor, key: str) -> str:
            return web.pages.text("part/asking.html", what=what, whole=links.guest(read_key(key)) + "?whole=yes")

        return first

    kinds = (
        PartKind("guest-head", head, _of_guest, first=first_head, pause=3),
        PartKind("guest-live", live, _of_guest, first=asking("asking the server"), pause=3),
        PartKind("guest-agent", agent, _of_guest, first=asking("asking the guest agent"), pause=10),
        PartKind("guest-tasks", tasks, _of_guest, first=asking("asking the server for its tasks"), pause=10),
        PartKind("guest-jobs", jobs, _of_guest),
    )
    for kind in kinds:
        web.parts.register(kind)


def _of_guest(key: str, notice: Notice) -> bool:
    server = key.partition("/")[0]
    return notice.topic == "job" or (notice.topic in ("guests", "server") and notice.key in ("", server))


def name_of(view: GuestView) -> str:
    """What a person types to delete it: the name, or the VM id where it has none."""
    return view.guest.name or str(view.guest.key.vmid)


def config_facts(live: GuestLive) -> Mapping[str, Any]:
    """The configuration in the words of the page."""
    config = live.config
    return {
        "cores": cores_of(config),
        "cpu": config.get("cpu"),
        "memory_mib": memory_mib(config),
        "balloon": config.get("balloon"),
        "disks": tuple(disk for disk in disks(config) if not disk.cdrom),
        "boot": config.get("boot").removeprefix("order=").replace(";", ", "),
        "bios": "UEFI" if config.get("bios") == "ovmf" else "",
        "on_boot": config.get("onboot") == "1",
        "agent": agent_enabled(config),
        "protection": config.get("protection") == "1",
        "notes": live.notes,
        "os": config.get("ostype"),
    }


def cards(config: GuestConfig) -> tuple[Card, ...]:
    """Network cards of a VM in order; a container's are written otherwise and are left out."""
    found = []
    for number in range(32):
        card = network_card(config.get(f"net{number}"))
        if card is not None:
            found.append(Card(f"net{number}", card))
    return tuple(found)


FIELDS = ("cpu_cores", "memory_gib", "name", "tags", "notes", "start_on_boot")


def current(live: GuestLive) -> dict[str, str]:
    """What the change form begins with: the configuration as the server tells it now."""
    config = live.config
    values = {
        "cpu_cores": str(cores_of(config)),
        "memory_gib": gibibytes(memory_mib(config)),
        "name": config.get("name") or config.get("hostname") or live.view.guest.name,
        "tags": " ".join(live.view.guest.tags),
        "notes": live.notes,
        "start_on_boot": "1" if config.get("onboot") == "1" else "",
    }
    return values | {f"was.{name}": value for name, value in values.items()}


def changed(values: Mapping[str, str], before: Mapping[str, str]) -> ChangeRequest:
    """Only what differs from what the form began with, so that nobody's other edit is overwritten. Raises Invalid."""
    wish: dict[str, Any] = {
        name: value for name, value in values.items() if _plain(value) != _plain(before.get(name, ""))
    }
    if not wish:
        raise Invalid("Nothing is different from what is there.")
    if "memory_gib" in wish:
        wish["memory_mb"] = mebibytes(wish.pop("memory_gib"))
    if "tags" in wish:
        wish["tags"] = wish["tags"].replace(",", " ").split()
    if "start_on_boot" in wish:
        wish["start_on_boot"] = wish["start_on_boot"] == "1"
    return parse_change_request(wish)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def each_address(view: GuestView) -> tuple[KnownAddress, ...]:
    """Each address once, by whoever told it first: the agent before cloud-init."""
    return tuple({known.address: known for known in reversed(view.addresses)}.values())[::-1]


def agent_addresses(report: AgentReport) -> tuple[Any, ...]:
    """Addresses that lead somewhere: no loopback; link-local ones last."""
    shown = [one for one in report.addresses if not one.loopback]
    return tuple(sorted(shown, key=lambda one: one.link_local))
