"""Which endpoints of the API act, which only answer, and which refuse: told from the code itself.

One *acts* where its code looks at the call: it reads or changes the simulated world. One *only answers* where it says the same whatever
the world is. One *refuses* (501) where there is no code for it.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pve_simulator import api, schema
from pve_simulator.call import ENDPOINTS, Handler

BEGIN, END = "<!-- endpoints: `python -m pve_simulator.endpoints docs/simulator.md` -->", "<!-- end -->"
KINDS = ("acts", "answers", "refuses")


@dataclass(frozen=True)
class Row:
    """One endpoint."""

    method: str
    template: str
    kind: str

    @property
    def area(self) -> str:
        """The part of the API: the first name of its path, and for nodes the one after the node."""
        parts = [part for part in self.template.split("/") if part and part != "{node}"]
        return "/".join(parts[: 2 if parts[:1] == ["nodes"] else 1]) or "/"


def rows() -> Iterator[Row]:
    """All that the description has, sorted by path."""
    api.load()
    for template, methods in sorted(schema.load().templates()):
        for method in methods:
            handler = ENDPOINTS.get((method, template))
            yield Row(method, template, "refuses" if handler is None else "acts" if looks(handler) else "answers")


def looks(handler: Handler) -> bool:
    """Whether an endpoint's code makes any use of its call."""
    code = handler.__code__  # type: ignore[attr-defined] # endpoints are functions
    call = code.co_varnames[0] if code.co_argcount else ""
    names = {call} | ({call} & set(code.co_cellvars))
    return any(at.opname.startswith("LOAD_") and at.argval in names for at in dis.get_instructions(code))


def counts() -> dict[str, dict[str, int]]:
    """By area: how many of each kind."""
    found: dict[str, dict[str, int]] = {}
    for row in rows():
        kinds = found.setdefault(row.area, dict.fromkeys(KINDS, 0))
        kinds[row.kind] += 1
    return dict(sorted(found.items()))


def table() -> str:
    """The counts as Markdown."""
    lines = ["| part of the API | acts | only answers | refuses (501) |", "|---|---|---|---|"]
    told = counts()
    lines += [f"| `{area}` | {n['acts']} | {n['answers']} | {n['refuses']} |" for area, n in told.items()]
    sums = [sum(n[kind] for n in told.values()) for kind in KINDS]
    return "\n".join([*lines, f"| all {sum(sums)} | {sums[0]} | {sums[1]} | {sums[2]} |"])


def listing(kinds: Sequence[str] = KINDS) -> str:
    """A line for each endpoint of these kinds."""
    return "\n".join(f"{row.kind:8} {row.method:6} {row.template}" for row in rows() if row.kind in kinds)


def rewritten(page: str) -> str:
    """A page with the table between its two marks made anew. Raises ValueError where a mark is missing."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(rewritten(file.read_text()))
