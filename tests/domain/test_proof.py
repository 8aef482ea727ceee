"""A creation is proven by the agent's own report, or it is said why nothing can be proven."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.guest import AgentAddress, AgentReport
from comserv.domain.proof import Asked, CannotProve, Mismatch, NotYet, Proven, asked, prove
from tests.domain.strategies import NOW, a_request

EARLY, LATE = timedelta(seconds=20), timedelta(seconds=300)


def report(*addresses: str) -> AgentReport:
    return AgentReport(NOW, tuple(AgentAddress("eth0", "BC:24:11:00:00:01", address, 24) for address in addresses))


LOCAL = ("127.0.0.1", "::1", "fe80::be24:11ff:fe00:1", "169.254.3.4")


def test_the_asked_address_is_proven_among_others() -> None:
    proof = prove(Asked("10.20.30.41"), report(*LOCAL, "172.17.0.1", "10.20.30.41"), EARLY)
    assert proof == Proven(("172.17.0.1", "10.20.30.41"))


def test_with_dhcp_any_address_will_do_but_a_local_one() -> None:
    assert isinstance(prove(Asked(), report("10.9.9.9"), EARLY), Proven)
    assert isinstance(prove(Asked(), report(*LOCAL), EARLY), NotYet)


def test_both_families_have_to_be_there_where_both_were_asked_for() -> None:
    both = Asked("10.20.30.41", "2001:db8::41")
    assert isinstance(prove(both, report("10.20.30.41"), EARLY), NotYet)
    assert isinstance(prove(both, report("10.20.30.41", "2001:0DB8:0::0041"), EARLY), Proven)


def test_an_address_may_come_late() -> None:
    assert isinstance(prove(Asked("10.20.30.41"), report("10.9.9.9"), EARLY), NotYet)
    proof = prove(Asked("10.20.30.41"), report("10.9.9.9"), LATE)
    assert isinstance(proof, Mismatch)
    assert proof.reason == "The agent reports 10.9.9.9, asked was 10.20.30.41."


@pytest.mark.parametrize(
    ("what", "elapsed", "more", "said"),
    [
        (Asked(started=False), EARLY, {}, "was not started"),
        (Asked(agent=False), EARLY, {}, "not enabled"),
        (Asked(), LATE, {}, "did not answer within 5 min"),
        (Asked(), EARLY, {"running": False}, "does not run any more"),
        (Asked(), EARLY, {"said": "No QEMU guest agent configured\n"}, "No QEMU guest agent configured."),
    ],
)
def test_why_nothing_can_be_proven(what: Asked, elapsed: timedelta, more: dict[str, bool], said: str) -> None:
    proof = prove(what, None, elapsed, **more)  # type: ignore[arg-type]
    assert isinstance(proof, CannotProve)
    assert said in proof.reason
    assert proof.reason.endswith(".")


def test_an_agent_without_an_address_proves_nothing() -> None:
    assert isinstance(prove(Asked("10.20.30.41"), report(), LATE), CannotProve)


@given(st.none() | st.lists(st.sampled_from([*LOCAL, "10.20.30.41", "2001:db8::41", "odd"])), st.integers(0, 400))
def test_waiting_ends_at_the_limit_and_a_proof_names_the_asked_address(
    addresses: list[str] | None, elapsed: int
) -> None:
    seen = None if addresses is None else report(*addresses)
    proof = prove(Asked("10.20.30.41"), seen, timedelta(seconds=elapsed))
    assert isinstance(proof, NotYet) <= (elapsed < 300)
    assert isinstance(proof, Proven) == (addresses is not None and "10.20.30.41" in addresses)


def test_what_has_to_be_proven_comes_from_the_request() -> None:
    assert asked(a_request(), agent=True) == Asked("10.20.30.41", "", True, True)
