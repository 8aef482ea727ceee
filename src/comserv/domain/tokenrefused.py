"""What a 401 means: Proxmox says the same for a wrong value and for an unknown, expired or disabled token, so it is narrowed by
what is known, and each cause that is left has a line that checks it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from shlex import quote

from comserv.domain.rights import TokenFacts
from comserv.domain.server import TokenId
from comserv.domain.units import span


@dataclass(frozen=True)
class Worked:
    """last: when the server last answered to this token, None where it never did or that is not known. facts: as they were
    read then."""

    last: datetime | None = None
    facts: TokenFacts | None = None


NEVER_WORKED = Worked()


@dataclass(frozen=True)
class TokenKnown:
    """What is known of a token that is refused. realms: of the server, empty where they were not told."""

    token: TokenId
    realms: Collection[str] = ()
    worked: Worked = NEVER_WORKED


def why_refused(known: TokenKnown, now: datetime) -> str:
    """Whole sentences."""
    return " ".join(_why(known, now))


def _why(known: TokenKnown, now: datetime) -> Iterator[str]:
    token, facts, last = known.token, known.worked.facts, known.worked.last
    if known.realms and token.realm not in known.realms:
        realms = ", ".join(sorted(known.realms))
        yield f"The server has no realm {token.realm}, so there is no user {token.userid}; its realms are {realms}."
        return
    yield (
        f"The server refuses the token {token}. It says the same for a wrong value, an unknown user or token, one that has "
        "expired, and a user that is disabled."
    )
    if facts and facts.expires and facts.expires <= now:
        yield f"The token was to end {facts.expires:%Y-%m-%d}, so it has expired."
    elif facts and facts.user_expires and facts.user_expires <= now:
        yield f"The user {token.userid} was to end {facts.user_expires:%Y-%m-%d}, so it has expired."
    elif last:
        ago = span((now - last).total_seconds())
        ends = "" if not facts else " It was not to end yet." if facts.expires else " It was to have no end."
        yield (
            f"It worked {ago} ago, so id and value were right then: it was removed, disabled, or its value was made anew.{ends}"
        )
    else:
        yield "It never worked from here, so begin with id and value: both have the right form."


def checks(known: TokenKnown) -> tuple[tuple[str, str], ...]:
    """(what to look for, the line that shows it), to be run as root on the server."""
    token = known.token
    user = quote(token.userid)
    if known.realms and token.realm not in known.realms:
        return (("Is the realm right?", "pveum realm list"), ("Who is there?", "pveum user list"))
    return (
        (f"Is {token.name} there, spelt alike, and is its end not past?", f"pveum user token list {user}"),
        (f"Is {token.userid} enabled, and is its end not past?", f"pveum user list --full 1 | grep {user}"),
        ("Only then is the value wrong. It cannot be shown again; make another token:", token_line(token)),
    )


def how_to_check(known: TokenKnown) -> str:
    """`checks` as text, a comment and a line each."""
    return "\n".join(f"# {question}\n{line}" for question, line in checks(known))


def token_line(token: TokenId) -> str:
    """Another name, so that the old one stays until the new one is known to work."""
    return f"pveum user token add {quote(token.userid)} {quote(token.name + '2')} --privsep 1"
