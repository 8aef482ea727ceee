"""What cannot be written without a quorum: /etc/pve is read-only then, and each call says so in its own way.

From the published sources of Proxmox's packages and reports of people whom it happened to; nothing of it is recorded.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError
from pve_simulator.faults import Rule
from pve_simulator.quorum import NO_QUORUM

if TYPE_CHECKING:
    from pve_simulator.server import Server

GUEST = "/nodes/{node}/(?:qemu|lxc)/{vmid}"
# Calls that ask for a quorum before anything else.
ASK = (
    "POST /nodes/{node}/(?:qemu|lxc)",
    f"POST {GUEST}/(?:clone|remote_migrate|status/start)",
    "POST /cluster/ha/(?:resources|groups|rules)",
    "(?:POST|DELETE) /cluster/config/nodes/{node}",
)
# Calls that lock a file of the cluster first: what they say before it, and the lock's name.
LOCK = {
    "POST /access/users": ("create user failed: ", "file-user_cfg"),
    "PUT /access/users/{userid}": ("update user failed: ", "file-user_cfg"),
    "DELETE /access/users/{userid}": ("delete user failed: ", "file-user_cfg"),
    "POST /access/users/{userid}/token/{tokenid}": ("generating token failed: ", "file-user_cfg"),
    "PUT /access/users/{userid}/token/{tokenid}": ("updating token info failed: ", "file-user_cfg"),
    "DELETE /access/users/{userid}/token/{tokenid}": ("deleting token failed: ", "file-user_cfg"),
    "POST /access/groups": ("create group failed: ", "file-user_cfg"),
    "PUT /access/groups/{groupid}": ("update group failed: ", "file-user_cfg"),
    "DELETE /access/groups/{groupid}": ("delete group failed: ", "file-user_cfg"),
    "POST /access/roles": ("create role failed: ", "file-user_cfg"),
    "PUT /access/roles/{roleid}": ("update role failed: ", "file-user_cfg"),
    "DELETE /access/roles/{roleid}": ("delete role failed: ", "file-user_cfg"),
    "PUT /access/acl": ("ACL update failed: ", "file-user_cfg"),
    "POST /pools": ("create pool failed: ", "file-user_cfg"),
    "PUT /pools(?:/{poolid})?": ("update pools failed: ", "file-user_cfg"),
    "DELETE /pools(?:/{poolid})?": ("delete pool failed: ", "file-user_cfg"),
    "POST /storage": ("create storage failed: ", "file-storage_cfg"),
    "PUT /storage/{storage}": ("update storage failed: ", "file-storage_cfg"),
    "DELETE /storage/{storage}": ("delete storage failed: ", "file-storage_cfg"),
    "(?:POST|PUT|DELETE) /cluster/backup(?:/{id})?": ("", "file-jobs_cfg"),
    "PUT /cluster/options": ("", "file-datacenter_cfg"),
    "PUT /cluster/ha/resources/{sid}": ("update resources config failed: ", "domain-ha"),
    "(?:POST|DELETE) /cluster/ha/resources/{sid}(?:/(?:migrate|relocate))?": ("", "domain-ha"),
    "(?:PUT|DELETE) /cluster/ha/(?:rules/{rule}|groups/{group})": ("", "domain-ha"),
    "(?:POST|PUT|DELETE) /cluster/firewall/.+": ("", "firewall-cluster"),
    f"(?:POST|PUT|DELETE) {GUEST}/firewall/.+": ("", "firewall-{vmid}"),
}
# Calls that write a guest's configuration: at once, or in their task.
WRITE = (
    f"PUT {GUEST}/(?:config|unlink|cloudinit)",
    f"PUT {GUEST}/snapshot/{{snapname}}/config",
)
WRITE_IN_TASK = (
    f"DELETE {GUEST}",
    f"POST {GUEST}/(?:config|move_disk|move_volume|template|snapshot|snapshot/{{snapname}}/rollback)",
    f"DELETE {GUEST}/snapshot/{{snapname}}",
    f"PUT {GUEST}/resize",
    f"POST {GUEST}/status/suspend",
    "POST /nodes/{node}/vzdump",
)
# Calls that lock a storage, which takes the cluster only where the storage is shared.
STORAGE = "(?:POST|PUT|DELETE) /nodes/{node}/storage/{storage}/.+"
NODE = "PUT /nodes/{node}/config"


@lru_cache(256)
def matches(pattern: str, line: str) -> bool:
    """Whether a call is meant; `{name}` in a pattern is itself."""
    return re.fullmatch(re.sub(r"\{(\w+)\}", r"\\{\1\\}", pattern), line) is not None


def check(server: Server, method: str, template: str, values: dict[str, Any], node: str) -> None:
    """Raises ApiError 500 where a call writes what cannot be written now."""
    if method == "GET" or server.quorum.holds(node):
        return
    line = f"{method} {template}"
    if any(matches(pattern, line) for pattern in ASK):
        raise ApiError(500, NO_QUORUM)
    for pattern, (prefix, lock) in LOCK.items():
        if matches(pattern, line):
            raise ApiError(500, f"{prefix}cfs-lock '{lock.format(vmid=values.get('vmid'))}' error: no quorum!")
    storage = server.estate.storages.get(str(values.get("storage")))
    if storage and storage.shared and matches(STORAGE, line):
        raise ApiError(500, f"cfs-lock 'storage-{storage.id}' error: no quorum!")
    if matches(NODE, line):
        raise ApiError(500, denied(server, node, f"/etc/pve/nodes/{node}/config"))
    if any(matches(pattern, line) for pattern in WRITE):
        raise ApiError(500, denied(server, node, file_of(template, values, node)))


def for_tasks(server: Server, method: str, template: str, values: dict[str, Any], node: str) -> list[Rule]:
    """What becomes of a call's task that has to write a guest's configuration: it fails where it would."""
    if method == "GET" or server.quorum.holds(node):
        return []
    line = f"{method} {template}"
    if not any(matches(pattern, line) for pattern in WRITE_IN_TASK) or (
        template.endswith("suspend") and not values.get("todisk")
    ):
        return []
    text = denied(server, node, file_of(template, values, node))
    return [Rule.read({"effect": "task_fail", "exitstatus": text})]


def file_of(template: str, values: dict[str, Any], node: str) -> str:
    """A guest's configuration file."""
    folder = "lxc" if "/lxc" in template else "qemu-server"
    return f"/etc/pve/nodes/{node}/{folder}/{values.get('vmid')}.conf"


def denied(server: Server, node: str, file: str) -> str:
    """What writing a file ends with."""
    return f"unable to open file '{file}.tmp.{server.estate.nodes[node].next_pid()}' - Permission denied"
