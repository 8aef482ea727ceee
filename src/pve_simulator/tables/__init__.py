"""Facts of the release that no rule can compute: CPU models, machine types, firewall macros. JSON, one row a line."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any


@lru_cache
def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a table by its file's name, e.g. `machines`. Not to be changed."""
    return json.loads(resources.files("pve_simulator.tables").joinpath(f"{name}.json").read_text("utf-8"))
