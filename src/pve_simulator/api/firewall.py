"""Firewall rules and options of the cluster, of nodes and of guests; security groups, aliases and IP sets.

They are kept and told, and filter nothing. A scope's rules stand in `sections` by their number.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.tables import rows
from pve_simulator.world.guest import digest

NUMBERS = ("enable", "log_ratelimit_enabled", "ebtables", "dhcp", "ipfilter", "macfilter", "ndp", "radv", "nocase")
IN_PATH = ("node", "vmid", "pos", "group", "digest", "moveto", "delete", "rename", "name")
Section = dict[str, dict[str, str]]
SCOPES = (
    "/cluster/firewall",
    "/nodes/{node}/firewall",
    "/nodes/{node}/qemu/{vmid}/firewall",
    "/nodes/{node}/lxc/{vmid}/firewall",
)


def scope(call: Call) -> str:
    """Whose firewall is meant."""
    return str(call.get("vmid") or call.get("node") or "cluster")


def section(call: Call, what: str) -> Section:
    """A scope's rules, options, ...; made where it is not there."""
    return call.estate.sections.setdefault(f"firewall/{scope(call)}/{what}", {})


def marked(found: Section) -> str:
    """The digest of a section."""
    return digest(json.dumps(found, sort_keys=True) if found else "")


def typed(values: dict[str, str]) -> dict[str, Any]:
    """Values with the types that the API tells."""
    return {name: int(value) if name in NUMBERS else value for name, value in values.items()}


def shown(rule: dict[str, str], position: int | str, mark: str) -> dict[str, Any]:
    """A rule as the API tells it."""
    told = {"enable": 0, **typed(rule), "pos": position, "digest": mark}
    for address in (rule.get("source"), rule.get("dest")):
        if address:
            try:
                told["ipversion"] = ipaddress.ip_network(address, strict=False).version
            except ValueError:
                continue
    return told


def sent(call: Call) -> dict[str, str]:
    """The options of a rule as sent; raises ParameterError where a port lacks its protocol."""
    values = {name: str(value) for name, value in call.sent.items() if name not in IN_PATH}
    for name in ("dport", "sport"):
        if name in values and "proto" not in values:
            raise ParameterError({"proto": f"missing property - '{name}' requires this property"})
    return values


def renumbered(found: Section, rules: list[dict[str, str]]) -> None:
    """Writes a scope's rules in their order."""
    found.clear()
    found.update({str(number): rule for number, rule in enumerate(rules)})


def place(call: Call, found: Section) -> int:
    """The position of the path; raises ApiError 500 where there is no rule."""
    if str(call["pos"]) not in found:
        raise ApiError(500, f"no rule at position {call['pos']}")
    return int(call["pos"])


async def rules(call: Call) -> list[dict[str, Any]]:
    found = section(call, rule_section(call))
    return [shown(rule, int(number), marked(found)) for number, rule in found.items()]


def rule_section(call: Call) -> str:
    """Where the rules stand: those of a security group have a section of their own."""
    if "group" not in call:
        return "rules"
    if call["group"] not in section(call, "groups"):
        raise ApiError(500, f"no such security group '{call['group']}'")
    return f"group/{call['group']}"


async def add_rule(call: Call) -> None:
    """New rules come first."""
    found = section(call, rule_section(call))
    rest = list(found.values())
    renumbered(found, [*rest[: call.get("pos", 0)], sent(call), *rest[call.get("pos", 0) :]])


async def rule(call: Call) -> dict[str, Any]:
    found = section(call, rule_section(call))
    number = place(call, found)
    return shown(found[str(number)], str(number), marked(found))


async def change_rule(call: Call) -> None:
    """Moves a rule, or else changes it."""
    found = section(call, rule_section(call))
    number, listed = place(call, found), list(found.values())
    if "moveto" in call:
        target = call["moveto"]
        moved = listed.pop(number)
        listed.insert(target - 1 if target > number else target, moved)
    else:
        for name in call.get("delete", "").split(","):
            listed[number].pop(name, None)
        listed[number] |= {name: str(value) for name, value in call.sent.items() if name not in IN_PATH}
    renumbered(found, listed)


async def delete_rule(call: Call) -> None:
    found = section(call, rule_section(call))
    number, listed = place(call, found), list(found.values())
    del listed[number]
    renumbered(found, listed)


async def options(call: Call) -> dict[str, Any]:
    found = section(call, "options")
    return {**typed(found.get("options", {})), "digest": marked(found)}


async def set_options(call: Call) -> None:
    values = section(call, "options").setdefault("options", {})
    for name in call.get("delete", "").split(","):
        values.pop(name, None)
    values |= {name: str(value) for name, value in call.sent.items() if name not in IN_PATH}


async def log(call: Call) -> list[dict[str, Any]]:
    call.extra["total"] = 1
    return [{"n": 1, "t": "unable to open file - No such file or directory"}]


async def aliases(call: Call) -> list[dict[str, Any]]:
    found = section(call, "aliases")
    return [alias_row(name, values, marked(found)) for name, values in found.items()]


def alias_row(name: str, values: dict[str, str], mark: str) -> dict[str, Any]:
    """An alias as the API tells it."""
    version = ipaddress.ip_network(values["cidr"], strict=False).version
    return {"name": name, **values, "ipversion": version, "digest": mark}


async def add_alias(call: Call) -> None:
    if call["name"] in section(call, "aliases"):
        raise ParameterError({"name": f"alias '{call['name']}' already exists"})
    section(call, "aliases")[call["name"]] = sent(call)


def known_alias(call: Call) -> dict[str, str]:
    """The alias of the path; raises ApiError 500."""
    if call["name"] not in section(call, "aliases"):
        raise ApiError(500, f"no such alias '{call['name']}'")
    return section(call, "aliases")[call["name"]]


async def alias(call: Call) -> dict[str, Any]:
    return alias_row(call["name"], known_alias(call), marked(section(call, "aliases")))


async def change_alias(call: Call) -> None:
    """Changes an alias, and its name where `rename` is told."""
    values, found = known_alias(call) | sent(call), section(call, "aliases")
    del found[call["name"]]
    found[call.get("rename", call["name"])] = values


async def delete_alias(call: Call) -> None:
    section(call, "aliases").pop(call["name"], None)


async def sets(call: Call) -> list[dict[str, Any]]:
    found = section(call, "ipset")
    return [{"name": name, **values, "digest": marked(found)} for name, values in found.items()]


async def add_set(call: Call) -> None:
    section(call, "ipset").setdefault(call["name"], sent(call))


def known_set(call: Call) -> Section:
    """The members of the set of the path; raises ApiError 500."""
    if call["name"] not in section(call, "ipset"):
        raise ApiError(500, f"no such IPSet '{call['name']}'")
    return section(call, f"ipset/{call['name']}")


async def members(call: Call) -> list[dict[str, Any]]:
    found = known_set(call)
    return [{"cidr": address, **typed(values), "digest": marked(found)} for address, values in found.items()]


async def add_member(call: Call) -> None:
    known_set(call)[call["cidr"]] = {name: value for name, value in sent(call).items() if name != "cidr"}


def known_member(call: Call) -> dict[str, str]:
    """The member of the path; raises ApiError 500."""
    if call["cidr"] not in known_set(call):
        raise ApiError(500, f"no such entry '{call['cidr']}' in IPSet '{call['name']}'")
    return known_set(call)[call["cidr"]]


async def member(call: Call) -> dict[str, Any]:
    return {"cidr": call["cidr"], **typed(known_member(call)), "digest": marked(known_set(call))}


async def change_member(call: Call) -> None:
    values = known_member(call)
    values |= {name: value for name, value in sent(call).items() if name != "cidr"}


async def delete_member(call: Call) -> None:
    known_set(call).pop(call["cidr"], None)


async def delete_set(call: Call) -> None:
    found = known_set(call)
    if found and not call.get("force"):
        raise ApiError(500, f"IPSet '{call['name']}' is not empty")
    found.clear()
    del section(call, "ipset")[call["name"]]


@endpoint("GET", "/cluster/firewall/groups")
async def groups(call: Call) -> list[dict[str, Any]]:
    found = section(call, "groups")
    return [{"group": name, **values, "digest": marked(found)} for name, values in found.items()]


@endpoint("POST", "/cluster/firewall/groups")
async def add_group(call: Call) -> None:
    section(call, "groups").setdefault(call["group"], sent(call))


@endpoint("DELETE", "/cluster/firewall/groups/{group}")
async def delete_group(call: Call) -> None:
    if section(call, rule_section(call)):
        raise ApiError(500, f"Security group '{call['group']}' is not empty")
    del section(call, "groups")[call["group"]]


@endpoint("GET", "/cluster/firewall/macros")
async def macros(call: Call) -> list[dict[str, Any]]:
    return rows("firewall-macros")


async def references(call: Call) -> list[dict[str, Any]]:
    """What a rule may name: aliases and IP sets."""
    kinds = {"alias": "aliases", "ipset": "ipset"}
    return [
        {"type": kind, "name": name, "ref": name, "scope": "dc"}
        for kind, what in kinds.items()
        if call.get("type") in (None, kind)
        for name in section(call, what)
    ]


def register() -> None:
    """Every scope has rules and options; all but nodes have aliases, sets and references, all but the cluster a log."""
    for base in SCOPES:
        guest, cluster = "{vmid}" in base, base.startswith("/cluster")
        endpoint("GET", f"{base}/rules")(rules)
        endpoint("POST", f"{base}/rules")(add_rule)
        endpoint("GET", f"{base}/rules/{{pos}}")(rule)
        endpoint("PUT", f"{base}/rules/{{pos}}")(change_rule)
        endpoint("DELETE", f"{base}/rules/{{pos}}")(delete_rule)
        endpoint("GET", f"{base}/options")(options)
        endpoint("PUT", f"{base}/options")(set_options)
        if not cluster:
            endpoint("GET", f"{base}/log")(log)
        if guest or cluster:
            endpoint("GET", f"{base}/aliases")(aliases)
            endpoint("POST", f"{base}/aliases")(add_alias)
            endpoint("GET", f"{base}/aliases/{{name}}")(alias)
            endpoint("PUT", f"{base}/aliases/{{name}}")(change_alias)
            endpoint("DELETE", f"{base}/aliases/{{name}}")(delete_alias)
            endpoint("GET", f"{base}/ipset")(sets)
            endpoint("POST", f"{base}/ipset")(add_set)
            endpoint("GET", f"{base}/ipset/{{name}}")(members)
            endpoint("POST", f"{base}/ipset/{{name}}")(add_member)
            endpoint("DELETE", f"{base}/ipset/{{name}}")(delete_set)
            endpoint("GET", f"{base}/ipset/{{name}}/{{cidr}}")(member)
            endpoint("PUT", f"{base}/ipset/{{name}}/{{cidr}}")(change_member)
            endpoint("DELETE", f"{base}/ipset/{{name}}/{{cidr}}")(delete_member)
            endpoint("GET", f"{base}/refs")(references)
    endpoint("GET", "/cluster/firewall/groups/{group}")(rules)
    endpoint("POST", "/cluster/firewall/groups/{group}")(add_rule)
    endpoint("GET", "/cluster/firewall/groups/{group}/{pos}")(rule)
    endpoint("PUT", "/cluster/firewall/groups/{group}/{pos}")(change_rule)
    endpoint("DELETE", "/cluster/firewall/groups/{group}/{pos}")(delete_rule)


register()
