"""A page of a list: some items, and the cursor with which the next ones are asked for."""

from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """next_cursor: opaque, safe in a URL; None on the last page."""

    items: tuple[Item, ...]
    next_cursor: str | None = None
