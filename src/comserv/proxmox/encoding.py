"""What is sent: a call's path and parameters in Proxmox's own encoding, and the same with its secrets masked."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from comserv.domain.errors import Invalid

Value = str | int | float | bool | None | Sequence[str]
Parameters = Mapping[str, Value]

SECRET_NAMES = frozenset({"password", "cipassword", "secret", "ticket", "vncticket", "value", "key", "encryption-key"})
MASK = "•••"


@dataclass(frozen=True)
class Call:
    """One call. path: `/nodes/pve1/qemu/105/config`, segments already encoded.

    changes: it is never sent twice. heavy_on: the node that works long for it, else empty.
    """

    method: str
    path: str
    parameters: Parameters = field(default_factory=dict)
    changes: bool = False
    heavy_on: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def path(*segments: str | int) -> str:
    """`("nodes", "pve1", "tasks", "UPID:…")` → `/nodes/pve1/tasks/UPID%3A…`; a segment cannot leave its place.
    Raises Invalid for an empty one, `.` and `..`."""
    parts = [quote(str(segment), safe="@!") for segment in segments]
    if any(part in ("", ".", "..") for part in parts):
        raise Invalid(f"{'/'.join(map(str, segments))} is no path of Proxmox's API")
    return "/" + "/".join(parts)


def encode(parameters: Parameters) -> str:
    """Form text as Proxmox reads it (semantics section 2): an open `=` cuts a value off and `;` separates, so both go as
    %3D and %3B; booleans are 0 and 1; a list repeats its key; None is left out."""
    return "&".join(f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in _pairs(parameters))


def encode_sshkeys(keys: str) -> str:
    """Public keys are percent-encoded inside the value, with %20, so twice on the wire (semantics section 13)."""
    return quote(keys, safe="")


def masked(parameters: Parameters, secrets: Iterable[str] = ()) -> dict[str, str]:
    """Parameters for a record: secrets are masked by name and by value."""
    secrets = tuple(secrets)
    return {
        name: MASK if name in SECRET_NAMES or name.startswith("password") else masked_text(text, secrets)
        for name, text in _pairs(parameters)
    }


def masked_text(text: str, secrets: Iterable[str]) -> str:
    """Every occurrence of a secret of at least 4 characters is masked, also as it stands in an address or in JSON."""
    for secret in secrets:
        if len(secret) >= 4:
            for spelling in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
                text = text.replace(spelling, MASK)
    return text


def _pairs(parameters: Parameters) -> Iterable[tuple[str, str]]:
    for name, value in parameters.items():
        if value is None:
            continue
        for single in (value,) if isinstance(value, str | int | float) else value:
            yield name, str(int(single)) if isinstance(single, bool) else str(single)
