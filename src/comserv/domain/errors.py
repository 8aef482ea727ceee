"""The one error tree of Comserv. A class's docstring is its message: the first paragraph says what happened,
the second what to do. `{names}` in it are filled from the facts given when it is raised. Texts for people are made
once, at the edge (api/problems.py, web/problems.py, cli/output.py), from `title`, `detail`, `cure` and `proxmox`.

ComservError
├── ConfigurationError          this installation is set up in a way that cannot work
├── DatabaseUnavailable         the database does not answer, or cannot be written
├── Unauthenticated             nobody is signed in, or the credentials are wrong
├── TooManyAttempts             signing in is slowed down for this name and address
├── Forbidden                   the role does not allow it
├── NotFound                    there is no such server, guest, job, person, token
├── Conflict                    it is there, but its state forbids this
│   ├── FewerRights             a token that is to replace another may do less than that
│   └── RightsMissing           the server's token lacks a right for it, as is known before anything is sent; `findings`
├── Invalid                     what was asked for cannot be understood; `fields` says where
│   ├── PlanBlocked             the plan has blockers; `findings`
│   ├── SecretsMissing          a retry needs secrets anew; `names`
│   ├── IdempotencyMismatch     the same key came with another body
│   └── ConnectionTestFailed    a server that is to be added fails its test; `stages`
└── ProxmoxError                a server said no, or nothing; `proxmox` holds its own words
    ├── ServerUnreachable       no connection: nothing was carried out
    │   ├── CertificateRefused  TLS did not hold what was agreed
    │   └── ServerInMaintenance an admin asked that nothing is sent to it
    ├── OutcomeUnknown          it was sent and no usable answer came: it may have been carried out
    ├── ReplyUnreadable         an answer came that Proxmox VE would not give
    ├── TokenRefused            401
    ├── PermissionMissing       403
    └── RequestRefused          Proxmox's no: 400, 500, 501 …
        ├── ParametersRefused   400 with a text per parameter
        ├── GuestMissing        there is no guest with this number
        ├── VmidTaken           the number is in use
        ├── GuestLocked         the configuration carries a lock
        ├── LockTimeout         Proxmox waited 10 s for a lock of its own
        ├── DigestMismatch      somebody else changed the configuration meanwhile
        └── TaskMissing         there is no task with this UPID
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ProxmoxSaid:
    """Proxmox's own words: HTTP status and message, never shortened; `errors` by parameter."""

    status: int
    message: str
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """An error as it is stored and shown: what happened, why, what to do, and what Proxmox said."""

    code: str
    title: str
    detail: str = ""
    cure: str = ""
    proxmox: ProxmoxSaid | None = None


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return key.replace("_", " ")


class ComservError(Exception):
    """Something went wrong inside Comserv.

    Look for the request's id in Comserv's log, and report what you find there.
    """

    proxmox: ProxmoxSaid | None = None

    def __init__(self, detail: str = "", *, cure: str = "", **facts: Any) -> None:
        self.detail, self.facts, self._cure = detail, facts, cure
        super().__init__(detail or self.title)

    def _paragraphs(self) -> list[str]:
        text = inspect.getdoc(type(self)) or ""
        return [" ".join(part.split()).format_map(_Facts(self.facts)) for part in text.split("\n\n")]

    @property
    def code(self) -> str:
        """A stable word for programs: the class's name in snake case."""
        name = type(self).__name__
        return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")

    @property
    def title(self) -> str:
        """What happened, one sentence."""
        return self._paragraphs()[0]

    @property
    def cure(self) -> str:
        """What to do."""
        return self._cure or "\n".join(self._paragraphs()[1:])

    def problem(self) -> Problem:
        return Problem(self.code, self.title, self.detail, self.cure, self.proxmox)


class ConfigurationError(ComservError):
    """Comserv cannot start with these settings.

    Change the setting that is named, and start again.
    """


class DatabaseUnavailable(ComservError):
    """Comserv's database does not answer.

    Check that it runs and can be reached, and that its disk is not full. Jobs go on by themselves when it is back.
    """


class Unauthenticated(ComservError):
    """You are not signed in.

    Sign in, or send a valid API token as `Authorization: Bearer …`.
    """


class TooManyAttempts(ComservError):
    """Too many attempts to sign in.

    Wait {retry_after} seconds, then try again.
    """


class Forbidden(ComservError):
    """Your role does not allow this.

    It needs the role {needed}; an admin can give it to you under People.
    """


class NotFound(ComservError):
    """There is no {noun} {name}.

    Look at the list; it may have been removed, or it never was.
    """


class Conflict(ComservError):
    """This cannot be done now.

    See the reason, and try again when it has passed.
    """


class FewerRights(Conflict):
    """The new token may do less than the one in use; nothing was changed.

    Give it the same rights, or say that fewer are enough.
    """


class RightsMissing(Conflict):
    """The API token of {server} may not do this; nothing was sent.

    Run the lines that are shown as root on the server, then look again on its page under “What the token may do”.
    """

    def __init__(self, findings: Sequence[Any], *, server: str, cure: str = "") -> None:
        self.findings = tuple(findings)
        super().__init__(" ".join(finding.text for finding in findings), cure=cure, server=server)


class Invalid(ComservError):
    """What was asked for cannot be understood.

    Correct the fields that are named.
    """

    def __init__(self, detail: str = "", *, fields: Mapping[str, str] | None = None, **facts: Any) -> None:
        self.fields = dict(fields or {})
        super().__init__(detail or "; ".join(f"{name}: {text}" for name, text in self.fields.items()), **facts)


class PlanBlocked(Invalid):
    """The plan has blockers, nothing was sent.

    Solve each of them; every finding names its cure.
    """

    def __init__(self, findings: Sequence[Any], **facts: Any) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(f.text for f in findings if f.level == "blocker"), **facts)


class SecretsMissing(Invalid):
    """Secrets of the first try are needed again: they are deleted once a job has ended.

    Send them under `secrets`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            "Missing: " + ", ".join(names), fields={f"secrets.{name}": "is needed again" for name in names}
        )


class IdempotencyMismatch(Invalid):
    """This Idempotency-Key was used before, with another body.

    Use a new key for a new request.
    """


class ConnectionTestFailed(Invalid):
    """The server did not pass the connection test, nothing was kept.

    The first stage that failed names the cure.
    """

    def __init__(self, stages: Sequence[Any], detail: str = "") -> None:
        self.stages = tuple(stages)
        super().__init__(detail)


class ProxmoxError(ComservError):
    """The server {server} did not do what was asked.

    See what Proxmox said.
    """

    def __init__(self, detail: str = "", *, server: str = "", said: ProxmoxSaid | None = None, **facts: Any) -> None:
        self.proxmox, self.server = said, server
        super().__init__(detail or (said.message.strip() if said else ""), server=server, **facts)


class ServerUnreachable(ProxmoxError):
    """The server {server} does not answer; nothing was carried out.

    Check that the host is up and its port 8006 can be reached from here. Jobs for it are held meanwhile.
    """


class CertificateRefused(ServerUnreachable):
    """The server {server} shows a certificate that was not agreed; nothing was sent.

    If the certificate was renewed, compare the new fingerprint on the server and accept it on the server's page.
    """


class ServerInMaintenance(ServerUnreachable):
    """The server {server} is in maintenance; nothing is sent to it.

    It goes on by itself when an admin ends the maintenance on the server's page.
    """


class OutcomeUnknown(ProxmoxError):
    """The reply of {server} was lost: it may have done what was asked.

    Nothing is sent again before Comserv has looked at what is there.
    """


class ReplyUnreadable(ProxmoxError):
    """The answer of {server} is not one that Proxmox VE gives.

    Something stands between, a proxy or another service; check the address and the port.
    """


class TokenRefused(ProxmoxError):
    """The server {server} does not accept the API token.

    Proxmox says the same for a wrong value, an unknown, an expired and a disabled token: compare the token id and make a
    new value with `pveum user token` on the server, then replace it on the server's page.
    """


class PermissionMissing(ProxmoxError):
    """The API token of {server} lacks a right.

    Give the token the privilege that Proxmox names, at the path that it names.
    """


class RequestRefused(ProxmoxError):
    """The server {server} refused.

    Proxmox's own words say why.
    """


class ParametersRefused(RequestRefused):
    """The server {server} refused a parameter.

    Correct what Proxmox names.
    """


class GuestMissing(RequestRefused):
    """The guest is not there any more on {server}.

    Somebody may have removed it; look at the list.
    """


class VmidTaken(RequestRefused):
    """The VM id is taken on {server}.

    Another id has to be used.
    """


class GuestLocked(RequestRefused):
    """The guest is locked on {server}.

    Wait until the task that holds the lock has ended.
    """


class LockTimeout(RequestRefused):
    """The server {server} waited 10 s for a lock and gave up.

    Another task works on the same guest or storage; it can be tried again.
    """


class DigestMismatch(RequestRefused):
    """Somebody else changed the configuration meanwhile; nothing was overwritten.

    Look at what is there now, and decide again.
    """


class TaskMissing(RequestRefused):
    """The server {server} does not know the task any more.

    Proxmox forgets old tasks; look at the guest itself.
    """
