"""`.../rrddata`: a VM's figures over time."""

from __future__ import annotations

from typing import Any

from pve_simulator import metrics
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError

NEVER_RAN = {"time", "disk", "maxcpu", "maxdisk", "maxmem"}  # what is written of a VM that never ran
FOLDER = "/var/lib/rrdcached/db/pve-vm-9.0"


@endpoint("GET", "/nodes/{node}/qemu/{vmid}/rrddata")
async def history(call: Call) -> list[dict[str, Any]]:
    """Rows up to now; raises ApiError 500 for a VM that pvestatd has not seen yet."""
    guest = call.estate.guests.get(call["vmid"])
    if guest is None or guest.type != "qemu" or f"qemu/{guest.vmid}" not in call.server.statistics:
        raise ApiError(500, f"RRD error: realpath({FOLDER}/{call['vmid']}): No such file or directory")
    rows = metrics.guest_history(call.server, guest, call["timeframe"])
    started = any(task.type == "qmstart" and task.id == str(guest.vmid) for task in call.estate.tasks.values())
    if guest.process or started:
        return rows
    return [{name: value for name, value in row.items() if name in NEVER_RAN} for row in rows]
