"""What a campaign found, in lines for people: breaches with the command that repeats each, figures, and what was covered."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from campaign.batch import Calls, Result
from campaign.draw import DATABASES, LEARNING
from campaign.faults import FAULTS


def breach_lines(result: Result) -> list[str]:
    """One line per breach; faults, who else acted and kills stand with it, and how to see it again."""
    draw = result.draw
    faults = ", ".join(map(str, result.placed)) or "no fault"
    other = f", somebody else {draw.other}" if draw.other else ""
    killed = f", killed {result.killed} times" if result.killed else ""
    again = f"python -m campaign --runs 0 --operation '{draw.operation}'"
    if draw.seed != LEARNING:
        again = f"python -m campaign --seed {draw.seed} --run {draw.index} --database {result.database}"
    return [f"BREACH {draw.operation}: {text} [{faults}{other}{killed}; {again}]" for text in result.breaches]


def batch_line(number: int, database: str, results: Sequence[Result], seconds: float) -> str:
    """That a batch is over. seconds: since the campaign began."""
    broken = sum(bool(one.breaches) for one in results)
    return f"batch {number} on {database}: {len(results)} runs, {broken} with breaches, {seconds:.0f} s so far"


def keep(result: Result, folder: Path) -> None:
    """What is known of a run with breaches, for whoever looks for the cause."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"breaches": breach_lines(result), **result.evidence}
    (folder / f"{result.draw.seed}-{result.draw.index}.json").write_text(json.dumps(told, indent=1, default=str))


def triples(calls: Calls) -> set[tuple[str, str, str]]:
    """Every (operation, call, fault) that exists."""
    return {
        (operation, str(call), fault.name)
        for operation, known in calls.items()
        for call in known
        for fault in FAULTS
        if fault.fits(call)
    }


def hits(results: Iterable[Result]) -> set[tuple[str, str, str]]:
    return {(one.draw.operation, str(hit.call), hit.fault.name) for one in results for hit in one.hit}


def summary(results: list[Result], calls: Calls, seconds: float) -> str:
    """Tables: operation × database, fault × database; and the coverage."""
    existing, met = triples(calls), hits(results)
    broken = [one for one in results if one.breaches]
    slowest = sorted(results, key=lambda one: -one.seconds)[:5]
    lines = [
        _table("operation", Counter((one.draw.operation, one.database) for one in results)),
        _table("fault that struck", Counter((hit.fault.name, one.database) for one in results for hit in one.hit)),
        _endings(results),
        f"{len(met & existing)} of {len(existing)} (operation, call, fault) were met ({_share(len(met & existing), len(existing))}), "
        f"{_pairs(met)} of {_pairs(existing)} (operation, fault)",
        "slowest: " + ", ".join(f"{one.draw.operation} {one.seconds:.0f} s" for one in slowest),
        f"{len(results)} runs, {sum(len(one.hit) > 1 for one in results)} of them with two faults, "
        f"{sum(bool(one.killed) for one in results)} in batches with kills, {sum(bool(one.draw.other) for one in results)} "
        f"with somebody else; {len(broken)} with breaches; {seconds:.0f} s",
    ]
    return "\n\n".join(lines)


def _pairs(triples: Iterable[tuple[str, str, str]]) -> int:
    return len({(operation, fault) for operation, _, fault in triples})


def _endings(results: Iterable[Result]) -> str:
    told = Counter(state for one in results for state in one.states)
    return "how wishes ended: " + ", ".join(f"{state} {count}" for state, count in sorted(told.items()))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


def _table(title: str, counts: Mapping[tuple[str, str], int]) -> str:
    names = sorted({name for name, _ in counts})
    width = max([len(title), *map(len, names)])
    head = f"{title:<{width}}  " + "  ".join(f"{database:>12}" for database in DATABASES)
    rows = [
        f"{name:<{width}}  " + "  ".join(f"{counts.get((name, one), 0):>12}" for one in DATABASES) for name in names
    ]
    return "\n".join([head, *rows])
