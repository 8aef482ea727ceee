"""`.../agent/*`: what the guest agent is asked."""

from __future__ import annotations

import base64
from typing import Any

from pve_simulator.call import Call, Handler, endpoint
from pve_simulator.errors import ApiError
from pve_simulator.qemu import agent, machine, power
from pve_simulator.world.guest import Guest

AGENT = "/nodes/{node}/qemu/{vmid}/agent"
LATENCY = 0.02  # seconds to the guest and back
NOT_RUNNING = "QEMU guest agent is not running"


async def reached(call: Call) -> Guest:
    """The VM whose agent answers; raises ApiError 500, after three seconds where the agent stays silent."""
    guest = call.guest()
    if "agent" not in guest.config:
        raise ApiError(500, "No QEMU guest agent configured")
    if guest.process is None:
        raise ApiError(500, f"VM {guest.vmid} is not running")
    if not machine.agent_enabled(guest.config):
        raise ApiError(500, NOT_RUNNING)
    if call.server.faults.standing("agent_silent", call.method, f"/api2/json{call.path}", guest.node):
        await call.server.clock.sleep(power.AGENT_PING)
        raise ApiError(500, NOT_RUNNING)
    if not await power.answers(call.server, guest):
        raise ApiError(500, NOT_RUNNING)
    await call.server.clock.sleep(LATENCY)
    return guest


def simple(answer: agent.Answer) -> Handler:
    """An endpoint that passes on what the agent answers."""

    async def ask(call: Call) -> dict[str, Any]:
        return {"result": answer(call.server, await reached(call))}

    return ask


for _method, _answers in (("GET", agent.READS), ("POST", agent.WRITES)):
    for _name, _answer in _answers.items():
        endpoint(_method, f"{AGENT}/{_name}")(simple(_answer))


@endpoint("GET", AGENT)
async def index(call: Call) -> list[dict[str, str]]:
    return [{"name": name} for name in agent.INDEX.split()]


@endpoint("POST", AGENT)
async def generic(call: Call) -> dict[str, Any]:
    guest, name = await reached(call), call["command"]
    answer = agent.READS.get(name) or agent.WRITES.get(name)
    if answer is not None:
        return {"result": answer(call.server, guest)}
    return await ended(call, guest, name)


async def ended(call: Call, guest: Guest, name: str) -> dict[str, Any]:
    """`shutdown` and `suspend-*`: the guest does it after its answer."""

    async def leave() -> None:
        await call.server.clock.sleep(power.GUEST_SHUTDOWN)
        if guest.process and name == "shutdown":
            power.ended(call.server, guest)

    call.server.later(leave(), guest.node)
    return {"result": {}}


@endpoint("POST", f"{AGENT}/shutdown")
async def shutdown(call: Call) -> dict[str, Any]:
    return await ended(call, await reached(call), "shutdown")


@endpoint("POST", f"{AGENT}/exec")
async def execute(call: Call) -> dict[str, int]:
    guest, command = await reached(call), call.get("command") or []
    return {"pid": agent.execute(guest, [str(word) for word in command])}


@endpoint("GET", f"{AGENT}/exec-status")
async def executed(call: Call) -> dict[str, Any]:
    return agent.executed(await reached(call), call["pid"])


@endpoint("POST", f"{AGENT}/file-write")
async def write(call: Call) -> None:
    content = call["content"]
    if call.get("encode", True) is False:
        content = base64.b64decode(content).decode("utf-8", "replace")
    agent.write(await reached(call), call["file"], content)


@endpoint("GET", f"{AGENT}/file-read")
async def read(call: Call) -> dict[str, Any]:
    return agent.read(await reached(call), call["file"])


@endpoint("POST", f"{AGENT}/set-user-password")
async def set_password(call: Call) -> dict[str, Any]:
    guest = await reached(call)
    if not machine.system(call.server, guest).password_tool:
        text = "child process has failed to set user password: failed to exec 'chpasswd': No such file or directory"
        raise ApiError(500, f"Agent error: {text}\n")
    return {"result": {}}
