"""`python -m campaign --runs 1000 --seed 7`, or one run of it: `python -m campaign --seed 7 --run 123`."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from campaign import report
from campaign.batch import Calls, Result, run_batch
from campaign.bystanders import BYSTANDERS
from campaign.draw import BATCH, DATABASES, LEARNING, BatchDraw, Draw, batch_of, run_of
from campaign.installation import Prepared, prepare
from campaign.operations import OPERATIONS
from tests.databases import Cluster, throwaway_cluster

EVIDENCE = Path("build/campaign")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="campaign", description="Breaks everything at once, and looks whether Comserv stays true."
    )
    made.add_argument("--runs", type=int, default=100, help="how many runs (default 100)")
    made.add_argument("--seed", default="1", help="what is drawn (default 1)")
    made.add_argument("--first", type=int, default=0, help="number of the first run (default 0)")
    made.add_argument("--run", type=int, action="append", help="only this one; may be given several times")
    made.add_argument("--database", choices=DATABASES, help="only this set-up; else they take turns")
    made.add_argument("--operation", action="append", help="only operations whose name begins so")
    made.add_argument("--lanes", type=int, default=2, help="batches beside each other (default 2)")
    made.add_argument(
        "--keep", action="store_true", help="keep the folders with logs and databases of batches with breaches"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="comserv-campaign-"))
    try:
        with throwaway_cluster() as cluster:
            results = asyncio.run(campaign(options, cluster, folder))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if any(one.breaches for one in results) else 0


async def campaign(options: argparse.Namespace, cluster: Cluster, folder: Path) -> list[Result]:
    """Learns the calls, runs everything, and prints as it goes."""
    began = time.monotonic()
    prepared = await prepare(folder / "prepared", cluster)
    indices = options.run or range(options.first, options.first + options.runs)
    draws = [run_of(options.seed, index, list(OPERATIONS), list(BYSTANDERS)) for index in indices]
    if options.operation:
        draws = [one for one in draws if one.operation.startswith(tuple(options.operation))]
    wanted = {name for name in OPERATIONS if not options.operation or name.startswith(tuple(options.operation))}
    known = {one.operation for one in draws} if draws else wanted
    lanes = asyncio.Semaphore(options.lanes)
    calls, results = await learn(known, prepared, folder / "learn", lanes)
    _print(results)

    async def batch(number: int) -> list[Result]:
        async with lanes:
            mine = [one for one in draws if one.index // BATCH == number]
            shared = batch_of(options.seed, number, options.database or "")
            place = folder / f"batch-{number}"
            found = await run_batch(shared, mine, calls, prepared, cluster, place)
            _print(found)
            print(report.batch_line(number, shared.database, found, time.monotonic() - began), flush=True)
            if not (options.keep and any(one.breaches for one in found)):
                shutil.rmtree(place, ignore_errors=True)
            return found

    for found in await asyncio.gather(*(batch(number) for number in sorted({one.index // BATCH for one in draws}))):
        results += found
    print("\n" + report.summary(results, calls, time.monotonic() - began))
    return results


async def learn(
    operations: set[str], prepared: Prepared, folder: Path, lanes: asyncio.Semaphore
) -> tuple[Calls, list[Result]]:
    """The calls that each operation sends when nothing goes wrong, and what came of these runs."""
    names = sorted(operations)

    async def batch(start: int) -> list[Result]:
        some = names[start : start + BATCH]
        draws = [Draw(LEARNING, number, name, False, True, "", 0.0, "leave") for number, name in enumerate(some)]
        shared = BatchDraw(LEARNING, start, "sqlite", 1, ())
        async with lanes:
            return await run_batch(shared, draws, {}, prepared, None, folder / str(start))

    found = await asyncio.gather(*(batch(start) for start in range(0, len(names), BATCH)))
    results = [one for some in found for one in some]
    return {one.draw.operation: one.calls for one in results}, results


def _print(results: Sequence[Result]) -> None:
    for one in results:
        for line in report.breach_lines(one):
            print(line, flush=True)
        if one.breaches:
            report.keep(one, EVIDENCE)


__all__ = ["Calls", "campaign", "learn", "main", "parser"]

if __name__ == "__main__":
    sys.exit(main())
