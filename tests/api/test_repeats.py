"""A request sent again with its Idempotency-Key, over the wire."""

from typing import Any

import aiohttp
import pytest

from tests.processes import Running

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def _power(running: Running, vmids: list[int], action: str, key: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {running.tokens['operator']}", "Idempotency-Key": key}
    body = {"guests": [{"server": "rack", "vmid": vmid} for vmid in vmids], "action": action}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{running.url}/api/v1/guests/power", json=body) as response,
    ):
        return response.status, await response.json(content_type=None)


def _jobs(told: Any) -> dict[int, str]:
    return {item["vmid"]: item["job"]["id"] for item in told["items"] if item.get("job")}


async def test_power_for_many_is_asked_for_once_with_one_key(running: Running) -> None:
    """One of the guests does not exist: what was made for the others stands for the whole request."""
    listed = running.command("guest", "list", "--json").json["items"]
    one, two, three = [guest["vmid"] for guest in listed if not guest["template"]][:3]
    status, first = await _power(running, [99_999, one, two], "start", "many")
    assert status == 202 and set(_jobs(first)) == {one, two}, first
    again = [await _power(running, vmids, "start", "many") for vmids in ([99_999, one, two], [two, one, 99_999, one])]
    assert [(status, _jobs(told)) for status, told in again] == [(202, _jobs(first))] * 2
    others = (([99_999, one, two], "shutdown"), ([one, two], "start"), ([three], "start"), ([one, two, three], "start"))
    for vmids, action in others:
        status, told = await _power(running, vmids, action, "many")
        assert (status, told["code"]) == (422, "idempotency_mismatch")
    assert three not in {job["vmid"] for job in running.command("job", "list", "--json").json["items"]}
