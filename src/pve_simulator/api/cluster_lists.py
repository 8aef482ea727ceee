"""Lists of the cluster in which a fresh installation has nothing, or only what comes with it."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, Handler, endpoint

EMPTY = (
    "/cluster/acme/account",
    "/cluster/acme/plugins",
    "/cluster/sdn/fabrics/fabric",
    "/cluster/sdn/fabrics/node",
    "/nodes/{node}/apt/update",
    "/nodes/{node}/disks/directory",
    "/nodes/{node}/disks/lvmthin",
    "/nodes/{node}/disks/zfs",
    "/nodes/{node}/hardware/pci",
    "/nodes/{node}/hardware/usb",
)


def nothing() -> Handler:
    """An endpoint that tells an empty list."""

    async def tell(call: Call) -> list[dict[str, Any]]:
        return []

    return tell


for _path in EMPTY:
    endpoint("GET", _path)(nothing())
