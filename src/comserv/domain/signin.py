"""Signing in: what a name may be, and how long to wait after failures. Nobody is ever locked out for good."""

import re
from datetime import timedelta

from comserv.domain.errors import Invalid
from comserv.domain.session import Attempts

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
FREE_BY_NAME, FREE_BY_ADDRESS = 3, 10
MOST = timedelta(seconds=60)
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
    """After a few free tries each failure doubles the wait, up to a minute; an address gets more, for it may be an office's."""
    over = max(attempts.by_name - FREE_BY_NAME, attempts.by_address - FREE_BY_ADDRESS)
    return min(MOST, timedelta(seconds=2.0 ** min(over, 10))) if over > 0 else timedelta(0)
