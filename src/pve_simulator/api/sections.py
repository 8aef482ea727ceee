"""Configuration that is kept and told: mappings, metric servers, notifications, SDN, replication, realm jobs.

All are sections of files under /etc/pve: made, shown, changed and deleted in one way. SDN's hold only once they are
applied; nothing else acts on any of them. Texts of refusals as PVE::SectionConfig and its users word them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError
from pve_simulator.schema import load
from pve_simulator.tasks import Run
from pve_simulator.world.guest import digest

Section = dict[str, dict[str, str]]
NOT_KEPT = ("delete", "digest", "lock-token", "node", "force", "keep")
SECRET = ("token", "password", "secret")


@dataclass(frozen=True)
class Kind:
    """A kind of section: its list's path, the parameter that names one, what refusals call it."""

    path: str
    key: str
    noun: str
    named_at_creation: bool = False  # POST goes to the one, not to the list
    status: int = 500  # of a refusal
    fixed: Section | None = None  # what every installation has

    @property
    def one(self) -> str:
        """The path of one."""
        return f"{self.path}/{{{self.key}}}"

    @property
    def created_at(self) -> str:
        """Where one is made."""
        return self.one if self.named_at_creation else self.path

    def found(self, call: Call) -> Section:
        """The sections of this kind; those of a network are its own."""
        owner = f"/{call['vnet']}" if "{vnet}" in self.path else ""
        return call.estate.sections.setdefault(f"kept{self.path}{owner}", {})

    def typed(self, values: dict[str, str]) -> dict[str, Any]:
        """Values with the types of the description."""
        method = load().find("POST", self.created_at.replace("{vnet}", "x").replace(f"{{{self.key}}}", "x"))
        told: dict[str, Any] = {}
        for name, value in values.items():
            form = (method[0].parameter(name) or {}).get("type") if method else None
            told[name] = (
                json.loads(value) if form == "array" else int(value) if form in ("integer", "boolean") else value
            )
        return told

    def row(self, name: str, values: dict[str, str]) -> dict[str, Any]:
        """One as the API tells it, without what is secret."""
        shown = {key: value for key, value in values.items() if key not in SECRET}
        return {self.key: name, **self.typed(shown), "digest": digest(json.dumps(values, sort_keys=True))}


MAIL = {
    "mail-to-root": {
        "mailto-user": '["root@pam"]',
        "comment": "Send mails to root@pam's email address",
        "origin": "builtin",
    }
}
MATCHER = {
    "default-matcher": {
        "mode": "all",
        "target": '["mail-to-root"]',
        "comment": "Route all notifications to mail-to-root",
        "origin": "builtin",
    }
}
ENDPOINTS = "/cluster/notifications/endpoints"
KINDS = (
    *(Kind(f"/cluster/mapping/{what}", "id", f"{what} mapping") for what in ("dir", "pci", "usb")),
    Kind("/cluster/metrics/server", "id", "metric server", named_at_creation=True),
    *(Kind(f"{ENDPOINTS}/{what}", "name", "endpoint", status=404) for what in ("gotify", "smtp", "webhook")),
    Kind(f"{ENDPOINTS}/sendmail", "name", "endpoint", status=404, fixed=MAIL),
    Kind("/cluster/notifications/matchers", "name", "matcher", status=404, fixed=MATCHER),
    Kind("/cluster/replication", "id", "replication job"),
    Kind("/cluster/jobs/realm-sync", "id", "realm-sync job", named_at_creation=True),
    Kind("/cluster/sdn/zones", "zone", "sdn zone object"),
    Kind("/cluster/sdn/vnets", "vnet", "sdn vnet object"),
    Kind("/cluster/sdn/vnets/{vnet}/subnets", "subnet", "sdn subnet object"),
    Kind("/cluster/sdn/controllers", "controller", "sdn controller object"),
    Kind("/cluster/sdn/dns", "dns", "sdn dns object"),
    Kind("/cluster/sdn/ipams", "ipam", "sdn ipam object", fixed={"pve": {"type": "pve"}}),
)


def kept(call: Call, kind: Kind) -> dict[str, str]:
    """The values of a call as the file holds them."""
    values = {name: value for name, value in call.parameters.items() if name not in (*NOT_KEPT, kind.key)}
    if "{vnet}" in kind.path:
        values.pop("vnet", None)
    return {name: text(value) for name, value in values.items()}


def text(value: Any) -> str:
    """A value as a text."""
    if isinstance(value, list):
        return json.dumps(value)
    return str(int(value)) if isinstance(value, bool) else str(value)


def name_of(call: Call, kind: Kind) -> str:
    """Which one is meant; a subnet's id is made of its zone and address."""
    name = str(call[kind.key])
    if kind.key == "subnet" and "/" in name:
        zone = call.estate.sections.get("kept/cluster/sdn/vnets", {}).get(call["vnet"], {}).get("zone", "zone")
        return f"{zone}-{name.replace('/', '-')}"
    return name


def known(call: Call, kind: Kind) -> dict[str, str]:
    """The one of the path; raises ApiError."""
    name = name_of(call, kind)
    there = {**(kind.fixed or {}), **kind.found(call)}
    if name not in there:
        raise ApiError(kind.status, f"{kind.noun} '{name}' does not exist")
    return there[name]


def register(kind: Kind) -> None:
    """The five calls of a kind."""

    async def listed(call: Call) -> list[dict[str, Any]]:
        there = {**(kind.fixed or {}), **kind.found(call)}
        plain = kind.fixed or {}
        rows = [kind.row(name, values) for name, values in there.items()]
        for row in rows:
            if row[kind.key] in plain and kind.key != "ipam":
                row.pop("digest")
            if kind.key == "ipam" and row[kind.key] in plain:
                row["digest"] = digest("")
        return rows

    async def make(call: Call) -> None:
        name, found = name_of(call, kind), kind.found(call)
        if name in found or name in (kind.fixed or {}):
            raise ApiError(500, f"{kind.noun} ID '{name}' already defined")
        check_parents(call, kind)
        found[name] = kept(call, kind)

    async def one(call: Call) -> dict[str, Any]:
        return kind.row(name_of(call, kind), known(call, kind))

    async def change(call: Call) -> None:
        values = dict(known(call, kind))
        for name in (
            call.get("delete", "") if isinstance(call.get("delete", ""), list) else call.get("delete", "").split(",")
        ):
            values.pop(name, None)
        kind.found(call)[name_of(call, kind)] = values | kept(call, kind)

    async def remove(call: Call) -> None:
        known(call, kind)
        check_children(call, kind)
        kind.found(call).pop(name_of(call, kind), None)

    endpoint("GET", kind.path)(listed)
    endpoint("POST", kind.created_at)(make)
    endpoint("GET", kind.one)(one)
    endpoint("PUT", kind.one)(change)
    endpoint("DELETE", kind.one)(remove)


def check_parents(call: Call, kind: Kind) -> None:
    """Raises ApiError 500 where a network's zone, or a replicated guest or its target, is missing."""
    if kind.key == "vnet" and call["zone"] not in call.estate.sections.get("kept/cluster/sdn/zones", {}):
        raise ApiError(500, f"sdn zone '{call['zone']}' does not exist")
    if kind.path == "/cluster/replication":
        vmid = int(str(call["id"]).partition("-")[0])
        if vmid not in call.estate.guests:
            raise ApiError(500, f"guest '{vmid}' does not exist")
        if call["target"] not in call.estate.nodes:
            raise ApiError(500, f"no such node '{call['target']}'")


def check_children(call: Call, kind: Kind) -> None:
    """Raises ApiError 500 where something stands on what is to go."""
    sections = call.estate.sections
    if kind.key == "zone":
        users = [
            name
            for name, vnet in sections.get("kept/cluster/sdn/vnets", {}).items()
            if vnet.get("zone") == call["zone"]
        ]
        if users:
            raise ApiError(500, f"zone {call['zone']} is used by vnet {users[0]}")
    if kind.key == "vnet" and sections.get(f"kept/cluster/sdn/vnets/{{vnet}}/subnets/{call['vnet']}"):
        raise ApiError(500, f"cannot delete vnet '{call['vnet']}', it still has subnets")


for _kind in KINDS:
    register(_kind)


@endpoint("PUT", "/cluster/sdn")
async def apply(call: Call) -> str:
    """Every node reloads its network; from then on guests can be started on the networks."""

    async def work(run: Run) -> None:
        for node in run.server.estate.nodes.values():
            run.log(f"{node.name}: reloading network config")
        await run.sleep(1.0)
        zones = run.server.estate.sections.get("kept/cluster/sdn/zones", {})
        run.server.estate.sections["kept/running/zones"] = {name: dict(values) for name, values in zones.items()}

    return call.task("reloadnetworkall", "", work)


@endpoint("GET", "/nodes/{node}/sdn/zones")
async def zones(call: Call) -> list[dict[str, Any]]:
    return [{"zone": name, "status": "available"} for name in call.estate.sections.get("kept/running/zones", {})]


@endpoint("GET", "/nodes/{node}/replication")
async def replication(call: Call) -> list[dict[str, Any]]:
    """Jobs whose guest is on the node; they never fail, and copy nothing."""
    rows = []
    for name, values in call.estate.sections.get("kept/cluster/replication", {}).items():
        guest = call.estate.guests.get(int(name.partition("-")[0]))
        if guest is not None and guest.node == call.node.name:
            rows.append({"id": name, "guest": guest.vmid, **values, "fail_count": 0, "last_sync": 0, "duration": 0})
    return rows


def fixed(path: str, value: Callable[[], Any]) -> None:
    """An endpoint that always tells the same."""

    async def tell(call: Call) -> Any:
        return value()

    endpoint("GET", path)(tell)


@endpoint("GET", "/cluster/notifications/targets")
async def targets(call: Call) -> list[dict[str, Any]]:
    """All endpoints, of whatever kind."""
    rows = [
        {"name": "mail-to-root", "type": "sendmail", "comment": MAIL["mail-to-root"]["comment"], "origin": "builtin"}
    ]
    for what in ("gotify", "sendmail", "smtp", "webhook"):
        for name, values in call.estate.sections.get(f"kept{ENDPOINTS}/{what}", {}).items():
            told = {"name": name, "type": what, "origin": "user-created"}
            rows.append(told | ({"comment": values["comment"]} if "comment" in values else {}))
    return rows


@endpoint("POST", "/cluster/notifications/targets/{name}/test")
async def test_target(call: Call) -> None:
    if call["name"] not in {row["name"] for row in await targets(call)}:
        raise ApiError(404, f"target '{call['name']}' does not exist")


fixed("/cluster/notifications/matcher-fields", lambda: [{"name": name} for name in ("hostname", "type", "job-id")])
fixed("/cluster/notifications/matcher-field-values", lambda: [{"field": "type", "value": "vzdump"}])
