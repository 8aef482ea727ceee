"""Who asks is found in the real order, and every refusal takes its time."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from pve_simulator.authentication import Authentication, Unauthenticated
from pve_simulator.clock import Clock
from pve_simulator.world.access import Token, User
from pve_simulator.world.estate import Estate

from .conftest import Answer, Simulator

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
DELAY = 0.3  # 3 s at speed 10


def sign_in(simulator: Simulator, user: str, password: str, more: str = "") -> Answer:
    """POST /access/ticket."""
    body = f"username={quote(user)}&password={quote(password)}{more}"
    return simulator.send("POST", "/api2/json/access/ticket", body, FORM)


@pytest.fixture
def session(recorded: Simulator) -> dict[str, str]:
    """Ticket and CSRF token of admin@pve."""
    return sign_in(recorded, "admin@pve", "adminpass1").data


def version(simulator: Simulator, **headers: str) -> Answer:
    """GET /version with the headers given."""
    return simulator.send("GET", "/api2/json/version", None, headers)


def test_nobody_gets_an_empty_401_three_seconds_after_the_request_began(recorded: Simulator) -> None:
    answer = version(recorded)
    assert (answer.status, answer.reason, answer.body) == (401, "No ticket", b"")
    assert answer.header("Content-Type") == []
    assert answer.seconds >= DELAY


def test_authentication_comes_before_the_lookup(recorded: Simulator) -> None:
    assert recorded.send("GET", "/api2/json/nosuch").status == 401
    assert recorded.send("GET", "/api2/json/nosuch", None, recorded.token()).status == 501


@pytest.mark.parametrize("user", ["ghost@pve", "admin@nowhere", "admin", "off@pve", "expired@pve", "admin@pve"])
def test_every_failed_login_has_one_text(recorded: Simulator, user: str) -> None:
    answer = sign_in(recorded, user, "offpass123" if user == "off@pve" else "wrong")
    assert (answer.status, answer.reason) == (401, "authentication failure")
    assert answer.json == {"data": None, "message": "authentication failure\n"}
    assert answer.seconds >= DELAY


def test_a_ticket_works_as_cookie_raw_or_encoded_and_in_the_header(
    recorded: Simulator, session: dict[str, str]
) -> None:
    ticket = session["ticket"]
    assert version(recorded, Cookie=f"PVEAuthCookie={ticket}").status == 200
    assert version(recorded, Cookie=f"other=1; PVEAuthCookie={quote(ticket, safe='')}").status == 200
    assert version(recorded, Authorization=f"PVEAuthCookie={ticket}").status == 200


def test_a_bad_cookie_wins_over_a_good_token_and_an_empty_one_does_not(recorded: Simulator) -> None:
    answer = version(recorded, Cookie="PVEAuthCookie=garbage", **recorded.token())
    assert (answer.status, answer.reason) == (401, "Authentication failed!")
    assert version(recorded, Cookie="PVEAuthCookie=", **recorded.token()).status == 200


def test_a_ticket_that_was_altered_is_refused(recorded: Simulator, session: dict[str, str]) -> None:
    forged = session["ticket"].replace("admin@pve", "root@pam")
    assert version(recorded, Cookie=f"PVEAuthCookie={forged}").status == 401


def test_a_ticket_is_renewed_by_giving_it_as_password(recorded: Simulator, session: dict[str, str]) -> None:
    assert sign_in(recorded, "admin@pve", session["ticket"]).status == 200
    assert sign_in(recorded, "low@pve", session["ticket"]).status == 401


def test_writing_with_a_cookie_needs_the_csrf_token(recorded: Simulator, session: dict[str, str]) -> None:
    cookie = {"Cookie": f"PVEAuthCookie={session['ticket']}", **FORM}
    answer = recorded.send("POST", "/api2/json/access/nothing", "", cookie)
    assert (answer.status, answer.reason) == (401, "Permission denied - invalid csrf token")
    known = {**cookie, "CSRFPreventionToken": session["CSRFPreventionToken"]}
    assert recorded.send("POST", "/api2/json/access/nothing", "", known).status == 501


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("PVEAPIToken={who}={secret}", None),
        ("PVEAPIToken {who}={secret}", None),
        ("PVEAPIToken={who}:{secret}", "Authentication failed!"),
        ("PVEAPIToken={who}=00000000-0000-0000-0000-000000000000", "Authentication failed!"),
        ("PVEAPIToken=admin@pve!none={secret}", "Authentication failed!"),
        ("PVEAPIToken=admin@pve={secret}", "Authentication failed!"),
        ("pveapitoken={who}={secret}", "No ticket"),
        ("Bearer {who}={secret}", "No ticket"),
        ("Basic YWRtaW46eA==", "No ticket"),
    ],
)
def test_the_spellings_of_a_token(recorded: Simulator, header: str, reason: str | None) -> None:
    who = "admin@pve!full"
    sent = header.format(who=who, secret=recorded.told["credentials"][who])
    answer = version(recorded, Authorization=sent)
    assert (answer.status, answer.reason) == ((401, reason) if reason else (200, "OK"))


def test_some_calls_want_a_ticket_and_no_token(recorded: Simulator) -> None:
    answer = recorded.call("PUT", "/access/password", userid="low@pve", password="lowpass123")
    text = "Permission check failed (URI '/access/password' not available with API token, need proper ticket."
    assert (answer.status, answer.reason) == (403, text)
    assert answer.json["message"] == text + "\n)\n"


def test_a_login_tells_what_one_may(recorded: Simulator) -> None:
    assert sign_in(recorded, "low@pve", "lowpass123").data["cap"]["vms"] == {}
    assert sign_in(recorded, "admin@pve", "adminpass1").data["cap"]["vms"]["VM.Allocate"] == 1


def test_a_login_can_ask_for_a_privilege_on_a_path(recorded: Simulator) -> None:
    more = "&path=/vms&privs=VM.Audit"
    assert "ticket" not in sign_in(recorded, "admin@pve", "adminpass1", more).data
    assert sign_in(recorded, "low@pve", "lowpass123", more).status == 401


def test_the_realms_are_public(recorded: Simulator) -> None:
    assert {row["realm"] for row in recorded.send("GET", "/api2/json/access/domains").data} == {"pam", "pve"}


class Watch(Clock):
    """A clock that shows what it is told."""

    now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def seconds(self) -> int:
        return int(self.now)


@pytest.fixture
def watch() -> Watch:
    """A clock that stands still."""
    return Watch()


@pytest.fixture
def authentication(watch: Watch) -> Authentication:
    """One user with a token, and one who has gone."""
    estate = Estate(secret="x")
    expiring = Token("t", "secret", expire=int(watch.now) + 10)
    estate.users["anna@pve"] = User("anna@pve", "password", tokens={"t": expiring})
    estate.users["gone@pve"] = User("gone@pve", "password", enable=False, tokens={"t": Token("t", "secret")})
    return Authentication(estate, watch)


def test_a_ticket_lives_two_hours_and_may_be_five_minutes_early(authentication: Authentication, watch: Watch) -> None:
    ticket, csrf = authentication.ticket("anna@pve"), authentication.csrf("anna@pve")
    for later, good in ((7190, True), (7201, False), (-290, True), (-301, False)):
        watch.now = Watch.now + later
        assert (authentication.ticket_user(ticket) == "anna@pve") is good
        assert authentication.valid_csrf(csrf, "anna@pve") is good


def test_a_csrf_token_is_good_for_its_user_alone(authentication: Authentication) -> None:
    assert not authentication.valid_csrf(authentication.csrf("anna@pve"), "gone@pve")


def test_a_token_ends_when_it_expires(authentication: Authentication, watch: Watch) -> None:
    assert authentication.token_user("anna@pve!t=secret") == "anna@pve!t"
    watch.now += 11
    with pytest.raises(Unauthenticated, match="Authentication failed!"):
        authentication.token_user("anna@pve!t=secret")


def test_nothing_of_a_disabled_user_works(authentication: Authentication) -> None:
    assert not authentication.login("gone@pve", "password")
    assert authentication.ticket_user(authentication.ticket("gone@pve")) is None
    with pytest.raises(Unauthenticated):
        authentication.token_user("gone@pve!t=secret")
