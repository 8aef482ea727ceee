"""The log of a migration: every line with its time, and its end in the real one's words."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.tasks import failure_text

if TYPE_CHECKING:
    from pve_simulator.tasks import Run


class Journal:
    """Lines as PVE::AbstractMigrate writes them; `broken` once something went wrong that does not end it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.began = run.server.clock.time()
        self.broken = False

    def stamp(self) -> str:
        """The time, as lines begin with it."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.run.server.clock.time()))

    def info(self, *lines: str) -> None:
        """Adds lines."""
        self.run.log(*(f"{self.stamp()} {line}" for line in lines))

    def plain(self, *lines: str) -> None:
        """Adds lines of commands whose output is passed on as it is."""
        self.run.log(*lines)

    def error(self, text: str) -> None:
        """Adds a line about what went wrong."""
        self.run.log(f"{self.stamp()} ERROR: {text}")

    @property
    def duration(self) -> str:
        """Since the beginning, in time of the real server."""
        clock = self.run.server.clock
        seconds = int((clock.time() - self.began) * clock.speed)
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def abort(self, text: str) -> TaskError:
        """Ends the log of a migration that came to nothing, and gives its exit status."""
        self.error(f"migration aborted (duration {self.duration}): {text}")
        return TaskError("migration aborted")

    def finish(self) -> None:
        """Ends the log; raises TaskError where something went wrong on the way."""
        if self.broken:
            self.error(f"migration finished with problems (duration {self.duration})")
            raise TaskError("migration problems")
        self.info(f"migration finished successfully (duration {self.duration})")


def words(fault: BaseException) -> str:
    """What went wrong, as logs tell it."""
    if isinstance(fault, (ApiError, TaskError)):
        return failure_text(fault)
    return "interrupted by signal" if isinstance(fault, asyncio.CancelledError) else str(fault)
