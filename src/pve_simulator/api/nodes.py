"""`/nodes`: the nodes themselves."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint


@endpoint("GET", "/nodes")
async def nodes(call: Call) -> list[dict[str, Any]]:
    fingerprint = call.server.certificates.fingerprint
    return [
        {
            "node": node.name,
            "id": f"node/{node.name}",
            "type": "node",
            "level": "",
            "status": "unknown" if call.server.node_down(node.name) else "online",
            "ssl_fingerprint": fingerprint,
        }
        for node in call.estate.nodes.values()
    ]
