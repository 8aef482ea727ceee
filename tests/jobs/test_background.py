"""Work in the background ends only when it is told to."""

import asyncio

import pytest

from comserv.domain.errors import DatabaseUnavailable
from comserv.jobs import background

pytestmark = pytest.mark.anyio


async def test_work_that_fails_is_begun_anew_until_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0)
    begun: list[int] = []
    lasting = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            raise DatabaseUnavailable("gone for a moment")
        if len(begun) == 2:
            raise KeyError("a fault of ours")
        lasting.set()
        await asyncio.Event().wait()

    going = asyncio.create_task(background.kept_going("work", work))
    await asyncio.wait_for(lasting.wait(), 5)
    assert begun == [0, 1, 2]
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
