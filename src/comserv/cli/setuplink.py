"""`comserv setup-link`: a fresh link with which the first administrator is made."""

from typing import TYPE_CHECKING

from comserv.cli.local import act, settings
from comserv.cli.output import Json, print_json, say

if TYPE_CHECKING:
    from comserv.domain.person import Actor
    from comserv.services.services import Services


def setup_link(json: Json = False) -> None:
    """Print a one-time link for the first administrator; the former one is void. Good for an hour."""
    from comserv.listening import base_url

    chosen = settings()

    async def work(services: "Services", _actor: "Actor") -> str:
        served = await services.sessions.base_url()  # `serve` may have been given another port than these settings
        return f"{served or base_url(chosen, chosen.port)}/set-up/{await services.sessions.make_setup_link()}"

    link = act(work)
    print_json({"link": link}) if json else say(link)
