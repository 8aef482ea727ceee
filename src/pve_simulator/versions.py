"""What older versions lack or name otherwise: 8.4 and 9.0 beside 9.1, the one that was recorded.

The tables of paths, parameters and declared rights are the differences between the API descriptions that Proxmox
published for 8.4 (of 2025-06-10) and 9.0 (of 2025-08-10) and that of 9.1.6; those of privileges and roles follow the
changelogs of libpve-access-control. Each table tells in which version something came.
"""

from __future__ import annotations

import copy
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from pve_simulator.world.node import Node
from pve_simulator.world.privileges import PRIVILEGES, ROLES

# Version -> what `/version` tells: version, first 16 digits of its commit.
RELEASES = {
    "8.4": ("8.4.1", "2a5fa54a8503f96d"),
    "9.0": ("9.0.11", "3bf5476b8a4699e2"),
    "9.1": ("9.1.6", "71482d1833ded40a"),
}
ORDER = tuple(RELEASES)
VERSION = "version"  # a node's fact

# Calls that there are since a version.
CALLS_SINCE = {
    "9.0": """
GET /cluster/ha/rules
POST /cluster/ha/rules
DELETE /cluster/ha/rules/{rule}
GET /cluster/ha/rules/{rule}
PUT /cluster/ha/rules/{rule}
GET /cluster/sdn/fabrics
GET /cluster/sdn/fabrics/all
GET /cluster/sdn/fabrics/fabric
POST /cluster/sdn/fabrics/fabric
DELETE /cluster/sdn/fabrics/fabric/{id}
GET /cluster/sdn/fabrics/fabric/{id}
PUT /cluster/sdn/fabrics/fabric/{id}
GET /cluster/sdn/fabrics/node
GET /cluster/sdn/fabrics/node/{fabric_id}
POST /cluster/sdn/fabrics/node/{fabric_id}
DELETE /cluster/sdn/fabrics/node/{fabric_id}/{node_id}
GET /cluster/sdn/fabrics/node/{fabric_id}/{node_id}
PUT /cluster/sdn/fabrics/node/{fabric_id}/{node_id}
DELETE /cluster/sdn/lock
POST /cluster/sdn/lock
POST /cluster/sdn/rollback
GET /nodes/{node}/capabilities/qemu/migration
GET /nodes/{node}/lxc/{vmid}/migrate
POST /nodes/{node}/qemu/{vmid}/dbus-vmstate
""",
    "9.1": """
POST /access/vncticket
GET /cluster/bulk-action
GET /cluster/bulk-action/guest
POST /cluster/bulk-action/guest/migrate
POST /cluster/bulk-action/guest/shutdown
POST /cluster/bulk-action/guest/start
POST /cluster/bulk-action/guest/suspend
POST /cluster/ha/status/arm-ha
POST /cluster/ha/status/disarm-ha
GET /nodes/{node}/capabilities/qemu/cpu-flags
GET /nodes/{node}/query-oci-repo-tags
GET /nodes/{node}/sdn/fabrics/{fabric}
GET /nodes/{node}/sdn/fabrics/{fabric}/interfaces
GET /nodes/{node}/sdn/fabrics/{fabric}/neighbors
GET /nodes/{node}/sdn/fabrics/{fabric}/routes
GET /nodes/{node}/sdn/vnets/{vnet}
GET /nodes/{node}/sdn/vnets/{vnet}/mac-vrf
GET /nodes/{node}/sdn/zones/{zone}/bridges
GET /nodes/{node}/sdn/zones/{zone}/ip-vrf
POST /nodes/{node}/storage/{storage}/oci-registry-pull
""",
}
# Parameters that a call takes since a version.
PARAMETERS_SINCE = {
    "9.0": """
POST /cluster/ha/resources failback
PUT /cluster/ha/resources/{sid} failback
POST /cluster/metrics/server/{id} otel-compression otel-headers otel-max-body-size otel-path otel-protocol
POST /cluster/metrics/server/{id} otel-resource-attributes otel-timeout otel-verify-ssl
PUT /cluster/metrics/server/{id} otel-compression otel-headers otel-max-body-size otel-path otel-protocol
PUT /cluster/metrics/server/{id} otel-resource-attributes otel-timeout otel-verify-ssl
PUT /cluster/options replication
PUT /cluster/sdn lock-token release-lock
POST /cluster/sdn/controllers fabric lock-token
DELETE /cluster/sdn/controllers/{controller} lock-token
PUT /cluster/sdn/controllers/{controller} fabric lock-token
POST /cluster/sdn/dns lock-token
DELETE /cluster/sdn/dns/{dns} lock-token
PUT /cluster/sdn/dns/{dns} lock-token
POST /cluster/sdn/ipams lock-token
DELETE /cluster/sdn/ipams/{ipam} lock-token
PUT /cluster/sdn/ipams/{ipam} lock-token
POST /cluster/sdn/vnets lock-token
DELETE /cluster/sdn/vnets/{vnet} lock-token
PUT /cluster/sdn/vnets/{vnet} lock-token
POST /cluster/sdn/vnets/{vnet}/subnets lock-token
DELETE /cluster/sdn/vnets/{vnet}/subnets/{subnet} lock-token
PUT /cluster/sdn/vnets/{vnet}/subnets/{subnet} lock-token
POST /cluster/sdn/zones fabric lock-token
DELETE /cluster/sdn/zones/{zone} lock-token
PUT /cluster/sdn/zones/{zone} fabric lock-token
PUT /nodes/{node}/network regenerate-frr
POST /nodes/{node}/qemu/{vmid}/migrate with-conntrack-state
POST /nodes/{node}/qemu/{vmid}/status/start with-conntrack-state
POST /storage snapshot-as-volume-chain zfs-base-path
PUT /storage/{storage} snapshot-as-volume-chain zfs-base-path
""",
    "9.1": """
PUT /access/users/{userid}/token/{tokenid} delete
POST /cluster/config token-coefficient
DELETE /cluster/ha/resources/{sid} purge
GET /cluster/metrics/export node-list
GET /nodes/{node}/capabilities/qemu/cpu arch
GET /nodes/{node}/capabilities/qemu/machines arch
POST /nodes/{node}/lxc entrypoint env ha-managed
PUT /nodes/{node}/lxc/{vmid}/config entrypoint env
POST /nodes/{node}/migrateall max-workers
POST /nodes/{node}/qemu allow-ksm ha-managed intel-tdx
GET /nodes/{node}/qemu/{vmid}/agent/file-read count decode offset
POST /nodes/{node}/qemu/{vmid}/config allow-ksm intel-tdx
PUT /nodes/{node}/qemu/{vmid}/config allow-ksm intel-tdx
POST /nodes/{node}/qemu/{vmid}/status/start nets-host-mtu
POST /nodes/{node}/startall max-workers
POST /nodes/{node}/stopall max-workers
POST /nodes/{node}/suspendall max-workers
POST /storage saferemove-stepsize
PUT /storage/{storage} saferemove-stepsize
""",
}
# Parameters that a call took until a version: it and those before it still do.
PARAMETERS_UNTIL = {
    "8.4": """
POST /cluster/backup notification-policy notification-target
PUT /cluster/backup/{id} notification-policy notification-target
POST /nodes/{node}/vzdump notification-policy notification-target
POST /storage maxfiles server2 transport volume
PUT /storage/{storage} maxfiles server2 transport
""",
}
TEXT = {"type": "string", "optional": 1}
# Values that a parameter has since a version, or had until one: call, parameter, value.
VALUES_SINCE = {
    "9.0": """
GET /nodes/{node}/rrd timeframe decade
GET /nodes/{node}/rrddata timeframe decade
GET /nodes/{node}/network type fabric include_sdn
POST /nodes/{node}/network type fabric
PUT /nodes/{node}/network/{iface} type fabric
POST /cluster/metrics/server/{id} type opentelemetry
""",
}
VALUES_UNTIL = {
    "8.4": """
POST /storage type glusterfs
GET /storage type glusterfs
""",
}
# Rights that were declared otherwise until a version: call, access path, privileges of which one is enough.
# `POST /nodes/{node}/qemu/{vmid}/agent...` stands for every call of the guest agent.
RIGHTS_UNTIL = {
    "8.4": """
* /nodes/{node}/qemu/{vmid}/agent /vms/{vmid} VM.Monitor
POST /nodes/{node}/qemu/{vmid}/monitor /vms/{vmid} VM.Monitor
POST /cluster/replication /storage Datastore.Allocate
PUT /cluster/replication/{id} /storage Datastore.Allocate
DELETE /cluster/replication/{id} /storage Datastore.Allocate
POST /nodes/{node}/replication/{id}/schedule_now /storage Datastore.Allocate
""",
}
# Keys of a reply that there are since a version.
KEYS_SINCE = {
    "9.0": """
GET /nodes/{node}/qemu/{vmid}/migrate has-dbus-vmstate dependent-ha-resources
GET /nodes/{node}/qemu/{vmid}/status/current memhost pressurecpufull pressurecpusome pressureiofull pressureiosome
GET /nodes/{node}/qemu/{vmid}/status/current pressurememoryfull pressurememorysome
GET /nodes/{node}/qemu memhost pressurecpufull pressurecpusome pressureiofull pressureiosome pressurememoryfull
GET /nodes/{node}/qemu pressurememorysome
GET /cluster/resources memhost
GET /cluster/ha/resources failback
GET /cluster/ha/status/current failback
""",
    "9.1": """
GET /cluster/ha/status/current armed-state
""",
}
# Privileges that a version brought, and those that it took away.
PRIVILEGES_SINCE = {
    "9.0": """
VM.GuestAgent.Audit VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt VM.GuestAgent.FileWrite
VM.GuestAgent.Unrestricted VM.Replicate
""",
}
PRIVILEGES_UNTIL = {"8.4": "VM.Monitor"}
ROLES_WITH_MONITOR = ("Administrator", "PVEAdmin", "PVEVMAdmin")  # until 8.4
# What works only since a version.
ABILITIES_SINCE = {
    "ha_rules": "9.0",  # rules of the high availability manager; before them it had groups, which 9.0 makes rules of
    "token_terminals": "9.1",  # a terminal that an API token opened lets its owner in
}


def rows(table: dict[str, str], versions: tuple[str, ...]) -> list[list[str]]:
    """The lines of a table for some versions, taken apart."""
    return [line.split() for version in versions for line in table.get(version, "").strip().splitlines()]


@dataclass(frozen=True)
class Version:
    """One of the versions that are known here, by `8.4`, `9.0` or `9.1`."""

    name: str

    @property
    def later(self) -> tuple[str, ...]:
        """The versions after it: what came with them it lacks."""
        return ORDER[ORDER.index(self.name) + 1 :]

    @property
    def gone(self) -> tuple[str, ...]:
        """The versions whose end it has not seen: what went after them it still has."""
        return ORDER[ORDER.index(self.name) :]

    @property
    def newest(self) -> bool:
        """Whether it is the recorded one, of which nothing has to be taken away."""
        return not self.later

    @property
    def told(self) -> dict[str, str]:
        """What `/version` tells."""
        version, commit = RELEASES[self.name]
        return {"release": self.name, "version": version, "repoid": commit}

    def can(self, ability: str) -> bool:
        """Whether something works that came with a version."""
        return ABILITIES_SINCE[ability] not in self.later

    @cached_property
    def privileges(self) -> frozenset[str]:
        """All privileges."""
        gone = {name for row in rows(PRIVILEGES_SINCE, self.later) for name in row}
        kept = {name for row in rows(PRIVILEGES_UNTIL, self.gone) for name in row}
        return frozenset((PRIVILEGES - gone) | kept)

    @cached_property
    def roles(self) -> dict[str, frozenset[str]]:
        """The built-in roles."""
        monitor = {"VM.Monitor"} & self.privileges
        return {
            name: (held & self.privileges) | (monitor if name in ROLES_WITH_MONITOR else frozenset())
            for name, held in ROLES.items()
        }

    @cached_property
    def hidden(self) -> dict[tuple[str, str], frozenset[str]]:
        """Keys that its replies have not: by method and path template."""
        found: dict[tuple[str, str], frozenset[str]] = {}
        for method, path, *keys in rows(KEYS_SINCE, self.later):
            found[method, path] = found.get((method, path), frozenset()) | set(keys)
        return found

    def described(self, description: dict[str, Any]) -> dict[str, Any]:
        """The API's description, of that of the newest version."""
        if self.newest:
            return description
        made = copy.deepcopy(description)
        paths = made["paths"]
        for method, path in rows(CALLS_SINCE, self.later):
            del paths[path][method]
            if not paths[path]:
                del paths[path]
        self._change_parameters(paths)
        for method, path, place, *privileges in rows(RIGHTS_UNTIL, self.gone):
            check = ["perm", place, privileges, "any", 1] if len(privileges) > 1 else ["perm", place, privileges]
            for known, methods in paths.items():
                for one, told in methods.items():
                    if (method, path) == (one, known) or (method == "*" and known.startswith(path)):
                        told["permissions"] = declared(told, check)
        return made

    def _change_parameters(self, paths: dict[str, Any]) -> None:
        def parameters(method: str, path: str) -> dict[str, Any]:
            return paths.get(path, {}).get(method, {}).get("parameters", {})

        for method, path, *names in rows(PARAMETERS_SINCE, self.later):
            for name in names:
                parameters(method, path).pop(name, None)
        for method, path, *names in rows(PARAMETERS_UNTIL, self.gone):
            parameters(method, path).update(dict.fromkeys(names, TEXT))
        for method, path, name, *values in rows(VALUES_SINCE, self.later):
            told = parameters(method, path).get(name, {})
            told["enum"] = [value for value in told.get("enum", []) if value not in values]
        for method, path, name, *values in rows(VALUES_UNTIL, self.gone):
            told = parameters(method, path).get(name, {})
            told["enum"] = sorted({*told.get("enum", []), *values})


def declared(told: dict[str, Any], check: list[Any]) -> dict[str, Any]:
    """Other declared rights; what everybody may (the index of the agent's calls) stays so."""
    held = told.get("permissions") or {}
    return held if held.get("user") == "all" and check[1] == "/vms/{vmid}" else {"check": check}


@lru_cache(len(ORDER))
def version(name: str) -> Version:
    """A version by its name."""
    if name not in RELEASES:
        raise ValueError(f"no such version: {name}; there are {', '.join(ORDER)}")
    return Version(name)


def of(node: Node | None) -> Version:
    """The version that a node runs; its installation is the recorded one where nothing else is told."""
    return version(node.facts.get(VERSION, ORDER[-1]) if node else ORDER[-1])


# The version of the node that carries a call out.
CURRENT: ContextVar[Version] = ContextVar("CURRENT", default=version(ORDER[-1]))  # noqa: B039 - never changed
