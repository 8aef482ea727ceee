"""A process that drives toy jobs: run as `python -m tests.jobs.toy URL FOLDER`, key in COMSERV_TEST_KEY.

FOLDER/world is the server of the toys: each line is something that was done to it, by which process. FOLDER/go lets
waiting toys end. `kills`: the process kills itself at every point of the story that it has not been killed at yet.
"""

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from comserv.domain.job import JobKind
from comserv.jobs.engine import Engine, Run, StepRun, Story
from comserv.persistence import meta
from comserv.persistence.database import Database, Transaction
from comserv.persistence.vault import Vault
from tests.jobs.driving import STEPS, an_owner

FOLDER = Path()
POINTS = ("begun", "intended", "acted", "told", "progress", "in_transaction", "done")


def die_once(point: str) -> None:
    """kill -9 of ourselves, the first time that we come here."""
    mark = FOLDER / f"killed-{point}"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def act(text: str) -> None:
    """Something is done to the server. One write, so that it is done or not."""
    with (FOLDER / "world").open("a") as world:
        world.write(f"{text} {os.getpid()}\n")


def acted(text: str) -> bool:
    world = FOLDER / "world"
    return world.exists() and any(line.split()[0] == text for line in world.read_text().splitlines())


async def killed_everywhere(run: Run) -> dict[str, Any]:
    """Each step does one thing to the server, once, whatever happens."""
    results = {}
    die_once("start")
    for name in STEPS:
        results[name] = (await run.step(name, partial(one_thing, run, name)))["done"]
        die_once(f"{name}-done")
    die_once("end")
    return results


async def one_thing(run: Run, name: str, step: StepRun) -> dict[str, Any]:
    die_once(f"{name}-begun")
    if not acted(name):
        await step.intend({"name": name})
        die_once(f"{name}-intended")
        await run.assert_owner()
        act(name)
        die_once(f"{name}-acted")
    await step.task(f"UPID:{name}")
    die_once(f"{name}-told")
    await step.progress(percent=50)
    die_once(f"{name}-progress")
    step.on_done(partial(count, name))
    return {"done": name}


async def count(name: str, tx: Transaction) -> None:
    """Within the transaction that ends the step."""
    await meta.put(tx, name, str(int(await meta.get(tx, name) or 0) + 1))
    die_once(f"{name}-in_transaction")


async def settle(tx: Transaction, job: Any) -> None:
    await meta.put(tx, "settled", str(int(await meta.get(tx, "settled") or 0) + 1))
    die_once("settling")


async def ticking(run: Run) -> dict[str, Any]:
    """Does something to the server again and again, until it may end."""

    async def tick(step: StepRun) -> None:
        while not (FOLDER / "go").exists():
            await run.assert_owner()
            act("tick")
            await step.progress(percent=float(os.getpid()))
            await asyncio.sleep(0.05)

    await run.step("clone", tick)
    return {"by": os.getpid()}


async def stuck(run: Run) -> dict[str, Any]:
    """The first process hangs in the middle of a transaction that holds the lease."""

    async def hang(step: StepRun) -> None:
        if not (FOLDER / "stuck").exists():
            async with run.transaction() as tx:
                await meta.put(tx, "stale", "yes")
                (FOLDER / "stuck").touch()
                await asyncio.sleep(3600)

    await run.step("clone", hang)
    return {"by": os.getpid()}


STORIES = (
    Story(JobKind.CREATE_VM, STEPS, killed_everywhere, settle=settle),
    Story(JobKind.POWER, STEPS, ticking),
    Story(JobKind.CHANGE_GUEST, STEPS, stuck),
)


async def main(url: str) -> None:
    database = Database(url, Vault(os.environ["COMSERV_TEST_KEY"]))
    await database.start()
    owner = an_owner(database, FOLDER)
    engine = Engine(database, owner, STORIES)
    await engine.start()
    await owner.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    (FOLDER / f"ready-{os.getpid()}").touch()
    await stopped.wait()
    await owner.stop()
    await engine.stop()
    await database.close()


if __name__ == "__main__":
    FOLDER = Path(sys.argv[2])
    asyncio.run(main(sys.argv[1]))
