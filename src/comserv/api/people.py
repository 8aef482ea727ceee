"""`/people`: who may come in, and as what."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from comserv.api.paging import Cursor, Limit, cut
from comserv.api.replies import PREFIX, answers, nothing, reply
from comserv.api.route import Given, Route, Who
from comserv.api.shapes.person import Person, PersonList
from comserv.domain.person import Action, Role

router = APIRouter(prefix="/people", tags=["people"], route_class=Route)

Name = Annotated[str, Path(max_length=64, description="The person's name.", examples=["mara"])]
Password = Annotated[str, Field(max_length=1024, json_schema_extra={"writeOnly": True, "format": "password"})]


class NewPerson(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=64)] = Field(examples=["mara"])
    role: Role
    password: Password


class PersonPatch(BaseModel):
    """What is left away or null stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "operator"}]})

    role: Role | None = None
    disabled: bool | None = Field(
        default=None, description="True ends the person's sessions and revokes the API tokens for good."
    )


class NewPassword(BaseModel):
    model_config = ConfigDict(extra="forbid")

    password: Password


@router.get("", **answers(PersonList, 422, needs=Action.MANAGE_PEOPLE))
async def list_people(who: Who, services: Given, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """Everybody, by name."""
    page = cut(await services.people.list(who), lambda person: person.name, cursor, limit)
    return reply(PersonList([Person.of(person) for person in page.items], page.next_cursor))


@router.post("", **answers(Person, 409, 422, needs=Action.MANAGE_PEOPLE, status=201))
async def create_person(who: Who, services: Given, person: NewPerson) -> Response:
    """Somebody new."""
    made = await services.people.create(who, person.name, person.role, person.password)
    return reply(Person.of(made), 201, {"Location": f"{PREFIX}/people/{made.name}"})


@router.get("/{name}", **answers(Person, 404, needs=Action.MANAGE_PEOPLE))
async def get_person(who: Who, services: Given, name: Name) -> Response:
    """One person."""
    return reply(Person.of(await services.people.get(who, name)))


@router.patch("/{name}", **answers(Person, 404, 409, 422, needs=Action.MANAGE_PEOPLE))
async def change_person(who: Who, services: Given, name: Name, changes: PersonPatch) -> Response:
    """Another role, or in and out. The last admin stays one."""
    return reply(Person.of(await services.people.change(who, name, changes.role, changes.disabled)))


@router.put("/{name}/password", **answers(None, 404, 422, needs=Action.MANAGE_PEOPLE, status=204))
async def set_password(who: Who, services: Given, name: Name, new: NewPassword) -> Response:
    """A new password for somebody; ends the person's sessions."""
    await services.people.set_password(who, name, new.password)
    return nothing()
