"""Three versions in one estate: each lacks what came later, and the page about them tells all of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pve_simulator import versions
from pve_simulator.schema import load

from .conftest import Simulator, end, start
from .test_high_availability import waited

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"
SERVERS = {"8.4": 0, "9.0": 1, "9.1": 2}


@pytest.fixture(scope="module")
def estate() -> Iterator[Simulator]:
    """A server of each version."""
    options = ("--servers", "3", "--versions", "8.4,9.0,9.1", "--guests", "2", "--templates", "1", "--speed", "50")
    simulator = start(*options)
    yield simulator
    end(simulator)


def port(simulator: Simulator, version: str) -> int:
    """Of the server with a version."""
    found = urlsplit(simulator.told["servers"][SERVERS[version]]["url"]).port
    assert found
    return found


def call(simulator: Simulator, version: str, method: str, path: str, **parameters: Any) -> Any:
    """A call to the server with a version."""
    return simulator.call(method, path, port=port(simulator, version), **parameters)


def test_each_tells_its_version(estate: Simulator) -> None:
    told = {name: call(estate, name, "GET", "/version").data for name in SERVERS}
    assert {name: row["release"] for name, row in told.items()} == {name: name for name in SERVERS}
    assert told["8.4"]["version"] == "8.4.1"
    assert told["9.1"] == {"release": "9.1", "version": "9.1.6", "repoid": "71482d1833ded40a"}
    assert call(estate, "9.0", "GET", "/nodes/pve/version").data["version"] == "9.0.11"


def test_the_guest_agent_needs_monitor_until_8_and_rights_of_its_own_since_9(estate: Simulator) -> None:
    privileges = {name: set(call(estate, name, "GET", "/access/permissions").data["/"]) for name in SERVERS}
    assert "VM.Monitor" in privileges["8.4"]
    assert not {name for name in privileges["8.4"] if name.startswith("VM.GuestAgent.")}
    assert privileges["9.0"] == privileges["9.1"]
    assert privileges["9.0"] - privileges["8.4"] == {
        *(f"VM.GuestAgent.{part}" for part in ("Audit", "FileRead", "FileSystemMgmt", "FileWrite", "Unrestricted")),
        "VM.Replicate",
    }
    assert privileges["8.4"] - privileges["9.0"] == {"VM.Monitor"}


def test_built_in_roles_differ_likewise(estate: Simulator) -> None:
    roles = {
        name: {row["roleid"]: set(row["privs"].split(",")) for row in call(estate, name, "GET", "/access/roles").data}
        for name in SERVERS
    }
    assert "VM.Monitor" in roles["8.4"]["PVEVMAdmin"]
    assert "VM.Monitor" not in roles["8.4"]["PVEVMUser"]
    assert "VM.GuestAgent.Audit" in roles["9.0"]["PVEAuditor"] - roles["8.4"]["PVEAuditor"]
    assert roles["9.0"] == roles["9.1"]


def test_a_role_takes_only_privileges_that_there_are(estate: Simulator) -> None:
    for version, privilege, status in (
        ("8.4", "VM.Monitor", 200),
        ("8.4", "VM.GuestAgent.Audit", 400),
        ("9.1", "VM.Monitor", 400),
        ("9.1", "VM.GuestAgent.Audit", 200),
    ):
        role = f"R{version}{privilege}".replace(".", "")
        assert call(estate, version, "POST", "/access/roles", roleid=role, privs=privilege).status == status


def test_the_agents_calls_ask_for_the_versions_own_right(estate: Simulator) -> None:
    for version, lacking in (("8.4", "VM.Monitor"), ("9.1", "VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted")):
        server = estate.told["servers"][SERVERS[version]]
        vmid = server["templates"][0]
        path = f"/nodes/pve/qemu/{vmid}/agent/get-osinfo"
        answer = estate.call("GET", path, "low@pve!none", port=port(estate, version))
        assert answer.reason == f"Permission check failed (/vms/{vmid}, {lacking})"


def test_what_came_later_is_not_there_before(estate: Simulator) -> None:
    answer = call(estate, "8.4", "GET", "/cluster/ha/rules")
    assert (answer.status, answer.reason) == (501, "Method 'GET /cluster/ha/rules' not implemented")
    assert call(estate, "9.0", "GET", "/cluster/ha/rules").status == 200
    assert call(estate, "9.0", "GET", "/cluster/bulk-action/guest").status == 501
    assert call(estate, "9.1", "GET", "/cluster/bulk-action/guest").status == 200


def test_parameters_that_came_later_are_refused_by_the_schema(estate: Simulator) -> None:
    unknown = "property is not defined in schema and the schema does not allow additional properties"
    for version, status in (("8.4", 400), ("9.0", 400), ("9.1", 500)):
        answer = call(estate, version, "PUT", "/nodes/pve/qemu/99999/config", allow__ksm=0)
        assert answer.status == status
        assert status == 500 or answer.errors == {"allow-ksm": unknown}


def test_parameters_that_went_are_taken_before(estate: Simulator) -> None:
    for version, known in (("8.4", True), ("9.0", False)):
        answer = call(estate, version, "POST", "/nodes/pve/vzdump", vmid="x", notification__policy="never")
        assert ("notification-policy" not in answer.errors) == known


def test_replies_lack_what_came_later(estate: Simulator) -> None:
    rows = {name: call(estate, name, "GET", "/cluster/resources", type="vm").data for name in SERVERS}
    assert not any("memhost" in row for row in rows["8.4"])
    assert any("memhost" in row for row in rows["9.0"])
    vmid = estate.told["servers"][0]["templates"][0]
    assert "has-dbus-vmstate" not in call(estate, "8.4", "GET", f"/nodes/pve/qemu/{vmid}/migrate").data
    assert "has-dbus-vmstate" in call(estate, "9.0", "GET", f"/nodes/pve/qemu/{vmid}/migrate").data


def test_before_9_there_are_groups_where_now_are_rules(estate: Simulator) -> None:
    assert call(estate, "8.4", "POST", "/cluster/ha/groups", group="all", nodes="pve:1").status == 200
    vmid = estate.told["servers"][0]["templates"][0]
    options: dict[str, Any] = {"sid": f"vm:{vmid}", "state": "stopped", "group": "all"}
    assert call(estate, "8.4", "POST", "/cluster/ha/resources", **options).status == 200
    assert [row["group"] for row in call(estate, "8.4", "GET", "/cluster/ha/groups").data] == ["all"]
    refused = call(estate, "8.4", "DELETE", "/cluster/ha/groups/all")
    assert refused.reason == f"delete ha group failed: ha group is used by service 'vm:{vmid}'"
    assert call(estate, "9.0", "GET", "/cluster/ha/groups").reason.endswith("migrated to rules")


def test_the_last_upgraded_node_makes_rules_of_the_groups() -> None:
    options = ("--nodes", "2", "--node-versions", "8.4,9.1", "--guests", "0", "--templates", "1", "--speed", "200")
    simulator = start(*options)
    try:
        releases = {name: simulator.call("GET", f"/nodes/{name}/version").data["release"] for name in ("pve1", "pve2")}
        assert releases == {"pve1": "8.4", "pve2": "9.1"}
        simulator.call("POST", "/cluster/ha/groups", group="pair", nodes="pve1:2,pve2", restricted=1)
        vmid = simulator.told["templates"][0]
        simulator.call("POST", "/cluster/ha/resources", sid=f"vm:{vmid}", state="stopped", group="pair")
        simulator.control("POST", "versions", {"pve1": "9.1"})
        rules = waited(lambda: simulator.call("GET", "/cluster/ha/rules").data)
        told = {key: rules[0][key] for key in ("rule", "nodes", "strict", "resources", "comment")}
        assert told == {
            "rule": "ha-group-pair",
            "nodes": "pve1:2,pve2",
            "strict": 1,
            "resources": f"vm:{vmid}",
            "comment": "Generated from HA group 'pair'.",
        }
        assert "group" not in simulator.call("GET", f"/cluster/ha/resources/vm:{vmid}").data
    finally:
        end(simulator)


@pytest.mark.parametrize("name", versions.ORDER)
def test_every_row_of_the_tables_is_about_a_call_that_there_is(name: str) -> None:
    whole, there = load(), load(name)
    for since, table in versions.CALLS_SINCE.items():
        for method, path in versions.rows({since: table}, (since,)):
            filled = re.sub(r"\{\w+\}", "x1", path)
            assert whole.find(method, filled), f"{method} {path} is no call of {versions.ORDER[-1]}"
            assert bool(there.find(method, filled)) == (versions.ORDER.index(name) >= versions.ORDER.index(since))


def test_the_page_tells_every_row_of_the_tables() -> None:
    section = PAGE.read_text("utf-8").partition("\n## Versions\n")[2].partition("\n## ")[0]
    for table in (versions.CALLS_SINCE, versions.PARAMETERS_SINCE, versions.PARAMETERS_UNTIL, versions.KEYS_SINCE):
        for version in table:
            for method, path, *names in versions.rows(table, (version,)):
                assert f"`{method} {path}`" in section, f"{method} {path} is missing from docs/simulator.md"
                assert all(f"`{name}`" in section for name in names)
    for table in (versions.PRIVILEGES_SINCE, versions.PRIVILEGES_UNTIL):
        assert all(f"`{name}`" in section for text in table.values() for name in text.split())
    assert all(version in section and commit in section for version, commit in versions.RELEASES.values())
