"""`/access`: realms, users, groups, roles, tokens and the access control list."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint


@endpoint("GET", "/access/domains")
async def domains(call: Call) -> list[dict[str, Any]]:
    return [{"realm": realm.id, "type": realm.type, "comment": realm.comment} for realm in call.estate.realms.values()]
