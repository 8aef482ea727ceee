"""The list over all servers, one job for one key, and whoever may not."""

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from comserv.domain.audit import Outcome
from comserv.domain.change import ChangeRequest
from comserv.domain.errors import Forbidden, IdempotencyMismatch, Invalid, NotFound
from comserv.domain.guest import GuestKey
from comserv.domain.power import PowerAction
from comserv.persistence import audit
from comserv.services.guests import GuestPage, GuestQuery
from tests.installed import ADMIN, OPERATOR, VIEWER, Installed, Pve, unique

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def pve() -> Iterator[Pve]:
    with Pve("--guests", "24", "--templates", "2", "--nodes", "2") as made:
        yield made


async def listed(comserv: Installed, **query: Any) -> GuestPage:
    return await comserv.services.guests.list(VIEWER, GuestQuery(**query))


async def test_the_list_shows_every_guest_and_no_template_unless_asked(comserv: Installed, pve: Pve) -> None:
    page = await listed(comserv)
    assert {view.guest.key.vmid for view in page.items} == {
        guest["vmid"] for guest in pve.world()["guests"] if not guest["template"]
    }
    assert page.total == page.everything == 24 and not any(view.stale for view in page.items)
    assert (await listed(comserv, templates=True)).total == 2 and (await listed(comserv, templates=None)).total == 26


async def test_the_list_is_filtered_by_words_tags_nodes_states_and_types(comserv: Installed, pve: Pve) -> None:
    guests = [guest for guest in pve.world()["guests"] if not guest["template"]]
    first = guests[0]
    assert first["vmid"] in {v.guest.key.vmid for v in (await listed(comserv, text=first["name"].upper())).items}
    assert (await listed(comserv, text=f"{first['name']} {first['node']} lab")).total >= 1
    for field, of in (("nodes", "node"), ("types", "type"), ("statuses", "status")):
        value = first[of]
        found = await listed(comserv, **{field: (value,)})
        assert {v.guest.key.vmid for v in found.items} == {guest["vmid"] for guest in guests if guest[of] == value}
    tag = first["config"]["tags"].split(";")[0]
    assert all(tag in view.guest.tags for view in (await listed(comserv, tags=(tag,))).items)
    assert (await listed(comserv, text="no such guest anywhere")).total == 0


async def test_the_list_is_sorted_both_ways_and_paged_without_gaps(comserv: Installed) -> None:
    whole = [view.guest.key.vmid for view in (await listed(comserv, sort="-vmid", limit=500)).items]
    assert whole == sorted(whole, reverse=True)
    seen, cursor = [], ""
    while True:
        page = await listed(comserv, sort="-vmid", limit=7, cursor=cursor)
        seen += [view.guest.key.vmid for view in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert seen == whole
    with pytest.raises(Invalid):
        await listed(comserv, sort="colour")
    with pytest.raises(Invalid):
        await listed(comserv, cursor="nonsense")


async def test_a_guest_that_is_not_there_is_not_found(comserv: Installed) -> None:
    for key in (GuestKey("lab", 99_999), GuestKey("nowhere", 100)):
        with pytest.raises(NotFound):
            await comserv.services.guests.get(ADMIN, key)
        with pytest.raises(NotFound):
            await comserv.services.guests.power(ADMIN, key, PowerAction.START)


async def test_the_live_page_tells_configuration_agent_and_tasks(comserv: Installed, pve: Pve) -> None:
    job = await comserv.created(start_after_creation=True, description="Of the shop.")
    key = comserv.key(job)
    live = await comserv.services.guests.live(VIEWER, key)
    assert live.notes == "Of the shop." and live.state.status == "running" and live.pending == ()
    assert live.proxmox_url.startswith(pve.url) and str(key.vmid) in live.proxmox_url
    report = await comserv.services.guests.agent(VIEWER, key)
    assert set(job.result["addresses"]) <= {one.address for one in report.addresses}
    tasks = await comserv.services.guests.tasks(VIEWER, key)
    assert {row.upid.type for row in tasks} >= {"qmstart", "qmconfig"}


async def test_one_key_makes_one_job_whatever_is_asked_for(comserv: Installed, pve: Pve) -> None:
    job = await comserv.created()
    target, name, services = comserv.key(job), job.title.removeprefix("Create "), comserv.services.guests

    async def twice(ask: Any, *given: Any) -> None:
        key = unique("key")
        one, two = await asyncio.gather(ask(OPERATOR, target, *given, key), ask(OPERATOR, target, *given, key))
        assert one.id == two.id
        await comserv.ended(one)
        assert (await ask(OPERATOR, target, *given, key)).id == one.id

    key = unique("key")
    first = await services.power(OPERATOR, target, PowerAction.START, key)
    with pytest.raises(IdempotencyMismatch):
        await services.power(OPERATOR, target, PowerAction.STOP, key)
    other = replace(OPERATOR, name="otto")
    assert (await services.power(other, target, PowerAction.START, key)).id != first.id
    await comserv.ended(first)
    await twice(services.power, PowerAction.STOP)
    await twice(services.change, ChangeRequest(memory_mb=600))
    await twice(services.delete, name)
    assert pve.guest(target.vmid) is None
    assert (await services.power(OPERATOR, target, PowerAction.START, key)).id == first.id


async def test_what_a_viewer_may_not_is_refused_and_audited(comserv: Installed) -> None:
    key = (await listed(comserv)).items[0].guest.key
    guests, jobs = comserv.services.guests, comserv.services.jobs
    attempts: list[Awaitable[Any]] = [
        guests.power(VIEWER, key, PowerAction.START),
        guests.power_many(VIEWER, [key], PowerAction.START),
        guests.change(VIEWER, key, ChangeRequest(memory_mb=600)),
        guests.deletion(VIEWER, key),
        guests.delete(VIEWER, key, "x"),
        jobs.cancel(VIEWER, "x"),
        jobs.retry(VIEWER, "x"),
        jobs.remove_remains(VIEWER, "x"),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden):
            await attempt
    async with comserv.database.read() as tx:
        rows = (await audit.page(tx, audit.AuditFilter(who=VIEWER.name), limit=50)).items
    assert sum(row.count for row in rows) == len(attempts) and {row.outcome for row in rows} == {Outcome.REFUSED}


async def test_a_change_is_audited_with_its_job_and_its_end(comserv: Installed) -> None:
    job = await comserv.created()
    async with comserv.database.read() as tx:
        rows = [row for row in (await audit.page(tx, audit.AuditFilter(), limit=50)).items if row.job == job.id]
    assert [str(row.outcome) for row in rows] == ["succeeded", "done"]
    assert all(row.who == OPERATOR.name and row.object == f"guest {job.guest}" for row in rows)
