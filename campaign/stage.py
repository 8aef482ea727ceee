"""What an operation has in its hands: a server of its own, a guest in the state it needs, and a Comserv to ask."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from campaign import world
from campaign.draw import Draw
from campaign.faults import Placed
from campaign.installation import Installation, NoAnswer
from campaign.root import Root, path_of
from campaign.world import Json
from tests.acceptance import creations
from tests.acceptance.creations import Creation
from tests.acceptance.harness import Simulated

ASKED_FOR = 25.0  # seconds in which something refused because of a fault is asked for again
TOKEN = "admin@pve!full"

Shows = Callable[[Json, Json], list[str]]
"""(the world, the job) → what of the wish is not there, in words."""


@dataclass
class Wish:
    """One request to Comserv. job: its id once accepted; refused: what was said instead. shows: what a success means."""

    method: str
    path: str
    body: Any
    key: str
    shows: Shows | None = None
    job: str = ""
    refused: str = ""
    status: int = 0
    told: Any = None
    secrets: dict[str, str] = field(default_factory=dict)
    retries: int = 0
    creation: Creation | None = None
    what: tuple[str, int] | None = None  # e.g. ("reboot", 105), for what must not be done twice
    is_removal: bool = False
    removed: bool = False  # what was left of it
    audit: str = ""  # the action that an audit row tells once it was accepted, where no job does


@dataclass
class Stage:
    """One run. server: its id in Comserv. target: the guest as it was before. touched: VM ids that may change."""

    draw: Draw
    server: str
    simulated: Simulated
    comserv: Installation
    random: Random
    placed: tuple[Placed, ...] = ()
    root: Root = field(init=False)
    before: Json = field(default_factory=dict)
    target: Json = field(default_factory=dict)
    wishes: list[Wish] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    others_guests: dict[int, Json] = field(default_factory=dict)
    others_marks: dict[int, dict[str, str]] = field(default_factory=dict)
    other_did: set[str] = field(default_factory=set)
    struck: asyncio.Event = field(default_factory=asyncio.Event)
    hit: list[Placed] = field(default_factory=list)
    began: float = 0.0
    registered: bool = True
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = Root(self.simulated)

    @property
    def vmid(self) -> int:
        return int(self.target["vmid"])

    @property
    def guest_path(self) -> str:
        return f"/guests/{self.server}/{self.vmid}"

    @property
    def node_died(self) -> bool:
        return any(one.fault.rule.get("dies") for one in self.hit)

    @property
    def lied_to(self) -> bool:
        return any(one.fault.lies for one in self.hit)

    @property
    def templates(self) -> dict[int, dict[str, str]]:
        return {guest["vmid"]: guest["config"] for guest in self.before["guests"] if guest["template"]}

    # --- asking

    async def ask(self, method: str, path: str, body: Any = None, shows: Shows | None = None, **more: Any) -> Wish:
        """Until it is accepted; what is refused for as long as the faults stand and some time after is noted as refused."""
        key = f"{self.draw.index}-{len(self.wishes)}"
        wish = Wish(method, path, body, key, shows, **more)
        self.wishes.append(wish)
        end = time.monotonic() + ASKED_FOR
        while True:
            await self.ask_once(wish)
            if wish.status < 400 or wish.status not in (409, 422, 500, 502, 503, 504) or time.monotonic() > end:
                return wish
            if wish.status in (409, 422) and not self._passing(wish):
                return wish
            await asyncio.sleep(0.5)

    def _passing(self, wish: Wish) -> bool:
        """Whether the refusal says that the server could not be asked."""
        codes = {one.get("code") for one in wish.told.get("findings", ())}
        unasked = {"server_unreachable", "vmid_unknown", "template_unread", "node_offline", "storage_unknown"}
        return bool(codes & unasked)

    async def ask_once(self, wish: Wish) -> None:
        """One request, sent again for as long as nobody answers."""
        headers = {"Idempotency_Key": wish.key} if wish.key else {}
        while True:
            try:
                wish.status, wish.told = await self.comserv.ask(wish.method, wish.path, wish.body, **headers)
            except NoAnswer:
                await asyncio.sleep(0.2)
                continue
            break
        job = wish.told.get("id", "") if isinstance(wish.told, Mapping) and "steps" in wish.told else ""
        wish.job = wish.job or (job if wish.status < 400 else "")
        wish.refused = "" if wish.status < 400 else f"{wish.status} {_said(wish.told)}"

    async def power(self, action: str, shows: Shows | None = None, what: str = "") -> Wish:
        told = (what, self.vmid) if what else None
        return await self.ask("POST", f"{self.guest_path}/power", {"action": action}, shows, what=told)

    async def change(self, body: Mapping[str, Any], config: Mapping[str, str | None] | None = None) -> Wish:
        """config: what the guest's configuration shows then; None where that cannot be told."""
        return await self.ask("PATCH", self.guest_path, dict(body), self.configured(config) if config else None)

    async def delete(self) -> Wish:
        body = {"confirm": self.target["name"] or str(self.vmid)}
        return await self.ask(
            "DELETE", self.guest_path, body, self.gone(), what=("deletion", self.vmid), is_removal=True
        )

    async def create(self, **asked: Any) -> Wish:
        """A VM of a seeded choice, with `asked` laid over it; None takes a choice away."""
        number = self.draw.number * 8 + sum(1 for wish in self.wishes if wish.creation)
        template = asked.pop("template", 0) or self.random.choice(self.simulated.templates)
        creation = creations.chosen(self.random, number, template, server=self.server, **asked)
        for name in [name for name, value in creation.body.items() if value is None]:
            del creation.body[name]
        shows = self.created(creation)
        return await self.ask(
            "POST", "/vms", creation.body, shows, creation=creation, secrets=creations.secrets_of(creation)
        )

    async def on_server(self, method: str, audit: str, body: Any = None, at: str = "") -> Wish:
        """About the server itself; `audit`: the action that is kept."""
        return await self.ask(method, f"/servers/{self.server}{at}", body, audit=audit)

    # --- what a success means

    def is_now(self, wanted: str) -> Shows:
        def shows(now: Json, job: Json) -> list[str]:
            guest = world.guests(now).get(self.vmid)
            found = world.state(guest) if guest else "gone"
            return [] if found == wanted else [f"{self.vmid} is {found}, not {wanted}"]

        return shows

    def carried_out(self, what: str) -> Shows:
        """It runs, and a task did what leaves no other trace: a reboot, a reset."""

        def shows(now: Json, job: Json) -> list[str]:
            types = (f"qm{what}", f"vz{what}")
            good = [
                task
                for task in now["tasks"]
                if task["type"] in types and task["id"] == str(self.vmid) and world.went_well(task)
            ]
            return self.is_now("running")(now, job) + ([] if good else [f"no {what} of {self.vmid} went well"])

        return shows

    def configured(self, config: Mapping[str, str | None]) -> Shows:
        def shows(now: Json, job: Json) -> list[str]:
            guest = world.guests(now).get(self.vmid)
            if guest is None:
                return [f"{self.vmid} is gone"]
            found = world.settings(guest)
            return [
                f"{self.vmid}: {key} is {found.get(key)!r}, asked {value!r}"
                for key, value in config.items()
                if found.get(key) != value
            ]

        return shows

    def gone(self) -> Shows:
        def shows(now: Json, job: Json) -> list[str]:
            there = self.vmid in world.guests(now) and self.vmid not in self.others_guests
            return [f"{self.vmid} is still there"] if there else []

        return shows

    def created(self, creation: Creation) -> Shows:
        def shows(now: Json, job: Json) -> list[str]:
            told = job["result"].get("after_restart", []) if job["state"] == "succeeded" else []
            marks = {vmid: set(values) for vmid, values in self.others_marks.items()}
            started, untold = world.as_after_restart(now, job["vmid"], told, marks)
            wrong = creations.differences(creation, dict(job), dict(started), self.templates)
            if untold and not self.node_died:
                wrong.append(f"{job['vmid']}: {untold} is told to wait for a restart, and does not")
            if told and not any("Reboot it" in text for text in job["warnings"]):
                wrong.append(f"{job['vmid']}: {told} waits for a restart, and no warning says so")
            return wrong

        return shows

    # --- others

    async def exists(self, vmid: int) -> Json | None:
        return await self.root.guest(vmid)

    def path_on_server(self) -> str:
        return path_of(self.target)


def _said(told: Any) -> str:
    if not isinstance(told, Mapping):
        return str(told)[:200]
    codes = [one.get("code") for one in told.get("findings", ())]
    return " ".join(str(part) for part in (told.get("title"), told.get("detail"), codes or "") if part)
