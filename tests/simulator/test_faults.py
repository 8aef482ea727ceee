"""Fault rules make go wrong exactly what they say, as often as they say."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from .conftest import Simulator

GONE = (http.client.RemoteDisconnected, ConnectionError)


def rule(simulator: Simulator, effect: str, path: str = "", **more: Any) -> None:
    """Adds one rule; `method` and `node` go into its match."""
    match = {"path": path, **{key: more.pop(key) for key in ("method", "node") if key in more}}
    simulator.control("POST", "faults", [{"match": match, "effect": effect, **more}])


@pytest.fixture
def pools(faulty: Simulator) -> Iterator[Simulator]:
    """The simulator, and afterwards without the pools that a test made."""
    yield faulty
    faulty.control("DELETE", "faults")
    for pool in faulty.call("GET", "/pools").data:
        if pool["poolid"].startswith("x"):
            faulty.call("DELETE", f"/pools/{pool['poolid']}")


def has_pool(simulator: Simulator, name: str) -> bool:
    """Whether a pool is there, told by the control and not by the API."""
    return name in {pool["id"] for pool in simulator.control("GET", "world")["pools"]}


def test_a_delay_is_divided_by_the_speed(faulty: Simulator) -> None:
    rule(faulty, "delay", "/version", seconds=10)
    assert 0.5 <= faulty.call("GET", "/version").seconds < 2


def test_a_status_is_sent_instead_and_nothing_is_done(pools: Simulator) -> None:
    rule(pools, "status", "/pools", status=503, text="please wait", times=1)
    answer = pools.call("POST", "/pools", poolid="x1")
    assert (answer.status, answer.reason) == (503, "please wait")
    assert not has_pool(pools, "x1")
    assert pools.call("POST", "/pools", poolid="x1").status == 200


def test_a_status_can_be_sent_though_it_was_carried_out(pools: Simulator) -> None:
    rule(pools, "status", "/pools", status=596, text="Broken pipe", carried_out=True, times=1)
    answer = pools.call("POST", "/pools", poolid="x2")
    assert (answer.status, answer.reason, answer.body) == (596, "Broken pipe", b"")
    assert has_pool(pools, "x2")


def test_a_connection_can_be_dropped_before_or_after(pools: Simulator) -> None:
    rule(pools, "drop_before", "/pools", method="POST", times=1)
    with pytest.raises(GONE):
        pools.call("POST", "/pools", poolid="x3")
    assert not has_pool(pools, "x3")
    rule(pools, "drop_after", "/pools", method="POST", times=1)
    with pytest.raises(GONE):
        pools.call("POST", "/pools", poolid="x3")
    assert has_pool(pools, "x3")


def test_a_hanging_request_is_never_answered_and_not_carried_out(pools: Simulator) -> None:
    rule(pools, "hang", "/pools", times=1)
    secret = pools.token()["Authorization"]
    head = f"POST /api2/json/pools?poolid=x4 HTTP/1.1\r\nAuthorization: {secret}\r\n\r\n"
    assert pools.raw(head.encode(), patience=1.0) == b""
    assert not has_pool(pools, "x4")


def test_garbage_is_no_json(faulty: Simulator) -> None:
    rule(faulty, "garbage", "/version", times=1)
    answer = faulty.call("GET", "/version")
    assert answer.status == 200
    with pytest.raises(ValueError, match=r".+"):
        _ = answer.json


def test_after_lets_matches_pass_first_and_times_ends_the_rule(faulty: Simulator) -> None:
    rule(faulty, "status", "/version$", status=500, text="no", after=2, times=2)
    assert [faulty.call("GET", "/version").status for _ in range(6)] == [200, 200, 500, 500, 200, 200]


def test_a_probability_of_none_never_strikes(faulty: Simulator) -> None:
    rule(faulty, "status", "/version", status=500, probability=0)
    assert all(faulty.call("GET", "/version").status == 200 for _ in range(5))


def test_a_rule_matches_method_path_and_node(faulty: Simulator) -> None:
    rule(faulty, "status", "/status$", status=500, text="no", method="GET", node="pve2")
    assert faulty.call("GET", "/nodes/pve1/status").status == 200
    assert faulty.call("GET", "/nodes/pve2/status").status == 500


@pytest.mark.parametrize("path", ["^/api2/json/nodes/pve3/status$", "^/nodes/pve3/status$", "pve3/stat"])
@pytest.mark.parametrize(("effect", "status"), [("status", 500), ("node_down", 595)])
def test_a_path_is_searched_as_it_stands_on_the_wire_or_without_its_prefix(
    faulty: Simulator, path: str, effect: str, status: int
) -> None:
    rule(faulty, effect, path)
    assert faulty.call("GET", "/nodes/pve3/status").status == status
    assert faulty.call("GET", "/nodes/pve3/time").status == 200


def test_a_node_that_is_down_is_595_after_three_seconds(faulty: Simulator) -> None:
    rule(faulty, "node_down", node="pve3")
    answer = faulty.call("GET", "/nodes/pve3/status")
    assert (answer.status, answer.reason, answer.body) == (595, "No route to host", b"")
    assert answer.seconds >= 3 / 20
    assert faulty.call("GET", "/nodes/pve2/status").status == 200


def test_a_server_that_is_down_answers_nobody_but_the_control(faulty: Simulator) -> None:
    rule(faulty, "server_down")
    with pytest.raises(GONE):
        faulty.call("GET", "/version")
    faulty.control("DELETE", "faults")
    assert faulty.call("GET", "/version").status == 200


def test_a_renewed_certificate_has_another_fingerprint_and_the_same_authority(faulty: Simulator) -> None:
    before = faulty.control("GET", "world")["fingerprint"]
    rule(faulty, "certificate_renewed")
    assert faulty.control("GET", "world")["fingerprint"] != before
    assert faulty.call("GET", "/version").status == 200


@pytest.fixture
def vm(faulty: Simulator) -> Iterator[str]:
    """The API path of a fresh, stopped VM on pve2."""
    vmid = faulty.call("GET", "/cluster/nextid").data
    upid = faulty.call("POST", "/nodes/pve2/qemu", vmid=vmid, memory=64, agent=1).data
    assert faulty.finished(upid)["exitstatus"] == "OK"
    yield f"/nodes/pve2/qemu/{vmid}"
    faulty.control("DELETE", "faults")
    faulty.finished(faulty.call("POST", f"/nodes/pve2/qemu/{vmid}/status/stop").data)
    faulty.finished(faulty.call("DELETE", f"/nodes/pve2/qemu/{vmid}").data)


def test_a_task_fails_with_the_text_of_the_rule(faulty: Simulator, vm: str) -> None:
    rule(faulty, "task_fail", "/status/start", exitstatus="out of luck", times=1)
    upid = faulty.call("POST", f"{vm}/status/start").data
    assert faulty.finished(upid)["exitstatus"] == "out of luck"
    log = faulty.call("GET", f"/nodes/pve2/tasks/{upid}/log", limit=0).data
    assert log[-1]["t"] == "TASK ERROR: out of luck"


def test_a_task_is_slowed_down_by_the_factor(faulty: Simulator, vm: str) -> None:
    rule(faulty, "task_slow", "/status/start", factor=20, times=1)
    began = time.monotonic()
    assert faulty.finished(faulty.call("POST", f"{vm}/status/start").data)["exitstatus"] == "OK"
    assert time.monotonic() - began >= 0.5


@pytest.fixture
def clone(faulty: Simulator) -> Iterator[str]:
    """The API path of a fresh, stopped clone of the first template."""
    template, vmid = faulty.told["templates"][0], faulty.call("GET", "/cluster/nextid").data
    guests = faulty.control("GET", "world")["guests"]
    node = next(guest["node"] for guest in guests if guest["vmid"] == template)
    upid = faulty.call("POST", f"/nodes/{node}/qemu/{template}/clone", newid=vmid).data
    assert faulty.finished(upid)["exitstatus"] == "OK"
    path = f"/nodes/{node}/qemu/{vmid}"
    yield path
    faulty.control("DELETE", "faults")
    faulty.finished(faulty.call("POST", f"{path}/status/stop").data)
    faulty.finished(faulty.call("DELETE", path).data)


def test_the_agent_answers_within_ten_seconds_and_can_be_silenced(faulty: Simulator, clone: str) -> None:
    faulty.finished(faulty.call("POST", f"{clone}/status/start").data)
    end = time.monotonic() + 10
    while faulty.call("POST", f"{clone}/agent/ping").status != 200:
        assert time.monotonic() < end, "the agent answers within 10 s of the real server"
        time.sleep(0.1)
    rule(faulty, "agent_silent", "/agent/")
    answer = faulty.call("POST", f"{clone}/agent/ping")
    assert (answer.status, answer.reason) == (500, "QEMU guest agent is not running")


def test_a_node_that_dies_leaves_what_was_half_made_and_its_lock(starting: Callable[..., Simulator]) -> None:
    simulator = starting("--nodes", "2", "--guests", "0", "--templates", "2", "--speed", "10")
    template = next(
        guest for guest in simulator.control("GET", "world")["guests"] if guest["template"] and guest["node"] == "pve2"
    )
    rule(simulator, "task_slow", "/clone$", factor=1000, times=1)
    upid = simulator.call("POST", f"/nodes/pve2/qemu/{template['vmid']}/clone", newid=500, full=1).data
    time.sleep(0.3)
    rule(simulator, "node_down", node="pve2", dies=True)
    assert simulator.call("GET", f"/nodes/pve2/tasks/{upid}/status").status == 595
    simulator.control("DELETE", "faults")
    assert simulator.call("GET", f"/nodes/pve2/tasks/{upid}/status").data["exitstatus"] == "unexpected status"
    left = next(guest for guest in simulator.control("GET", "world")["guests"] if guest["vmid"] == 500)
    assert left["lock"] == "clone"


def test_a_call_on_its_way_to_a_node_that_is_lost_is_596_after_five_seconds(
    starting: Callable[..., Simulator],
) -> None:
    simulator = starting("--nodes", "2", "--guests", "0", "--templates", "2", "--speed", "10")
    template = next(
        guest for guest in simulator.control("GET", "world")["guests"] if guest["template"] and guest["node"] == "pve2"
    )
    rule(simulator, "task_slow", "/clone$", factor=1000, times=1)
    simulator.call("POST", f"/nodes/pve2/qemu/{template['vmid']}/clone", newid=500, full=1)
    time.sleep(0.2)
    with ThreadPoolExecutor(1) as pool:  # waits for the target's lock, up to 10 s of the real server
        waiting = pool.submit(simulator.call, "PUT", "/nodes/pve2/qemu/500/config", memory=64)
        time.sleep(0.3)
        rule(simulator, "node_down", node="pve2")
        answer = waiting.result()
    assert (answer.status, answer.reason, answer.body) == (596, "Broken pipe", b"")


def test_a_full_storage_fails_the_task_that_writes_to_it(faulty: Simulator) -> None:
    rule(faulty, "storage_full", storage="local-lvm")
    upid = faulty.call("POST", "/nodes/pve1/qemu", vmid=7000, scsi0="local-lvm:1").data
    assert faulty.finished(upid)["exitstatus"] != "OK"
    assert 7000 not in {guest["vmid"] for guest in faulty.control("GET", "world")["guests"]}


def test_a_rule_that_makes_no_sense_is_refused(faulty: Simulator) -> None:
    for bad in ({"effect": "explode"}, {"effect": "delay", "match": {"path": "("}}, ["x"]):
        answer = faulty.send("POST", "/_sim/faults", json.dumps(bad))
        assert answer.status == 400
    assert faulty.control("GET", "faults") == []


def test_requests_are_remembered_with_who_and_how_they_ended(faulty: Simulator) -> None:
    faulty.call("GET", "/version", _dc=1)
    faulty.send("GET", "/api2/json/nosuch")
    rule(faulty, "drop_after", "/version", times=1)
    with contextlib.suppress(*GONE):
        faulty.call("GET", "/version", who="low@pve!none")
    rows = faulty.control("GET", "requests")
    assert [(row["method"], row["path"], row["who"], row["status"]) for row in rows] == [
        ("GET", "/api2/json/version", "admin@pve!full", 200),
        ("GET", "/api2/json/nosuch", "", 401),
        ("GET", "/api2/json/version", "low@pve!none", -1),
    ]
    assert all(row["milliseconds"] >= 0 for row in rows)
    faulty.control("DELETE", "requests")
    assert faulty.control("GET", "requests") == []


def test_writes_with_a_cookie_can_be_lost_while_tokens_are_safe(faulty: Simulator) -> None:
    login = urlencode({"username": "admin@pve", "password": faulty.told["credentials"]["admin@pve"]})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    ticket = faulty.send("POST", "/api2/json/access/ticket", login, form).data
    cookie = {
        "Cookie": f"PVEAuthCookie={ticket['ticket']}",
        "CSRFPreventionToken": ticket["CSRFPreventionToken"],
        **form,
    }
    faulty.control("POST", "faults", {"effect": "cookie_post_lost", "probability": 1})
    with pytest.raises(http.client.RemoteDisconnected):
        faulty.send("POST", "/api2/json/pools", "poolid=lost", cookie)
    assert faulty.send("GET", "/api2/json/version", None, cookie).status == 200
    assert "lost" not in {pool["poolid"] for pool in faulty.call("GET", "/pools").data}, "nothing was done"
    assert faulty.call("POST", "/pools", poolid="kept").status == 200
    faulty.call("DELETE", "/pools", poolid="kept")
