"""The benchmark of one server that hangs measures what it says, on three servers, once."""

import pytest

from benchmarks import hanging


@pytest.mark.anyio
async def test_all_kinds_of_requests_about_the_others_are_measured_with_and_without_the_one_that_hangs() -> None:
    found = await hanging.measure(3, 6, 1, 1)
    assert len(found) == len(hanging.KINDS) + 1
    assert all(one.ours[0] > 0 and one.other[0] > 0 for one in found)
