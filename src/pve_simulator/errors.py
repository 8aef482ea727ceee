"""What the API refuses, and how it words it.

SimulatorError
├── ApiError               a reply of 400 or more
│   ├── ParameterError     400, one text per parameter
│   └── PermissionDenied   403
├── TaskError              a worker's end that is not OK
└── Disconnect             the connection ends here, without a reply
"""

from __future__ import annotations

from collections.abc import Mapping


class SimulatorError(Exception):
    """The stand-in refuses, as Proxmox VE would."""


class ApiError(SimulatorError):
    """A reply with `status` >= 400 and Proxmox's text, written without its final newline.

    The first line becomes the reason of the status line, the whole the body's `message`.
    `newline=False` keeps the final newline out of the body (only 501 of an unknown path lacks it).
    """

    def __init__(
        self, status: int, message: str, errors: Mapping[str, str] | None = None, *, newline: bool = True
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = dict(errors) if errors else None
        self.newline = newline


class ParameterError(ApiError):
    """400 `Parameter verification failed.` with a text per parameter."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(400, "Parameter verification failed.", errors)


class PermissionDenied(ApiError):
    """403 `Permission check failed`, with what is lacking in brackets, or bare."""

    def __init__(self, lacking: str = "") -> None:
        super().__init__(403, f"Permission check failed ({lacking})" if lacking else "Permission check failed")


class TaskError(SimulatorError):
    """A worker's failing end: its text becomes the exit status and the log's last line."""


class Disconnect(SimulatorError):
    """The connection is closed without a reply."""
