"""`make bench`: measures Comserv against floors and peers, prints the ratios beside their goals, writes build/bench.json.

    python -m benchmarks.bench [creation] [sweep] [list] [page] [start] [change] [crowd]
                               [hanging] [taking-over]     all of them, or some

A goal that is missed does not fail the command: the machine may be busy. What failed to run at all does.
"""

import asyncio
import json
import os
import platform
import sqlite3
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks import creation, hanging, listing, processes, starting, sweeping, watching
from benchmarks.figures import Comparison, table
from benchmarks.running import DidNotWork

WRITTEN = Path(__file__).resolve().parent.parent / "build" / "bench.json"
PACKAGES = ("comserv", "aiohttp", "msgspec", "proxmoxer", "sqlalchemy", "fastapi", "starlette", "uvicorn", "typer")


BENCHMARKS: dict[str, Callable[[], list[Comparison]]] = {
    "creation": lambda: asyncio.run(creation.measure(5, 5)),
    "sweep": lambda: asyncio.run(sweeping.measure(100, 1_000, 10, 5)),
    "list": lambda: asyncio.run(listing.measure(5)),
    "page": lambda: [asyncio.run(listing.first_page(5))],
    "start": lambda: starting.measure(5, 5),
    "change": lambda: asyncio.run(watching.measure_change(10, 1_000, 5)),
    "crowd": lambda: asyncio.run(watching.measure_crowd(10, 1_000, watching.WATCHERS, 5, 20.0)),
    "hanging": lambda: asyncio.run(hanging.measure(100, 10, 5, 20)),
    "taking-over": lambda: asyncio.run(processes.measure_taking_over(12, 5)),
}
"""By name, in the order in which they are run: what measures, with its number of rounds."""


def surroundings() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "architecture": platform.machine(),
            "system": platform.system(),
            "load_before": os.getloadavg()[0],
        },
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name: version(name) for name in PACKAGES},
        },
    }


def main(wanted: Sequence[str]) -> int:
    unknown = set(wanted) - BENCHMARKS.keys()
    if unknown:
        print(f"There is no benchmark {', '.join(sorted(unknown))}. There are: {', '.join(BENCHMARKS)}.")
        return 2
    told, began, found = surroundings(), monotonic(), []
    try:
        for name in wanted or BENCHMARKS:
            print(f"{name} …", file=sys.stderr, flush=True)
            found += BENCHMARKS[name]()
    except DidNotWork as fault:
        print(fault, file=sys.stderr)
        return 1
    told |= {"seconds": round(monotonic() - began, 1), "comparisons": [one.as_json() for one in found]}
    WRITTEN.parent.mkdir(exist_ok=True)
    WRITTEN.write_text(json.dumps(told, indent=1) + "\n")
    print(table(found))
    print(
        f"\n{told['seconds']:.0f} s, {os.cpu_count()} cores, load {told['machine']['load_before']:.1f} before. {WRITTEN}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
