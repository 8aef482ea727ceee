"""What the recordings show of reading: for each GET the shape of its replies, and the messages of its refusals.

`readings.json` is made from the recordings (`python -m pve_simulator.comparison.readings FOLDER`), so that no recording is needed later.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pve_simulator import schema
from pve_simulator.comparison.shapes import Shape

FILE = "readings.json"
FULL = ("PVEAPIToken=admin@pve!full", "PVEAPIToken=root@pam!full")
# Reads that reach out, take long, hold a connection open, or tell of nothing but the machine.
LEFT_OUT = re.compile(
    r"query-url-metadata|query-oci|vncwebsocket|/scan|/report|changelog|aplinfo|/journal|/syslog|/netstat|/rrd$|file-restore"
    r"|/access/ticket|/openid|schedule-analyze|/agent|/capabilities"
)
# Refusals that do not hang upon what stands on the server: nobody has these.
NOBODY = re.compile(r"/nosuch|/4242(/|$)|nostore|nopool")
SHAPING = ("type", "full", "current", "timeframe", "source", "content", "verbose")


@dataclass(frozen=True)
class Reading:
    """One question. `template` as in the description, or a path that is not in it; `query` as it is sent."""

    template: str
    query: tuple[tuple[str, str], ...] = ()
    status: int = 200
    message: str = ""
    shape: Shape = field(default_factory=Shape, compare=False, hash=False)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        shape = {"shape": self.shape.told()} if self.status == 200 else {"message": self.message}
        return {"path": self.template, "query": dict(self.query), "status": self.status, **shape}


@lru_cache(1)
def load() -> tuple[Reading, ...]:
    """All that were recorded, in order."""
    text = resources.files("pve_simulator.comparison").joinpath(FILE).read_text()
    return tuple(
        Reading(
            row["path"],
            tuple(row["query"].items()),
            row["status"],
            row.get("message", ""),
            Shape.read(row["shape"]) if "shape" in row else Shape(),
        )
        for row in json.loads(text)
    )


@lru_cache
def all_shapes(template: str) -> Shape:
    """What was recorded of a path whatever its query was."""
    whole = Shape()
    for reading in load():
        if reading.template == template:
            whole.merge(reading.shape)
    return whole


def masked(message: str) -> str:
    """A message without what is the server's own: names of nodes, whitespace at its end."""
    text = re.sub(r"nodes/[\w.-]+/", "nodes/NODE/", message)
    text = re.sub(r"on node '[\w.-]+'", "on node 'NODE'", text)
    text = re.sub(r"Temporary failure in name resolution|Name or service not known", "RESOLVER", text)
    return re.sub(r"\s+", " ", text).strip()


def collect(rows: Iterable[dict[str, Any]]) -> tuple[Reading, ...]:
    """Readings of recorded requests, sorted; what is refused for other reasons than what nobody has is left out."""
    found: dict[Reading, Reading] = {}
    for row in rows:
        for reading, data in _of(row):
            kept = found.setdefault(reading, reading)
            if kept.status == 200:
                kept.shape.add(data)
    return tuple(sorted(found.values(), key=lambda one: (one.template, one.query, one.status, one.message)))


def _of(row: dict[str, Any]) -> Iterator[tuple[Reading, Any]]:
    credential = (row["request_headers"] or {}).get("Authorization", "")
    url = urlsplit(row["path"])
    if row["method"] != "GET" or not url.path.startswith("/api2/json/") or LEFT_OUT.search(url.path):
        return
    if not credential.startswith(FULL) or not isinstance(row["response_body"], str):
        return
    path = unquote(url.path.removeprefix("/api2/json"))
    query = tuple(parse_qsl(url.query, keep_blank_values=True))
    try:
        body = json.loads(row["response_body"])
    except ValueError:
        return
    method = _found(path)
    if row["status"] == 200 and method:
        asked = tuple(pair for pair in query if pair[0] in SHAPING)
        if len(asked) == len(query) or query == ():
            yield Reading(method, asked), body.get("data")
    elif row["status"] in (400, 500, 501) and NOBODY.search(path) and not query:
        text = masked(body.get("message") or row["reason"])
        yield Reading(path.replace("/nodes/pve1", "/nodes/{node}"), (), row["status"], text), None


def _found(path: str) -> str:
    found = schema.load().find("GET", path)
    return found[0].template if found else ""


def recorded(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of all recordings of a folder."""
    for file in sorted(folder.glob("*.jsonl")):
        yield from map(json.loads, file.read_text().splitlines())


def text_of(readings: Iterable[Reading]) -> str:
    """The file: one reading a line."""
    return "[\n" + ",\n".join(json.dumps(one.told(), separators=(",", ":")) for one in readings) + "\n]\n"


if __name__ == "__main__":
    Path(__file__).with_name(FILE).write_text(text_of(collect(recorded(Path(sys.argv[1])))))
