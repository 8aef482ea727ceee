"""Large worlds: many servers in one process, rounds that nobody asks for cost nothing, and lists stay true all the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from .conftest import Simulator, end, start

MIB = 1 << 20


@pytest.fixture(scope="module")
def large() -> Iterator[Simulator]:
    """Five servers of 1,000 guests each, in one process."""
    simulator = start("--servers", "5", "--nodes", "10", "--guests", "1000", "--templates", "1")
    yield simulator
    end(simulator)


def test_a_hundred_servers_of_a_thousand_guests_fit_into_two_gibibytes(large: Simulator) -> None:
    for server in large.told["servers"]:
        rows = large.call("GET", "/cluster/resources", port=int(server["url"].rpartition(":")[2]), type="vm").data
        assert len(rows) == 1001
    empty = 64 * MIB
    each = (psutil.Process(large.process.pid).memory_info().rss - empty) / 5
    assert empty + 100 * each < 2048 * MIB


def test_a_thousand_guests_are_told_for_a_few_milliseconds_of_processor_time(large: Simulator) -> None:
    process, requests = psutil.Process(large.process.pid), 20
    before = process.cpu_times()
    for _ in range(requests):
        large.call("GET", "/cluster/resources")
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    assert used / requests < 0.04, "10 ms on a machine of its own, a handshake for each in this test not counted"


def test_a_round_tells_what_was_when_it_was_due_though_it_is_taken_later(starting: Callable[..., Simulator]) -> None:
    simulator = starting("--guests", "8", "--speed", "0.001")  # no second round as long as the test lasts
    guest = next(one for one in simulator.control("GET", "world")["guests"] if one["status"] == "running")
    path = f"/nodes/{guest['node']}/{guest['type']}/{guest['vmid']}"
    simulator.call("POST", "/cluster/ha/resources", sid=f"{'vm' if guest['type'] == 'qemu' else 'ct'}:{guest['vmid']}")
    simulator.call("PUT", f"{path}/config", tags="after")
    row = next(row for row in simulator.call("GET", "/cluster/resources").data if row.get("vmid") == guest["vmid"])
    assert (row["status"], row["hastate"], row["tags"]) == ("running", "started", "after")
    renamed: dict[str, Any] = {"hostname" if guest["type"] == "lxc" else "name": "renamed"}
    simulator.call("PUT", f"{path}/config", **renamed)
    row = next(row for row in simulator.call("GET", "/cluster/resources").data if row.get("vmid") == guest["vmid"])
    assert row["name"] == guest["name"], "the next round will tell"


def test_keys_come_in_another_order_in_every_reply(large: Simulator) -> None:
    orders = set()
    for _ in range(6):
        rows = json.loads(large.call("GET", "/cluster/resources", type="vm").body)["data"]
        orders.add(next(tuple(row) for row in rows if row["vmid"] == 101))
    assert len(orders) > 2
    assert len({frozenset(keys) for keys in orders}) == 1


def test_who_may_see_one_guest_is_told_of_it_alone_and_others_of_all(large: Simulator) -> None:
    entry: dict[str, Any] = {"path": "/vms/101", "roles": "PVEAuditor", "users": "low@pve"}
    assert len(large.call("GET", "/cluster/resources", type="vm").data) == 1001
    large.call("PUT", "/access/acl", **entry)
    assert [row["vmid"] for row in large.call("GET", "/cluster/resources", "low@pve!none", type="vm").data] == [101]
    assert len(large.call("GET", "/cluster/resources", type="vm").data) == 1001
    large.call("PUT", "/access/acl", **entry, delete=1)
    assert large.call("GET", "/cluster/resources", "low@pve!none", type="vm").data == []
