"""A sweep is one call; name, quorum and version are asked now and then; and a thousand guests cost a few milliseconds."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from comserv.domain.guest import GuestStatus, GuestType
from comserv.proxmox import cluster
from comserv.proxmox.client import Client
from comserv.proxmox.decoding import decode
from comserv.proxmox.sweep import sweep
from tests.proxmox.scripted import Answer, Scripted, reply

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
MakeServer = Callable[..., Scripted]
MakeClient = Callable[..., Client]
VM = {
    "id": "qemu/105", "type": "qemu", "vmid": 105, "node": "pve1", "name": "web-01", "status": "running", "template": 0,
    "maxcpu": 2, "cpu": 0.25, "maxmem": 2147483648, "mem": 1073741824, "maxdisk": 34359738368, "disk": 0, "uptime": 77,
    "tags": "prod;web", "pool": "shop", "hastate": "started", "lock": "backup", "netin": 1, "netout": 2,
}  # fmt: skip
ROWS = [
    {"type": "pool", "pool": "shop", "id": "/pool/shop"},
    {
        "type": "network",
        "network": "localnetwork",
        "node": "pve1",
        "id": "network/pve1/zone/localnetwork",
        "status": "ok",
    },
    {"type": "node", "node": "pve2", "status": "offline", "id": "node/pve2"},
    {
        "type": "node",
        "node": "pve1",
        "status": "online",
        "id": "node/pve1",
        "maxcpu": 8,
        "cpu": 0.5,
        "maxmem": 64,
        "mem": 32,
    },
    {"type": "lxc", "vmid": 300, "node": "pve1", "status": "running", "disk": 5, "maxdisk": 9, "id": "lxc/300"},
    VM,
]


def routes(**changed: Answer) -> dict[str, Answer]:
    told: dict[str, Answer] = {"resources": reply(ROWS), "status": reply([]), "version": reply({"version": "9.1.6"})}
    told["status"] = reply([{"type": "cluster", "name": "rack", "quorate": 1}, {"type": "node", "name": "pve1"}])
    told |= changed
    paths = {"resources": "GET /cluster/resources", "status": "GET /cluster/status", "version": "GET /version"}
    return {paths[name]: answer for name, answer in told.items()}


async def test_the_first_sweep_tells_all_and_the_next_one_is_a_single_call(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(routes=routes()) as server, client_at(server.address) as client:
        first = await sweep(client, lambda: NOW)
        second = await sweep(client, lambda: NOW, first)
        assert len(server.asked) == 4
        await sweep(client, lambda: NOW, second, whole=True)
    assert len(server.asked) == 7
    seen = first.picture
    assert (seen.cluster, seen.quorate, seen.version, seen.as_of) == ("rack", True, "9.1.6", NOW)
    assert second.picture == seen and second.same and not first.same


async def test_every_value_of_a_guest_arrives(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(routes=routes()) as server, client_at(server.address) as client:
        vm, container = (await sweep(client, lambda: NOW)).picture.guests
    assert (vm.key.vmid, vm.key.server, vm.type, vm.node, vm.name) == (105, "lab", GuestType.QEMU, "pve1", "web-01")
    assert (vm.status, vm.lock, vm.tags, vm.pool, vm.hastate) == (
        GuestStatus.RUNNING, "backup", ("prod", "web"), "shop", "started")  # fmt: skip
    assert (vm.cores, vm.cpu, vm.memory, vm.memory_used, vm.disk, vm.uptime) == (2, 0.25, 2**31, 2**30, 2**35, 77)
    assert vm.disk_used is None  # Proxmox says 0 for every VM, since it cannot know
    assert (container.type, container.disk_used, container.disk) == (GuestType.LXC, 5, 9)


async def test_nodes_are_in_order_and_know_what_was_told(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(routes=routes()) as server, client_at(server.address) as client:
        one, two = (await sweep(client, lambda: NOW)).picture.nodes
    assert (one.name, one.online, one.cores, one.memory) == ("pve1", True, 8, 64)
    assert (two.name, two.online, two.memory) == ("pve2", False, None)


async def test_without_the_right_to_see_it_the_quorum_is_unknown(scripted: MakeServer, client_at: MakeClient) -> None:
    denied = reply(None, 403, "x", message="Permission check failed (/, Sys.Audit)\n")
    async with scripted(routes=routes(status=denied)) as server, client_at(server.address) as client:
        picture = (await sweep(client, lambda: NOW)).picture
    assert (picture.quorate, picture.cluster, picture.version) == (None, "", "9.1.6")


def test_a_thousand_guests_are_decoded_in_a_few_milliseconds() -> None:
    """Measured 5 ms on two shared cores; the bound is loose, to notice a change of kind and not of mood."""
    body = json.dumps({"data": [VM | {"vmid": vmid, "name": f"web-{vmid}"} for vmid in range(100, 1100)]}).encode()
    best = min(_seconds(body) for _ in range(5))
    assert best < 0.03


def _seconds(body: bytes) -> float:
    began = time.perf_counter()
    guests = [cluster.guest_of("lab", row) for row in decode(body, list[cluster.Resource]).data]
    assert len(guests) == 1000
    return time.perf_counter() - began


@pytest.mark.parametrize(
    "row",
    [
        {"maxmem": "2147483648", "cpu": "0.25", "vmid": "105", "template": "1"},
        {"name": 2024, "tags": 7, "pool": 12},
        {"maxmem": 2147483648.0, "uptime": 77.0},
        {"template": "", "lock": "", "cpu": None, "mem": None},
        {"a-key-nobody-knows": {"x": [1]}},
    ],
)
def test_numbers_as_text_and_text_as_numbers_are_understood(row: dict[str, object]) -> None:
    body = json.dumps({"data": [VM | row]}).encode()
    guest = cluster.guest_of("lab", decode(body, list[cluster.Resource]).data[0])
    assert guest.key.vmid == 105
    assert guest.memory == 2**31
    assert isinstance(guest.name, str) and isinstance(guest.template, bool)
