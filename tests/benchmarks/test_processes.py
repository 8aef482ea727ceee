"""The benchmark of several processes on one PostgreSQL measures what it says, on two servers, once."""

import pytest

from benchmarks import processes


@pytest.mark.slow
@pytest.mark.anyio
async def test_servers_of_an_owner_that_is_stopped_cut_off_or_killed_are_seen_to_be_taken_up() -> None:
    stopped, cut_off, killed = await processes.quick()
    assert all(0 < one.ours[0] < processes.WITHIN for one in (stopped, cut_off, killed))
