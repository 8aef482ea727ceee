"""Comserv with its fixed pauses divided as the simulated servers' are: the real process, `python -m campaign.hurried serve …`.

Proxmox's inner limits last 1/20 in a campaign; what Comserv waits because of them does too, with some room for a busy machine.
"""

import sys
from datetime import timedelta
from functools import partial

from comserv.cli.main import main
from comserv.domain import lostreply, power, retry
from comserv.jobs import calls, change, engine, proving, sweep
from comserv.jobs import power as power_story
from comserv.persistence import database
from comserv.proxmox.connections import Timeouts

READ = 7.0  # seconds: longer than the longest delay, shorter than waiting for nothing

BUSY = 4  # seconds that SQLite waits for another writer; nobody else writes in a campaign


def hurry() -> None:
    """Before anything is started."""
    lostreply.AFTER_ERROR = timedelta(seconds=1)
    power.STATE_WAIT = timedelta(seconds=3)
    power.HA_WAIT = timedelta(seconds=10)
    retry.back_off = partial(retry.back_off, first=0.4, most=3.0)
    calls.LOOK_EVERY = change.LOOK_EVERY = 0.4
    calls.TRY_LATER = 0.6
    engine.AGAIN_AFTER_FAULT_SECONDS = 3.0
    power_story.LOOK_AGAIN = 0.3
    proving.ASK_EVERY = 0.3
    database.BUSY_SECONDS = BUSY
    sweep.RETRY_WHILE_CLOSED = 0.5
    Timeouts.__init__.__defaults__ = (5.0, READ, 2 * READ)


if __name__ == "__main__":
    hurry()
    sys.exit(main())
