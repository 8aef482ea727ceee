"""What dies with a node: work whose life has ended goes no step further, and cleans nothing up."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Life:
    """The time of a node from its start to its crash; `over` is done with it."""

    def __init__(self) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        """Whether the node crashed."""
        return self.over.done()

    def end(self) -> None:
        """The crash: whatever was alive stands still from here on."""
        if not self.over.done():
            self.over.set_result(None)


async def mortal(life: Life, work: Coroutine[Any, Any, T]) -> T:
    """Does work on a node. Once its life has ended, no line of it runs any more, whatever it was waiting for.

    Only the end of the whole process still interrupts it, when nothing is kept of what it then cleans up.
    """
    return await _steps(life, work)


@types.coroutine
def _steps(life: Life, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    thrown: BaseException | None = None
    while True:
        try:
            waited = work.send(None) if thrown is None else work.throw(thrown)
        except StopIteration as end:
            return end.value
        thrown = None
        try:
            yield waited
        except BaseException as raised:  # noqa: BLE001 - handed on to the work itself, whatever it is
            thrown = raised
        if life.ended:  # also what it would have been told of now, a timeout say, does not reach it
            try:
                yield from asyncio.Event().wait().__await__()
            except BaseException as raised:  # noqa: BLE001 - the end of the process, handed on likewise
                thrown = raised
