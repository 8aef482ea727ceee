"""Fault rules: what a test wants to go wrong, and when."""

from __future__ import annotations

import asyncio
import random
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pve_simulator.errors import SimulatorError

if TYPE_CHECKING:
    from pve_simulator.tasks import Run

# What happens to a request, and what lasts as long as its rule does.
REQUEST_EFFECTS = ("delay", "hang", "status", "drop_before", "drop_after", "garbage", "task_fail", "task_slow")
STATE_EFFECTS = (
    "node_down",
    "server_down",
    "agent_silent",
    "storage_full",
    "certificate_renewed",
    "quorum_lost",
    "cookie_post_lost",
)
COOKIE_LOSS = 0.075  # share of writes with a cookie that a real server lost (3 of 40)


class BadRule(SimulatorError):
    """A fault rule that makes no sense; the text says why."""


@dataclass
class Rule:
    """One rule. `times` None: for ever. `values` are the effect's own (seconds, status, text, ...)."""

    effect: str
    method: str | None
    path: re.Pattern[str] | None
    node: str | None
    times: int | None
    after: int
    probability: float
    values: dict[str, Any]
    told: Any = None
    died: dict[str, bool] = field(default_factory=dict)  # nodes whose death was carried out: False

    @classmethod
    def read(cls, told: Any) -> Rule:
        """A rule from its JSON; raises BadRule."""
        if not isinstance(told, dict) or not isinstance(told.get("match", {}), dict):
            raise BadRule("a rule is an object with match and effect")
        effect, match = told.get("effect"), told.get("match", {})
        values = {key: value for key, value in told.items() if key not in KNOWN}
        if isinstance(effect, dict):  # {"effect": {"status": 500, ...}} and {"effect": {"name": "delay", ...}} alike
            values |= effect
            effect = effect.get("name") or effect.get("type") or next(iter(effect), None)
        if effect not in (*REQUEST_EFFECTS, *STATE_EFFECTS):
            raise BadRule(f"no such effect: {effect!r}")
        try:
            path = re.compile(match["path"]) if match.get("path") else None
        except (re.error, TypeError) as fault:
            raise BadRule(f"path is no regular expression: {fault}") from None
        times = told.get("times", 1 if effect == "certificate_renewed" else None)
        return cls(
            effect,
            match.get("method"),
            path,
            match.get("node"),
            None if times is None else int(times),
            int(told.get("after", 0)),
            float(told.get("probability", COOKIE_LOSS if effect == "cookie_post_lost" else 1)),
            values,
            told,
        )

    @property
    def spent(self) -> bool:
        """Whether it has happened as often as it should."""
        return self.times is not None and self.times <= 0

    def matches(self, method: str, path: str, node: str | None) -> bool:
        """Whether a request is meant, without counting it."""
        return (
            (self.method is None or self.method == method)
            and (self.path is None or any(self.path.search(form) for form in forms(path)))
            and (self.node is None or self.node == node)
        )

    def strikes(self) -> bool:
        """Counts a match; whether the effect happens this time."""
        if self.spent:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.probability < 1 and random.random() >= self.probability:
            return False
        if self.times is not None:
            self.times -= 1
        return True


def forms(path: str) -> tuple[str, str]:
    """A path of the API as it stands on the wire, and without `/api2/json`: rules may be written for either."""
    short = re.sub(r"^/api2/[a-z]+(?=/|$)", "", path)
    return (path if path.startswith("/api2") else f"/api2/json{path}"), short


# The rules that struck the request now at work, for the task that it begins.
FOR_TASKS: ContextVar[list[Rule]] = ContextVar("FOR_TASKS", default=[])  # noqa: B039 - never changed, only replaced
KNOWN = ("match", "effect", "times", "after", "probability")


class Faults:
    """The rules of one server."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.news = asyncio.Event()  # set, and replaced, when rules come or go

    def add(self, told: Any) -> None:
        """Adds a list of rules, or one; raises BadRule and then adds none."""
        self.rules += [Rule.read(rule) for rule in (told if isinstance(told, list) else [told])]
        self._tell()

    def clear(self) -> None:
        """Takes all rules away."""
        self.rules.clear()
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def strike(self, method: str, path: str, node: str | None) -> list[Rule]:
        """The rules whose effect happens to this request."""
        if not self.rules:
            return []
        return [
            rule
            for rule in self.rules
            if rule.effect in REQUEST_EFFECTS and rule.matches(method, path, node) and rule.strikes()
        ]

    def for_task(self, run: Run) -> None:
        """Applies `task_fail` and `task_slow` to a task that begins."""
        for rule in FOR_TASKS.get():
            if rule.effect == "task_fail":
                run.ending = str(rule.values.get("exitstatus", "interrupted by signal"))
            elif rule.effect == "task_slow":
                run.factor *= float(rule.values.get("factor", 10))

    def standing(self, effect: str, method: str = "", path: str = "", node: str | None = None) -> Rule | None:
        """The first rule of a lasting effect that holds for a request (or for a node), counted as a match."""
        for rule in self.rules:
            if rule.effect == effect and not rule.spent:
                meant = rule.matches(method, path, node) if method else rule.node in (None, node)
                if meant and rule.strikes():
                    return rule
        return None

    def full(self, storage: str, node: str | None = None) -> bool:
        """Whether a rule says that a storage is full."""
        return any(
            rule.effect == "storage_full"
            and not rule.spent
            and rule.values.get("storage") in (None, storage)
            and rule.node in (None, node)
            for rule in self.rules
        )

    def without_quorum(self, node: str) -> bool:
        """Whether a rule puts a node, or the whole server, on the side without a majority."""
        return any(
            rule.effect == "quorum_lost" and not rule.spent and rule.after <= 0 and rule.node in (None, node)
            for rule in self.rules
        )

    def silent(self, node: str) -> bool:
        """Whether a node that is down keeps its clients waiting, as one without power does."""
        return any(rule.values.get("silent") for rule in self.rules if self._takes_down(rule, node))

    def _takes_down(self, rule: Rule, node: str) -> bool:
        if rule.effect != "node_down" or rule.spent or rule.after > 0:
            return False
        named = rule.values.get("node", rule.node)
        # a rule for some requests says nothing of the node itself
        return named in (None, node) and not (named is None and (rule.path or rule.method))

    def down(self, node: str, dying: bool = False) -> bool:
        """Whether a rule says that a node is down, without counting; `dying`: that it died just now, asked once."""
        for rule in self.rules:
            if not self._takes_down(rule, node):
                continue
            if not dying or (rule.values.get("dies") and rule.died.setdefault(node, True)):
                if dying:
                    rule.died[node] = False
                return True
        return False
