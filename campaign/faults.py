"""Calls as templates, and every fault that the simulator knows as a rule placed at one of them.

A later fault is one more line in `FAULTS`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

DELAYS = (3, 12, 25, 40)  # seconds of a real server; its own inner limit is 30
TASK_TEXT = "interrupted by signal"
SAID = "unable to do that today"

Rule = dict[str, Any]


@dataclass(frozen=True, order=True)
class Call:
    """One kind of call: `POST /nodes/{node}/qemu/{vmid}/clone`."""

    method: str
    path: str

    @classmethod
    def of(cls, method: str, path: str) -> "Call":
        """From a path as it arrived, `/api2/json/nodes/pve1/qemu/9000/clone`."""
        parts = path.removeprefix("/api2/json").split("/")
        told = [_named(part, parts[at - 1] if at else "") for at, part in enumerate(parts)]
        return cls(method, "/".join(told))

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def match(self) -> dict[str, str]:
        """For a rule."""
        pattern = "".join(
            "[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", self.path)
        )
        return {"method": self.method, "path": f"^{pattern}$"}


def _named(part: str, before: str) -> str:
    if before == "nodes":
        return "{node}"
    if part.startswith("UPID:"):
        return "{upid}"
    return "{vmid}" if part.isdigit() else part


def _any(call: Call) -> bool:
    return True


def _writes(call: Call) -> bool:
    return call.writes


def _begins_a_task(call: Call) -> bool:
    return call.writes and "{vmid}" in call.path and "/agent/" not in call.path


def _asks_the_agent(call: Call) -> bool:
    return "/agent/" in call.path


def _fills_storage(call: Call) -> bool:
    return call.method in ("POST", "PUT") and call.path.rpartition("/")[2] in ("clone", "resize", "start", "config")


@dataclass(frozen=True)
class Fault:
    """lasting: stands from the call's arrival until it is lifted, for all calls. weight: how often it is drawn.

    lies: the server says that it did nothing although it did, so that a failed job may be all there is to say.
    slow: costs most of a minute of waiting. fits: which calls it can meet.
    """

    name: str
    rule: Mapping[str, Any]
    fits: Callable[[Call], bool] = _any
    weight: float = 1.0
    lasting: bool = False
    lies: bool = False
    seconds: tuple[float, ...] = ()
    key: str = field(default="seconds")


def _status(status: int, done: bool, text: str = SAID, lies: bool = False) -> Fault:
    name = f"status {status}" + (" carried out" if done else "")
    rule = {"effect": "status", "status": status, "text": text, "carried_out": done}
    return Fault(name, rule, _writes if done else _any, 0.5, lies=lies)


FAULTS = (  # Proxmox checks parameters and rights before it acts: 400, 401 and 403 are never carried out
    Fault("delay", {"effect": "delay"}, weight=2, seconds=DELAYS),
    Fault("hang", {"effect": "hang"}, weight=0.7),
    Fault("hang carried out", {"effect": "hang", "carried_out": True}, _writes, 0.7),
    Fault("drop_before", {"effect": "drop_before"}, weight=1.5),
    Fault("drop_after", {"effect": "drop_after"}, weight=1.5),
    Fault("garbage", {"effect": "garbage"}),
    _status(500, False),
    _status(500, True),
    _status(403, False, "Permission check failed (/vms/100, VM.Audit)"),
    _status(401, False, "no such token"),
    _status(595, False, "Connection refused"),
    _status(595, True, "Connection refused", lies=True),
    _status(596, False, "Broken pipe"),
    _status(596, True, "Broken pipe"),
    _status(599, False, "Too many redirections"),
    _status(599, True, "Too many redirections"),
    _status(503, False, "service not available"),
    _status(503, True, "service not available"),
    Fault("task_fail", {"effect": "task_fail", "exitstatus": TASK_TEXT}, _begins_a_task, 1.5, lies=True),
    Fault("task_slow", {"effect": "task_slow"}, _begins_a_task, 1.5, seconds=(3, 10, 25), key="factor"),
    Fault("node_down", {"effect": "node_down"}, weight=1, lasting=True),
    Fault("node_down dies", {"effect": "node_down", "dies": True}, weight=0.7, lasting=True),
    Fault("server_down", {"effect": "server_down"}, weight=1, lasting=True),
    Fault("agent_silent", {"effect": "agent_silent"}, _asks_the_agent, 1, lasting=True),
    Fault("storage_full", {"effect": "storage_full"}, _fills_storage, 1, lasting=True),
    Fault("quorum_lost", {"effect": "quorum_lost"}, weight=0.7, lasting=True),
    Fault("certificate_renewed", {"effect": "certificate_renewed"}, weight=0.7, lasting=True),
)
BY_NAME = {fault.name: fault for fault in FAULTS}


@dataclass(frozen=True)
class Placed:
    """A fault at the nth call of a kind. lifted_after: seconds that a lasting one stands. value: of the fault's own key."""

    fault: Fault
    call: Call
    nth: int
    tag: str
    value: float = 0.0
    lifted_after: float = 0.0

    def __str__(self) -> str:
        value = f" {self.value:g}" if self.fault.seconds else ""
        return f"{self.fault.name}{value} at {self.call} #{self.nth}"

    @property
    def rule(self) -> Rule:
        """What is placed before the run. For a lasting fault: only what tells that the call has arrived."""
        effect = {"effect": "delay", "seconds": 0} if self.fault.lasting else {**self.fault.rule, **self._value()}
        return {"match": self.call.match, "after": self.nth - 1, "times": 1, "tag": self.tag, **effect}

    @property
    def standing(self) -> Rule:
        """A lasting fault itself, from the call's arrival on."""
        return {"match": {}, "tag": f"{self.tag}-standing", **self.fault.rule}

    def _value(self) -> dict[str, float]:
        return {self.fault.key: self.value} if self.fault.seconds else {}
