"""Moments of a creation at which a process is killed, and replies that are lost, as rules for the simulated server.

Seconds are those of a real server, as the rules' are: the simulated one divides them by its speed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from tests.acceptance.creations import Creation

STEPS = ("reserve", "clone", "configure", "grow", "start", "prove")
WRITES = ("clone", "configure", "grow", "start")
LATE = 50  # seconds that a call is under way: longer than a restart, and less than until its outcome is concluded
SLOW = 15  # seconds of an answer that comes, late
PENDING = 30  # seconds that a reading is under way

Rule = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """When to kill. tag: once this rule has struck; else step: once it has come so far (running, task known, done).

    after: milliseconds from then on.
    """

    name: str
    step: str
    rules: tuple[Rule, ...] = ()
    tag: str = ""
    until: Literal["running", "task", "done"] = "done"
    after: int = 0


KILLED_WHILE = {
    "reserve": ("asked", "reading", "garbage", "done"),
    "clone": ("never_arrived", "arrives_late", "reply_pending", "reply_dropped", "error_carried_out", "task", "done"),
    "configure": (
        *("reading", "never_arrived", "arrives_late", "reply_pending", "reply_dropped"),
        *("error_carried_out", "error", "task", "done"),
    ),
    "grow": ("reading", "never_arrived", "arrives_late", "reply_pending", "reply_dropped", "error", "task", "done"),
    "start": (
        "reading",
        "never_arrived",
        "arrives_late",
        "reply_pending",
        "error_carried_out",
        "garbage",
        "task",
        "done",
    ),
    "prove": ("reading", "hung", "silent", "garbage", "lost"),
}
"""By step, what goes on when the process is killed."""


def grid() -> list[tuple[str, str]]:
    """Every (step, moment)."""
    return [(step, name) for step, names in KILLED_WHILE.items() for name in names]


def call_of(step: str, creation: Creation) -> dict[str, str]:
    """Which request is the step's own write."""
    guest = rf"/qemu/{creation.vmid or '[0-9]+'}"
    return {
        "clone": {"method": "POST", "path": rf"/qemu/{creation.template}/clone$"},
        "configure": {"method": "POST", "path": rf"{guest}/config$"},
        "grow": {"method": "PUT", "path": rf"{guest}/resize$"},
        "start": {"method": "POST", "path": rf"{guest}/status/start$"},
        "prove": {"method": "POST", "path": rf"{guest}/agent/ping$"},
        "reserve": {"method": "GET", "path": r"/cluster/nextid$"},
    }[step]


def times_sent(sent: Mapping[tuple[str, str], int], step: str, creation: Creation) -> int:
    """How often the step's write was sent, of all that was (`Simulated.sent`)."""
    call = call_of(step, creation)
    return sum(
        times for (method, path), times in sent.items() if method == call["method"] and re.search(call["path"], path)
    )


def reading_of(step: str, creation: Creation) -> dict[str, Any]:
    """Which request the step reads with before it writes, and how many like it belong to earlier steps."""
    guest = rf"/qemu/{creation.vmid or '[0-9]+'}"
    if step == "start":
        return {"match": {"method": "GET", "path": rf"{guest}/status/current$"}}
    if step == "prove":
        return {"match": {"method": "GET", "path": rf"{guest}/agent/network-get-interfaces$"}}
    # the clone's end reads the configuration first, then configure twice at least, then grow
    return {"match": {"method": "GET", "path": rf"{guest}/config$"}, "after": {"configure": 1, "grow": 3}[step]}


def slowness(step: str, creation: Creation) -> int:
    """By how much a task has to last longer, so that it is met while it runs: a full clone lasts a while by itself."""
    return {"clone": 2 if creation.body["full_clone"] else 25}.get(step, 40)


def moment(step: str, name: str, creation: Creation, tag: str, random: Random) -> Moment:
    """A kill of this step at this moment."""
    match = call_of(step, creation)
    soon = random.randint(0, 150)

    def struck(*effects: Mapping[str, Any], match: Mapping[str, str] = match, **more: Any) -> Moment:
        rules = tuple({"match": dict(match), "times": 1, "tag": tag, **more, **effect} for effect in effects)
        return Moment(name, step, rules, tag, after=soon)

    if step == "reserve" and name in ("reading", "garbage"):  # plans read the same, and get the same
        effect = (
            {"effect": "delay", "seconds": LATE} if name == "reading" else {"effect": "garbage", "probability": 0.5}
        )
        return Moment(name, step, ({"match": match, "times": 40, **effect},), until="running", after=soon)
    match name:
        case "asked":
            return struck({"effect": "delay", "seconds": PENDING})
        case "reading":
            where = reading_of(step, creation)
            return struck({"effect": "delay", "seconds": PENDING}, match=where["match"], after=where.get("after", 0))
        case "hung":
            return struck({"effect": "hang"})
        case "garbage":
            return struck({"effect": "garbage"})
        case "lost":
            return struck({"effect": "drop_after"})
        case "silent":
            silent = {
                "effect": "agent_silent",
                "match": {"path": rf"/qemu/{creation.vmid}/agent/"},
                "times": 3,
                "tag": tag,
            }
            return Moment(name, step, (silent,), tag, after=soon)
        case "never_arrived":
            return struck({"effect": "delay", "seconds": PENDING}, {"effect": "drop_before"})
        case "arrives_late":
            return struck({"effect": "delay", "seconds": LATE})
        case "reply_pending":
            return struck({"effect": "hang", "carried_out": True})
        case "reply_dropped":
            return struck({"effect": "drop_after"})
        case "error_carried_out":
            return struck({"effect": "status", "status": random.choice((500, 596)), "carried_out": True})
        case "error":
            return struck({"effect": "status", "status": 596, "carried_out": False})
        case "task":
            slow = {
                "match": match,
                "effect": "task_slow",
                "factor": slowness(step, creation),
                "times": 1,
                "tag": tag,
            }
            return Moment(name, step, (slow,), until="task", after=soon)
        case "done":
            return Moment(name, step, after=soon // 3)
    raise ValueError(name)


# --- replies that are lost without a kill of their own

LOST = (
    "drop_before",
    "drop_after",
    "error_carried_out",
    "inner_carried_out",
    "inner",
    "garbage",
    "late",
    "slow",
    "refused",
)


def lost(step: str, kind: str, creation: Creation, tag: str) -> Rule:
    """A rule that loses the reply to the step's write, or makes it late. `refused`: answered 500, nothing done."""
    effects: dict[str, Rule] = {
        "drop_before": {"effect": "drop_before"},
        "drop_after": {"effect": "drop_after"},
        "error_carried_out": {"effect": "status", "status": 500, "text": "unable to answer", "carried_out": True},
        "inner_carried_out": {"effect": "status", "status": 596, "text": "Broken pipe", "carried_out": True},
        "inner": {"effect": "status", "status": 596, "text": "Broken pipe"},
        "garbage": {"effect": "garbage"},
        "late": {"effect": "delay", "seconds": SLOW},
        "slow": {"effect": "task_slow", "factor": slowness(step, creation)},
        "refused": {"effect": "status", "status": 500, "text": "unable to do that today"},
    }
    return {"match": call_of(step, creation), "times": 1, "tag": tag, **effects[kind]}


REFUSED = "unable to do that today"
