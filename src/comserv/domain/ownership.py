"""What makes a guest ours: a signed marker in its description, and the proof that no copy of it can have.

Every clone and restored backup inherits the description (semantics section 10), so the marker alone proves nothing.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from comserv.domain import propertystring
from comserv.domain.errors import Invalid
from comserv.domain.guest import GuestConfig

Sign = Callable[[bytes], str]
"""A keyed hash of the message, as hexadecimal text; the key never comes into the domain."""


class Stage(StrEnum):
    """How far the creation had come when the description was written; it tells whether our configure call went through."""

    CLONED = "cloned"
    CONFIGURED = "configured"


@dataclass(frozen=True)
class Marker:
    """Which job made this guest, where and under which number."""

    job: str
    server: str
    vmid: int
    stage: Stage = Stage.CLONED

    def message(self) -> bytes:
        return f"comserv-marker 1 {self.job} {self.server} {self.vmid} {self.stage}".encode()


_LINE = re.compile(r"comserv:1:([a-z0-9-]{1,40}):([a-z0-9-]{1,32}):([0-9]{3,9}):(cloned|configured):([0-9a-f]{16,128})")
_HUMAN = re.compile(r"Made by Comserv in job \S+; the next line proves it\.")


def marker_text(marker: Marker, sign: Sign) -> str:
    """Two lines for the description: one for people, one for us. Only characters that no encoding of Proxmox changes."""
    proof = f"comserv:1:{marker.job}:{marker.server}:{marker.vmid}:{marker.stage}:{sign(marker.message())}"
    return f"Made by Comserv in job {marker.job}; the next line proves it.\n{proof}"


def with_marker(notes: str, marker: Marker, sign: Sign) -> str:
    """A person's notes with our marker below them, replacing any marker that is there."""
    notes = strip_marker(notes)
    return f"{notes}\n\n{marker_text(marker, sign)}" if notes else marker_text(marker, sign)


def strip_marker(description: str) -> str:
    """The description without our lines, as a person wrote it; outer white space is cut."""
    lines = [
        line for line in _lines(description) if not _LINE.fullmatch(line.strip()) and not _HUMAN.fullmatch(line.strip())
    ]
    return "\n".join(lines).strip()


def marker_lines(description: str) -> str:
    """Our lines of a description as they stand, valid or not, so that a change of the notes can keep them."""
    return "\n".join(
        line for line in _lines(description) if _LINE.fullmatch(line.strip()) or _HUMAN.fullmatch(line.strip())
    )


def keep_marker(notes: str, description: str) -> str:
    """New notes for a guest whose description may carry a marker: the marker stays."""
    kept, notes = marker_lines(description), strip_marker(notes)
    return f"{notes}\n\n{kept}" if notes and kept else notes or kept


def read_marker(description: str, sign: Sign) -> Marker | None:
    """The marker of a description when its signature is ours, the last one where there are several."""
    for line in reversed(_lines(description)):
        found = _LINE.fullmatch(line.strip())
        if found:
            marker = Marker(found[1], found[2], int(found[3]), Stage(found[4]))
            if hmac.compare_digest(sign(marker.message()).encode(), found[5].encode()):
                return marker
    return None


def _lines(description: str) -> list[str]:
    return description.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def smbios_uuid(config: GuestConfig) -> str:
    """The uuid of `smbios1`, lower case; empty where there is none. Every clone and restore gets a new one."""
    try:
        return propertystring.parse(config.get("smbios1")).get("uuid", "").lower()
    except Invalid:
        return ""


@dataclass(frozen=True)
class Evidence:
    """What is known of a guest that may be ours.

    description, uuid: as its configuration shows now. reserved_by: the job that reserved this VM id on this server.
    created_by: the job whose create or clone task to this VM id is known and ended well. uuid_at_end: the smbios1 uuid
    read when that task ended, empty where it was never read.
    """

    server: str
    vmid: int
    description: str
    uuid: str
    reserved_by: str = ""
    created_by: str = ""
    uuid_at_end: str = ""


@dataclass(frozen=True)
class Ownership:
    """ours, and if not, each reason as a sentence. job: the one that made it."""

    ours: bool
    reasons: tuple[str, ...] = ()
    job: str = ""


def is_ours(evidence: Evidence, sign: Sign) -> Ownership:
    """Ours only when all four hold: marker, reservation, task, uuid (promise 1)."""
    marker = read_marker(evidence.description, sign)
    if marker is None:
        return Ownership(False, ("Its notes carry no marker of ours.",))
    reasons = []
    if (marker.server, marker.vmid) != (evidence.server, evidence.vmid):
        reasons.append(f"Its marker belongs to {marker.server}/{marker.vmid}: it is a copy.")
    if evidence.reserved_by != marker.job:
        reasons.append(f"Its VM id was not reserved by the job {marker.job}.")
    if evidence.created_by != marker.job:
        reasons.append(f"No task of the job {marker.job} that made it is known.")
    if not evidence.uuid_at_end:
        reasons.append("Its uuid was not read when it was made.")
    elif evidence.uuid.lower() != evidence.uuid_at_end.lower():
        reasons.append("Its uuid is not the one that the VM made by us had: it is a copy.")
    return Ownership(not reasons, tuple(reasons), marker.job)
