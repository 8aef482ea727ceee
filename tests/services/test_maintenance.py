"""Maintenance: not one request arrives, whatever Comserv has to do there; what was seen stays, and all goes on afterwards."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from comserv.domain.errors import Forbidden, Invalid, ServerInMaintenance
from comserv.domain.person import Action
from comserv.domain.power import PowerAction
from comserv.domain.server import ServerState
from comserv.persistence import audit
from comserv.services.guests import GuestQuery
from comserv.services.servers import ServerEdit
from tests.installed import ADMIN, OPERATOR, Installed, Pve

pytestmark = pytest.mark.anyio


@pytest.fixture
async def resting(comserv: Installed) -> AsyncIterator[Installed]:
    await comserv.services.maintenances.begin(ADMIN, "lab", "new  disks")
    comserv.pve.heal()
    yield comserv
    await comserv.services.maintenances.end(ADMIN, "lab")


async def test_not_one_request_arrives_while_sweeps_plans_tests_pages_and_jobs_would_like_to(
    comserv: Installed, pve: Pve
) -> None:
    guest = await comserv.created()
    pve.fault("task_slow", {"path": "/clone$"}, factor=14, times=1)
    clone = await comserv.sent(await comserv.create(full_clone=True), "clone")
    await comserv.services.maintenances.begin(ADMIN, "lab", "new disks")
    before = len(pve.requests())
    power = await comserv.services.guests.power(OPERATOR, comserv.key(guest), PowerAction.START)
    held = [await comserv.waiting(job, "maintenance") for job in (clone, power)]
    assert all(job.waiting and "in maintenance" in job.waiting.text and "new disks" in job.waiting.text for job in held)
    assert "server_in_maintenance" in await comserv.plan()
    with pytest.raises(ServerInMaintenance):
        await comserv.services.guests.live(ADMIN, comserv.key(guest))
    with pytest.raises(ServerInMaintenance):
        await anext(comserv.services.servers.test(ADMIN, "lab"))
    with pytest.raises(ServerInMaintenance):
        await comserv.services.servers.look(ADMIN, pve.url)
    await comserv.services.servers.edit(ADMIN, "lab", ServerEdit(addresses=(pve.url,), name="The lab"))
    await asyncio.sleep(2.5)
    assert len(pve.requests()) == before
    page = await comserv.services.guests.list(ADMIN, GuestQuery(templates=None))
    assert page.total and page.stale == page.total
    await comserv.services.maintenances.end(ADMIN, "lab")
    assert [(await comserv.ended(job)).state for job in (clone, power)] == ["succeeded", "succeeded"]
    assert len(pve.named(clone.title.removeprefix("Create "))) == 1


async def test_who_why_and_until_are_shown_and_another_reason_keeps_who_and_since(resting: Installed) -> None:
    view = await resting.services.servers.get(ADMIN, "lab")
    first = view.server.maintenance
    assert view.health.state is ServerState.MAINTENANCE and first and (first.by, first.why) == ("mara", "new disks")
    until = resting.database.clock() + timedelta(hours=2)
    await resting.services.maintenances.begin(ADMIN, "lab", "new memory", until)
    again = (await resting.services.servers.get(ADMIN, "lab")).server.maintenance
    assert again and (again.since, again.why, again.until) == (first.since, "new memory", until)


async def test_it_ends_by_itself_when_its_time_is_over_and_the_audit_says_so(comserv: Installed) -> None:
    await comserv.services.maintenances.begin(ADMIN, "lab", lasts=timedelta(seconds=1))
    await comserv.eventually(lambda: comserv.installation.estate.server("lab").health.state in ("up", "slow"), 6)
    async with comserv.database.read() as tx:
        rows = await audit.page(tx, audit.AuditFilter(), limit=2)
    assert [(row.who, row.action) for row in rows.items] == [("", "end_maintenance"), ("mara", "begin_maintenance")]


async def test_only_an_admin_may_ask_for_it_and_its_end_lies_ahead(comserv: Installed) -> None:
    with pytest.raises(Forbidden):
        await comserv.services.maintenances.begin(OPERATOR, "lab")
    with pytest.raises(Forbidden):
        await comserv.services.maintenances.end(OPERATOR, "lab")
    past = comserv.database.clock() - timedelta(seconds=1)
    for until in (past, past.replace(tzinfo=None)):
        with pytest.raises(Invalid):
            await comserv.services.maintenances.begin(ADMIN, "lab", until=until)
    assert ADMIN.may(Action.MANAGE_SERVERS) and comserv.installation.estate.server("lab").server.enabled


async def test_a_job_that_sent_nothing_may_be_cancelled_meanwhile(resting: Installed) -> None:
    guest = next(view.guest for view in resting.installation.estate.views(resting.database.clock()))
    job = await resting.services.guests.power(OPERATOR, guest.key, PowerAction.START)
    await resting.waiting(job, "maintenance")
    await resting.services.jobs.cancel(OPERATOR, job.id)
    assert (await resting.ended(job)).state == "cancelled"
