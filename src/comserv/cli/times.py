"""Times as people type them at a command: `2h` from now, or a date and a time of this machine's zone."""

import re
from datetime import UTC, datetime, timedelta

from comserv.cli.exits import CommandError

_LENGTH = re.compile(r"(\d{1,4})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def when(text: str, option: str) -> str:
    """An ISO time in UTC. Raises CommandError."""
    if length := _LENGTH.fullmatch(text.strip()):
        at = datetime.now(UTC) + timedelta(**{_UNITS[length[2]]: int(length[1])})
    else:
        try:
            at = datetime.fromisoformat(text.strip()).astimezone(UTC)
        except ValueError:
            what = f"{option} takes a length (30m, 2h, 1d) or a time (2026-11-25T08:00), not {text[:40]}."
            raise CommandError(what) from None
    return at.isoformat(timespec="seconds")
