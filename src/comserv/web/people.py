"""People: who may come in, with which role; their passwords and API tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from fastapi import APIRouter, Request, Response

from comserv.domain.errors import ComservError, Conflict, Invalid
from comserv.domain.person import Person, Role
from comserv.services.passwords import LEAST
from comserv.services.people import ApiTokenView, SessionView
from comserv.web import links
from comserv.web.context import RowId, Web, see_other, text_of
from comserv.web.pages import Page
from comserv.web.problems import faults, status_of


@dataclass(frozen=True)
class PeoplePage(Page):
    """values: what stands in the form for a new person."""

    template: ClassVar[str] = "people.html"
    section: ClassVar[str] = "People"

    people: tuple[Person, ...]
    values: Mapping[str, str] = field(default_factory=lambda: {"name": "", "role": str(Role.OPERATOR)})
    faults: Mapping[str, str] = field(default_factory=dict)
    error: ComservError | None = None
    least: int = LEAST


@dataclass(frozen=True)
class PersonPage(Page):
    template: ClassVar[str] = "person.html"
    section: ClassVar[str] = "People"

    person: Person
    tokens: tuple[ApiTokenView, ...]
    sessions: tuple[SessionView, ...]
    faults: Mapping[str, str] = field(default_factory=dict)
    error: ComservError | None = None
    least: int = LEAST


def router(web: Web) -> APIRouter:
    routes = web.router()
    people = web.services.people

    @routes.get("/people")
    async def show_all(request: Request) -> Response:
        visitor = await web.visitor(request)
        return await web.page(request, visitor, PeoplePage(await people.list(visitor.actor)))

    @routes.post("/people")
    async def create(request: Request) -> Response:
        visitor, form = await web.form(request)
        values = {"name": text_of(form, "name", 255), "role": text_of(form, "role")}
        try:
            await people.create(visitor.actor, values["name"], read_role(values["role"]), _secret(form.get("password")))
        except (Invalid, Conflict) as error:
            page = PeoplePage(await people.list(visitor.actor), values, faults(error), error)
            return await web.page(request, visitor, page, status=status_of(error))
        return see_other(request, links.people(values["name"]))

    async def person_page(
        request: Request, name: str, faulty: Mapping[str, str] | None = None, error: ComservError | None = None
    ) -> Response:
        visitor = await web.visitor(request)
        person = await people.get(visitor.actor, name)
        sessions = await people.sessions(visitor.actor, web.cookies.read(request), name)
        page = PersonPage(person, await people.tokens(visitor.actor, name), sessions, faulty or {}, error)
        return await web.page(request, visitor, page, status=status_of(error) if error else 200)

    @routes.get("/people/{name}")
    async def show(request: Request, name: str) -> Response:
        return await person_page(request, name)

    @routes.post("/people/{name}")
    async def change(request: Request, name: str) -> Response:
        """One field at a time: role, disabled, or a new password."""
        visitor, form = await web.form(request)
        try:
            if "role" in form:
                await people.change(visitor.actor, name, role=read_role(text_of(form, "role")))
            if "disabled" in form:
                await people.change(visitor.actor, name, disabled=text_of(form, "disabled") == "yes")
            if "password" in form:
                await people.set_password(visitor.actor, name, _secret(form.get("password")))
        except (Invalid, Conflict) as error:
            return await person_page(request, name, faults(error), error)
        return see_other(request, links.people(name))

    @routes.post("/people/{name}/tokens/{token_id}/revoke")
    async def revoke(request: Request, name: str, token_id: RowId) -> Response:
        visitor, _ = await web.form(request)
        await people.revoke_token(visitor.actor, token_id, name)
        return see_other(request, links.people(name))

    @routes.post("/people/{name}/sessions/all/revoke")
    async def revoke_sessions(request: Request, name: str) -> Response:
        visitor, _ = await web.form(request)
        await people.revoke_sessions(visitor.actor, web.cookies.read(request), name)
        return see_other(request, links.people(name))

    @routes.post("/people/{name}/sessions/{session_id}/revoke")
    async def revoke_session(request: Request, name: str, session_id: RowId) -> Response:
        visitor, _ = await web.form(request)
        await people.revoke_session(visitor.actor, session_id, name)
        return see_other(request, links.people(name))

    return routes


def read_role(text: str) -> Role:
    """Raises Invalid."""
    if text not in [str(role) for role in Role]:
        raise Invalid(fields={"role": "A role is viewer, operator or admin."})
    return Role(text)


def _secret(value: object) -> str:
    """As it was typed; outer spaces may belong to it."""
    return value if isinstance(value, str) else ""
