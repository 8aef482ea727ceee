"""A VM goes to another server over its API: two servers of one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from .conftest import Answer, Simulator, end, start


@pytest.fixture(scope="module")
def pair() -> Iterator[Simulator]:
    """Two single servers in one process."""
    simulator = start("--servers", "2", "--guests", "0", "--templates", "1", "--speed", "20")
    yield simulator
    end(simulator)


def other(simulator: Simulator) -> dict[str, Any]:
    """What was told of the second server."""
    return simulator.told["servers"][1]


def port(simulator: Simulator) -> int:
    """Of the second server."""
    found = urlsplit(other(simulator)["url"]).port
    assert found
    return found


def endpoint(simulator: Simulator, **changed: str) -> str:
    """How the second server is told."""
    who = "admin@pve!full"
    told = {
        "host": "127.0.0.1",
        "port": str(port(simulator)),
        "apitoken": f"PVEAPIToken={who}={other(simulator)['credentials'][who]}",
        "fingerprint": other(simulator)["fingerprint"],
        **changed,
    }
    return ",".join(f"{name}={value}" for name, value in told.items() if value)


def made(simulator: Simulator, vmid: int, **options: Any) -> str:
    """A fresh VM's path on the first server."""
    options = {"memory": 256, "scsi0": "local-lvm:1", "net0": "virtio,bridge=vmbr0", **options}
    upid = simulator.call("POST", "/nodes/pve/qemu", vmid=vmid, **options).data
    assert simulator.finished(upid)["exitstatus"] == "OK"
    return f"/nodes/pve/qemu/{vmid}"


def move(simulator: Simulator, path: str, told: str, **options: Any) -> Answer:
    """Asks for a move to the second server."""
    options = {"target__endpoint": told, "target__bridge": "vmbr1", "target__storage": "local-lvm", **options}
    return simulator.call("POST", f"{path}/remote_migrate", **options)


def ended(simulator: Simulator, upid: str) -> tuple[str, list[str]]:
    """Exit status and log of a task of the first server."""
    status = simulator.finished(upid)["exitstatus"]
    log = simulator.call("GET", f"/nodes/pve/tasks/{quote(upid, safe='')}/log", limit=0).data
    return status, [row["t"] for row in log]


def guest(simulator: Simulator, vmid: int, at: int = 0) -> dict[str, Any] | None:
    """A guest of a server, if it is there."""
    return next((row for row in simulator.control("GET", "world", port=at)["guests"] if row["vmid"] == vmid), None)


def test_a_stopped_vm_is_copied_and_stays_locked_behind(pair: Simulator) -> None:
    path = made(pair, 400)
    status, log = ended(pair, move(pair, path, endpoint(pair), target__vmid=700).data)
    assert status == "OK", log
    assert any(line.endswith("mapped: net0 from vmbr0 to vmbr1") for line in log)
    arrived, left = guest(pair, 700, port(pair)), guest(pair, 400)
    assert arrived
    assert left
    assert arrived["config"]["scsi0"].startswith("local-lvm:vm-700-disk-0")
    assert "bridge=vmbr1" in arrived["config"]["net0"]
    assert arrived["lock"] is None
    assert (left["status"], left["lock"]) == ("stopped", "migrate")
    tunnels = [row for row in pair.control("GET", "world", port=port(pair))["tasks"] if row["type"] == "qmtunnel"]
    assert (tunnels[-1]["id"], tunnels[-1]["user"]) == ("700", "admin@pve!full")


def test_a_running_vm_goes_on_there_and_is_gone_here_with_delete(pair: Simulator) -> None:
    path = made(pair, 401)
    pair.finished(pair.call("POST", f"{path}/status/start").data)
    assert move(pair, path, endpoint(pair)).reason == "can't migrate running VM without --online"
    status, log = ended(pair, move(pair, path, endpoint(pair), online=1, delete=1).data)
    assert status == "OK", log
    arrived = guest(pair, 401, port(pair))
    assert arrived
    assert arrived["status"] == "running"
    assert guest(pair, 401) is None
    assert not [row for row in pair.control("GET", "world")["volumes"] if row["vmid"] == 401]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"port": "1"}, "500 Can't connect to 127.0.0.1:1 (Connection refused)"),
        ({"fingerprint": "AA:BB"}, "(certificate verify failed)"),
        ({"fingerprint": ""}, "(certificate verify failed)"),
        ({"apitoken": "PVEAPIToken=admin@pve!full=wrong"}, "401 Authentication failed!"),
    ],
)
def test_an_endpoint_that_cannot_be_reached_is_refused_in_the_clients_words(
    pair: Simulator, changed: dict[str, str], text: str
) -> None:
    if guest(pair, 402) is None:
        made(pair, 402)
    answer = move(pair, "/nodes/pve/qemu/402", endpoint(pair, **changed))
    assert answer.status == 500
    assert answer.reason.endswith(text)


@pytest.mark.parametrize("told", ["host=127.0.0.1", "apitoken=x", "host=a,apitoken=b,strange=c"])
def test_an_endpoint_that_tells_too_little_or_too_much_is_a_wrong_parameter(pair: Simulator, told: str) -> None:
    if guest(pair, 403) is None:
        made(pair, 403)
    answer = move(pair, "/nodes/pve/qemu/403", told)
    assert (answer.status, list(answer.errors)) == (400, ["target-endpoint"])


def test_storages_have_to_be_mapped(pair: Simulator) -> None:
    path = made(pair, 404)
    answer = move(pair, path, endpoint(pair), target__storage="1")
    assert answer.reason == "remote migration requires explicit storage mapping!"


def test_a_token_without_rights_there_moves_nothing(pair: Simulator) -> None:
    path, who = made(pair, 405), "low@pve!none"
    secret = other(pair)["credentials"][who]
    answer = move(pair, path, endpoint(pair, apitoken=f"PVEAPIToken={who}={secret}"))
    assert answer.reason == "403 Permission check failed (/, Sys.Audit)"
    pair.call("PUT", "/access/acl", port=port(pair), path="/", users="low@pve", roles="PVEAuditor")
    status, log = ended(pair, move(pair, path, endpoint(pair, apitoken=f"PVEAPIToken={who}={secret}")).data)
    assert status == "migration aborted"
    assert "Permission check failed (/vms/405, VM.Allocate)" in log[-2]
    assert guest(pair, 405, port(pair)) is None


def test_a_vmid_that_is_taken_there_is_not_overwritten(pair: Simulator) -> None:
    path = made(pair, 406)
    status, log = ended(pair, move(pair, path, endpoint(pair), target__vmid=9000).data)
    assert status == "migration aborted"
    assert "config file already exists" in log[-2]
    left = guest(pair, 406)
    assert left
    assert left["lock"] is None
