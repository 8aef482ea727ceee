"""Calendar events as Proxmox VE writes them: `mon..fri 02:30`, `sat 03:00`, `*/15`, `daily`. All in UTC.

Known are lists, ranges and steps of week days, hours and minutes, and the usual short names; no dates.
"""

from __future__ import annotations

import datetime
import re

from pve_simulator.errors import SimulatorError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SHORT = {
    "minutely": "*:*",
    "hourly": "*:00",
    "daily": "00:00",
    "weekly": "mon 00:00",
}
LIMIT = 366 * 24 * 60  # minutes looked ahead


class BadEvent(SimulatorError):
    """A calendar event that makes no sense; the text says why."""


def coming(event: str, after: int, count: int) -> list[int]:
    """The next times (epoch seconds) of an event after a time; raises BadEvent."""
    days, hours, minutes = parse(event)
    moment = after // 60 * 60 + 60
    found: list[int] = []
    for _ in range(LIMIT):
        if len(found) == count:
            break
        told = datetime.datetime.fromtimestamp(moment, datetime.UTC)
        if told.weekday() not in days:
            moment += (24 * 60 - told.hour * 60 - told.minute) * 60
        elif told.hour not in hours:
            moment += (60 - told.minute) * 60
        else:
            if told.minute in minutes:
                found.append(moment)
            moment += 60
    return found


def parse(event: str) -> tuple[set[int], set[int], set[int]]:
    """Week days (0 is Monday), hours and minutes of an event; raises BadEvent."""
    text = SHORT.get(event.strip().lower(), event.strip().lower())
    days, hours, minutes = set(range(7)), set(range(24)), {0}
    for part in text.split():
        if ":" in part:
            hour, _, minute = part.partition(":")
            hours, minutes = numbers(hour, 24, event), numbers(minute, 60, event)
        elif re.match(r"[a-z]", part):
            days = week_days(part, event)
        else:
            minutes = numbers(part, 60, event)
    return days, hours, minutes


def refuse(event: str, token: str) -> BadEvent:
    """The refusal of an event, in the real one's words."""
    return BadEvent(f"invalid calendar event '{event}' - unable to parse calendar event - unparsed token '{token}'\n")


def week_days(text: str, event: str) -> set[int]:
    """The days of a list with ranges."""
    found: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        known = [
            next((number for number, day in enumerate(DAYS) if name[:3] == day), None)
            for name in (first, last or first)
        ]
        if known[0] is None or known[1] is None:
            raise refuse(event, text)
        found |= set(range(known[0], known[1] + 1)) if dots else {known[0]}
    return found


def numbers(text: str, limit: int, event: str) -> set[int]:
    """The numbers below a limit of a list with ranges and steps."""
    found: set[int] = set()
    for part in text.split(","):
        told = re.fullmatch(r"(\*|\d+)(?:\.\.(\d+))?(?:/(\d+))?", part)
        if not told:
            raise refuse(event, text)
        first = 0 if told[1] == "*" else int(told[1])
        open_ended = told[1] == "*" or told[3]
        last = int(told[2]) if told[2] else (limit - 1 if open_ended else first)
        found |= {number for number in range(first, last + 1, int(told[3] or 1)) if number < limit}
    return found
