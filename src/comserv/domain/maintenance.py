"""Maintenance of a server: somebody asked that nothing is sent to it, until they say so or until a time."""

from dataclasses import dataclass
from datetime import datetime
from math import inf

from comserv.domain.errors import Invalid

LONGEST_REASON = 500  # characters


@dataclass(frozen=True)
class Maintenance:
    """by: a person's name, or empty where nobody is known. until: when it ends by itself, None where somebody has to end it."""

    by: str
    since: datetime
    why: str = ""
    until: datetime | None = None

    def left(self, now: datetime) -> float:
        """Seconds until it ends by itself."""
        return inf if self.until is None else (self.until - now).total_seconds()

    @property
    def words(self) -> str:
        """One sentence for rows and findings: who wants it, and why."""
        who = f"{self.by} asked for it" if self.by else "It was asked for"
        return f"{who}: {self.why.rstrip('.')}." if self.why else f"{who}."


def begin_maintenance(by: str, now: datetime, why: str = "", until: datetime | None = None) -> Maintenance:
    """Raises Invalid for a reason that is too long, and for an end that has passed or tells no time zone."""
    why = " ".join(why.split())
    if len(why) > LONGEST_REASON:
        raise Invalid(fields={"why": f"at most {LONGEST_REASON} characters"})
    if until is not None and until.tzinfo is None:
        raise Invalid(fields={"until": "say the time zone too, for example 2026-11-25T08:00:00Z"})
    if until is not None and until <= now:
        raise Invalid(fields={"until": "this time has passed; leave it empty, or name one to come"})
    return Maintenance(by, now, why, until)
