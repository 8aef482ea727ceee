"""`comserv token`: API tokens of people; acts on the data folder."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from comserv.cli.local import act
from comserv.cli.output import Json, ago, note, print_json, say, table
from comserv.cli.user import RoleName

if TYPE_CHECKING:
    from comserv.domain.person import Actor
    from comserv.services.services import Services

app = typer.Typer(help="API tokens of people; acts on the data folder.", no_args_is_help=True)

User = Annotated[str, typer.Option("--user", metavar="NAME", help="Whose.")]


@app.command("create")
def create(
    user: User,
    name: Annotated[str, typer.Option(help="What it is for.")] = "cli",
    role: Annotated[RoleName | None, typer.Option(help="At most the person's own; left away: that.")] = None,
    days: Annotated[int | None, typer.Option(help="It expires after so many days.", min=1, max=3650)] = None,
    json: Json = False,
) -> None:
    """Make an API token. Its value is printed this once."""

    async def work(services: "Services", actor: "Actor") -> str:
        from comserv.domain.person import Role

        return await services.people.create_token(actor, name, Role(role) if role else None, days, user)

    value = act(work)
    if json:
        print_json({"token": value})
        return
    note("It is shown this once. Use it as COMSERV_TOKEN or as `Authorization: Bearer …`.")
    say(value)


@app.command("list")
def list_tokens(user: User, json: Json = False) -> None:
    """A person's tokens, without their values."""

    async def work(services: "Services", actor: "Actor") -> list[dict[str, Any]]:
        import msgspec

        from comserv.api.shapes.person import Token

        return [msgspec.to_builtins(Token.of(token)) for token in await services.people.tokens(actor, user)]

    tokens = act(work)
    if json:
        print_json({"items": tokens, "next_cursor": None})
        return
    rows = ((t["id"], t["name"], t["role"], (t["expires_at"] or "never")[:10], ago(t["last_used"])) for t in tokens)
    table(("ID+", "NAME", "ROLE", "EXPIRES", "USED"), rows)


@app.command("revoke")
def revoke(token_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**31 - 1)], user: User) -> None:
    """Make a token void at once."""

    async def work(services: "Services", actor: "Actor") -> None:
        await services.people.revoke_token(actor, token_id, user)

    act(work)
    say(f"Token {token_id} of {user} is void.")
