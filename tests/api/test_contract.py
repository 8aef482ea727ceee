"""What other programs rely on, against a running Comserv and a simulated Proxmox VE."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.processes import Running

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(300)]

Ask = Callable[..., Awaitable[tuple[int, Any, aiohttp.ClientResponse]]]


@pytest.fixture
async def ask(running: Running) -> AsyncIterator[Ask]:
    """`await ask("GET", "/guests")` → status, JSON, response."""
    headers = {"Authorization": f"Bearer {running.tokens['admin']}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask(method: str, path: str, body: Any = None, **headers: str) -> Any:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(method, f"{running.url}/api/v1{path}", json=body, headers=sent) as response:
                text = await response.read()
                told = (
                    await response.json(content_type=None)
                    if response.content_type.endswith(("/json", "+json")) and text
                    else text
                )
                return response.status, told, response

        yield ask


async def ended(ask: Ask, job: dict[str, Any]) -> dict[str, Any]:
    for _ in range(600):
        _, job, _ = await ask("GET", f"/jobs/{job['id']}")
        if job["state"] in ("succeeded", "failed", "cancelled"):
            return job
        await asyncio.sleep(0.1)
    raise AssertionError(job)


def wish(estate: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    template = {"server": "rack", "vmid": estate["templates"][0]}
    return {"server": "rack", "hostname": name, "template": template, "start_after_creation": False, **more}


async def test_a_server_tells_its_state_and_never_its_token(ask: Ask, estate: dict[str, Any]) -> None:
    status, server, response = await ask("GET", "/servers/rack")
    assert status == 200 and server["state"] == "up" and server["as_of"] and server["stale"] is False
    assert server["tls"]["fingerprint"] == estate["fingerprint"]
    assert estate["tokens"]["full"]["secret"] not in await response.text()


async def test_the_connection_test_comes_as_a_list_or_line_by_line(ask: Ask) -> None:
    _, told, _ = await ask("POST", "/servers/rack/test")
    assert told["stages"][0].keys() == {"stage", "state", "ms", "text", "cure", "proxmox"}
    status, lines, response = await ask("POST", "/servers/rack/test", Accept="application/x-ndjson")
    assert status == 200 and response.content_type == "application/x-ndjson"
    assert len(lines.splitlines()) == len(told["stages"])
    status, problem, _ = await ask("POST", "/servers/nowhere/test", Accept="application/x-ndjson")
    assert status == 404 and problem["code"] == "not_found"


async def test_a_server_with_a_wrong_token_is_refused_with_its_stages_and_not_kept(
    ask: Ask, estate: dict[str, Any]
) -> None:
    body = {
        "id": "wrong",
        "addresses": [estate["url"] + "/api2/json"],
        "token_id": estate["tokens"]["full"]["id"],
        "token_secret": "11111111-2222-3333-4444-555555555555",
        "tls": {"mode": "fingerprint", "fingerprint": estate["fingerprint"]},
    }
    status, problem, _ = await ask("POST", "/servers", body)
    assert status == 422 and problem["code"] == "connection_test_failed"
    assert next(stage for stage in problem["stages"] if stage["state"] == "failed")["stage"] == "token"
    assert (await ask("GET", "/servers/wrong"))[0] == 404


async def test_a_server_that_does_not_answer_is_kept_as_unreached_within_ten_seconds(ask: Ask) -> None:
    body = {
        "id": "dead",
        "addresses": ["127.0.0.1:1"],
        "token_id": "comserv@pve!manager",
        "token_secret": "11111111-2222-3333-4444-555555555555",
    }
    began = asyncio.get_running_loop().time()
    status, server, response = await ask("POST", "/servers", body)
    assert status == 201 and server["state"] == "unreached" and server["as_of"] is None
    assert asyncio.get_running_loop().time() - began < 12
    assert response.headers["Location"] == "/api/v1/servers/dead"
    assert (await ask("POST", "/servers", body))[0] == 409
    assert (await ask("DELETE", "/servers/dead"))[0] == 204


async def test_guests_are_paged_filtered_and_complete(ask: Ask) -> None:
    seen, cursor = [], ""
    while cursor is not None:
        _, page, _ = await ask("GET", f"/guests?limit=3&sort=-vmid&cursor={cursor}")
        seen += [guest["vmid"] for guest in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) >= 8 and seen == sorted(set(seen), reverse=True)
    _, running_ones, _ = await ask("GET", "/guests?status=running&server=rack")
    assert {guest["status"] for guest in running_ones["items"]} == {"running"}
    _, templates, _ = await ask("GET", "/guests?template=true")
    assert all(guest["template"] for guest in templates["items"]) and templates["items"]


async def test_a_guest_is_told_as_last_seen_and_live(ask: Ask) -> None:
    _, page, _ = await ask("GET", "/guests?type=qemu&status=running&limit=1")
    guest = page["items"][0]
    path = f"/guests/rack/{guest['vmid']}"
    _, seen, _ = await ask("GET", path)
    assert "live" not in seen and seen["name"] == guest["name"]
    _, now, _ = await ask("GET", f"{path}?live=1")
    assert now["live"]["status"] == "running" and now["live"]["actions"]["stop"] == ""
    _, config, response = await ask("GET", f"{path}/config")
    assert config["values"]["name"] == guest["name"] and response.headers["ETag"] == f'"{config["digest"]}"'
    status, tasks, _ = await ask("GET", f"{path}/tasks")
    assert status == 200 and set(tasks) == {"items", "next_cursor"}


async def test_a_plan_tells_placement_calls_and_findings_and_changes_nothing(ask: Ask, estate: dict[str, Any]) -> None:
    status, plan, _ = await ask("POST", "/vms/plan", wish(estate, "planned-01"))
    assert status == 200 and not plan["blocked"] and plan["placement"]["reasons"]
    assert plan["calls"][0]["path"].endswith(f"/qemu/{estate['templates'][0]}/clone")
    network = {"type": "static", "ip_address": "10.20.30.255", "subnet_mask": "255.255.255.0", "gateway": "10.20.30.1"}
    _, blocked, _ = await ask("POST", "/vms/plan", wish(estate, "planned-01", network=network))
    blocker = next(finding for finding in blocked["findings"] if finding["level"] == "blocker")
    assert blocked["blocked"] and blocker["field"] == "network.ip_address" and blocker["cure"] and blocker["code"]
    status, problem, _ = await ask("POST", "/vms", wish(estate, "planned-01", network=network))
    assert status == 422 and problem["code"] == "plan_blocked" and blocker in problem["findings"]


async def test_two_at_once_with_one_key_make_one_job_and_get_two_202(ask: Ask, estate: dict[str, Any]) -> None:
    body = wish(estate, "once-01")
    replies = await asyncio.gather(*(ask("POST", "/vms", body, Idempotency_Key="at-once") for _ in range(5)))
    assert {status for status, _, _ in replies} == {202}
    assert len({job["id"] for _, job, _ in replies}) == 1
    assert replies[0][2].headers["Location"] == f"/api/v1/jobs/{replies[0][1]['id']}"
    status, problem, _ = await ask("POST", "/vms", {**body, "memory_mb": 4096}, Idempotency_Key="at-once")
    assert status == 422 and problem["code"] == "idempotency_mismatch"
    job = await ended(ask, replies[0][1])
    assert job["state"] == "succeeded", job
    assert [step["name"] for step in job["steps"]] == ["reserve", "clone", "configure", "grow", "start", "prove"]
    status, again, _ = await ask("POST", "/vms", body, Idempotency_Key="at-once")
    assert status == 202 and again["id"] == job["id"] and again["state"] == "succeeded"
    assert (await ask("POST", f"/jobs/{job['id']}/cancel", {}))[0] == 409
    assert (await ask("POST", f"/jobs/{job['id']}/retry"))[0] == 409


async def test_a_password_is_never_told_again(ask: Ask, estate: dict[str, Any]) -> None:
    secret = "unmistakable-9f2c"
    status, job, response = await ask(
        "POST", "/vms", wish(estate, "secret-01", cloud_init={"user": "debian", "password": secret})
    )
    assert status == 202 and secret not in await response.text()
    job = await ended(ask, job)
    assert job["state"] == "succeeded", job
    for path in (f"/jobs/{job['id']}", f"/jobs/{job['id']}/calls", "/audit", "/jobs"):
        _, told, _ = await ask("GET", path)
        assert secret not in str(told), path


async def test_power_over_many_answers_for_each_and_its_key_makes_no_second_job(
    ask: Ask, estate: dict[str, Any]
) -> None:
    _, page, _ = await ask("GET", "/guests?type=qemu&status=stopped&template=false&limit=1")
    places = [
        {"server": "rack", "vmid": page["items"][0]["vmid"]},
        {"server": "rack", "vmid": estate["templates"][0]},
        {"server": "rack", "vmid": 99999},
    ]
    body = {"guests": places, "action": "start"}
    status, first, _ = await ask("POST", "/guests/power", body, Idempotency_Key="many")
    assert status == 202 and [bool(item["job"]) for item in first["items"]] == [True, False, False]
    assert [item["problem"]["code"] for item in first["items"][1:]] == ["conflict", "not_found"]
    _, second, _ = await ask("POST", "/guests/power", body, Idempotency_Key="many")
    assert second["items"][0]["job"]["id"] == first["items"][0]["job"]["id"]
    assert (await ended(ask, first["items"][0]["job"]))["state"] == "succeeded"


async def test_a_change_of_what_somebody_else_changed_overwrites_nothing(ask: Ask) -> None:
    _, page, _ = await ask("GET", "/guests?type=qemu&template=false&limit=1")
    path = f"/guests/rack/{page['items'][0]['vmid']}"
    _, config, _ = await ask("GET", f"{path}/config")
    status, job, _ = await ask("PATCH", path, {"notes": "first"}, If_Match=f'"{config["digest"]}"')
    assert status == 202 and (await ended(ask, job))["state"] == "succeeded"
    status, told, _ = await ask("PATCH", path, {"notes": "second"}, If_Match=f'"{config["digest"]}"')
    if status == 202:
        told = (await ended(ask, told))["error"]
    assert told["code"] == "digest_mismatch", told


async def test_proxmox_s_own_words_come_through(ask: Ask, estate: dict[str, Any]) -> None:
    _, page, _ = await ask("GET", "/guests?type=qemu&status=stopped&template=false&limit=1")
    if not page["items"]:
        _, page, _ = await ask("GET", "/guests?template=true&limit=1")
    status, problem, _ = await ask("GET", f"/guests/rack/{page['items'][0]['vmid']}/agent")
    assert status in (409, 502) and problem["proxmox"]["status"] >= 400 and problem["proxmox"]["message"], problem


async def test_the_overview_and_find_speak_of_what_is_there(ask: Ask) -> None:
    _, overview, _ = await ask("GET", "/overview")
    assert [server["id"] for server in overview["servers"]] == ["rack"] and overview["counts"]["servers"] == 1
    _, found, _ = await ask("GET", "/find?text=rack")
    assert any(match["group"] == "server" and match["subject"] == "rack" for match in found["items"])
