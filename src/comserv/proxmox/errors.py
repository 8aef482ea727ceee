"""What a reply's status and words mean, said once: Proxmox's refusals become errors of domain/errors.py.

Proxmox answers 500 for nearly every refusal and tells the reason in words only (semantics sections 3, 6 to 10), so the
words are read here and nowhere else.
"""

import re
from dataclasses import dataclass

from comserv.domain.errors import (
    DigestMismatch,
    GuestLocked,
    GuestMissing,
    LockTimeout,
    OutcomeUnknown,
    ParametersRefused,
    PermissionMissing,
    ProxmoxError,
    ProxmoxSaid,
    ReplyUnreadable,
    RequestRefused,
    ServerUnreachable,
    TaskMissing,
    TokenRefused,
    VmidTaken,
)
from comserv.domain.mending import refusal_cure
from comserv.domain.task import TaskStatus
from comserv.proxmox.decoding import decode_refusal

NOTHING_REACHED_THE_NODE = 595  # AnyEvent::HTTP: no connection; 596 to 599: lost after that
LOST_BEHIND_THE_SERVER = range(596, 600)
PERMISSION = re.compile(r"Permission check failed \((?P<path>/[^,)]*), (?P<privileges>[A-Za-z.|]+)\)")
WORDS: tuple[tuple[type[RequestRefused], re.Pattern[str]], ...] = (
    (GuestLocked, re.compile(r"\b(?:VM|CT) is locked(?: \((?P<lock>[^)]+)\))?")),
    (LockTimeout, re.compile(r"can't lock file .* got timeout|got lock request timeout", re.S)),
    (DigestMismatch, re.compile(r"checksum mismatch \(file change|detected modified configuration")),
    (VmidTaken, re.compile(r"\b(?:VM|CT) (?P<vmid>\d+) already exists|unable to create (?:VM|CT) \d+: config file")),
    (
        GuestMissing,
        re.compile(
            r"Configuration file '(?:/etc/pve/)?nodes/[^/']+/(?:qemu-server|lxc)/\d+\.conf' does not exist"
            r"|unable to find configuration file for (?:VM|CT) \d+"
        ),
    ),
    (TaskMissing, re.compile(r"^no such task$")),
)


@dataclass(frozen=True)
class Reply:
    """A reply as it came. content_type: in lower case, without its parameters. date, software: as the headers
    Date and Server tell them."""

    status: int
    reason: str
    body: bytes
    content_type: str = ""
    location: str = ""
    wants_password: bool = False
    date: str = ""
    address: str = ""
    software: str = ""

    @property
    def unlike_proxmox(self) -> str:
        """Why no Proxmox VE would answer so, or empty. (The oldest replies have no content type, and 401 no body.)"""
        if 300 <= self.status < 400:
            return f"it redirects to {self.location or 'somewhere else'}"
        if self.status == 401 and self.wants_password:
            return "it asks for a password of its own (WWW-Authenticate)"
        if self.content_type not in ("", "application/json"):
            return f"it is {self.content_type}, not JSON"
        if self.status in (502, 503, 504) and decode_refusal(self.body) is None:
            return f"a gateway answered {self.status} {self.reason}"
        return ""


def error_of(reply: Reply, server: str, changes: bool) -> ProxmoxError | None:
    """None for a good reply (whose body is still to be read). changes: the call may have changed something."""
    if strange := reply.unlike_proxmox:
        return unreadable(server, strange, reply, changes and reply.status not in range(300, 500))
    if reply.status < 300:
        return None
    said = _said(reply)
    if reply.status == 401:
        return TokenRefused(server=server, said=said)
    if reply.status == 403:
        return permission_missing(said, server)
    if reply.status == NOTHING_REACHED_THE_NODE:
        return ServerUnreachable(f"the node cannot be reached from there: {reply.reason}", server=server, said=said)
    if reply.status in LOST_BEHIND_THE_SERVER:
        kind = OutcomeUnknown if changes else ServerUnreachable
        return kind(f"the node gave no answer: {reply.status} {reply.reason}", server=server, said=said)
    return refused(said, server)


def unreadable(server: str, why: str, reply: Reply, changes: bool) -> ProxmoxError:
    """A change whose answer cannot be read may have been carried out."""
    said = ProxmoxSaid(reply.status, reply.body[:4096].decode("utf-8", "replace") or reply.reason)
    return (OutcomeUnknown if changes else ReplyUnreadable)(why, server=server, said=said)


def permission_missing(said: ProxmoxSaid, server: str) -> PermissionMissing:
    """`facts` has path and privileges (any of them is enough) where Proxmox names them."""
    found = PERMISSION.search(said.message)
    facts = {"path": found["path"], "privileges": tuple(found["privileges"].split("|"))} if found else {}
    return PermissionMissing(server=server, said=said, **facts)


def with_cure(error: PermissionMissing, server: str) -> PermissionMissing:
    """The same refusal with the line that gives what Proxmox names; its page on the server has all of them."""
    if "path" not in error.facts:
        return error
    cure = refusal_cure(error.facts["path"], error.facts["privileges"], server)
    facts = {name: value for name, value in error.facts.items() if name != "server"}
    return PermissionMissing(error.detail, cure=cure, server=error.server, said=error.proxmox, **facts)


def refused(said: ProxmoxSaid, server: str) -> RequestRefused:
    """Proxmox's no, by its words. `facts` has `lock` for GuestLocked."""
    detail = "; ".join(f"{name}: {text.strip()}" for name, text in said.errors.items())
    for kind, pattern in WORDS:
        for text in (said.message.strip(), *said.errors.values()):
            if found := pattern.search(text):
                return kind(detail, server=server, said=said, **found.groupdict())
    return (ParametersRefused if said.errors else RequestRefused)(detail, server=server, said=said)


def error_of_task(task: TaskStatus) -> RequestRefused:
    """The error that a failed task's exit text is: the same words as in a reply, told later (semantics section 6)."""
    return refused(ProxmoxSaid(200, task.exitstatus), task.upid.server)


def _said(reply: Reply) -> ProxmoxSaid:
    refusal = decode_refusal(reply.body)
    if refusal is None:
        return ProxmoxSaid(reply.status, reply.body.decode("utf-8", "replace").strip() or reply.reason)
    errors = {name: text if isinstance(text, str) else repr(text) for name, text in refusal.errors.items()}
    return ProxmoxSaid(reply.status, refusal.message.strip() or reply.reason, errors)
