"""Figures: what was measured of ours and of a floor or peer, round by round, with the goal beside it; as a table and as JSON."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

HEAD = ("measured", "ours: min / median / max", "beside it: min / median / max", "ratio", "more", "goal", "")


class Goal(StrEnum):
    """How the goal is meant: ours at most so many times the other, at most so much more, at most so much whatever the other, at
    least so many times the other, or no goal at all."""

    RATIO = "ratio"
    MORE = "more"
    MOST = "most"
    TIMES = "times"
    NONE = "none"


@dataclass(frozen=True)
class Spread:
    """Of all rounds."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(min(values), median(values), max(values))

    def words(self) -> str:
        return " / ".join(_short(value) for value in (self.min, self.median, self.max))


@dataclass(frozen=True)
class Comparison:
    """ours[i] and other[i] were measured in the same round, right after one another, in `unit`.

    other_is: what it is compared with. limit: of the goal, a factor or in `unit`; 0 where there is none.
    """

    name: str
    unit: str
    ours: tuple[float, ...]
    other: tuple[float, ...]
    other_is: str
    goal: Goal = Goal.NONE
    limit: float = 0.0

    def __post_init__(self) -> None:
        if not self.ours or len(self.ours) != len(self.other):
            raise ValueError(f"{self.name}: {len(self.ours)} rounds of ours, {len(self.other)} of the other")

    @property
    def ratios(self) -> Spread:
        return Spread.of(
            [ours / other if other else math.inf for ours, other in zip(self.ours, self.other, strict=True)]
        )

    @property
    def more(self) -> Spread:
        return Spread.of([ours - other for ours, other in zip(self.ours, self.other, strict=True)])

    @property
    def met(self) -> bool | None:
        """By the median of the rounds; None where there is no goal."""
        if self.goal is Goal.NONE:
            return None
        if self.goal is Goal.TIMES:
            return self.ratios.median >= self.limit
        judged = {Goal.RATIO: self.ratios, Goal.MORE: self.more, Goal.MOST: Spread.of(self.ours)}[self.goal]
        return judged.median <= self.limit

    def row(self) -> tuple[str, ...]:
        """As HEAD has it."""
        limit = f"≤ {self.limit:.3g}"
        goal = {
            Goal.RATIO: f"{limit} x",
            Goal.MORE: f"{limit} {self.unit} more",
            Goal.MOST: f"{limit} {self.unit}",
            Goal.TIMES: f"≥ {self.limit:.3g} x",
            Goal.NONE: "",
        }
        met = {True: "met", False: "MISSED", None: ""}
        return (
            f"{self.name}, {self.unit}",
            Spread.of(self.ours).words(),
            f"{Spread.of(self.other).words()}  {self.other_is}",
            f"{self.ratios.median:.2f}",
            f"{self.more.median:+.3g}",
            goal[self.goal],
            met[self.met],
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": {**dataclasses.asdict(Spread.of(self.ours)), "rounds": self.ours},
            "other": {"is": self.other_is, **dataclasses.asdict(Spread.of(self.other)), "rounds": self.other},
            "ratio": dataclasses.asdict(self.ratios),
            "more": dataclasses.asdict(self.more),
            "goal": None if self.goal is Goal.NONE else {"kind": str(self.goal), "limit": self.limit},
            "met": self.met,
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def table(found: Sequence[Comparison]) -> str:
    """Columns as wide as their widest cell."""
    rows = [HEAD, *(one.row() for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
