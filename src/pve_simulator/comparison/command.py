"""`pve-simulator compare`: where does a server that you have answer differently from the one that was recorded?

Sends GET requests only, prints shapes and messages only, and keeps nothing.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pve_simulator.comparison.asking import Asking, CannotCompare
from pve_simulator.comparison.readings import Reading, all_shapes, load, masked
from pve_simulator.comparison.shapes import Shape, additions, differences

EACH = 3  # guests, tasks, storages, ... that are asked for per question
SAMPLES = {
    # what stands in a path: the list that it is taken from, and the key there
    "vmid": ("", "vmid"),
    "storage": ("/nodes/{node}/storage", "storage"),
    "volume": ("/nodes/{node}/storage/{storage}/content", "volid"),
    "iface": ("/nodes/{node}/network", "iface"),
    "upid": ("/nodes/{node}/tasks", "upid"),
    "snapname": ("/nodes/{node}/qemu/{vmid}/snapshot", "name"),
    "poolid": ("/pools", "poolid"),
    "realm": ("/access/domains", "realm"),
    "userid": ("/access/users", "userid"),
    "groupid": ("/access/groups", "groupid"),
    "roleid": ("/access/roles", "roleid"),
    "tokenid": ("/access/users/{userid}/token", "tokenid"),
    "sid": ("/cluster/ha/resources", "sid"),
    "id": ("/cluster/backup", "id"),
    "group": ("/cluster/firewall/groups", "group"),
    "name": ("/cluster/firewall/ipset", "name"),
    "pos": ("", "pos"),
}


@dataclass(frozen=True)
class Verdict:
    """How one question came out: `same`, `more` (the same, and keys beside), `differs`, or `not asked` (nothing to ask it of)."""

    kind: str
    reading: Reading
    texts: tuple[str, ...] = ()


class Comparison:
    """Asks every recorded question of one server. `node`: which; by default the first that is online."""

    def __init__(self, asking: Asking, node: str = "") -> None:
        self.asking = asking
        self.node = node or self._node()
        self.known: dict[str, list[str]] = {}

    def _node(self) -> str:
        reply = self.asking.get("/nodes")
        if reply.status != 200 or not isinstance(reply.data, list):
            raise CannotCompare(f"GET /nodes: {reply.status} {reply.message}: check address and token")
        online = [row["node"] for row in reply.data if row.get("status") == "online"]
        if not online:
            raise CannotCompare("no node of this server is online")
        return sorted(online)[0]

    def verdicts(self) -> Iterator[Verdict]:
        """One for each recorded question, in order."""
        for reading in load():
            yield self._refusal(reading) if reading.status != 200 else self._shape(reading)

    def _refusal(self, reading: Reading) -> Verdict:
        reply = self.asking.get(reading.template.replace("{node}", self.node), reading.query)
        message = masked(reply.message).replace(f"/nodes/{self.node}", "/nodes/NODE")
        if (reply.status, message) == (reading.status, reading.message):
            return Verdict("same", reading)
        return Verdict(
            "differs", reading, (f"recorded {reading.status} {reading.message}, here {reply.status} {message}",)
        )

    def _shape(self, reading: Reading) -> Verdict:
        paths = self._paths(reading.template)
        if not paths:
            return Verdict("not asked", reading)
        seen, texts = Shape(), dict[str, None]()
        for path in paths:
            reply = self.asking.get(path, reading.query)
            if reply.status == 200:
                seen.add(reply.data)
            else:
                texts[f"recorded 200, here {reply.status} {self._nameless(reply.message, path)}"] = None
        texts |= dict.fromkeys(differences(reading.shape, seen))
        more = tuple(additions(all_shapes(reading.template), seen))
        return Verdict("differs" if texts else "more" if more else "same", reading, (*texts, *more))

    def _nameless(self, message: str, path: str) -> str:
        """A message without the names that stand in its path."""
        text = masked(message)
        for part in sorted(set(path.split("/")), key=len, reverse=True):
            text = text.replace(part, "…") if len(part) > 2 and part in text else text
        return text

    def _paths(self, template: str) -> list[str]:
        """The template filled in with what is there, several times where there is more than one."""
        names = re.findall(r"\{(\w+)\}", template)
        filled = [template.replace("{node}", self.node)]
        for name in names:
            if name == "node":
                continue
            filled = [
                path.replace(f"{{{name}}}", value) for path in filled for value in self._samples(name, template, path)
            ]
        return filled[:EACH]

    def _samples(self, name: str, template: str, path: str) -> list[str]:
        source, key = SAMPLES.get(name, ("", ""))
        if name == "vmid":
            kind = "lxc" if "/lxc/" in template else "qemu"
            return self._listed(f"/nodes/{self.node}/{kind}", key)
        if name == "pos":
            return self._listed(path.rpartition("/")[0], key)
        if not source:
            return []
        for part, value in zip(template.split("/"), path.split("/"), strict=False):
            source = source.replace(part, value) if part.startswith("{") else source
        return self._listed(source.replace("{node}", self.node), key)

    def _listed(self, path: str, key: str) -> list[str]:
        """Up to three values of a list, running guests and stopped ones alike."""
        if path not in self.known:
            reply = self.asking.get(path)
            rows = reply.data if reply.status == 200 and isinstance(reply.data, list) else []
            rows = [row for row in rows if isinstance(row, dict) and row.get(key) not in (None, "", "current")]
            rows = [row for row in rows if row.get("active", 1)]  # a disabled storage tells nothing
            rows.sort(key=lambda row: (str(row.get("status", "")), str(row[key])))
            chosen = rows if len(rows) <= EACH else [rows[0], rows[len(rows) // 2], rows[-1]]
            self.known[path] = [str(row[key]) for row in chosen]
        return self.known[path]


def main(arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """0 where nothing differs, 1 where something does. Raises CannotCompare."""
    options = parser().parse_args(arguments)
    token = options.token or os.environ.get("PVE_TOKEN", "")
    asking = Asking(options.url, token, options.fingerprint, options.ca, options.pause)
    comparison = Comparison(asking, options.node)
    counts = {"same": 0, "more": 0, "differs": 0, "not asked": 0}
    for verdict in comparison.verdicts():
        counts[verdict.kind] += 1
        if verdict.kind in ("differs", "more") or options.all:
            query = "&".join(f"{name}={value}" for name, value in verdict.reading.query)
            say(f"{verdict.kind:9} GET {verdict.reading.template}{'?' if query else ''}{query}")
            for text in verdict.texts:
                say(f"          {text}")
    say(
        f"{counts['same']} the same, {counts['more']} the same with more keys, {counts['differs']} differ, "
        f"{counts['not asked']} had nothing to be asked of."
    )
    return 1 if counts["differs"] else 0


def parser() -> argparse.ArgumentParser:
    """The options of `compare`."""
    made = argparse.ArgumentParser(
        prog="pve-simulator compare",
        description="Asks a Proxmox VE of yours what was recorded from a real one, and prints where it answers differently. "
        "Reads only; prints shapes and messages, no values; keeps nothing.",
    )
    made.add_argument("--url", required=True, help="https://HOST:8006")
    made.add_argument("--token", help="user@realm!name=secret; better in the environment as PVE_TOKEN")
    made.add_argument("--fingerprint", default="", help="SHA-256 of the server's certificate")
    made.add_argument(
        "--ca", default="", help="file of the authority that signed it, e.g. the cluster's pve-root-ca.pem"
    )
    made.add_argument("--node", default="", help="which node to ask (default: the first that is online)")
    made.add_argument("--pause", type=float, default=0.05, help="seconds between two requests (default 0.05)")
    made.add_argument("--all", action="store_true", help="tell what is the same, too")
    return made
