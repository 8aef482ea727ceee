"""Replies: status, reason, headers and body, and the JSON that Perl would write."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any

import msgspec

from pve_simulator.errors import ApiError

ORDERS = 24  # of the keys of a row, from which every reply draws
JSON = "application/json;charset=UTF-8"
_encode = msgspec.json.Encoder().encode


@dataclass
class Reply:
    """What goes back. `body` None: neither body nor Content-Type. `privileged`: two Connection headers."""

    status: int
    reason: str = "OK"
    body: bytes | None = None
    content_type: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    privileged: bool = False
    delay_until: float = 0.0  # event loop's time before which it must not be sent
    upgrade: Callable[[Any], Awaitable[None]] | None = None  # of a 101: what the connection goes on with


class Flat(list[dict[str, Any]]):
    """Many rows of texts and numbers alone, two keys or more in each: they are put into random order fast."""

    def shuffled(self) -> list[Any]:
        """Every row, ready to be written, with its keys in random order: the same for rows of the same keys."""
        chosen: dict[tuple[str, ...], Order] = {}
        rows = []
        for row in self:
            keys = tuple(row)
            order = chosen.get(keys)
            if order is None:
                order = chosen[keys] = random.choice(orders(keys))
            made, values = order
            rows.append(made(*values(row)))
        return rows


Order = tuple[type, Callable[[dict[str, Any]], tuple[Any, ...]]]


@lru_cache(256)
def orders(keys: tuple[str, ...]) -> list[Order]:
    """Some random orders of keys, each as a type whose values are written in it, and what takes these from a row."""
    made = []
    for _ in range(ORDERS):
        order = random.sample(keys, len(keys))
        names = {f"f{number}": key for number, key in enumerate(order)}
        made.append((msgspec.defstruct("Row", list(names), rename=names, gc=False), itemgetter(*order)))
    return made


def shuffled(value: Any) -> Any:
    """The same value with the keys of every object in random order, the same for objects of the same keys."""
    orders: dict[tuple[str, ...], list[str]] = {}

    def walk(item: Any) -> Any:
        if isinstance(item, dict):
            keys = tuple(item)
            order = orders.get(keys)
            if order is None:
                order = orders[keys] = random.sample(keys, len(keys))
            return {str(key): walk(item[key]) for key in order}
        if isinstance(item, Flat):
            return item.shuffled()
        if isinstance(item, (list, tuple)):
            return [walk(part) for part in item]
        if item is True or item is False:
            return int(item)
        return TRUE_VALUES.get(item, item) if isinstance(item, str) else item

    return walk(value)


# What the API shows as JSON's true and false (agent, block statistics): everywhere else booleans are 0 and 1.
JSON_TRUE, JSON_FALSE = "\0true", "\0false"
TRUE_VALUES = {JSON_TRUE: True, JSON_FALSE: False}


def json_body(value: Any) -> bytes:
    """JSON of a value as Perl would write it: keys in random order, booleans 0 and 1."""
    return _encode(shuffled(value))


def success(data: Any, extra: dict[str, Any], form: str, privileged: bool) -> Reply:
    """200 with data, in the format json or extjs."""
    body = {"data": data, **extra}
    if form == "extjs":
        body["success"] = 1
    return Reply(200, "OK", json_body(body), JSON, privileged=privileged)


def failure(error: ApiError, form: str = "json") -> Reply:
    """A refusal, in the format json or extjs (there always HTTP 200)."""
    body: dict[str, Any] = {"data": None, "message": error.message + ("\n" if error.newline else "")}
    if error.errors:
        body["errors"] = error.errors
    if form == "extjs":
        body |= {"success": 0, "status": str(error.status) if error.errors else error.status}
        return Reply(200, "OK", json_body(body), JSON)
    return Reply(error.status, error.message.split("\n")[0], json_body(body), JSON)


def text(status: int, message: str, *, body: bool = True) -> Reply:
    """A refusal of the HTTP layer: its text is reason and body, without a Content-Type."""
    return Reply(status, message.split("\n")[0], message.encode() if body else None)


def empty(status: int, reason: str) -> Reply:
    """A status line and no body."""
    return Reply(status, reason)
