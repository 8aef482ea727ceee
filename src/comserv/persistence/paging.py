"""Keyset paging: a cursor is the last row's sorting values, opaque and safe in a URL."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from comserv.domain.errors import Invalid
from comserv.domain.page import Page

MOST = 500
Item = TypeVar("Item")


def encode_cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def decode_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    """Raises Invalid for what this version did not hand out."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=tuple.__class_getitem__(types))
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError):
        raise Invalid(fields={"cursor": "is none that a list handed out; start without one"}) from None


def page_of(
    rows: Sequence[Any], limit: int, to_item: Callable[[Any], Item], cursor: Callable[[Any], str]
) -> Page[Item]:
    """`rows` were asked for with `limit` + 1: the one too many says that there is more."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(tuple(to_item(row) for row in shown), cursor(shown[-1]) if more else None)


def check_limit(limit: int) -> int:
    """1 to 500. Raises Invalid."""
    if not 1 <= limit <= MOST:
        raise Invalid(fields={"limit": f"is a number from 1 to {MOST}"})
    return limit
