"""Who may have which name, and how long to wait after failures."""

import pytest

from comserv.domain.errors import Invalid
from comserv.domain.signin import check_person_name


@pytest.mark.parametrize("name", ["local", "Local", " LOCAL "])
def test_nobody_may_be_called_as_the_audit_calls_the_command_line(name: str) -> None:
    with pytest.raises(Invalid):
        check_person_name(name)
    assert check_person_name("local-admin") == "local-admin"
