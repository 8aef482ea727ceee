"""Shapes of JSON: which keys, and what types; many values of one kind are merged into one shape.

In JSON a shape is `{"types": {"integer": 3}, "keys": {"name": shape}, "items": shape}`: how often each type was seen, and for objects
and lists what is in them. A key was always there where its shape was seen as often as the object itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

NUMBER = re.compile(r"\d+")
BY_NAME = ("tokens", "nics", "blockstat", "node_status")  # objects whose keys are names that somebody gave


@dataclass
class Shape:
    """`types` counts what was seen, by the name of its type."""

    types: dict[str, int] = field(default_factory=dict)
    keys: dict[str, Shape] = field(default_factory=dict)
    items: Shape | None = None

    @property
    def seen(self) -> int:
        """How many values it was made from."""
        return sum(self.types.values())

    def add(self, value: Any, name: str = "") -> None:
        """Merges in one value, of the key `name`. Nothing of it but its shape stays."""
        kind = type_of(value)
        self.types[kind] = self.types.get(kind, 0) + 1
        if isinstance(value, dict):
            for key, inner in named(value, name in BY_NAME):
                self.keys.setdefault(key, Shape()).add(inner, key)
        elif isinstance(value, list):
            self.items = self.items or Shape()
            for inner in value:
                self.items.add(inner)

    def told(self) -> dict[str, Any]:
        """As JSON; keys in order."""
        keys = {key: shape.told() for key, shape in sorted(self.keys.items())}
        items = {"items": self.items.told()} if self.items and self.items.seen else {}
        return {"types": dict(sorted(self.types.items())), **({"keys": keys} if keys else {}), **items}

    def merge(self, other: Shape) -> None:
        """Takes in what another was made from."""
        for kind, count in other.types.items():
            self.types[kind] = self.types.get(kind, 0) + count
        for key, inner in other.keys.items():
            self.keys.setdefault(key, Shape()).merge(inner)
        if other.items:
            self.items = self.items or Shape()
            self.items.merge(other.items)

    @classmethod
    def read(cls, told: dict[str, Any]) -> Shape:
        """From `told`."""
        keys = {key: cls.read(inner) for key, inner in told.get("keys", {}).items()}
        return cls(dict(told["types"]), keys, cls.read(told["items"]) if "items" in told else None)


def type_of(value: Any) -> str:
    """The type's name. `0` and `0.01` are numbers alike: which it is, chance decides; a text of digits is a text."""
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "list", str: "text", type(None): "null", int: "number", float: "number"}
    return names[type(value)]


def named(value: dict[str, Any], by_name: bool) -> Iterator[tuple[str, Any]]:
    """Keys that count (`net0`) as one (`net[n]`), keys that are paths or names as one: they are data, and not shape."""
    for key, inner in value.items():
        yield "…" if by_name or key.startswith("/") else NUMBER.sub("[n]", key), inner


def differences(recorded: Shape, seen: Shape, where: str = "data") -> Iterator[str]:
    """Where a value is of a type never recorded, and where a key is missing that was recorded always."""
    unknown = sorted(set(seen.types) - set(recorded.types))
    if unknown and recorded.seen:
        yield f"{where} is {' or '.join(unknown)}; recorded: {' or '.join(sorted(recorded.types))}"
    if recorded.keys and seen.keys:
        objects = recorded.types.get("object", 0)
        always = {key for key, shape in recorded.keys.items() if objects > 2 and shape.seen >= objects}
        if missing := sorted(always - set(seen.keys)):
            yield f"{where} is without: {', '.join(missing)}"
    for key in sorted(set(recorded.keys) & set(seen.keys)):
        yield from differences(recorded.keys[key], seen.keys[key], f"{where}.{key}")
    if recorded.items and seen.items:
        yield from differences(recorded.items, seen.items, f"{where}[]")


def additions(recorded: Shape, seen: Shape, where: str = "data") -> Iterator[str]:
    """Keys that were never recorded; a configuration that uses more than the recorded ones has them too."""
    if recorded.keys and (more := sorted(set(seen.keys) - set(recorded.keys))):
        yield f"{where} has besides: {', '.join(more)}"
    for key in sorted(set(recorded.keys) & set(seen.keys)):
        yield from additions(recorded.keys[key], seen.keys[key], f"{where}.{key}")
    if recorded.items and seen.items:
        yield from additions(recorded.items, seen.items, f"{where}[]")
