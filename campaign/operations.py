"""Every operation that Comserv has. A new one is one decorated function here: its name, what it needs, what it asks, what a success shows.

    @operation("power/start", on=vm("stopped"))
    async def _(stage: Stage) -> None:
        await stage.power("start", stage.is_now("running"))

The function returns when all was asked; the campaign waits for the jobs, tries again, and checks the world.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from campaign.faults import SAID
from campaign.installation import registration
from campaign.stage import Stage, Wish

Act = Callable[[Stage], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Needs:
    """A guest that is there before: its type and state. Neither: none is needed."""

    type: str = ""
    state: str = ""


@dataclass(frozen=True)
class Operation:
    """register: whether its server is known to Comserv from the beginning."""

    name: str
    act: Act
    needs: Needs = Needs()
    register: bool = True


OPERATIONS: dict[str, Operation] = {}


def operation(name: str, on: Needs = Needs(), register: bool = True) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        OPERATIONS[name] = Operation(name, act, on, register)
        return act

    return add


def vm(state: str) -> Needs:
    return Needs("qemu", state)


def container(state: str) -> Needs:
    return Needs("lxc", state)


# --- creation


def _creation(name: str, **asked: Any) -> None:
    @operation(f"create/{name}")
    async def _(stage: Stage) -> None:
        await stage.create(**asked)


STATIC = {"type": "static", "subnet_mask": "24", "bridge": "vmbr0"}
_creation("linked", full_clone=False)
_creation("full", full_clone=True)
_creation("dhcp", network={"type": "dhcp", "bridge": "vmbr0"})
_creation("not started", start_after_creation=False)
_creation("started", start_after_creation=True, disk_gb=12)
_creation("next free id", vmid=None)
_creation("with a password", cloud_init={"user": "ada", "password": "a password that nobody sees"})


@operation("create/static")
async def _(stage: Stage) -> None:
    number = stage.draw.number
    network = {**STATIC, "ip_address": f"10.20.33.{20 + number}", "gateway": "10.20.33.1"}
    await stage.create(network=network, start_after_creation=True)


@operation("create/without agent")
async def _(stage: Stage) -> None:
    await stage.create(template=stage.simulated.templates[-1], start_after_creation=True)


# --- power


def _power(action: str, before: str, after: str, type: str = "qemu", what: str = "") -> None:
    @operation(f"power/{action} {'VM' if type == 'qemu' else 'container'} {before}", on=Needs(type, before))
    async def _(stage: Stage) -> None:
        await stage.power(action, stage.carried_out(what) if what else stage.is_now(after), what)


for _type in ("qemu", "lxc"):
    _power("start", "stopped", "running", _type)
    _power("shutdown", "running", "stopped", _type)
    _power("stop", "running", "stopped", _type)
    _power("reboot", "running", "running", _type, "reboot")
_power("reset", "running", "running", what="reset")
_power("suspend", "running", "paused")
_power("resume", "paused", "running")
_power("hibernate", "running", "hibernated")
_power("resume", "hibernated", "running")
_power("stop", "paused", "stopped")


# --- change


def _change(what: str, on: Needs, body: dict[str, Any], **config: str | None) -> None:
    @operation(f"change/{what} {'VM' if on.type == 'qemu' else 'container'} {on.state}", on=on)
    async def _(stage: Stage) -> None:
        await stage.change(body, config)


_change("cores", vm("running"), {"cpu_cores": 3}, cores="3")
_change("memory", vm("stopped"), {"memory_mb": 1536}, memory="1536")
_change("name", vm("running"), {"name": "renamed-01"}, name="renamed-01")
_change("tags", vm("stopped"), {"tags": ["blue", "one"]}, tags="blue;one")
_change("notes", vm("running"), {"notes": "Seen on Monday"}, description="Seen on Monday")
_change("start on boot", vm("stopped"), {"start_on_boot": True}, onboot="1")
_change(
    "all", vm("running"), {"cpu_cores": 3, "memory_mb": 1536, "tags": ["blue"]}, cores="3", memory="1536", tags="blue"
)
_change("cores", container("running"), {"cpu_cores": 3}, cores="3")
_change("name", container("stopped"), {"name": "renamed-02"}, hostname="renamed-02")


# --- the end of a guest


@operation("delete/VM", on=vm("stopped"))
async def _(stage: Stage) -> None:
    await stage.delete()


@operation("delete/container", on=container("stopped"))
async def _(stage: Stage) -> None:
    await stage.delete()


@operation("delete/made here")
async def _(stage: Stage) -> None:
    made = await stage.create(start_after_creation=False, full_clone=True)
    if (job := await ended(stage, made)) and job["state"] == "succeeded":
        stage.target = await stage.exists(job["vmid"]) or {"vmid": job["vmid"], "name": job["result"]["name"]}
        made.shows = None  # it goes again
        await listed(stage, job["vmid"])
        await stage.delete()


# --- cancel, retry, remains


def _cancel(
    name: str, running_task: str, ask: Callable[[Stage], Coroutine[Any, Any, Wish]], on: Needs = Needs()
) -> None:
    @operation(f"cancel/{name} {running_task}", on=on)
    async def _(stage: Stage) -> None:
        wish = await ask(stage)
        if wish.job:
            await asyncio.sleep(stage.random.uniform(0, 1.5))
            await stage.ask("POST", f"/jobs/{wish.job}/cancel", {"running_task": running_task})


for _word in ("finish", "stop"):
    _cancel("creation", _word, lambda stage: stage.create(full_clone=True))
    _cancel("shutdown", _word, lambda stage: stage.power("shutdown", stage.is_now("stopped")), vm("running"))
    _cancel("deletion", _word, lambda stage: stage.delete(), vm("stopped"))
    _cancel("change", _word, lambda stage: stage.change({"memory_mb": 1536}, {"memory": "1536"}), vm("stopped"))


async def _refused_first(stage: Stage, ending: str) -> Wish:
    match = {"method": "POST" if ending != "resize" else "PUT", "path": f"/qemu/[0-9]+/{ending}$"}
    rule = {"match": match, "effect": "status", "status": 500, "text": SAID, "times": 1, "tag": "refused-first"}
    await stage.simulated.break_with(rule)
    return await stage.create(disk_gb=12)


@operation("retry/refused clone")
async def _(stage: Stage) -> None:
    await again(stage, await _refused_first(stage, "clone"))


@operation("retry/refused configuration")
async def _(stage: Stage) -> None:
    await again(stage, await _refused_first(stage, "config"))


@operation("retry/refused growth")
async def _(stage: Stage) -> None:
    await again(stage, await _refused_first(stage, "resize"))


@operation("remains/of a creation")
async def _(stage: Stage) -> None:
    wish = await _refused_first(stage, "config")
    if (job := await ended(stage, wish)) and job["state"] == "failed":
        await remove_remains(stage, wish)


# --- several at once


@operation("several/changes and power", on=vm("running"))
async def _(stage: Stage) -> None:
    await asyncio.gather(
        stage.change({"cpu_cores": 3}, {"cores": "3"}),
        stage.change({"tags": ["blue"]}, {"tags": "blue"}),
        stage.power("reboot", stage.carried_out("reboot"), "reboot"),
        stage.change({"notes": "Together"}, {"description": "Together"}),
    )


@operation("several/the same wish twice", on=vm("stopped"))
async def _(stage: Stage) -> None:
    await asyncio.gather(*(stage.power("start", stage.is_now("running")) for _ in range(2)))


@operation("several/change and delete", on=vm("stopped"))
async def _(stage: Stage) -> None:
    await asyncio.gather(stage.change({"memory_mb": 1536}), stage.delete())


@operation("several/creations of one template")
async def _(stage: Stage) -> None:
    template = stage.simulated.templates[0]
    await asyncio.gather(*(stage.create(template=template, vmid=None, full_clone=False) for _ in range(3)))


@operation("several/many at once", on=vm("running"))
async def _(stage: Stage) -> None:
    body = {"guests": [{"server": stage.server, "vmid": stage.vmid}], "action": "shutdown"}
    wish = await stage.ask("POST", "/guests/power", body, stage.is_now("stopped"))
    if wish.status < 400 and wish.told["items"][0]["job"]:
        wish.job = wish.told["items"][0]["job"]["id"]


# --- servers


@operation("server/add", register=False)
async def _(stage: Stage) -> None:
    await stage.comserv.register(stage.server, stage.simulated, patient=True)
    stage.registered = True


@operation("server/test")
async def _(stage: Stage) -> None:
    await stage.ask("POST", f"/servers/{stage.server}/test")


@operation("server/test of a new one", register=False)
async def _(stage: Stage) -> None:
    await stage.ask("POST", "/servers/test", await registration(stage.server, stage.simulated))


@operation("server/rename")
async def _(stage: Stage) -> None:
    await stage.on_server("PATCH", "edit_server", {"name": "Another name"})


@operation("server/new token")
async def _(stage: Stage) -> None:
    token = stage.simulated.told["tokens"]["full"]
    await stage.on_server("PATCH", "edit_server", {"token_id": token["id"], "token_secret": token["secret"]})


@operation("server/asked more gently")
async def _(stage: Stage) -> None:
    await stage.on_server("PATCH", "set_gentleness", {"gentleness": "gentle"})


@operation("server/maintenance during a creation")
async def _(stage: Stage) -> None:
    await stage.create(start_after_creation=True)
    await asyncio.sleep(stage.random.uniform(0, 1))
    await stage.on_server("POST", "begin_maintenance", {"why": "New disks"}, "/maintenance")
    await asyncio.sleep(0.5)
    await stage.on_server("DELETE", "end_maintenance", at="/maintenance")


@operation("server/remove")
async def _(stage: Stage) -> None:
    wish = await stage.on_server("DELETE", "remove_server")
    stage.registered = wish.status == 409


# --- reading


@operation("read/plan")
async def _(stage: Stage) -> None:
    body = {
        "server": stage.server,
        "hostname": "planned",
        "template": {"server": stage.server, "vmid": stage.simulated.templates[0]},
    }
    await stage.ask("POST", "/vms/plan", body)


@operation("read/guest live", on=vm("running"))
async def _(stage: Stage) -> None:
    for path in ("?live=1", "/config", "/agent", "/tasks", "/deletion"):
        await stage.ask("GET", stage.guest_path + path)


# --- what operations share


async def ended(stage: Stage, wish: Wish) -> Any:
    """The job once it has ended; None where there is none."""
    return await stage.comserv.ended(wish.job) if wish.job else None


async def again(stage: Stage, wish: Wish) -> None:
    """Tries a failed job again."""
    job = await ended(stage, wish)
    if job and job["state"] in ("failed", "cancelled"):
        told = await stage.ask("POST", f"/jobs/{wish.job}/retry", {"secrets": wish.secrets})
        wish.retries += told.status < 400


async def remove_remains(stage: Stage, wish: Wish) -> None:
    removal = await stage.ask("DELETE", f"/jobs/{wish.job}/remains", is_removal=True)
    if removal.job:
        wish.shows, wish.removed = None, True


async def listed(stage: Stage, vmid: int) -> None:
    """Until Comserv's list shows the guest."""
    for _ in range(100):
        status, _ = await stage.comserv.ask_patiently("GET", f"/guests/{stage.server}/{vmid}")
        if status == 200:
            return
        await asyncio.sleep(0.2)
