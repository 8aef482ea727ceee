"""What a run is, by seed and index alone: database, operation, faults, who acts in between, when is killed.

Runs are numbered through; twenty in a row are one batch, which shares its processes and their deaths. What is drawn from a list
is drawn so that a longer list changes few draws.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from campaign.faults import FAULTS, Call, Fault, Placed

T = TypeVar("T")
BATCH = 20
DATABASES = ("sqlite", "postgresql", "postgresql-3")
PROCESSES = {"sqlite": 1, "postgresql": 1, "postgresql-3": 3}
LEARNING = "faultless"  # the seed of the runs that learn which calls an operation sends
FAULTLESS_SHARE, PAIR_SHARE, OTHER_SHARE, KILLED_SHARE = 0.06, 0.35, 0.2, 0.55
WRITES_SHARE = 0.65  # of faults that meet a call that changes something
NTH = (1, 1, 1, 2, 3)  # which call of its kind, where there are so many


@dataclass(frozen=True)
class Kill:
    """SIGKILL of a process. run: which of the batch it follows; after: seconds after that one's first fault has struck.

    alone: seconds after asking, where that run is not there. away: seconds until it is started again. process: which of several.
    """

    run: int
    after: float
    alone: float
    away: float
    process: int


@dataclass(frozen=True)
class BatchDraw:
    """What the runs of a batch share."""

    seed: str
    number: int
    database: str
    nodes: int
    kills: tuple[Kill, ...]


@dataclass(frozen=True)
class Draw:
    """One run. again: what is done with a job that failed or was cancelled: retry, remove, leave."""

    seed: str
    index: int
    operation: str
    pair: bool
    faultless: bool
    other: str
    other_after: float
    again: str

    @property
    def number(self) -> int:
        """Within its batch."""
        return self.index % BATCH

    def random(self, what: str) -> Random:
        return Random(f"{self.seed}/{self.index}/{what}")


def batch_of(seed: str, number: int, database: str = "") -> BatchDraw:
    random = Random(f"{seed}/batch/{number}")
    chosen = DATABASES[number % len(DATABASES)]
    kills = random.randint(1, 3) if random.random() < KILLED_SHARE else 0
    return BatchDraw(
        seed,
        number,
        database or chosen,
        2 if random.random() < 0.3 else 1,
        tuple(
            Kill(
                random.randrange(BATCH),
                random.uniform(0, 0.3),
                random.uniform(0, 3),
                random.uniform(0, 1.5),
                random.randrange(3),
            )
            for _ in range(kills)
        ),
    )


def run_of(seed: str, index: int, operations: Sequence[str], others: Sequence[str]) -> Draw:
    """operations, others: names. Each operation comes once before any comes twice."""
    block, place = divmod(index, len(operations))
    order = Random(f"{seed}/order/{block}").sample(sorted(operations), len(operations))
    random = Random(f"{seed}/{index}")
    return Draw(
        seed=seed,
        index=index,
        operation=order[place],
        pair=random.random() < PAIR_SHARE,
        faultless=random.random() < FAULTLESS_SHARE,
        other=_ranked(f"{seed}/{index}/other", others)[0] if random.random() < OTHER_SHARE else "",
        other_after=random.uniform(0, 1.5),
        again=random.choice(("retry", "retry", "remove", "leave")),
    )


def placed(draw: Draw, calls: Mapping[Call, int], faults: Sequence[Fault] = FAULTS) -> tuple[Placed, ...]:
    """The run's faults. calls: what its operation sends when nothing goes wrong, and how often."""
    if draw.faultless or not calls:
        return ()
    return tuple(_place(draw, slot, calls, faults) for slot in range(2 if draw.pair else 1))


def _place(draw: Draw, slot: int, calls: Mapping[Call, int], faults: Sequence[Fault]) -> Placed:
    random = draw.random(f"fault/{slot}")
    writes = [call for call in sorted(calls) if call.writes]
    reads = [call for call in sorted(calls) if not call.writes]
    wants_write = random.random() < WRITES_SHARE
    key = f"{draw.seed}/{draw.index}/{slot}"
    call = _ranked(key, (writes or reads) if wants_write else (reads or writes))[0]
    fault = _weighted(key, [one for one in faults if one.fits(call)])
    return Placed(
        fault,
        call,
        nth=min(random.choice(NTH), calls[call]),
        tag=f"{draw.index}-{slot}",
        value=random.choice(fault.seconds) if fault.seconds else 0.0,
        lifted_after=random.uniform(0.3, 3.0),
    )


def _rank(key: str, one: object) -> float:
    """0 to 1, the same for ever."""
    return int.from_bytes(hashlib.sha256(f"{key}/{one}".encode()).digest()[:8], "big") / 2**64


def _ranked(key: str, choices: Iterable[T], name: Callable[[T], str] = str) -> list[T]:
    return sorted(choices, key=lambda one: _rank(key, name(one)))


def _weighted(key: str, faults: Sequence[Fault]) -> Fault:
    """A fault twice as heavy comes twice as often."""
    return max(faults, key=lambda fault: _rank(key, fault.name) ** (1 / fault.weight))
