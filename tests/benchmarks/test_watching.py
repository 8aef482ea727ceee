"""The benchmark of living pages measures what it says, on a small estate, once."""

import pytest

from benchmarks import watching


@pytest.mark.anyio
async def test_a_change_is_followed_to_a_screen_and_a_watcher_gets_what_chromium_gets() -> None:
    sent, page, screen, cpu, each = await watching.quick()
    assert 0 < sent.ours[0] <= watching.MOST_BYTES < page.other[0]
    assert abs(sent.ours[0] - sent.other[0]) < 200, "a watcher is no browser any more"
    assert screen.ours[0] > 0
    assert cpu.ours[0] > 0 and each.ours[0] > 0
