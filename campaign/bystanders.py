"""Somebody else who acts on the same server while Comserv works: one more is one decorated function here.

Each notes with the stage what it did, so that nobody blames Comserv for it, and that nobody overwrote it.
"""

import asyncio
from collections.abc import Awaitable, Callable

from campaign import world
from campaign.root import Refused, Root, path_of, patiently
from campaign.stage import Stage
from campaign.world import Json

Act = Callable[[Stage], Awaitable[None]]
BYSTANDERS: dict[str, Act] = {}
MARK = ("keyboard", "fr")  # an option of a VM that no operation of ours touches
HELD_LOCK = 1.0  # seconds
LOOKS_FOR = 6.0  # seconds until the guest that is being made is there


def bystander(name: str) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        BYSTANDERS[name] = act
        return act

    return add


async def _aim(stage: Stage) -> Json | None:
    """The guest that the run is about, or the one that it makes, as soon as that is there."""
    if stage.target:
        return await stage.root.guest(stage.vmid)
    names = {wish.creation.name for wish in stage.wishes if wish.creation}
    for _ in range(int(LOOKS_FOR / 0.2)):
        found = [guest for guest in (await stage.root.world())["guests"] if guest["name"] in names]
        if found:
            return found[0]
        names |= {wish.creation.name for wish in stage.wishes if wish.creation}
        await asyncio.sleep(0.2)
    return None


@bystander("deletes")
async def _(stage: Stage) -> None:
    if (guest := await _aim(stage)) is None:
        return

    async def remove() -> None:
        if await stage.root.guest(guest["vmid"]) is None:
            return
        stage.other_did |= {"state", "gone"}
        await stage.root.call("POST", f"{path_of(guest)}/status/stop")
        await asyncio.sleep(0.3)
        await stage.root.call("DELETE", path_of(guest))
        await asyncio.sleep(0.5)
        if await stage.root.guest(guest["vmid"]) is not None:
            raise Refused("still there")

    await patiently(remove)


@bystander("changes")
async def _(stage: Stage) -> None:
    if (guest := await _aim(stage)) is None or guest["type"] != "qemu":
        return
    key, value = MARK

    async def change() -> None:
        stage.other_did.add("digest")
        await stage.root.call("PUT", f"{path_of(guest)}/config", **{key: value})
        stage.others_marks[guest["vmid"]] = {key: value}

    await patiently(change)


@bystander("locks")
async def _(stage: Stage) -> None:
    if (guest := await _aim(stage)) is None or guest["type"] != "qemu" or guest["lock"]:
        return
    at = f"{path_of(guest)}/config"

    async def lock() -> None:
        stage.other_did.add("lock")
        await stage.root.call("PUT", at, lock="backup")

    async def unlock() -> None:
        current = await stage.root.guest(guest["vmid"])
        if current and current["lock"] == "backup":
            await stage.root.call("PUT", at, delete="lock", skiplock=1)

    if not await patiently(lock, 2):
        await asyncio.sleep(HELD_LOCK)
    await patiently(unlock, 30)


@bystander("powers")
async def _(stage: Stage) -> None:
    if (guest := await _aim(stage)) is None:
        return

    async def power() -> None:
        now = await stage.root.guest(guest["vmid"])
        if now is None:
            return
        stage.other_did.add("state")
        word = "start" if world.state(now) == "stopped" else "stop"
        await stage.root.call("POST", f"{path_of(guest)}/status/{word}")

    await patiently(power, 2)


@bystander("takes the id")
async def _(stage: Stage) -> None:
    """Makes guests of his own, first with the number that a creation of ours wants."""
    wanted = [wish.creation.vmid for wish in stage.wishes if wish.creation and wish.creation.vmid]
    node = stage.before["guests"][0]["node"]
    for name in ("others-1", "others-2"):
        await _make(stage, stage.root, node, name, wanted.pop() if wanted else None)


async def _make(stage: Stage, root: Root, node: str, name: str, vmid: int | None) -> None:
    async def make() -> None:
        number = vmid or int(await root.call("GET", "/cluster/nextid"))
        upid = await root.call("POST", f"/nodes/{node}/qemu", vmid=number, name=name, memory=512)
        await root.ended(upid)
        made = await root.guest(number)
        if made is None or made["name"] != name:
            raise Refused("somebody was faster")
        stage.other_did.add("vmid")
        stage.others_guests[number] = made

    await patiently(make, 2)
