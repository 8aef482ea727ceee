"""What else is known of a token, in sentences: until when it lives, what it hangs on, and whether somebody else uses it too."""

from collections.abc import Iterator
from datetime import datetime
from shlex import quote

from comserv.domain.plan import Finding, Level
from comserv.domain.rights import RightsSeen
from comserv.domain.server import TokenId
from comserv.domain.verdicts import TOKEN_SOON

MOST_TASKS = 3


def token_notes(seen: RightsSeen, token: TokenId, now: datetime) -> tuple[Finding, ...]:
    return (
        *_end(seen, token, now),
        *_user(seen, token, now),
        *_separation(seen, token),
        *_acl(seen),
        *_shared(seen, token),
    )


def _end(seen: RightsSeen, token: TokenId, now: datetime) -> Iterator[Finding]:
    facts, user = seen.token_facts, quote(token.userid)
    if facts is None:
        text = "When the token ends is unknown: it may not read that itself."
        cure = f"See it on the server: pveum user token list {user}. Sys.Audit at / lets Comserv read it."
        yield Finding(Level.NOTE, "token_end_unknown", text, cure)
    elif facts.expires is None:
        yield Finding(Level.NOTE, "token_end", "The token does not end.")
    elif facts.expires - now < TOKEN_SOON:
        days = max((facts.expires - now).days, 0)
        text = f"The token ends {facts.expires:%Y-%m-%d}, in {days} days."
        cure = f"Give it more time: pveum user token modify {user} {quote(token.name)} --expire 0"
        yield Finding(Level.WARNING, "token_ends", text, cure)
    else:
        yield Finding(Level.NOTE, "token_end", f"The token ends {facts.expires:%Y-%m-%d}.")


def _user(seen: RightsSeen, token: TokenId, now: datetime) -> Iterator[Finding]:
    facts = seen.token_facts
    if facts and facts.user_expires and facts.user_expires - now < TOKEN_SOON:
        text = f"The user {token.userid} ends {facts.user_expires:%Y-%m-%d}, and its tokens with it."
        cure = f"Give it more time: pveum user modify {quote(token.userid)} --expire 0"
        yield Finding(Level.WARNING, "user_ends", text, cure)


def _separation(seen: RightsSeen, token: TokenId) -> Iterator[Finding]:
    facts = seen.token_facts
    if facts is None:
        return
    if facts.separated:
        text = f"The token is separated (privsep 1): it may do what both {token.userid} and it itself are given."
    else:
        text = f"The token is not separated (privsep 0): it may do all that {token.userid} may."
    yield Finding(Level.NOTE, "token_separation", text)


def _acl(seen: RightsSeen) -> Iterator[Finding]:
    if seen.acl is None:
        text = "The token may not see the server's permissions, so a NoAccess deeper down would not be known here."
        yield Finding(Level.NOTE, "acl_unseen", text, "Sys.Audit at / (or at /access) lets it see them.")


def _shared(seen: RightsSeen, token: TokenId) -> Iterator[Finding]:
    if not seen.foreign:
        return
    latest = sorted(seen.foreign, key=lambda task: task.started, reverse=True)[:MOST_TASKS]
    told = "; ".join(
        f"{task.type}{f' of {task.id}' if task.id else ''} on {task.node}, {task.started:%Y-%m-%d %H:%M} UTC"
        for task in latest
    )
    text = f"Another program seems to use this token: {len(seen.foreign)} recent tasks by it are not ours ({told})."
    cure = f"Give Comserv a token of its own: pveum user token add {quote(token.userid)} comserv --privsep 1"
    yield Finding(Level.WARNING, "token_shared", text, cure)
