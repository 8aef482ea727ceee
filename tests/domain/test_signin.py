"""Who may have which name, and how long to wait after failures."""

from datetime import UTC, datetime, timedelta

import pytest

from comserv.domain.errors import Invalid
from comserv.domain.session import Attempts
from comserv.domain.signin import FREE_BY_ADDRESS, FREE_BY_NAME, check_person_name, delay_after, next_try


@pytest.mark.parametrize("name", ["local", "Local", " LOCAL "])
def test_nobody_may_be_called_as_the_audit_calls_the_command_line(name: str) -> None:
    with pytest.raises(Invalid):
        check_person_name(name)
    assert check_person_name("local-admin") == "local-admin"


def test_the_wait_doubles_up_to_five_seconds_for_a_name_and_a_minute_for_an_address() -> None:
    names = [delay_after(Attempts(by_name=FREE_BY_NAME + over)).total_seconds() for over in (0, 1, 2, 3, 4, 5000)]
    assert names == [0, 2, 4, 5, 5, 5]
    addresses = [delay_after(Attempts(by_address=FREE_BY_ADDRESS + n)).total_seconds() for n in (0, 1, 2, 5, 6, 5000)]
    assert addresses == [0, 2, 4, 32, 60, 60]


def test_whoever_keeps_trying_a_name_holds_its_owner_off_for_five_seconds_at_most() -> None:
    """Also where the owner's own address failed often, but long ago."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    long_ago = now - timedelta(minutes=2)
    held = next_try(Attempts(900, 900, last_by_name=now, last_by_address=long_ago))
    assert held == now + timedelta(seconds=5)
    assert next_try(Attempts(900, 900, now, now)) == now + timedelta(minutes=1)
    assert next_try(Attempts()) is None
