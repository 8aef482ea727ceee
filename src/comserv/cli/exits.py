"""What a command's end says to the shell, and the errors of the command line itself.

CommandError                a command cannot do its work
├── NoToken                 COMSERV_TOKEN is not set
├── ComservUnreachable      Comserv itself does not answer
├── Refused                 Comserv answered with a problem
└── NotAsked                it would have to ask, and nobody is there to answer
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    CONFLICT = 5
    UNREACHABLE = 6
    JOB_FAILED = 7
    JOB_CANCELLED = 8


MEANING = {
    Exit.OK: "done",
    Exit.ERROR: "something went wrong inside Comserv or here",
    Exit.USAGE: "the command or a value in it is not understood",
    Exit.NOT_FOUND: "there is no such server, guest, job, person or token",
    Exit.REFUSED: "not signed in, or the role does not allow it",
    Exit.CONFLICT: "its state forbids it, the plan has a blocker, or a connection test failed",
    Exit.UNREACHABLE: "a server, or Comserv itself, does not answer as it should",
    Exit.JOB_FAILED: "the job that was waited for failed",
    Exit.JOB_CANCELLED: "the job that was waited for was cancelled",
}

_BY_CODE = {
    "plan_blocked": Exit.CONFLICT,
    "connection_test_failed": Exit.CONFLICT,
    "idempotency_mismatch": Exit.CONFLICT,
}
_BY_STATUS = {
    400: Exit.USAGE,
    401: Exit.REFUSED,
    403: Exit.REFUSED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    422: Exit.USAGE,
    429: Exit.REFUSED,
    502: Exit.UNREACHABLE,
    503: Exit.UNREACHABLE,
    504: Exit.UNREACHABLE,
}


def exit_of(problem: Mapping[str, Any]) -> Exit:
    """The exit code for a problem as the API tells it."""
    return _BY_CODE.get(problem.get("code", ""), _BY_STATUS.get(problem.get("status", 500), Exit.ERROR))


def explained() -> str:
    """For `comserv --help`."""
    return "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANING.items()) + "."


class CommandError(Exception):
    """title: what happened; detail: why; cure: what to do."""

    exit = Exit.ERROR

    def __init__(self, title: str, detail: str = "", cure: str = "") -> None:
        self.problem: dict[str, Any] = {"title": title, "detail": detail, "cure": cure}
        super().__init__(title)


class NoToken(CommandError):
    exit = Exit.REFUSED

    def __init__(self) -> None:
        super().__init__(
            "There is no API token.",
            "COMSERV_TOKEN is not set.",
            "Make one on the account page or by `comserv token create --user NAME`, and set COMSERV_TOKEN to it.",
        )


class ComservUnreachable(CommandError):
    """sent: the request may have arrived."""

    exit = Exit.UNREACHABLE

    def __init__(self, url: str, detail: str, sent: bool = False) -> None:
        self.sent = sent
        cure = "Check that `comserv serve` runs there, and that COMSERV_URL is its address."
        super().__init__(f"Comserv does not answer at {url}.", detail, cure)


class Refused(CommandError):
    """problem: as the API told it."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("title", "Comserv refused.")))
        self.problem = dict(problem)
        self.exit = exit_of(self.problem)


class NotAsked(CommandError):
    exit = Exit.USAGE

    def __init__(self, what: str, option: str) -> None:
        super().__init__(f"{what} is needed.", "This is no terminal, so it cannot be asked for.", f"Give {option}.")
