"""The replies recorded from a real Proxmox VE 9.1.6, read from the project's copy."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from comserv.proxmox.errors import Reply

FOLDER = Path(__file__).parent.parent / "simulator" / "recordings"


@dataclass(frozen=True)
class Record:
    """name is unique within its file; path is without /api2/json and query, decoded."""

    file: str
    name: str
    method: str
    path: str
    query: str
    status: int
    reply: Reply

    @property
    def id(self) -> str:
        return f"{self.file}:{self.name}"


@cache
def records() -> tuple[Record, ...]:
    """All that are requests with a reply, in order."""
    found = tuple(record for file in sorted(FOLDER.glob("*.jsonl")) for record in _read(file))
    assert len(found) > 1500, f"the recordings are missing in {FOLDER}"
    return found


def named(name: str) -> Record:
    return next(record for record in records() if record.name == name)


def _read(file: Path) -> Iterator[Record]:
    for line in file.read_text().splitlines():
        row = json.loads(line)
        if row["method"] == "RAW" or row["status"] < 0 or not row["path"].startswith("/api2/json/"):
            continue
        parts = urlsplit(row["path"])
        headers = row["response_headers"]
        content_type = (headers.get("Content-Type") or [""])[0].partition(";")[0]
        body = row["response_body"] or ""
        reply = Reply(row["status"], row["reason"], body.encode(), content_type)
        path = unquote(parts.path.removeprefix("/api2/json"))
        yield Record(file.stem, row["name"], row["method"], path, parts.query, row["status"], reply)
