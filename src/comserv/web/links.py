"""The one builder of links: no page and no template puts an address together by itself."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

from comserv.domain.guest import GuestKey
from comserv.domain.job import Job

_MISREAD = re.compile(r"[\x00-\x20\x7f\\]")
"""Browsers drop tabs and line ends from an address and take a backslash for a slash: `/\t/elsewhere` leads elsewhere."""


def overview() -> str:
    return "/"


def sign_in(then: str = "") -> str:
    return "/sign-in" + (query({"then": then}) if then and then != "/" else "")


def safe_return(then: str) -> str:
    """A path of our own to go back to, else the overview: what comes in an address may lead elsewhere.

    Of ASCII, as browsers send it: it ends in a header.
    """
    plain = then.startswith("/") and not then.startswith("//") and then.isascii() and not _MISREAD.search(then)
    return then if plain else overview()


def sign_in_link(token: str) -> str:
    return f"/sign-in/link/{quote(token, safe='')}"


def set_up(token: str) -> str:
    return f"/set-up/{quote(token, safe='')}"


def guests(**terms: str) -> str:
    return "/guests" + query(terms)


def guest(key: GuestKey, what: str = "") -> str:
    """what: empty for the page, else `change`, `delete`, `power` or a part's name."""
    return f"/guests/{quote(key.server, safe='')}/{key.vmid}" + (f"/{what}" if what else "")


def create(**terms: str) -> str:
    return "/guests/new" + query(terms)


def jobs(**terms: str) -> str:
    return "/jobs" + query(terms)


def job(job: Job | str, what: str = "") -> str:
    name = job if isinstance(job, str) else job.id
    return f"/jobs/{quote(name, safe='')}" + (f"/{what}" if what else "")


def servers() -> str:
    return "/servers"


def server(server_id: str, what: str = "") -> str:
    return f"/servers/{quote(server_id, safe='')}" + (f"/{what}" if what else "")


def add_server() -> str:
    return "/servers/new"


def people(name: str = "", what: str = "") -> str:
    return "/people" + (f"/{quote(name, safe='')}" if name else "") + (f"/{what}" if what else "")


def audit(**terms: str) -> str:
    return "/audit" + query(terms)


def account(what: str = "") -> str:
    return "/account" + (f"/{what}" if what else "")


def find(text: str = "") -> str:
    return "/find" + (query({"q": text}) if text else "")


def events(parts: Iterable[tuple[str, str]]) -> str:
    """The stream of a tab that shows these parts, each with the mark of what it has already."""
    return "/events" + _encoded(("see", f"{name}~{mark}") for name, mark in parts)


def subject(kind: str, name: str) -> str:
    """Where something named by kind and subject leads: (`guest`, rack/105), (`job`, id), (`server`, rack), (`page`, jobs)."""
    if kind in ("guest", "verb"):
        server_id, _, vmid = name.partition("/")
        return guest(GuestKey(server_id, int(vmid))) if vmid.isdigit() else guests()
    if kind == "job":
        return job(name)
    if kind == "server":
        return server(name)
    if kind == "person":
        return people(name)
    pages = {"guests": guests(), "jobs": jobs(), "servers": servers(), "people": people(), "audit": audit()}
    more = {"account": account(), "create": create(), "add-server": add_server()}
    return (pages | more).get(name, overview())


def audited(subject_words: str) -> str:
    """Where an audit row's object leads, `guest rack/105`; empty where it has no page."""
    kind, _, name = subject_words.partition(" ")
    return subject(kind, name) if kind in ("guest", "job", "server", "person") and name else ""


def query(terms: Mapping[str, str]) -> str:
    """`?a=b&c=d` without empty values; commas, colons and slashes stay readable."""
    return _encoded(terms.items())


def _encoded(pairs: Iterable[tuple[str, str]]) -> str:
    text = urlencode([(name, value) for name, value in pairs if value], safe=",:/", quote_via=quote)
    return f"?{text}" if text else ""
