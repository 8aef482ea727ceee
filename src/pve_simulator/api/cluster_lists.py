"""Lists of the cluster in which a fresh installation has nothing, or only what comes with it."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, Handler, endpoint
from pve_simulator.world.guest import digest

EMPTY = (
    "/cluster/acme/account",
    "/cluster/acme/plugins",
    "/cluster/jobs/realm-sync",
    "/cluster/mapping/dir",
    "/cluster/mapping/pci",
    "/cluster/mapping/usb",
    "/cluster/metrics/server",
    "/cluster/notifications/endpoints/gotify",
    "/cluster/notifications/endpoints/smtp",
    "/cluster/notifications/endpoints/webhook",
    "/cluster/replication",
    "/cluster/sdn/controllers",
    "/cluster/sdn/dns",
    "/cluster/sdn/vnets",
    "/cluster/sdn/zones",
    "/cluster/sdn/fabrics/fabric",
    "/cluster/sdn/fabrics/node",
    "/nodes/{node}/apt/update",
    "/nodes/{node}/disks/directory",
    "/nodes/{node}/disks/lvmthin",
    "/nodes/{node}/disks/zfs",
    "/nodes/{node}/hardware/pci",
    "/nodes/{node}/hardware/usb",
    "/nodes/{node}/replication",
    "/nodes/{node}/sdn/zones",
)


def nothing() -> Handler:
    """An endpoint that tells an empty list."""

    async def tell(call: Call) -> list[dict[str, Any]]:
        return []

    return tell


for _path in EMPTY:
    endpoint("GET", _path)(nothing())


@endpoint("GET", "/cluster/notifications/targets")
async def targets(call: Call) -> list[dict[str, Any]]:
    comment = "Send mails to root@pam's email address"
    return [{"name": "mail-to-root", "type": "sendmail", "comment": comment, "origin": "builtin"}]


@endpoint("GET", "/cluster/notifications/endpoints/sendmail")
async def sendmail(call: Call) -> list[dict[str, Any]]:
    comment = "Send mails to root@pam's email address"
    return [{"name": "mail-to-root", "mailto-user": ["root@pam"], "comment": comment, "origin": "builtin"}]


@endpoint("GET", "/cluster/notifications/matchers")
async def matchers(call: Call) -> list[dict[str, Any]]:
    return [
        {
            "name": "default-matcher",
            "mode": "all",
            "target": ["mail-to-root"],
            "comment": "Route all notifications to mail-to-root",
            "origin": "builtin",
        }
    ]


@endpoint("GET", "/cluster/sdn/ipams")
async def address_managements(call: Call) -> list[dict[str, Any]]:
    return [{"ipam": "pve", "type": "pve", "digest": digest("")}]
