"""`comserv user`: who may come in, and as what; acts on the data folder."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comserv.cli.local import act
from comserv.cli.output import Json, ago, print_json, say, secret, table

if TYPE_CHECKING:
    from comserv.domain.person import Actor, Person
    from comserv.services.services import Services

app = typer.Typer(help="People who may come in; acts on the data folder.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The person's name.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


class RoleName(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def _person(person: "Person") -> dict[str, Any]:
    """As the API shows it."""
    import msgspec

    from comserv.api.shapes.person import Person as Shape

    return msgspec.to_builtins(Shape.of(person))


def _changed(name: str, json: bool, text: str, role: RoleName | None = None, disabled: bool | None = None) -> None:
    async def work(services: "Services", actor: "Actor") -> "Person":
        from comserv.domain.person import Role

        return await services.people.change(actor, name, Role(role) if role else None, disabled)

    person = act(work)
    print_json(_person(person)) if json else say(text)


@app.command("create")
def create(
    name: Name,
    role: Annotated[RoleName, typer.Option(help="viewer sees, operator changes guests, admin does everything.")],
    password_stdin: FromStdin = False,
    json: Json = False,
) -> None:
    """Make somebody who can sign in."""
    password = secret(f"Password for {name}", password_stdin, "--password-stdin")

    async def work(services: "Services", actor: "Actor") -> "Person":
        from comserv.domain.person import Role

        return await services.people.create(actor, name, Role(role), password)

    person = act(work)
    print_json(_person(person)) if json else say(f"{person.name} can sign in, as {person.role}.")


@app.command("list")
def list_people(json: Json = False) -> None:
    """Everybody, by name."""

    async def work(services: "Services", actor: "Actor") -> "tuple[Person, ...]":
        return await services.people.list(actor)

    people = [_person(person) for person in act(work)]
    if json:
        print_json({"items": people, "next_cursor": None})
        return
    rows = ((p["name"], p["role"], "disabled" if p["disabled"] else "", ago(p["last_seen"])) for p in people)
    table(("NAME", "ROLE", "STATE", "SEEN"), rows)


@app.command("disable")
def disable(name: Name, json: Json = False) -> None:
    """Keep somebody out; ends the person's sessions, and revokes the API tokens for good."""
    _changed(name, json, f"{name} cannot sign in any more; sessions and API tokens are void.", disabled=True)


@app.command("enable")
def enable(name: Name, json: Json = False) -> None:
    """Let somebody in again; API tokens have to be made anew."""
    _changed(name, json, f"{name} can sign in again. API tokens have to be made anew.", disabled=False)


@app.command("role")
def role(name: Name, role: Annotated[RoleName, typer.Argument(metavar="ROLE")], json: Json = False) -> None:
    """Give somebody another role: viewer, operator or admin."""
    _changed(name, json, f"{name} is {role} now.", role=role)


@app.command("password")
def password(name: Name, password_stdin: FromStdin = False) -> None:
    """Set somebody's password; ends the person's sessions."""
    new = secret(f"New password for {name}", password_stdin, "--password-stdin")

    async def work(services: "Services", actor: "Actor") -> None:
        await services.people.set_password(actor, name, new)

    act(work)
    say(f"{name} has a new password.")


@app.command("sign-in-link")
def sign_in_link(
    name: Name,
    hours: Annotated[float, typer.Option(help="How long it is good.", min=0.01, max=168)] = 24,
    json: Json = False,
) -> None:
    """Print the path of a link that signs somebody in without a password, as often as it is opened until it expires."""

    async def work(services: "Services", actor: "Actor") -> str:
        from datetime import timedelta

        return await services.sessions.make_sign_in_link(actor, name, timedelta(hours=hours))

    path = f"/sign-in/link/{act(work)}"
    print_json({"path": path}) if json else say(path)
