"""What is only kept and told answers as it was set; backup jobs run when they are due; networks hold once applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pve_simulator import api, backupjobs
from pve_simulator.command import build_one, parser
from pve_simulator.persistence import Keeper

from .conftest import Simulator, end, start


@pytest.fixture(scope="module")
def world() -> Iterator[Simulator]:
    """A cluster of two nodes, whose rounds are 0.2 s apart."""
    simulator = start("--nodes", "2", "--guests", "4", "--templates", "1", "--speed", "50")
    yield simulator
    end(simulator)


NOTES = "/cluster/notifications"
KEPT: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "/cluster/mapping/pci",
        "id",
        {"id": "gpu", "map": "id=10de:2204,node=node1,path=0000:01:00.0"},
        {"description": "one"},
    ),
    ("/cluster/mapping/usb", "id", {"id": "stick", "map": "id=1234:5678,node=node1"}, {"description": "one"}),
    (
        f"{NOTES}/endpoints/gotify",
        "name",
        {"name": "gotify1", "server": "https://gotify", "token": "secret"},
        {"comment": "one"},
    ),
    (f"{NOTES}/matchers", "name", {"name": "matcher1", "target": "mail-to-root"}, {"comment": "one"}),
    ("/cluster/sdn/zones", "zone", {"zone": "zone1", "type": "simple"}, {"mtu": 1400}),
    (
        "/cluster/sdn/controllers",
        "controller",
        {"controller": "c1", "type": "bgp", "node": "n", "asn": 65000},
        {"asn": 65001},
    ),
]


@pytest.mark.parametrize(("path", "key", "made", "changed"), KEPT, ids=[row[0] for row in KEPT])
def test_what_is_kept_is_made_shown_changed_and_deleted(
    world: Simulator, path: str, key: str, made: dict[str, Any], changed: dict[str, Any]
) -> None:
    name = made[key]
    assert world.call("POST", path, **made).status == 200
    assert world.call("POST", path, **made).status == 500, "a second of the same name is refused"
    assert name in {row[key] for row in world.call("GET", path).data}
    needed: dict[str, Any] = {
        field: value for field, value in made.items() if field not in (key, "type", "zone", "token")
    }
    assert world.call("PUT", f"{path}/{name}", **{**needed, **changed}).status == 200
    told = world.call("GET", f"{path}/{name}").data
    assert {field: told[field] for field in changed} == changed and "token" not in told
    assert world.call("DELETE", f"{path}/{name}").status == 200
    assert world.call("GET", f"{path}/{name}").status in (404, 500)


def test_a_network_stands_on_a_zone_and_holds_once_applied(world: Simulator) -> None:
    missing = world.call("POST", "/cluster/sdn/vnets", vnet="net1", zone="nozone")
    assert missing.reason == "sdn zone 'nozone' does not exist"
    world.call("POST", "/cluster/sdn/zones", zone="zone2", type="simple")
    assert world.call("POST", "/cluster/sdn/vnets", vnet="net1", zone="zone2").status == 200
    assert world.call("DELETE", "/cluster/sdn/zones/zone2").reason == "zone zone2 is used by vnet net1"
    node = world.call("GET", "/nodes").data[0]["node"]
    assert world.call("GET", f"/nodes/{node}/sdn/zones").data == []
    assert world.finished(world.call("PUT", "/cluster/sdn").data)["exitstatus"] == "OK"
    assert world.call("GET", f"/nodes/{node}/sdn/zones").data == [{"zone": "zone2", "status": "available"}]


def test_a_job_is_due_once_in_the_round_in_which_its_moment_lies() -> None:
    quarter = 1_800_000_000 // 900 * 900
    assert backupjobs.due("*/15", quarter - 10, quarter)
    assert not backupjobs.due("*/15", quarter, quarter + 10), "not a second time"
    assert not backupjobs.due("*/15", quarter - 20, quarter - 10)
    assert not backupjobs.due("nonsense at dawn", quarter - 10, quarter) and not backupjobs.due(
        "", quarter - 10, quarter
    )


@pytest.mark.anyio
async def test_a_due_backup_job_runs_on_every_node_that_has_guests_of_it() -> None:
    api.load()
    options = parser().parse_args(
        ["--port", "0", "--nodes", "3", "--guests", "6", "--templates", "0", "--speed", "1000"]
    )
    server = build_one(options, Keeper(None), 0)
    server.estate.sections["jobs"] = {
        "all": {"enabled": "1", "schedule": "*/15", "all": "1", "storage": "local", "mode": "snapshot"},
        "off": {"enabled": "0", "schedule": "*/15", "all": "1", "storage": "local"},
    }
    quarter = 1_800_000_000 // 900 * 900
    await backupjobs.look(server, quarter - 10, quarter)
    begun = [task for task in server.estate.tasks.values() if task.type == "vzdump"]
    assert {task.node for task in begun} == {guest.node for guest in server.estate.guests.values()}
    assert len(begun) == len({task.node for task in begun}) and {task.user for task in begun} == {"root@pam"}
    await server.stop()


def test_an_alias_and_a_member_of_a_set_can_be_changed_one_by_one(world: Simulator) -> None:
    base = "/cluster/firewall"
    world.call("POST", f"{base}/aliases", name="here", cidr="10.0.0.1")
    assert world.call("PUT", f"{base}/aliases/here", cidr="10.0.0.2", rename="there").status == 200
    assert world.call("GET", f"{base}/aliases/there").data["cidr"] == "10.0.0.2"
    world.call("POST", f"{base}/ipset", name="some")
    world.call("POST", f"{base}/ipset/some", cidr="10.0.0.3")
    assert world.call("PUT", f"{base}/ipset/some/10.0.0.3", comment="one").status == 200
    assert world.call("GET", f"{base}/ipset/some/10.0.0.3").data["comment"] == "one"
