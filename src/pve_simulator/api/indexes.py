"""Indexes: what lies below a path, told under the key that the real one uses there."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, Handler, endpoint

# path: (key, what is below it). Recorded from 9.1.6, where not told otherwise.
INDEXES = {
    "/cluster": (
        "name",
        "acme backup backup-info bulk-action ceph config firewall ha jobs log mapping metrics notifications nextid "
        "options replication resources status tasks sdn",
    ),
    "/cluster/acme": ("name", "plugins account tos meta directories challenge-schema"),
    "/cluster/backup-info": ("subdir", "not-backed-up"),
    "/cluster/bulk-action": ("name", "guest"),
    "/cluster/bulk-action/guest": ("name", "start shutdown migrate suspend"),
    "/cluster/config": ("name", "nodes totem join qdevice apiversion"),
    "/cluster/firewall": ("name", "aliases rules options groups ipset macros refs"),
    "/cluster/ha": ("id", "status resources groups rules"),
    "/cluster/ha/status": ("name", "current manager_status disarm-ha arm-ha"),
    "/cluster/jobs": ("subdir", "schedule-analyze realm-sync"),
    "/cluster/mapping": ("name", "dir pci usb"),
    "/cluster/metrics": ("name", "server"),
    "/cluster/notifications": ("name", "endpoints matchers targets matcher-fields matcher-field-values"),
    "/cluster/notifications/endpoints": ("name", "gotify sendmail smtp webhook"),
    "/cluster/sdn": ("id", "vnets zones controllers ipams dns fabrics"),
    "/cluster/sdn/fabrics": ("subdir", "fabric node all"),
    "/access/openid": ("subdir", "auth-url login"),
    "/nodes/{node}": (
        "name",
        "aplinfo apt capabilities ceph certificates config disks dns firewall hardware hosts journal lxc migrateall "
        "netstat network qemu query-oci-repo-tags query-url-metadata replication report rrd rrddata scan sdn services "
        "spiceshell startall status stopall storage subscription suspendall syslog tasks termproxy time version "
        "vncshell vzdump wakeonlan",
    ),
    "/nodes/{node}/apt": ("id", "changelog repositories update versions"),
    "/nodes/{node}/capabilities": ("name", "qemu"),
    "/nodes/{node}/capabilities/qemu": ("name", "cpu machines migration"),
    "/nodes/{node}/certificates": ("name", "acme custom info"),
    "/nodes/{node}/disks": ("name", "list initgpt smart lvm lvmthin directory wipedisk zfs"),
    "/nodes/{node}/firewall": ("name", "rules options log"),
    "/nodes/{node}/qemu/{vmid}/firewall": ("name", "rules aliases ipset refs options"),
    "/nodes/{node}/lxc/{vmid}/firewall": ("name", "rules aliases ipset refs options"),
    "/nodes/{node}/hardware": ("type", "pci usb"),
    "/nodes/{node}/scan": ("method", "cifs iscsi lvm lvmthin nfs pbs zfs"),
    "/nodes/{node}/sdn": ("name", "fabrics vnets zones"),
    "/nodes/{node}/storage/{storage}": (
        "subdir",
        "content download-url file-restore import-metadata oci-registry-pull prunebackups rrd rrddata status upload",
    ),
}


def index(key: str, names: list[str]) -> Handler:
    """An endpoint that tells what is below."""

    async def tell(call: Call) -> list[dict[str, Any]]:
        return [{key: name} for name in names]

    return tell


for _path, (_key, _names) in INDEXES.items():
    endpoint("GET", _path)(index(_key, _names.split()))
