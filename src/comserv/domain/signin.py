"""Signing in: what a name may be, and how long to wait after failures. Nobody is ever locked out for good."""

import re
from datetime import datetime, timedelta

from comserv.domain.errors import Invalid
from comserv.domain.session import Attempts

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
FREE_BY_NAME, FREE_BY_ADDRESS = 3, 10
MOST_BY_NAME, MOST_BY_ADDRESS = timedelta(seconds=5), timedelta(seconds=60)
RESERVED = "local"  # what the audit calls the command line


def check_person_name(text: str) -> str:
    """1 to 64 letters, digits, and . _ @ - inside; not the name that stands for the command line. Raises Invalid."""
    text = text.strip()
    if not NAME.fullmatch(text):
        raise Invalid(fields={"name": "a name has 1 to 64 letters, digits and . _ @ - inside it"})
    if text.lower() == RESERVED:
        raise Invalid(fields={"name": f"{RESERVED} stands for the command line in the audit; choose another name"})
    return text


def delay_after(attempts: Attempts) -> timedelta:
    """How long after the last failure the next try is taken.

    After a few free tries each failure doubles the wait. An address gets more free tries, for it may be an office's, and then
    waits up to a minute; a name up to 5 s only, so that whoever keeps trying it does not keep its owner out.
    """
    return max(_by_name(attempts), _by_address(attempts))


def next_try(attempts: Attempts) -> datetime | None:
    """When; None for at once. The name's wait counts from the name's last failure, the address's from its own."""
    name = attempts.last_by_name + _by_name(attempts) if attempts.last_by_name else None
    address = attempts.last_by_address + _by_address(attempts) if attempts.last_by_address else None
    return max((at for at in (name, address) if at), default=None)


def _by_name(attempts: Attempts) -> timedelta:
    return _doubled(attempts.by_name - FREE_BY_NAME, MOST_BY_NAME)


def _by_address(attempts: Attempts) -> timedelta:
    return _doubled(attempts.by_address - FREE_BY_ADDRESS, MOST_BY_ADDRESS)


def _doubled(over: int, most: timedelta) -> timedelta:
    return min(most, timedelta(seconds=2.0 ** min(over, 10))) if over > 0 else timedelta(0)
