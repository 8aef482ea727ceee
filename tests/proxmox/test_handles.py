"""Each method of the client is one call of the API: its path decides the shape, and what it sends is what Proxmox knows."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from comserv.domain import errors
from comserv.domain.guest import GuestType
from comserv.domain.plan import PlannedCall
from comserv.domain.server import TokenId
from comserv.domain.task import parse_upid
from comserv.proxmox.client import Client
from tests.proxmox.scripted import Scripted, raw, reply

pytestmark = pytest.mark.anyio

MakeServer = Callable[..., Scripted]
MakeClient = Callable[..., Client]
Call = Callable[[Client], Awaitable[Any]]
UPID = parse_upid("lab", "UPID:pve1:000000D9:0006B3D1:6B05113A:qmclone:105:comserv@pve!manager:")
SCHEMA = json.loads((Path(__file__).parents[2] / "src/pve_simulator/schema/api-9.1.6.json").read_text())["paths"]
SINCE = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def vm(client: Client) -> Any:
    return client.node("pve1").qemu(105)


def ct(client: Client) -> Any:
    return client.node("pve1").lxc(300)


CHANGES: tuple[tuple[Call, str, dict[str, str]], ...] = (
    (lambda c: vm(c).clone(106), "POST /nodes/pve1/qemu/105/clone", {"newid": "106"}),
    (
        lambda c: vm(c).clone(106, name="web", full=True, target="pve2", storage="s", format="raw", pool="p",
                              description="", snapname="one", bwlimit=1024),
        "POST /nodes/pve1/qemu/105/clone",
        {"newid": "106", "name": "web", "full": "1", "target": "pve2", "storage": "s", "format": "raw", "pool": "p",
         "description": "", "snapname": "one", "bwlimit": "1024"},
    ),
    (lambda c: vm(c).clone(106, full=False), "POST /nodes/pve1/qemu/105/clone", {"newid": "106", "full": "0"}),
    (
        lambda c: vm(c).configure({"memory": 2048, "onboot": True, "net0": "virtio,bridge=vmbr0"}, digest="abc"),
        "POST /nodes/pve1/qemu/105/config",
        {"memory": "2048", "onboot": "1", "net0": "virtio,bridge=vmbr0", "digest": "abc"},
    ),
    (lambda c: vm(c).resize("scsi0", "32G", "abc"), "PUT /nodes/pve1/qemu/105/resize",
     {"disk": "scsi0", "size": "32G", "digest": "abc"}),
    (lambda c: vm(c).start(), "POST /nodes/pve1/qemu/105/status/start", {}),
    (lambda c: vm(c).stop(), "POST /nodes/pve1/qemu/105/status/stop", {}),
    (lambda c: vm(c).stop(overrule_shutdown=True), "POST /nodes/pve1/qemu/105/status/stop", {"overrule-shutdown": "1"}),
    (lambda c: vm(c).shutdown(timeout=30, force_stop=True), "POST /nodes/pve1/qemu/105/status/shutdown",
     {"timeout": "30", "forceStop": "1"}),
    (lambda c: vm(c).reboot(timeout=30), "POST /nodes/pve1/qemu/105/status/reboot", {"timeout": "30"}),
    (lambda c: vm(c).reset(), "POST /nodes/pve1/qemu/105/status/reset", {}),
    (lambda c: vm(c).suspend(), "POST /nodes/pve1/qemu/105/status/suspend", {}),
    (lambda c: vm(c).suspend(to_disk=True), "POST /nodes/pve1/qemu/105/status/suspend", {"todisk": "1"}),
    (lambda c: vm(c).resume(), "POST /nodes/pve1/qemu/105/status/resume", {}),
    (lambda c: vm(c).delete(), "DELETE /nodes/pve1/qemu/105", {}),
    (lambda c: vm(c).delete(purge=True, destroy_unreferenced_disks=True), "DELETE /nodes/pve1/qemu/105",
     {"purge": "1", "destroy-unreferenced-disks": "1"}),
    (lambda c: ct(c).start(), "POST /nodes/pve1/lxc/300/status/start", {}),
    (lambda c: ct(c).stop(overrule_shutdown=True), "POST /nodes/pve1/lxc/300/status/stop", {"overrule-shutdown": "1"}),
    (lambda c: ct(c).shutdown(timeout=9, force_stop=True), "POST /nodes/pve1/lxc/300/status/shutdown",
     {"timeout": "9", "forceStop": "1"}),
    (lambda c: ct(c).reboot(), "POST /nodes/pve1/lxc/300/status/reboot", {}),
    (lambda c: ct(c).delete(purge=True), "DELETE /nodes/pve1/lxc/300", {"purge": "1"}),
    (lambda c: ct(c).resize("rootfs", "8G"), "PUT /nodes/pve1/lxc/300/resize", {"disk": "rootfs", "size": "8G"}),
)  # fmt: skip
WITHOUT_TASK: tuple[tuple[Call, str, dict[str, str]], ...] = (
    (lambda c: ct(c).configure({"memory": 512}, delete=("tags",)), "PUT /nodes/pve1/lxc/300/config",
     {"memory": "512", "delete": "tags"}),
    (lambda c: c.task(UPID).stop(), f"DELETE /nodes/pve1/tasks/{UPID}", {}),
)  # fmt: skip
READS: tuple[tuple[Call, str, dict[str, str], Any], ...] = (
    (lambda c: vm(c).config(), "GET /nodes/pve1/qemu/105/config", {}, {"digest": "x"}),
    (lambda c: vm(c).config(current=True), "GET /nodes/pve1/qemu/105/config", {"current": "1"}, {"digest": "x"}),
    (lambda c: vm(c).current(), "GET /nodes/pve1/qemu/105/status/current", {}, {"status": "running"}),
    (lambda c: vm(c).pending(), "GET /nodes/pve1/qemu/105/pending", {}, []),
    (lambda c: ct(c).addresses(), "GET /nodes/pve1/lxc/300/interfaces", {}, []),
    (lambda c: c.node("pve1").guests(GuestType.QEMU), "GET /nodes/pve1/qemu", {}, []),
    (lambda c: c.node("pve1").guests(GuestType.LXC), "GET /nodes/pve1/lxc", {}, []),
    (lambda c: c.node("pve1").storages(), "GET /nodes/pve1/storage", {}, []),
    (lambda c: c.node("pve1").bridges(), "GET /nodes/pve1/network", {"type": "any_bridge"}, []),
    (lambda c: c.node("pve1").certificates(), "GET /nodes/pve1/certificates/info", {}, []),
    (lambda c: c.node("pve1").time(), "GET /nodes/pve1/time", {}, {"time": 1795494217, "timezone": "UTC"}),
    (lambda c: c.node("pve1").status(), "GET /nodes/pve1/status", {}, {}),
    (lambda c: c.node("pve1").tasks.list(), "GET /nodes/pve1/tasks", {"source": "all", "start": "0", "limit": "500"}, []),
    (
        lambda c: c.node("pve1").tasks.list("archive", vmid=105, type="qmclone", user="comserv", since=SINCE,
                                            until=SINCE, errors=True, start=5, limit=9),
        "GET /nodes/pve1/tasks",
        {"source": "archive", "vmid": "105", "typefilter": "qmclone", "userfilter": "comserv", "since": "1795514400",
         "until": "1795514400", "errors": "1", "start": "5", "limit": "9"},
        [],
    ),
    (lambda c: c.task(UPID).status(), f"GET /nodes/pve1/tasks/{UPID}/status", {}, {"status": "running"}),
    (lambda c: c.task(UPID).log(7, 20), f"GET /nodes/pve1/tasks/{UPID}/log", {"start": "7", "limit": "20"}, []),
    (lambda c: c.cluster.is_free(105), "GET /cluster/nextid", {"vmid": "105"}, "105"),
    (lambda c: c.cluster.next_id(), "GET /cluster/nextid", {}, "105"),
    (lambda c: c.cluster.resources(), "GET /cluster/resources", {}, []),
    (lambda c: c.cluster.status(), "GET /cluster/status", {}, []),
    (lambda c: c.cluster.tasks(), "GET /cluster/tasks", {}, []),
    (lambda c: c.storages.list(), "GET /storage", {}, []),
    (lambda c: c.access.rights(), "GET /access/permissions", {}, {}),
    (lambda c: c.access.token(TokenId("a", "pve", "t")), "GET /access/users/a@pve", {}, {"tokens": {"t": {"expire": 0}}}),
)  # fmt: skip
ASKED = [*((call, told, sent) for call, told, sent, _ in READS), *CHANGES, *WITHOUT_TASK]


@pytest.mark.parametrize(("call", "told", "sent"), CHANGES)
async def test_a_change_is_one_call_that_gives_its_task(
    call: Call, told: str, sent: dict[str, str], scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(reply(str(UPID))) as server, client_at(server.address) as client:
        assert await call(client) == UPID
    (asked,) = server.asked
    assert (f"{asked.method} {asked.path}", asked.query | asked.form) == (told, sent)


@pytest.mark.parametrize(("call", "told", "sent"), WITHOUT_TASK)
async def test_a_synchronous_change_is_done_when_it_returns(
    call: Call, told: str, sent: dict[str, str], scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(reply(None)) as server, client_at(server.address) as client:
        assert await call(client) is None
    (asked,) = server.asked
    assert (f"{asked.method} {asked.path}", asked.query | asked.form) == (told, sent)


@pytest.mark.parametrize(("call", "told", "sent", "data"), READS)
async def test_a_read_is_one_call(
    call: Call, told: str, sent: dict[str, str], data: Any, scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(reply(data)) as server, client_at(server.address) as client:
        await call(client)
    (asked,) = server.asked
    assert (f"{asked.method} {asked.path}", asked.query) == (told, sent)


@pytest.mark.parametrize(("call", "told", "sent"), ASKED)
def test_proxmox_knows_each_call_and_each_parameter(call: Call, told: str, sent: dict[str, str]) -> None:
    method, _, path = told.partition(" ")
    template = next(t for t in SCHEMA if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", t), path) and method in SCHEMA[t])
    known = SCHEMA[template][method]["parameters"]
    indexed = {name.removesuffix("[n]") for name in known if name.endswith("[n]")}
    assert [name for name in sent if name not in known and name.rstrip("0123456789") not in indexed] == []


async def test_a_planned_call_is_sent_as_it_was_planned(scripted: MakeServer, client_at: MakeClient) -> None:
    """The value of sshkeys is encoded in the plan already, and once more on the wire."""
    begun = PlannedCall("POST", "/nodes/pve1/qemu/105/config", {"sshkeys": "ssh-ed25519%20AA", "digest": "x"})
    done = PlannedCall("PUT", "/nodes/pve1/lxc/300/config", {"memory": "512"})
    async with scripted(reply(str(UPID)), reply(None)) as server, client_at(server.address) as client:
        assert await client.begin(begun, heavy_on="pve1") == UPID
        await client.change(done)
    assert [(f"{asked.method} {asked.path}", asked.form) for asked in server.asked] == [
        ("POST /nodes/pve1/qemu/105/config", {"sshkeys": "ssh-ed25519%20AA", "digest": "x"}),
        ("PUT /nodes/pve1/lxc/300/config", {"memory": "512"}),
    ]
    assert server.asked[0].body.startswith("sshkeys=ssh-ed25519%2520AA")


async def test_a_log_tells_where_it_stands(scripted: MakeServer, client_at: MakeClient) -> None:
    body = reply([{"n": 8, "t": "eight"}, {"n": 9, "t": "TASK OK"}], total=9)
    async with scripted(body) as server, client_at(server.address) as client:
        log = await client.task(UPID).log(7)
    assert (log.start, log.lines, log.total) == (7, ("eight", "TASK OK"), 9)


async def test_a_task_of_an_unknown_status_is_not_taken_for_ended(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(reply({"status": "half"})) as server, client_at(server.address) as client:
        with pytest.raises(errors.ReplyUnreadable):
            await client.task(UPID).status()


async def test_a_number_that_is_taken_is_told(scripted: MakeServer, client_at: MakeClient) -> None:
    taken = reply(None, 400, "Parameter verification failed.", errors={"vmid": "VM 105 already exists"})
    async with scripted(taken) as server, client_at(server.address) as client:
        with pytest.raises(errors.VmidTaken):
            await client.cluster.is_free(105)


@pytest.mark.parametrize(
    ("message", "answers"),
    [("QEMU guest agent is not running\n", False), ("VM 105 qga command failed - got timeout", False)],
)
async def test_a_silent_agent_does_not_answer(
    message: str, answers: bool, scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(reply(None, 500, "x", message=message)) as server, client_at(server.address) as client:
        assert await vm(client).agent.answers() is answers


@pytest.mark.parametrize("message", ["No QEMU guest agent configured", "VM 105 is not running"])
async def test_an_agent_that_never_can_answer_is_an_error(
    message: str, scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(reply(None, 500, message, message=message)) as server, client_at(server.address) as client:
        with pytest.raises(errors.RequestRefused, match=message):
            await vm(client).agent.answers()


async def test_an_old_agent_tells_what_it_knows(scripted: MakeServer, client_at: MakeClient) -> None:
    unknown = reply(None, 500, "x", message="Agent error: The command guest-get-osinfo has not been found\n")
    interfaces = [{"name": "eth0", "hardware-address": "bc:24:11:00:00:01",
                   "ip-addresses": [{"ip-address": "10.0.0.5", "prefix": 24}]}, {"name": "eth1"}]  # fmt: skip
    routes = {
        "GET /nodes/pve1/qemu/105/agent/network-get-interfaces": reply({"result": interfaces}),
        "GET /nodes/pve1/qemu/105/agent/get-osinfo": unknown,
        "GET /nodes/pve1/qemu/105/agent/get-host-name": reply({"result": {"host-name": "web-01"}}),
    }
    async with scripted(routes=routes) as server, client_at(server.address) as client:
        report = await vm(client).agent.report(SINCE)
    assert (report.hostname, report.os, report.as_of) == ("web-01", "", SINCE)
    assert [(a.interface, a.mac, a.address, a.prefix) for a in report.addresses] == [
        ("eth0", "bc:24:11:00:00:01", "10.0.0.5", 24)
    ]


async def test_a_token_that_may_not_be_read_is_none(scripted: MakeServer, client_at: MakeClient) -> None:
    denied = raw(b'{"data":null}', 403, "Permission check failed", "application/json")
    async with scripted(denied) as server, client_at(server.address) as client:
        assert await client.access.token(TokenId("a", "pve", "t")) is None


@pytest.mark.parametrize("name", ["", "..", "."])
async def test_a_node_cannot_be_a_way_out_of_the_path(name: str, client_at: MakeClient) -> None:
    async with client_at("https://127.0.0.1:1") as client:
        with pytest.raises(errors.Invalid):
            client.node(name)
