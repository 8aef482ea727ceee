"""What a query string, a form or a JSON body says, decoded as pveproxy does it."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from pve_simulator.errors import SimulatorError

Values = dict[str, Any]
SOURCE = "/usr/share/perl5/PVE/APIServer/AnyEvent.pm"


class UndecodableBody(SimulatorError):
    """A body whose text Perl's parser refuses; answered as 500 with the parser's words as plain text."""


def form(text: str) -> Values:
    """Pairs of a form or query string: `&` and `;` separate, `+` is a space, what follows a second `=` is lost.

    A key that comes again makes a list.
    """
    values: Values = {}
    for pair in re.split(r"[&;]", text):
        if not pair:
            continue
        key, *rest = pair.split("=")
        name, value = _decoded(key), _decoded(rest[0]) if rest else ""
        if name in values:
            earlier = values[name]
            values[name] = [*earlier, value] if isinstance(earlier, list) else [earlier, value]
        else:
            values[name] = value
    return values


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")


def json_object(body: bytes) -> Values:
    """The members of a JSON body; numbers stay numbers, lists lists, null None.

    Raises UndecodableBody with Perl's text for what is no JSON, and for what is JSON but no object.
    """
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except ValueError as fault:
        raise UndecodableBody(_complaint(text, fault)) from None
    except RecursionError:
        raise UndecodableBody(f"json text or perl structure exceeds maximum nesting level at {SOURCE}") from None
    if not isinstance(value, dict):
        raise UndecodableBody(f"Not a HASH reference at {SOURCE} line 978.")
    return value


def _complaint(text: str, fault: ValueError) -> str:
    offset = getattr(fault, "pos", 0)
    while offset < len(text) and text[offset].isspace():
        offset += 1
    rest = text[offset:] or "(end of string)"
    return (
        "malformed JSON string, neither tag, array, object, number, string or atom, "
        f'at character offset {offset} (before "{rest}") at {SOURCE} line 934.'
    )
