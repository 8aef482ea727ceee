"""Commands that act on the data folder and its database themselves, also while `serve` runs: whoever may write it is trusted."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from comserv.cli.exits import CommandError, Exit, Refused

if TYPE_CHECKING:
    from comserv.domain.errors import ComservError
    from comserv.domain.person import Actor
    from comserv.services.services import Services
    from comserv.settings import Settings

ResultT = TypeVar("ResultT")


class SettingsFaulty(CommandError):
    exit = Exit.USAGE


def settings(**overrides: object) -> "Settings":
    """From the environment and the settings file; overrides that are not None go before both. Raises SettingsFaulty."""
    from pydantic import ValidationError

    from comserv.settings import Settings, load_settings

    try:
        loaded = load_settings()
        given = {name: value for name, value in overrides.items() if value is not None}
        return Settings.model_validate({**loaded.model_dump(), **given}) if given else loaded
    except ValidationError as error:
        faults = "\n".join(f"COMSERV_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsFaulty("A setting cannot be understood.", faults, "Correct it, and start again.") from None


def local_actor() -> "Actor":
    from comserv.domain.person import Actor, Role

    return Actor("local", Role.ADMIN, "local")


def as_refusal(error: "ComservError") -> Refused:
    """An error of a service in the words and with the exit code that the API would give it."""
    import msgspec

    from comserv.api.problems import problem_of

    return Refused(msgspec.to_builtins(problem_of(error)))


def act(work: "Callable[[Services, Actor], Awaitable[ResultT]]") -> ResultT:
    """Runs work on this installation's services, as `local`. Raises Refused."""
    import asyncio

    from comserv.domain.errors import ComservError
    from comserv.installation import open_installation

    async def run() -> ResultT:
        async with open_installation(settings()) as services:
            return await work(services, local_actor())

    try:
        return asyncio.run(run())
    except ComservError as error:
        raise as_refusal(error) from error
