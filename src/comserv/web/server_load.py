"""The load that we put on a server: a section of its page, and the setting for how gentle we are."""

from fastapi import APIRouter, Request, Response

from comserv.domain.errors import Invalid
from comserv.domain.gentleness import Gentleness
from comserv.domain.load import Purpose
from comserv.domain.person import Action, Actor
from comserv.services.live import Notice
from comserv.web import links
from comserv.web.context import Web, see_other, text_of
from comserv.web.live import PartKind

KINDS = {
    Purpose.SWEEP: "sweeps",
    Purpose.TASK_POLL: "looks at tasks",
    Purpose.JOB: "jobs",
    Purpose.PLAN: "plans",
    Purpose.PAGE: "pages",
    Purpose.TEST: "tests",
    Purpose.LOOK: "background",
}
GENTLENESS = {
    Gentleness.GENTLE: (
        "Gentle",
        "Half the calls at once, a third of the sweeps and looks: for a small or busy server.",
    ),
    Gentleness.USUAL: ("Usual", "As Proxmox VE itself refreshes: right for nearly all."),
    Gentleness.EAGER: ("Eager", "Looks at running tasks twice as often: jobs notice sooner that one ended."),
}
PART = "server-load"


def router(web: Web) -> APIRouter:
    routes = web.router()
    loads, text = web.services.loads, web.pages.text

    async def draw(actor: Actor, key: str) -> str:
        may = actor.may(Action.MANAGE_SERVERS)
        return text(
            "part/server-load.html", view=await loads.get(actor, key), kinds=KINDS, gentleness=GENTLENESS, may=may
        )

    web.parts.register(PartKind(PART, draw, _of_server))

    @routes.post("/servers/{server_id}/gentleness")
    async def choose(request: Request, server_id: str) -> Response:
        visitor, form = await web.form(request)
        chosen = text_of(form, "gentleness")
        if chosen not in list(Gentleness):
            raise Invalid(fields={"gentleness": f"one of {', '.join(Gentleness)}"})
        await loads.set_gentleness(visitor.actor, server_id, Gentleness(chosen))
        return see_other(request, links.server(server_id))

    return routes


def _of_server(key: str, notice: Notice) -> bool:
    return notice.topic == "server" and notice.key in ("", key)
