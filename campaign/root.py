"""Another person at the same server: root@pam with a ticket, who brings guests into a state, and who acts in between."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from campaign import world
from campaign.world import Json
from tests.acceptance.harness import Simulated, until

STEPS_TO = {
    "running": ("start",),
    "stopped": ("stop",),
    "paused": ("start", "suspend"),
    "hibernated": ("start", "hibernate"),
}


class Refused(Exception):
    """The server said no, or nothing at all."""


@dataclass
class Root:
    server: Simulated
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, /, **parameters: Any) -> Any:
        """Its `data`. Raises Refused."""
        if not self.headers and not path.startswith("/access"):
            ticket = await self.call("POST", "/access/ticket", username="root@pam", password="pveroot123")
            self.headers = {
                "Cookie": f"PVEAuthCookie={ticket['ticket']}",
                "CSRFPreventionToken": ticket["CSRFPreventionToken"],
            }
        body, query = (parameters, None) if method in ("POST", "PUT") else (None, parameters)
        url, session = f"{self.server.url}/api2/json{path}", self.server.session
        try:
            async with session.request(method, url, headers=self.headers, ssl=False, data=body, params=query) as reply:
                if reply.status != 200:
                    raise Refused(f"{method} {path}: {reply.status} {await reply.text()}")
                return (await reply.json(content_type=None))["data"]
        except (aiohttp.ClientError, ValueError, TypeError, KeyError) as error:
            raise Refused(f"{method} {path}: {error!r}") from error

    async def world(self) -> Json:
        return await self.server.world()

    async def guest(self, vmid: int) -> Json | None:
        return world.guests(await self.world()).get(vmid)

    async def bring(self, guest: Json, wanted: str) -> None:
        """Into a state, before anything is asked of Comserv."""
        if world.state(guest) == wanted:
            return
        at = path_of(guest)
        for verb in STEPS_TO[wanted]:
            current = await self.guest(guest["vmid"])
            if verb == "start" and current and world.state(current) == "running":
                continue
            word, given = ("suspend", {"todisk": 1}) if verb == "hibernate" else (verb, {})
            await self.done("POST", f"{at}/status/{word}", **given)

        async def there() -> bool:
            now = await self.guest(guest["vmid"])
            return now is not None and world.state(now) == wanted

        await until(f"{guest['vmid']} is {wanted}", there, 20, 0.1)

    async def done(self, method: str, path: str, /, **parameters: Any) -> str:
        """A call that begins a task, and how that ended."""
        return await self.ended(await self.call(method, path, **parameters))

    async def ended(self, upid: object) -> str:
        """How a task ended."""

        async def end() -> str:
            tasks = (await self.world())["tasks"]
            return next(
                (str(one["exitstatus"]) for one in tasks if one["upid"] == upid and one["status"] == "stopped"), ""
            )

        return await until(f"the end of {upid}", end, 30, 0.1)


def path_of(guest: Json) -> str:
    return f"/nodes/{guest['node']}/{guest['type']}/{guest['vmid']}"


async def patiently(act: Callable[[], Awaitable[None]], tries: int = 5) -> str:
    """Somebody else tries some times; what the last refusal said, or empty."""
    said = ""
    for _ in range(tries):
        try:
            await act()
        except Refused as refused:
            said = str(refused)
            await asyncio.sleep(0.4)
        else:
            return ""
    return said
