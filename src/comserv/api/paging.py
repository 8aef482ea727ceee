"""Lists: `limit` and `cursor` in, `items` and `next_cursor` out. A cursor is opaque and safe in a URL."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from fastapi import Query

from comserv.domain.errors import Invalid
from comserv.domain.page import Page

MOST = 500
ItemT = TypeVar("ItemT")
Key = int | str

Limit = Annotated[int, Query(ge=1, le=MOST, description="At most so many items.")]
Cursor = Annotated[str, Query(max_length=1024, description="The `next_cursor` of the page before.")]


def write_cursor(key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def read_cursor(cursor: str, kind: type[Key]) -> Key:
    """Raises Invalid for what this API never gave out."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded.encode("ascii")), type=kind)
    except (binascii.Error, UnicodeError, msgspec.MsgspecError):
        raise Invalid(fields={"cursor": "is not a next_cursor of this list"}) from None


def cut(items: Sequence[ItemT], key: Callable[[ItemT], Key], cursor: str, limit: int) -> Page[ItemT]:
    """A page of a short list that is there as a whole; it is put in the order of `key`, which is unique."""
    ordered = sorted(items, key=key)
    if cursor and ordered:
        after = read_cursor(cursor, type(key(ordered[0])))
        ordered = [item for item in ordered if key(item) > after]  # pyright: ignore[reportOperatorIssue] # one type per list
    page = ordered[:limit]
    return Page(tuple(page), write_cursor(key(page[-1])) if len(ordered) > limit else None)


def cut_in_order(items: Sequence[ItemT], cursor: str, limit: int) -> Page[ItemT]:
    """A page of a list whose order is its own, by place."""
    start = read_cursor(cursor, int) if cursor else 0
    if not isinstance(start, int) or start < 0:
        raise Invalid(fields={"cursor": "is not a next_cursor of this list"})
    end = start + limit
    return Page(tuple(items[start:end]), write_cursor(end) if len(items) > end else None)
