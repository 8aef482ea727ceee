"""`/metrics`: Prometheus's own parser reads it, routes stand as templates, and only those whom the setting names are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from comserv import app
from comserv.domain.person import Role
from tests.api.conftest import listening
from tests.installed import ADMIN, Installed, Pve

pytestmark = pytest.mark.anyio
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@asynccontextmanager
async def served(comserv: Installed, mode: str) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    comserv.installation.settings.metrics = mode
    application = app.build(comserv.installation, asyncio.Event(), None)
    async with listening(application) as address, aiohttp.ClientSession() as session:
        yield session, address


async def read(session: aiohttp.ClientSession, address: str, **headers: str) -> tuple[int, Samples]:
    async with session.get(
        f"{address}/metrics", headers={name.replace("_", "-"): value for name, value in headers.items()}
    ) as reply:
        text = await reply.text()
    if reply.status != 200:
        return reply.status, {}
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    found = [sample for family in families for sample in family.samples]
    return 200, {(one.name, tuple(sorted(one.labels.items()))): one.value for one in found}


async def test_figures_of_servers_jobs_web_database_and_process_are_told(comserv: Installed, pve: Pve) -> None:
    await comserv.created()
    async with served(comserv, "loopback") as (session, address):
        for path in ("/api/v1/health", "/guests/lab/4711", "/servers/secret-name", "/no-such-page/secret"):
            async with session.get(address + path, allow_redirects=False):
                pass
        status, found = await read(session, address)
    assert status == 200
    lab = ("server", "lab")
    assert found["comserv_server_up", (lab,)] == 1 and found["comserv_server_picture_age_seconds", (lab,)] < 45
    assert (
        found["comserv_server_state", (lab, ("state", "up"))] + found["comserv_server_state", (lab, ("state", "slow"))]
        == 1
    )
    sweeps = (("purpose", "sweep"), lab, ("status", "2xx"))
    count, sum_ = (found[f"comserv_server_request_seconds_{end}", sweeps] for end in ("count", "sum"))
    assert count > 1 and sum_ > 0
    last = found["comserv_server_request_seconds_bucket", (("le", "+Inf"), *sweeps)]
    assert last == count
    assert found["comserv_job_seconds_count", (("kind", "create_vm"), ("state", "succeeded"))] >= 1
    assert found["comserv_database_up", ()] == 1 and found["process_resident_memory_bytes", ()] > 0
    routes = {dict(labels)["route"] for name, labels in found if name == "comserv_web_request_seconds_count"}
    assert {"/api/v1/health", "/servers/{server_id}", "unknown"} <= routes
    assert not any("secret" in route or "4711" in route for route in routes), routes


async def test_a_silent_server_and_a_maintenance_can_be_told_apart(comserv: Installed, pve: Pve) -> None:
    lab = (("server", "lab"),)
    async with served(comserv, "loopback") as (session, address):
        await comserv.services.maintenances.begin(ADMIN, "lab")
        _, resting = await read(session, address)
        await comserv.services.maintenances.end(ADMIN, "lab")
        pve.fault("server_down")
        await comserv.eventually(lambda: comserv.installation.estate.server("lab").health.failures >= 3)
        _, down = await read(session, address)
    assert (resting["comserv_server_maintenance", lab], resting["comserv_server_up", lab]) == (1, 0)
    assert (down["comserv_server_maintenance", lab], down["comserv_server_up", lab]) == (0, 0)
    assert down["comserv_server_breaker_open", lab] == 1 and down["comserv_server_stale", lab] == 1


async def test_loopback_means_this_machine_and_not_a_proxy_on_it(comserv: Installed) -> None:
    async with served(comserv, "loopback") as (session, address):
        assert (await read(session, address))[0] == 200
        assert (await read(session, address, X_Forwarded_For="203.0.113.9"))[0] == 401


async def test_with_token_everybody_needs_one(comserv: Installed) -> None:
    person = await comserv.services.people.create(ADMIN, "prometheus", Role.VIEWER, "correct horse battery staple")
    token = await comserv.services.people.create_token(ADMIN, "scrape", name=person.name)
    async with served(comserv, "token") as (session, address):
        assert (await read(session, address))[0] == 401
        assert (await read(session, address, Authorization="Bearer wrong"))[0] == 401
        assert (await read(session, address, Authorization=f"Bearer {token}"))[0] == 200


async def test_without_the_setting_there_is_none(comserv: Installed) -> None:
    async with served(comserv, "") as (session, address):
        assert (await read(session, address))[0] == 404
