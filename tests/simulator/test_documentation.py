"""docs/simulator.md keeps its word: every fault's recipe is carried out, the tables are those of the code."""

from __future__ import annotations

import json
import re
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pve_simulator import endpoints
from pve_simulator.faults import REQUEST_EFFECTS, STATE_EFFECTS
from pve_simulator.testing import Reply, Simulator
from pve_simulator.worlds import WORLDS

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"
FAULTS = PAGE.read_text().partition("\n## Faults\n")[2].partition("\n## ")[0]
RECIPES = {
    title: json.loads(rule)
    for title, rule in re.findall(r"### ([^\n]+)\n(?:(?!###).)*?```json\n(.*?)\n```", FAULTS, re.S)
}
Check = Callable[[Simulator, str], None]
CHECKS: dict[str, Check] = {}
SPEED = 20


def recipe(title: str) -> Callable[[Check], Check]:
    """Registers how one is seen to work: given a simulator with its rule, and the path of a stopped VM on pve1."""

    def register(check: Check) -> Check:
        CHECKS[title] = check
        return check

    return register


def seconds(act: Callable[[], Any]) -> float:
    """How long it took."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def lost(act: Callable[[], Reply]) -> bool:
    """Whether no reply came."""
    try:
        act()
    except OSError:
        return True
    return False


def status(pve: Simulator, vm: str) -> str:
    """Of the VM, as the world has it."""
    return next(one["status"] for one in pve.world()["guests"] if one["vmid"] == int(vm.rpartition("/")[2]))


def soon_running(pve: Simulator, vm: str) -> bool:
    """Whether the VM runs within some seconds."""
    end = time.monotonic() + 5
    while status(pve, vm) != "running" and time.monotonic() < end:
        time.sleep(0.05)
    return status(pve, vm) == "running"


@recipe("A call takes long")
def _(pve: Simulator, vm: str) -> None:
    assert seconds(lambda: pve.call("GET", "/version")) >= 5 / SPEED


@recipe("No reply ever")
def _(pve: Simulator, vm: str) -> None:
    import threading

    threading.Thread(target=lambda: lost(lambda: pve.call("POST", f"{vm}/status/start")), daemon=True).start()
    assert soon_running(pve, vm)
    assert [row for row in pve.requests() if row["path"].endswith("/start") and row["status"] == 200] == []


@recipe("An error instead of the reply")
def _(pve: Simulator, vm: str) -> None:
    refused = pve.call("POST", f"{vm}/config", description="x")
    assert (refused.status, refused.reason) == (500, "got timeout")
    assert pve.call("POST", f"{vm}/config", description="x").status == 200


@recipe("The connection ends, nothing was done")
def _(pve: Simulator, vm: str) -> None:
    before = len(pve.world()["tasks"])
    assert lost(lambda: pve.call("POST", f"{vm}/status/start"))
    assert len(pve.world()["tasks"]) == before


@recipe("The reply is lost")
def _(pve: Simulator, vm: str) -> None:
    assert lost(lambda: pve.call("POST", f"{vm}/status/start"))
    assert soon_running(pve, vm)


@recipe("A reply that is no JSON")
def _(pve: Simulator, vm: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        _ = pve.call("GET", "/cluster/resources").data


@recipe("A task fails")
def _(pve: Simulator, vm: str) -> None:
    assert pve.finished(pve.call("POST", f"{vm}/status/start").data) == "start failed: out of luck"


@recipe("A task takes ten times as long")
def _(pve: Simulator, vm: str) -> None:
    upid = pve.call("POST", f"{vm}/status/start").data
    assert seconds(lambda: pve.finished(upid)) >= 5 / SPEED  # a start takes a second


@recipe("The third call fails")
def _(pve: Simulator, vm: str) -> None:
    assert [pve.call("GET", "/version").status for _ in range(4)] == [200, 200, 503, 200]


@recipe("Every second call fails")
def _(pve: Simulator, vm: str) -> None:
    seen = [pve.call("GET", "/version").status for _ in range(40)]
    assert set(seen) == {200, 596}


@recipe("A node is down")
def _(pve: Simulator, vm: str) -> None:
    down = pve.call("GET", "/nodes/pve3/status")
    assert (down.status, down.body) == (595, b"")
    assert pve.call("GET", "/nodes/pve2/status").status == 200


@recipe("A node dies")
def _(pve: Simulator, vm: str) -> None:
    assert pve.call("GET", "/nodes/pve3/status").status == 595
    assert not [one for one in pve.world()["guests"] if one["node"] == "pve3" and one["status"] == "running"]


@recipe("The server is down")
def _(pve: Simulator, vm: str) -> None:
    assert lost(lambda: pve.call("GET", "/version"))
    assert pve.world()["guests"]


@recipe("The guest agent is silent")
def _(pve: Simulator, vm: str) -> None:
    pve.finished(pve.call("POST", f"{vm}/status/start").data)
    answer = pve.call("POST", f"{vm}/agent/ping")
    assert (answer.status, answer.reason) == (500, "QEMU guest agent is not running")


@recipe("A storage is full")
def _(pve: Simulator, vm: str) -> None:
    upid = pve.call("POST", vm.rpartition("/")[0], vmid=7001, scsi0="local-lvm:1").data
    assert "free space in thin pool" in pve.finished(upid)


@recipe("The certificate was renewed")
def _(pve: Simulator, vm: str) -> None:
    assert pve.world()["fingerprint"] != pve.fingerprint


@recipe("The quorum is lost")
def _(pve: Simulator, vm: str) -> None:
    assert pve.call("PUT", "/cluster/options", keyboard="de").status == 500
    assert pve.call("GET", "/cluster/resources").status == 200


@recipe("A write with a cookie is lost")
def _(pve: Simulator, vm: str) -> None:
    def write() -> Reply:
        request = urllib.request.Request(f"{pve.url}/api2/json/pools", b"poolid=x", {"Cookie": "PVEAuthCookie=PVE:any"})
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(request, context=context, timeout=10) as reply:
            return Reply(reply.status, reply.reason, reply.read())

    assert lost(write)
    assert [row["status"] for row in pve.requests() if row["path"].endswith("/pools")] == [-1]
    assert pve.call("PUT", f"{vm}/config", description="with a token").status == 200


@pytest.fixture
def vm(pve: Simulator) -> Iterator[str]:
    """The API path of a fresh, stopped VM on pve1."""
    vmid = pve.call("GET", "/cluster/nextid").data
    assert pve.finished(pve.call("POST", "/nodes/pve1/qemu", vmid=vmid, memory=64, agent=1).data) == "OK"
    yield f"/nodes/pve1/qemu/{vmid}"
    pve.calm()
    pve.finished(pve.call("POST", f"/nodes/pve1/qemu/{vmid}/status/stop").data)
    pve.finished(pve.call("DELETE", f"/nodes/pve1/qemu/{vmid}").data)


@pytest.mark.pve(world="cluster", speed=SPEED)
@pytest.mark.parametrize("title", RECIPES)
def test_each_recipe_does_what_the_page_says(pve: Simulator, vm: str, title: str) -> None:
    rule = dict(RECIPES[title])
    pve.fault(**rule.pop("match", {}), **rule)
    CHECKS[title](pve, vm)


def test_every_fault_has_a_recipe_and_every_recipe_its_check() -> None:
    assert {rule["effect"] for rule in RECIPES.values()} == {*REQUEST_EFFECTS, *STATE_EFFECTS}
    assert set(RECIPES) == set(CHECKS)


def test_the_table_of_endpoints_is_that_of_the_code() -> None:
    page = PAGE.read_text()
    assert endpoints.rewritten(page) == page, "python -m pve_simulator.endpoints docs/simulator.md"


def test_every_world_is_told() -> None:
    told = PAGE.read_text().partition("\n## Worlds\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \| (.+) \|$", told, re.M) == [(name, one.text) for name, one in WORLDS.items()]
