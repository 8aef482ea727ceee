"""Sweeps: what is known of a server stays with its age when it is gone, costs others nothing, and is written only if it changed."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from comserv.domain.guest import GuestKey, GuestStatus
from comserv.domain.job import Job
from comserv.domain.picture import Health
from comserv.jobs import addresses, keeping
from comserv.persistence import guests, pictures
from comserv.services.guests import GuestQuery
from tests.installed import ADMIN, OPERATOR, Installed, Pve, a_server, free_address, installed, static

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def second() -> Iterator[Pve]:
    with Pve("--guests", "3", "--templates", "1", "--seed", "7") as made:
        yield made


@pytest.fixture(scope="module")
async def both(shared: Installed, second: Pve) -> AsyncIterator[Installed]:
    await shared.services.servers.add(ADMIN, a_server(second, "rack"))
    yield shared


def health(comserv: Installed, server: str = "lab") -> Health:
    return comserv.installation.estate.server(server).health


def as_of(comserv: Installed, server: str = "lab") -> datetime:
    found = comserv.installation.estate.server(server).picture.as_of
    assert found is not None
    return found


async def rounds(comserv: Installed, server: str, count: int) -> None:
    """Waits for so many sweeps."""
    for _ in range(count):
        before = as_of(comserv, server)
        await comserv.eventually(lambda before=before: as_of(comserv, server) > before)


async def test_a_dead_server_keeps_its_guests_greyed_with_their_age_and_costs_the_others_nothing(
    comserv: Installed, both: Installed, second: Pve
) -> None:
    before = {view.guest.key for view in comserv.installation.estate.views(comserv.database.clock())}
    comserv.pve.fault("server_down")
    await comserv.eventually(lambda: health(comserv).state == "down")
    last = as_of(comserv)
    await rounds(comserv, "rack", 2)
    page = await comserv.services.guests.list(ADMIN, GuestQuery(templates=None))
    assert {view.guest.key for view in page.items} == before
    assert all(view.stale and view.as_of == last for view in page.items if view.guest.key.server == "lab")
    assert not any(view.stale for view in page.items if view.guest.key.server == "rack")
    found = health(comserv)
    assert found.error_title and found.error_cure and found.failing_since and found.next_try
    assert {view.guest.status for view in page.items if view.guest.key.server == "lab"} != {GuestStatus.UNKNOWN}
    comserv.pve.heal()
    await comserv.eventually(lambda: health(comserv).state == "up")
    assert not any(view.stale for view in comserv.installation.estate.views(comserv.database.clock()))


async def test_a_server_that_hangs_is_asked_ever_more_seldom(comserv: Installed) -> None:
    comserv.pve.fault("server_down")
    await comserv.eventually(lambda: health(comserv).failures >= 4)
    found = health(comserv)
    assert found.next_try and found.next_try - comserv.database.clock() > timedelta(seconds=0.4)
    comserv.pve.heal()
    await comserv.eventually(lambda: health(comserv).state == "up", 20)


@contextmanager
def written(comserv: Installed) -> Iterator[list[str]]:
    """Statements that change something, as they are sent."""
    found: list[str] = []

    def note(*arguments: Any) -> None:
        if not arguments[2].lstrip().upper().startswith(("SELECT", "BEGIN", "PRAGMA")):
            found.append(arguments[2])

    engine = comserv.database._writer.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_a_sweep_without_change_writes_no_guest_row(comserv: Installed) -> None:
    await asyncio.sleep(2)  # until addresses have been read
    with written(comserv) as statements:
        await rounds(comserv, "lab", 3)
    touched = [text for text in statements if any(name in text for name in ("addresses", "overlays", "made_guests"))]
    assert touched == []
    assert not [text for text in statements if "payload" in text and "pictures" in text]


async def test_a_picture_that_did_not_change_is_not_written_again(comserv: Installed) -> None:
    async with comserv.database.read() as tx:
        picture = await pictures.get(tx, "lab")
    assert picture is not None
    packed = await pictures.pack(picture)
    with written(comserv) as statements:
        async with comserv.database.write() as tx:
            await pictures.save(tx, packed)
            await pictures.save(tx, packed)
    assert "payload" not in statements[-1]


async def test_what_we_changed_is_shown_until_a_sweep_confirms_it_and_what_none_confirms_is_dropped(
    comserv: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "UNCONFIRMED_FOR", timedelta(seconds=2))
    key = next(view.guest.key for view in comserv.installation.estate.views(comserv.database.clock()))
    async with comserv.database.write() as tx:
        await guests.overlay(tx, key, {"name": "never-so"}, "none")

    def name() -> str:
        return comserv.installation.estate.guest(key, comserv.database.clock()).guest.name

    await comserv.eventually(lambda: name() == "never-so")
    view = await comserv.services.guests.get(ADMIN, key)
    assert view.ours == {"name": "never-so"}
    await comserv.eventually(lambda: name() != "never-so")


async def test_addresses_are_read_from_cloud_init_and_from_the_agent(
    comserv: Installed, pve: Pve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "ASK_AGAIN", timedelta(seconds=1))
    mine = free_address()
    running = next(
        guest
        for guest in pve.world()["guests"]
        if guest["type"] == "qemu" and guest["status"] == "running" and guest["addresses"]
    )
    home = pve.the(pve.template)["node"]
    pve.done("POST", f"/nodes/{home}/qemu/{pve.template}/clone", newid=4400, name="by-hand")
    pve.other("PUT", f"/nodes/{home}/qemu/4400/config", ipconfig0=f"ip={mine}/24")

    def known(vmid: int) -> dict[str, str]:
        now = comserv.database.clock()
        views = [v for v in comserv.installation.estate.views(now) if v.guest.key == GuestKey("lab", vmid)]
        return {one.address: str(one.source) for view in views for one in view.addresses}

    address = running["addresses"][0].partition("/")[0]
    await comserv.eventually(lambda: known(running["vmid"]).get(address) is not None, 20)
    await comserv.eventually(lambda: known(4400) == {mine: "cloud-init"}, 20)

    async def named() -> bool:
        """Its name is told by Proxmox's next round only."""
        page = await comserv.services.guests.list(ADMIN, GuestQuery(text=mine))
        return [view.guest.name for view in page.items] == ["by-hand"]

    end = time.monotonic() + 20
    while not await named():
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    assert "address_taken" in await comserv.plan(network=static(mine))
    pve.done("DELETE", f"/nodes/{home}/qemu/4400")
    await comserv.eventually(lambda: known(4400) == {})
    await rounds(comserv, "lab", 1)
    assert "address_taken" not in await comserv.plan(network=static(mine))


async def test_addresses_cost_a_server_little(comserv: Installed, pve: Pve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "ASK_AGAIN", timedelta())
    before = len(pve.requests())
    await asyncio.sleep(2)
    asked = [row for row in pve.requests()[before:] if "/config" in row["path"] or "/agent" in row["path"]]
    assert len(asked) <= 3 * 2 / 0.1


# --- over a restart


async def test_after_a_restart_the_last_picture_is_shown_at_once_with_its_age_and_jobs_go_on(
    pve: Pve, tmp_path: Path
) -> None:
    async with installed(pve, tmp_path) as comserv:
        before = [view.guest for view in comserv.installation.estate.views(comserv.database.clock())]
        pve.fault("task_slow", {"path": "/clone$"}, factor=14, times=1)
        job = await comserv.sent(await comserv.create(full_clone=True), "clone")
        last = as_of(comserv)
    pve.fault("server_down")
    try:
        async with installed(pve, tmp_path) as comserv:
            views = list(comserv.installation.estate.views(comserv.database.clock()))
            assert {view.guest.key for view in views} >= {guest.key for guest in before}
            assert all(view.as_of and view.as_of >= last for view in views)
            await comserv.eventually(lambda: health(comserv).state == "down")
            assert all(view.stale for view in comserv.installation.estate.views(comserv.database.clock()))
            await comserv.waiting(job, "server_down")
            pve.heal()
            done = await comserv.ended(job)
            assert done.state == "succeeded" and len(pve.named(job.title.removeprefix("Create "))) == 1, done
    finally:
        pve.heal()


async def test_a_job_that_was_held_for_too_long_fails_and_can_be_tried_again(pve: Pve, tmp_path: Path) -> None:
    async with installed(pve, tmp_path, hold_limit=1.2) as comserv:
        pve.fault("task_slow", {"path": "/clone$"}, factor=10, times=1)
        job: Job = await comserv.sent(await comserv.create(full_clone=True), "clone")
        pve.fault("server_down")
        job = await comserv.ended(job)
        pve.heal()
        assert job.error and job.error.code == "held_too_long" and job.error.cure, job
        done = await comserv.ended(await comserv.services.jobs.retry(OPERATOR, job.id))
        assert done.state == "succeeded" and len(pve.named(job.title.removeprefix("Create "))) == 1, done
