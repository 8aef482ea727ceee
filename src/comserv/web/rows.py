"""Lists in live parts, row by row: of a list of a hundred guests a browser gets the one row that changed.

A row is a `<tr id="…">` of a part that is taken over as `rows`; templates escape what they print, so no value of a guest can look like one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

_ROW = re.compile(r'<tr id="([^"]*)"')
_END = "</tr>"


@dataclass(frozen=True)
class Rows:
    """The rows of a list by id, in order: each with its place in `html`, and with a mark that changes when it does (but not with the mere
    passing of time)."""

    html: str
    places: dict[str, slice]
    marks: dict[str, str]

    def changed_since(self, before: "Rows") -> Markup | None:
        """Those that differ; None where other rows are there or the order is another: then the whole list is needed."""
        if list(self.marks) != list(before.marks):
            return None
        changed = (self.html[self.places[name]] for name, mark in self.marks.items() if before.marks[name] != mark)
        return Markup("").join(map(Markup, changed))


def split(html: str, mark: Callable[[str], str]) -> Rows | None:
    """None where it is no list of rows, as with an error in its place."""
    found = list(_ROW.finditer(html))
    ends = [html.rfind(_END, 0, until) + len(_END) for until in (*(row.start() for row in found[1:]), len(html))]
    places = {row[1]: slice(row.start(), end) for row, end in zip(found, ends, strict=False)}
    if not places or len(places) < len(found):
        return None
    return Rows(html, places, {name: mark(html[place]) for name, place in places.items()})
