"""The API's own description: which paths there are, what each takes, and who may call it.

`api-9.1.6.json` holds facts only (paths, parameters, types, limits, formats, permissions), one path a line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

from pve_simulator.versions import ORDER, version

Property = dict[str, Any]

# How many of an indexed parameter there are; the description only says `net[n]`.
INDEX_LIMITS = {
    "net": 32,
    "scsi": 31,
    "virtio": 16,
    "sata": 6,
    "ide": 4,
    "usb": 14,
    "hostpci": 16,
    "serial": 4,
    "parallel": 3,
    "ipconfig": 32,
    "unused": 256,
    "numa": 8,
    "virtiofs": 10,
    "mp": 256,
    "dev": 256,
    "link": 8,
}


@dataclass(frozen=True)
class Method:
    """What the description says of one method of one path."""

    template: str
    parameters: dict[str, Property]
    permissions: dict[str, Any] | None
    allow_token: bool
    protected: bool
    proxy_to_node: bool

    def parameter(self, name: str) -> Property | None:
        """The property of a parameter, also of an indexed one (`net0` is `net[n]`), else None."""
        found = self.parameters.get(name)
        if found is not None and "[n]" not in name:
            return found
        indexed = re.fullmatch(r"([a-z]+)(0|[1-9]\d*)", name)
        if indexed and int(indexed[2]) < INDEX_LIMITS.get(indexed[1], 0):
            return self.parameters.get(f"{indexed[1]}[n]")
        return None


@dataclass
class Branch:
    """A node of the tree of path templates."""

    children: dict[str, Branch] = field(default_factory=dict)
    variable: tuple[str, Branch] | None = None
    methods: dict[str, Method] = field(default_factory=dict)


class Schema:
    """All methods, found by path."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.formats: dict[str, dict[str, Property]] = description["formats"]
        self.root = Branch()
        for template, methods in description["paths"].items():
            self._grow(template, methods)
        self.root.methods["GET"] = Method("/", {}, {"user": "all"}, True, False, False)

    def _grow(self, template: str, methods: dict[str, Any]) -> None:
        branch = self.root
        for part in template.strip("/").split("/"):
            if part.startswith("{"):
                if branch.variable is None:
                    branch.variable = (part[1:-1], Branch())
                branch = branch.variable[1]
            elif part:
                branch = branch.children.setdefault(part, Branch())
        for name, told in methods.items():
            parameters = {key: self._resolved(value) for key, value in told["parameters"].items()}
            branch.methods[name] = Method(
                template,
                parameters,
                told.get("permissions"),
                bool(told.get("allowtoken")),
                bool(told.get("protected")),
                "proxyto" in told and "{node}" in template,
            )

    def _resolved(self, told: Property) -> Property:
        if isinstance(told.get("format"), dict):
            return {**told, "format": self.formats[told["format"]["name"]]}
        return told

    def templates(self) -> list[tuple[str, tuple[str, ...]]]:
        """Every path template with its methods."""
        found, branches = [("/", tuple(self.root.methods))], list(self.root.children.values())
        while branches:
            branch = branches.pop()
            branches += [*branch.children.values(), *([branch.variable[1]] if branch.variable else [])]
            if branch.methods:
                found.append((next(iter(branch.methods.values())).template, tuple(branch.methods)))
        return found

    def find(self, method: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """The method behind a decoded path (`/nodes/pve1/qemu`) and the parameters that stand in the path."""
        parts = [part for part in path.split("/") if part]
        branch, values = self.root, {}
        for index, part in enumerate(parts):
            if part in branch.children:
                branch = branch.children[part]
            elif branch.variable:
                name, branch = branch.variable
                if name == "volume":  # a volume id holds slashes
                    values[name] = "/".join(parts[index:])
                    break
                values[name] = part
            else:
                return None
        found = branch.methods.get(method)
        return (found, values) if found else None


@lru_cache(len(ORDER))
def load(name: str = ORDER[-1]) -> Schema:
    """The description of Proxmox VE 9.1.6, or what an older version has of it."""
    text = resources.files("pve_simulator.schema").joinpath("api-9.1.6.json").read_text("utf-8")
    return Schema(version(name).described(json.loads(text)))
