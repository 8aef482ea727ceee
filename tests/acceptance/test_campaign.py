"""A short campaign by fixed seed, on each of the three set-ups; and that the campaign knows everything there is to break.

A longer one: `make campaign RUNS=1000 SEED=7`, see docs/campaign.md.
"""

from pathlib import Path

import pytest

from campaign import report
from campaign.__main__ import campaign, parser
from campaign.draw import BATCH, DATABASES, batch_of, placed, run_of
from campaign.faults import BY_NAME, FAULTS, Call
from campaign.operations import OPERATIONS
from campaign.world import as_after_restart
from comserv.domain.power import PowerAction
from pve_simulator.faults import REQUEST_EFFECTS, STATE_EFFECTS
from tests.databases import Cluster

SEED = "every commit"


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_nothing_is_lost_doubled_or_untrue_whatever_breaks(cluster: Cluster, tmp_path: Path) -> None:
    options = parser().parse_args(["--runs", str(BATCH * len(DATABASES)), "--seed", SEED])
    results = await campaign(options, cluster, tmp_path)
    assert {one.database for one in results} == set(DATABASES)
    assert not [line for one in results for line in report.breach_lines(one)]


def test_every_fault_that_the_simulator_knows_is_drawn() -> None:
    with_a_token = {*REQUEST_EFFECTS, *STATE_EFFECTS} - {"cookie_post_lost"}  # Comserv never has a cookie there
    assert {fault.rule["effect"] for fault in FAULTS} == with_a_token


def test_what_proxmox_refuses_before_it_acts_is_never_drawn_as_carried_out() -> None:
    carried_out = {fault.rule["status"] for fault in FAULTS if fault.rule.get("carried_out") and "status" in fault.rule}
    assert carried_out and not carried_out & {400, 401, 403}


def test_what_waits_for_a_restart_is_as_asked_only_where_the_job_tells_it() -> None:
    pending = {"cores": "3", "memory": "640", "keyboard": "fr"}
    here = {"guests": [{"vmid": 106, "config": {"cores": "2", "memory": "2048"}, "pending": pending}]}
    after, untrue = as_after_restart(here, 106, ["cores", "net0"], {106: {"keyboard"}})
    assert after["guests"][0]["config"] == {"cores": "3", "memory": "2048"} and untrue == ["net0"]
    assert after["guests"][0]["pending"] == {"memory": "640"}


@pytest.mark.parametrize("action", PowerAction)
def test_every_power_action_is_an_operation(action: PowerAction) -> None:
    assert [name for name in OPERATIONS if name.startswith(f"power/{action} ")]


def test_each_operation_comes_once_before_any_comes_twice() -> None:
    names = list(OPERATIONS)
    drawn = [run_of("7", index, names, ["changes"]).operation for index in range(2 * len(names))]
    assert sorted(drawn) == sorted([*names, *names])


def test_a_run_is_the_same_whenever_it_is_drawn() -> None:
    calls = {Call("GET", "/version"): 1, Call("POST", "/nodes/{node}/qemu/{vmid}/config"): 2}
    runs = [run_of("7", index, list(OPERATIONS), ["changes", "locks"]) for index in (3, 123, 3, 123)]
    assert runs[:2] == runs[2:]
    assert [placed(run, calls) for run in runs[:2]] == [placed(run, calls) for run in runs[2:]]
    assert batch_of("7", 6) == batch_of("7", 6)


def test_the_set_ups_take_turns_and_a_batch_shares_its_own() -> None:
    assert [batch_of("7", number).database for number in range(3)] == list(DATABASES)
    assert batch_of("7", 0, "postgresql-3").database == "postgresql-3"


def test_a_call_is_told_by_what_it_is_about_and_matched_by_nothing_else() -> None:
    call = Call.of("GET", "/api2/json/nodes/pve1/tasks/UPID:pve1:0:1:2:qmstart:105:a@pve!b:/status")
    assert str(call) == "GET /nodes/{node}/tasks/{upid}/status"
    clone = Call.of("POST", "/api2/json/nodes/pve2/qemu/9000/clone")
    assert clone.match == {"method": "POST", "path": "^/nodes/[^/]+/qemu/[^/]+/clone$"}
    assert BY_NAME["task_fail"].fits(clone) and not BY_NAME["agent_silent"].fits(clone)
