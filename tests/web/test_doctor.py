"""What the token may do, as pages tell it: the table with its lines, and buttons that are greyed out with their reason."""

from dataclasses import replace

import pytest

from comserv.domain.person import Role
from tests.web import estate
from tests.web.browsing import Client
from tests.web.conftest import Site
from tests.web.services import Told

GUEST, SERVER = "/guests/lab/131", "/servers/lab"
WHY = "The token lacks VM.PowerMgmt at /vms/131."


@pytest.fixture
def client(site: Site) -> Client:
    return Client(site.port)


def deny(told: Told, *features: str) -> None:
    denied = dict.fromkeys(features, WHY)
    told.guests = tuple(replace(view, denied=denied) if view.guest.key.vmid == 131 else view for view in estate.GUESTS)


def test_the_server_page_tells_what_is_blocked_with_its_lines(client: Client) -> None:
    page = client.get(SERVER)
    assert "1 thing that Comserv does is blocked on lab." in page.words
    assert "The token lacks VM.Clone at /vms" in page.words and "pveum role add Comserv" in page.text
    assert "Look again" in page.words and "qm unlock" in page.words


def test_a_token_without_any_right_is_told_so(client: Client, told: Told) -> None:
    told.may = frozenset()
    words = client.get(SERVER).words
    assert "The token has no rights at all." in words and "privsep 1" in words


def test_a_token_with_every_right_is_told_so_and_one_never_looked_at_too(client: Client, told: Told) -> None:
    told.may = estate.MAY | {"VM.Clone"}
    assert "blocked" not in client.get(SERVER).words.lower().replace("blocked on lab", "")
    told.may = None
    assert "It was not looked at yet." in client.get(SERVER).words


def test_looking_again_asks_the_server_and_is_for_admins(client: Client, told: Told) -> None:
    assert client.post(f"{SERVER}/doctor").location == f"{SERVER}#doctor"
    assert told.asked[-1] == ("doctor", "lab")
    told.role = Role.OPERATOR
    assert client.post(f"{SERVER}/doctor").status == 403
    assert "Look again" not in client.get(SERVER).words


def test_power_that_is_denied_is_greyed_out_with_its_reason(client: Client, told: Told) -> None:
    deny(told, "power")
    page = client.get(GUEST)
    assert 'formaction="/guests/lab/131/power"' not in page.text and "/power/stop" not in page.text
    assert page.text.count('aria-disabled="true" aria-describedby="denied"') >= 3
    assert f'title="{WHY}"' in page.text and f"Greyed out on lab: {WHY}" in page.words
    assert f'href="{GUEST}/change"' in page.text and f'href="{GUEST}/delete"' in page.text


def test_change_and_delete_that_are_denied_are_greyed_out(client: Client, told: Told) -> None:
    deny(told, "change_cpu", "change_memory", "change_options", "delete_guest")
    page = client.get(GUEST)
    assert f'href="{GUEST}/delete"' not in page.text and 'formaction="/guests/lab/131/power"' in page.text
    assert page.text.count(WHY) >= 2


def test_nothing_is_greyed_out_where_the_rights_are_not_known(client: Client) -> None:
    assert "aria-disabled" not in client.get(GUEST).text


def test_a_row_whose_power_is_denied_says_why_when_it_is_selected(client: Client, told: Told) -> None:
    deny(told, "power")
    text = client.get("/guests").text
    row = text[text.index('id="g-lab-131"') :]
    row = row[: row.index(">")]
    assert 'data-can=""' in row and "data-barred=" in row and WHY in row
