"""A node that dies takes everything on it along, and comes back as a real one boots."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from .conftest import Simulator, end, start

GONE = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    """Three nodes, each with an address of its own."""
    simulator = start("--nodes", "3", "--guests", "9", "--templates", "3", "--speed", "20", "--node-ports")
    yield simulator
    end(simulator)


@pytest.fixture
def estate(shared: Simulator) -> Iterator[Simulator]:
    """The three nodes, all up before and after the test."""
    yield shared
    shared.control("DELETE", "faults")


def die(simulator: Simulator, node: str, **more: Any) -> None:
    """Crashes a node."""
    simulator.control("POST", "faults", [{"match": {"node": node}, "effect": "node_down", "dies": True, **more}])


def port(simulator: Simulator, node: str) -> int:
    """Where a node is reached."""
    found = urlsplit(simulator.told["nodes"][node]).port
    assert found
    return found


def at(simulator: Simulator, node: str, method: str, path: str) -> Any:
    """A call to the address of a node."""
    return simulator.send(method, f"/api2/json{path}", None, simulator.token(), port(simulator, node))


def guests(simulator: Simulator, node: str) -> list[dict[str, Any]]:
    """What lies on a node, told by the control."""
    return [guest for guest in simulator.control("GET", "world")["guests"] if guest["node"] == node]


def made(simulator: Simulator, node: str, vmid: int, **options: Any) -> str:
    """A fresh VM's path."""
    upid = simulator.call("POST", f"/nodes/{node}/qemu", vmid=vmid, memory=64, **options).data
    assert simulator.finished(upid)["exitstatus"] == "OK"
    return f"/nodes/{node}/qemu/{vmid}"


def waited(simulator: Simulator, what: Callable[[], Any], seconds: float = 10) -> Any:
    """What comes to be true."""
    limit = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < limit, f"not within {seconds} s"
        time.sleep(0.05)
    return found


def test_every_node_has_an_address_of_its_own_and_the_first_ones_is_the_servers(estate: Simulator) -> None:
    assert list(estate.told["nodes"]) == ["pve1", "pve2", "pve3"]
    assert estate.told["nodes"]["pve1"] == estate.told["url"]
    local = {node: [row["name"] for row in at(estate, node, "GET", "/cluster/status").data if row.get("local")]
             for node in estate.told["nodes"]}  # fmt: skip
    assert local == {"pve1": ["pve1"], "pve2": ["pve2"], "pve3": ["pve3"]}


def test_every_node_shows_a_certificate_of_its_own_signed_by_the_clusters_authority(estate: Simulator) -> None:
    assert len(set(estate.told["fingerprints"].values())) == 3
    trusting = ssl.create_default_context(cadata=estate.control("GET", "world")["authority"])
    for node, fingerprint in estate.told["fingerprints"].items():
        connection = http.client.HTTPSConnection("127.0.0.1", port(estate, node), context=trusting, timeout=10)
        connection.request("GET", f"/api2/json/nodes/{node}/certificates/info", headers=estate.token())
        rows = json.loads(connection.getresponse().read())["data"]
        connection.close()
        assert {row["filename"]: row["fingerprint"] for row in rows}["pve-ssl.pem"] == fingerprint
    told = {row["node"]: row["ssl_fingerprint"] for row in estate.call("GET", "/nodes").data}
    assert told == estate.told["fingerprints"]


def test_the_certificate_of_one_node_can_be_renewed_without_the_others(starting: Callable[..., Simulator]) -> None:
    simulator = starting("--nodes", "2", "--guests", "0", "--templates", "0", "--node-ports")
    path = "/api2/json/version"
    rule = {"match": {"path": path}, "effect": "certificate_renewed", "after": 1}
    simulator.control("POST", "faults", [rule])
    at(simulator, "pve2", "GET", "/version")
    rows = {row["name"]: row["fingerprint"] for row in simulator.control("GET", "world")["nodes"]}
    assert rows["pve1"] == simulator.told["fingerprints"]["pve1"]
    assert rows["pve2"] != simulator.told["fingerprints"]["pve2"]


def test_addresses_and_certificates_of_nodes_last_over_a_restart(
    starting: Callable[..., Simulator], tmp_path: Any
) -> None:
    options = ("--nodes", "2", "--guests", "0", "--templates", "0", "--node-ports", "--state", str(tmp_path))
    first = starting(*options)
    first.stop()
    assert starting(*options).told["fingerprints"] == first.told["fingerprints"]


def test_a_call_to_another_node_is_passed_on(estate: Simulator) -> None:
    answer = at(estate, "pve3", "GET", "/nodes/pve2/status")
    assert answer.status == 200
    assert answer.header("Connection") == ["close", "Keep-Alive"], "it came back from another hop"


def test_without_node_ports_the_line_is_as_it_was(starting: Callable[..., Simulator]) -> None:
    told = starting("--nodes", "2", "--guests", "0").told
    assert not {"nodes", "fingerprints", "authority"} & told.keys()


def test_a_dead_node_answers_nobody_at_its_own_address_and_595_through_others(estate: Simulator) -> None:
    die(estate, "pve2")
    with pytest.raises(GONE):
        at(estate, "pve2", "GET", "/version")
    answer = at(estate, "pve1", "GET", "/nodes/pve2/status")
    assert (answer.status, answer.reason, answer.body) == (595, "No route to host", b"")
    estate.control("DELETE", "faults")
    assert at(estate, "pve2", "GET", "/version").status == 200


def test_a_node_without_power_keeps_its_clients_waiting(estate: Simulator) -> None:
    die(estate, "pve2", silent=True)
    context = estate.context
    connection = http.client.HTTPSConnection("127.0.0.1", port(estate, "pve2"), context=context, timeout=0.5)
    with pytest.raises(TimeoutError):
        connection.request("GET", "/api2/json/version", headers=estate.token())
        connection.getresponse()
    connection.close()


def test_the_others_tell_that_a_dead_node_is_offline(estate: Simulator) -> None:
    die(estate, "pve2")
    assert {row["node"]: row["status"] for row in estate.call("GET", "/nodes").data}["pve2"] == "offline"
    rows = {row["id"]: row for row in estate.call("GET", "/cluster/resources").data}
    assert rows["node/pve2"]["status"] == "offline"
    assert "cpu" not in rows["node/pve2"]
    assert {row["name"]: row.get("online") for row in estate.call("GET", "/cluster/status").data}["pve2"] == 0


def test_its_guests_are_told_as_they_were_last_seen_and_as_unknown_after_five_minutes(
    starting: Callable[..., Simulator],
) -> None:
    simulator = starting("--nodes", "3", "--guests", "9", "--speed", "200")
    mine = {guest["vmid"] for guest in guests(simulator, "pve2")}

    def states() -> set[str]:
        rows = simulator.call("GET", "/cluster/resources", type="vm").data
        return {row["status"] for row in rows if row["vmid"] in mine}

    die(simulator, "pve2")
    assert states() <= {"running", "stopped"}
    waited(simulator, lambda: states() == {"unknown"})


def test_a_tasks_work_stands_still_wherever_it_was(estate: Simulator) -> None:
    template = next(guest for guest in guests(estate, "pve2") if guest["template"])
    path = f"/nodes/pve2/qemu/{template['vmid']}/clone"
    estate.control("POST", "faults", [{"match": {"path": "clone"}, "effect": "task_slow", "factor": 20}])
    upid = estate.call("POST", path, newid=500, full=1, storage="local-lvm").data
    waited(estate, lambda: any("transferred" in line for line in task(estate, upid)["log"]))
    die(estate, "pve2")
    then = task(estate, upid)["log"]
    time.sleep(1)
    assert task(estate, upid)["log"] == then, "no line more, not even one about its end"
    left = next(guest for guest in guests(estate, "pve2") if guest["vmid"] == 500)
    assert left["lock"] == "clone"
    estate.control("DELETE", "faults")
    status = estate.call("GET", f"/nodes/pve2/tasks/{quote(upid, safe='')}/status").data
    assert (status["status"], status["exitstatus"]) == ("stopped", "unexpected status")


def boots(simulator: Simulator) -> list[str]:
    """What pve3 did when it came up."""
    return [row["upid"] for row in simulator.control("GET", "world")["tasks"] if ":startall:" in row["upid"]]


def task(simulator: Simulator, upid: str) -> dict[str, Any]:
    """A task, told by the control."""
    return next(row for row in simulator.control("GET", "world")["tasks"] if row["upid"] == upid)


def test_what_waited_for_a_dead_tasks_lock_gets_it(estate: Simulator) -> None:
    path = made(estate, "pve3", 510)
    estate.call("POST", f"{path}/status/start")
    estate.control("POST", "faults", [{"match": {"path": "shutdown"}, "effect": "task_slow", "factor": 1000}])
    estate.call("POST", f"{path}/status/shutdown")
    die(estate, "pve3")
    estate.control("DELETE", "faults")
    assert estate.finished(estate.call("POST", f"{path}/status/start").data)["exitstatus"] == "OK"


def test_a_call_that_a_dying_node_was_asked_itself_ends_without_a_reply(estate: Simulator) -> None:
    path = made(estate, "pve2", 520)
    estate.control("POST", "faults", [{"match": {"path": "shutdown"}, "effect": "task_slow", "factor": 1000}])
    estate.finished(estate.call("POST", f"{path}/status/start").data)
    estate.call("POST", f"{path}/status/shutdown")
    time.sleep(0.1)
    with ThreadPoolExecutor(2) as pool:  # both wait for the lock, up to 10 s of the real server
        direct = pool.submit(at, estate, "pve2", "PUT", f"{path}/config?description=direct")
        passed_on = pool.submit(at, estate, "pve1", "PUT", f"{path}/config?description=through")
        time.sleep(0.2)
        die(estate, "pve2")
        with pytest.raises(GONE):
            direct.result()
        assert (passed_on.result().status, passed_on.result().reason) == (596, "Broken pipe")
    estate.control("DELETE", "faults")
    time.sleep(0.6)
    assert "description" not in estate.call("GET", f"{path}/config").data


def test_a_node_that_is_back_starts_its_guests_in_their_order(estate: Simulator) -> None:
    last = made(estate, "pve3", 531, onboot=1)
    first = made(estate, "pve3", 532, onboot=1, startup="order=1,up=20")
    never = made(estate, "pve3", 533)
    earlier = set(boots(estate))
    die(estate, "pve3")
    estate.control("DELETE", "faults")
    assert estate.call("GET", "/nodes/pve3/status").data["uptime"] < 60
    upid = waited(estate, lambda: set(boots(estate)) - earlier).pop()
    assert upid.endswith("startall::root@pam:")
    assert estate.finished(upid)["exitstatus"] == "OK"
    log = task(estate, upid)["log"]
    assert log.index("Starting VM 532") < log.index("Starting VM 531")
    assert log[log.index("Starting VM 532") + 1] == "Waiting for 20 seconds (startup delay)"
    states = [estate.call("GET", f"{path}/status/current").data["status"] for path in (last, first, never)]
    assert states == ["running", "running", "stopped"]


def test_backups_leave_their_lock_until_the_node_is_back(estate: Simulator) -> None:
    path = made(estate, "pve2", 540)
    estate.control("POST", "faults", [{"match": {"path": "vzdump"}, "effect": "task_slow", "factor": 1000}])
    estate.call("POST", "/nodes/pve2/vzdump", vmid=540, storage="local")
    waited(estate, lambda: estate.call("GET", f"{path}/config").data.get("lock") == "backup")
    die(estate, "pve2")
    assert next(guest for guest in guests(estate, "pve2") if guest["vmid"] == 540)["lock"] == "backup"
    estate.control("DELETE", "faults")
    waited(estate, lambda: "lock" not in estate.call("GET", f"{path}/config").data)
