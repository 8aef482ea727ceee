"""`/cluster/ha/rules`: on which nodes managed guests may be, and which of them belong together or apart."""

from __future__ import annotations

from typing import Any

from pve_simulator.api.cluster_ha import changed, digest_of, sent, typed
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.highavailability import state
from pve_simulator.highavailability.rules import listed, priorities


def row(call: Call, name: str) -> dict[str, Any]:
    """A rule as the API tells it."""
    section = state.rules(call.estate)
    place = list(section).index(name) + 1
    return {"rule": name, "digest": digest_of(section), "order": place, **typed(section[name])}


def check(call: Call, values: dict[str, str], name: str) -> None:
    """Raises ApiError 500 or ParameterError for a rule that cannot be."""
    named = listed(values.get("resources", ""))
    if not named:
        raise ApiError(500, "no resources were specified")
    strange = [sid for sid in named if sid not in state.resources(call.estate)]
    if strange:
        raise ApiError(500, f"cannot use unmanaged resource(s) {', '.join(strange)}.")
    if values.get("type") == "node-affinity":
        check_nodes(call, values, name, named)
    elif len(named) < 2:
        text = "rule is ineffective as there are less than two resources"
        raise ParameterError({"resources": text})
    elif "affinity" not in values:
        raise ParameterError({"affinity": "property is missing and it is not optional"})


def check_nodes(call: Call, values: dict[str, str], name: str, named: list[str]) -> None:
    """Raises ApiError 500 or ParameterError for nodes that there are not, and resources that another rule has."""
    nodes = priorities(values.get("nodes", ""))
    if not nodes:
        raise ApiError(500, "no nodes were specified")
    strange = [node for node in nodes if node not in call.estate.nodes]
    if strange:
        raise ApiError(500, f"cannot use non-existent node(s) {', '.join(strange)}.")
    for other, told in state.rules(call.estate).items():
        twice = [sid for sid in named if sid in listed(told.get("resources", ""))]
        if other != name and told.get("type") == "node-affinity" and twice:
            text = f"resource '{twice[0]}' is already used in another node affinity rule"
            raise ParameterError({"resources": text})


@endpoint("GET", "/cluster/ha/rules")
async def listed_rules(call: Call) -> list[dict[str, Any]]:
    rows = [row(call, name) for name in state.rules(call.estate)]
    return [
        told
        for told in rows
        if call.get("type") in (None, told["type"])
        and ("resource" not in call or call["resource"] in listed(told["resources"]))
    ]


@endpoint("POST", "/cluster/ha/rules")
async def add_rule(call: Call) -> None:
    name, values = call["rule"], sent(call, "rule")
    if name in state.rules(call.estate):
        raise ApiError(500, f"create ha rule failed: HA rule '{name}' already defined")
    check(call, values, name)
    state.rules(call.estate)[name] = values


@endpoint("GET", "/cluster/ha/rules/{rule}")
async def one_rule(call: Call) -> dict[str, Any]:
    if call["rule"] not in state.rules(call.estate):
        raise ApiError(500, f"no such ha rule '{call['rule']}'")
    return row(call, call["rule"])


@endpoint("PUT", "/cluster/ha/rules/{rule}")
async def change_rule(call: Call) -> None:
    section, name = state.rules(call.estate), call["rule"]
    if name not in section:
        raise ApiError(500, f"update ha rules failed: HA rule '{name}' does not exist")
    check(call, section[name] | sent(call, "rule", "delete", "digest"), name)
    changed(call, section, name, "rule")


@endpoint("DELETE", "/cluster/ha/rules/{rule}")
async def remove_rule(call: Call) -> None:
    state.rules(call.estate).pop(call["rule"], None)
