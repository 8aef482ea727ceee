"""The benchmarks' own arithmetic, and that what a sweep is compared with speaks to simulated servers at all."""

import json

import pytest

from benchmarks import sweeping
from benchmarks.figures import Comparison, Goal, percentile, table


def compared(goal: Goal, limit: float) -> Comparison:
    return Comparison("a walk", "s", (2.0, 4.0, 9.0), (1.0, 4.0, 3.0), "a run", goal, limit)


def test_ratios_and_differences_are_taken_round_by_round_and_judged_by_their_median() -> None:
    assert compared(Goal.RATIO, 2.0).ratios.median == 2.0
    assert compared(Goal.MORE, 1.0).more.median == 1.0
    assert compared(Goal.RATIO, 2.0).met and compared(Goal.MORE, 1.0).met
    assert compared(Goal.RATIO, 1.9).met is False and compared(Goal.MORE, 0.9).met is False
    assert compared(Goal.NONE, 0.0).met is None


def test_a_missed_goal_is_written_in_the_table_and_in_the_json() -> None:
    missed = compared(Goal.RATIO, 1.5)
    assert table([missed]).endswith("MISSED")
    told = json.loads(json.dumps(missed.as_json()))
    assert told["met"] is False and told["goal"] == {"kind": "ratio", "limit": 1.5}
    assert told["ours"] == {"min": 2.0, "median": 4.0, "max": 9.0, "rounds": [2.0, 4.0, 9.0]}


def test_rounds_of_unequal_number_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="2 rounds of ours, 1 of the other"):
        Comparison("a walk", "s", (1.0, 2.0), (1.0,), "a run")


@pytest.mark.anyio
async def test_sweeps_their_floor_and_their_peer_are_measured_on_the_same_servers() -> None:
    floor, peer = await sweeping.measure(2, 20, 1, 1)
    assert floor.ours == peer.ours and floor.ours[0] > 0
    assert floor.other[0] > 0 and peer.other[0] > 0


def test_a_goal_that_is_no_comparison_is_judged_by_ours_alone() -> None:
    assert compared(Goal.MOST, 4.0).met
    assert compared(Goal.MOST, 3.9).met is False


def test_the_95th_percentile_is_the_value_that_19_of_20_do_not_exceed() -> None:
    assert percentile([float(one) for one in range(1, 21)], 95) == 19.0
    assert percentile([3.0], 95) == 3.0
