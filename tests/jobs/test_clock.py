"""Our clock, set forward or back by hours, also in the middle of a job: what was sent is found, and nothing is sent twice."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from comserv.domain.power import PowerAction
from comserv.persistence.database import utc_now
from tests.installed import OPERATOR, Installed, Pve, installed

pytestmark = [pytest.mark.slow, pytest.mark.anyio]
HOURS = [-5, 5, 20]


@dataclass
class SetClock:
    """Runs on, from wherever it was set to."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead

    def set(self, hours: float) -> None:
        self.ahead = timedelta(hours=hours)


@pytest.fixture(scope="module")
async def clocked(pve: Pve, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Installed, SetClock]]:
    clock = SetClock()
    async with installed(pve, tmp_path_factory.mktemp("comserv")) as made:
        made.database.clock = clock
        yield made, clock


@pytest.fixture
async def comserv(clocked: tuple[Installed, SetClock]) -> AsyncIterator[Installed]:  # its own, with a clock
    made, clock = clocked
    yield made
    made.pve.heal()
    clock.set(0)


@pytest.fixture
def clock(clocked: tuple[Installed, SetClock]) -> SetClock:  # the one of `comserv`
    return clocked[1]


@pytest.mark.parametrize("effect", ["drop_before", "drop_after"])
@pytest.mark.parametrize("hours", HOURS)
async def test_a_lost_reply_is_looked_for_also_where_the_clocks_are_hours_apart(
    comserv: Installed, pve: Pve, clock: SetClock, hours: float, effect: str
) -> None:
    key = comserv.key(await comserv.created(start_after_creation=True))
    clock.set(hours)
    pve.fault(effect, {"method": "POST", "path": f"/qemu/{key.vmid}/status/reset"}, times=1)
    done = await comserv.ended(await comserv.services.guests.power(OPERATOR, key, PowerAction.RESET))
    assert done.state == "succeeded", done
    assert len(pve.tasks("qmreset", key.vmid)) == 1


@pytest.mark.parametrize("hours", HOURS)
async def test_a_clock_that_is_set_while_an_outcome_is_unknown_does_not_keep_the_job_for_hours(
    comserv: Installed, pve: Pve, clock: SetClock, hours: float
) -> None:
    key = comserv.key(await comserv.created(start_after_creation=True))
    pve.fault("drop_before", {"method": "POST", "path": f"/qemu/{key.vmid}/status/reset"}, times=1)
    job = await comserv.services.guests.power(OPERATOR, key, PowerAction.RESET)
    await comserv.waiting(job, "outcome_unknown")
    clock.set(hours)
    done = await comserv.ended(job)
    assert done.state == "succeeded" and len(pve.tasks("qmreset", key.vmid)) == 1, done


@pytest.mark.parametrize("hours", HOURS)
async def test_a_creation_goes_on_though_the_clock_is_set_in_the_middle(
    comserv: Installed, pve: Pve, clock: SetClock, hours: float
) -> None:
    pve.fault("drop_after", {"method": "POST", "path": "/clone$"}, times=1)
    pve.fault("task_slow", {"method": "POST", "path": "/clone$"}, factor=10, times=1)
    job = await comserv.create(start_after_creation=True, disk_gb=9)
    await comserv.until(job, lambda now: now.step("clone").state == "running")
    clock.set(hours)
    done = await comserv.ended(job)
    assert done.state == "succeeded", done
    assert len(pve.named(done.result["name"])) == 1


async def test_a_server_that_is_held_off_is_asked_again_in_time_though_the_clock_was_set_back(
    comserv: Installed, pve: Pve, clock: SetClock
) -> None:
    pve.fault("delay", {"method": "POST", "path": "/clone$"}, times=1, seconds=30)
    job = await comserv.create()
    await comserv.until(job, lambda now: now.step("clone").intent)
    pve.fault("server_down")
    await comserv.waiting(job, "server_down")
    clock.set(-5)
    pve.heal()
    done = await comserv.ended(job)
    assert done.state == "succeeded", done
