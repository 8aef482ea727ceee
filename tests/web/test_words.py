"""Small things that pages say: times, sizes, links, filters, states, CSV."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from comserv.domain.errors import Invalid
from comserv.domain.guest import GuestKey, GuestStatus
from comserv.web import filters, guest, jobs, links, measures, server_add, vocabulary
from comserv.web.guests import read_key, to_csv
from comserv.web.icons import GLYPHS
from comserv.web.live import mark
from comserv.web.vocabulary import State
from tests.web import estate


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (119, "119 s"), (840, "14 min"), (25200, "7 h"), (1036800, "12 d"), (-3, "0 s")],
)
def test_a_length_is_told_in_two_digits_or_so(seconds: float, words: str) -> None:
    assert measures.length(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.41, "0.4 s"), (28, "28 s"), (112, "1 min 52 s"), (11100, "3 h 5 min")]
)
def test_what_something_took_is_told_exactly(seconds: float, words: str) -> None:
    assert measures.took(seconds) == words


@given(st.floats(0, 10), st.floats(0.001, 10))
def test_a_percentage_stays_between_0_and_100(part: float, whole: float) -> None:
    told = measures.percent(part, whole)
    assert told is not None and 0 <= told <= 100


def test_what_is_not_known_has_no_percentage() -> None:
    assert measures.percent(None) is None and measures.percent(3, 0) is None and measures.percent(3, None) is None


@pytest.mark.parametrize(
    "then",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/ok\r\nset-cookie: x",
        "/\t/evil.example",
        "/a\\b",
        "javascript:1",
        "",
    ],
)
def test_nobody_is_sent_to_another_site_after_signing_in(then: str) -> None:
    assert links.safe_return(then) == "/"


def test_a_path_of_our_own_is_gone_back_to() -> None:
    assert links.safe_return("/guests?tag=prod") == "/guests?tag=prod"


def test_a_filter_reads_terms_and_text_and_writes_them_back() -> None:
    chosen, typed = filters.read(QueryParams("server=lab,rack&q=web&sort=-cpu&other=x"), ("server", "tag"))
    assert chosen.terms == {"server": ("lab", "rack"), "tag": ()} and chosen.text == "web" and not typed
    assert links.guests(**chosen.address()) == "/guests?server=lab,rack&q=web&sort=-cpu"


def test_what_is_typed_becomes_terms() -> None:
    params = QueryParams({"server": "lab", "add": 'server:rack tag:prod shop who:me "two words" tag:"a b"'})
    chosen, typed = filters.read(params, ("server", "tag"))
    assert typed and chosen.terms == {"server": ("lab", "rack"), "tag": ("prod", "a b")}
    assert chosen.text == "shop who:me two words"


def test_a_chip_leads_to_the_list_without_it() -> None:
    chosen, _ = filters.read(QueryParams("server=lab&tag=prod&q=x"), ("server", "tag"))
    assert [chip.without for chip in chosen.chips(links.guests)] == [
        "/guests?tag=prod&q=x",
        "/guests?server=lab&q=x",
        "/guests?server=lab&tag=prod",
    ]


@pytest.mark.parametrize("text", ["", "lab", "lab/", "lab/x", "lab/-1", "lab/1234567890", "lab/²"])
def test_what_names_no_guest_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read_key(text)


def test_a_csv_has_a_row_for_each_guest_and_no_formula() -> None:
    sly = estate.view(estate.guest("lab", 1, "=cmd()", "pve1"))
    rows = to_csv([*estate.GUESTS, sly]).splitlines()
    assert len(rows) == len(estate.GUESTS) + 2
    assert "'=cmd()" in rows[-1] and rows[0].startswith("server,vmid,name")


def test_every_state_has_a_glyph_and_states_of_one_kind_differ_by_shape() -> None:
    kinds = (vocabulary.GUEST, vocabulary.JOB, vocabulary.STEP, vocabulary.SERVER, vocabulary.STAGE, vocabulary.FINDING)
    for kind in kinds:
        states: list[State] = list(kind.values())
        assert all(state.glyph in GLYPHS for state in states)
        assert len({state.glyph for state in states}) == len(states)


def test_a_stale_guest_is_never_said_to_run() -> None:
    stale = estate.view(estate.WEB, stale=True)
    assert vocabulary.guest_state(stale) == State("unknown", "Was running", "idle")


def test_a_guest_under_a_job_says_what_happens_to_it() -> None:
    assert vocabulary.guest_state(replace(estate.GUESTS[0], job=estate.RUNNING)).word == "Creating"
    assert vocabulary.guest_state(replace(estate.GUESTS[0], job=estate.HELD)).word == "Held for the server"
    assert vocabulary.guest_state(replace(estate.GUESTS[0], job=estate.DONE)).word == "Running"


def test_qemus_own_word_counts_before_proxmoxs() -> None:
    assert vocabulary.live_state(GuestStatus.RUNNING, "io-error").tone == "bad"
    assert vocabulary.live_state(GuestStatus.RUNNING, "running").word == "Running"


def test_a_parts_mark_does_not_change_with_the_passing_of_time() -> None:
    now = estate.NOW
    told = [
        '<b>x</b><time datetime="a" data-ago>' + measures.ago(now, now + timedelta(seconds=n)) + "</time>"
        for n in (3, 9)
    ]
    assert mark(told[0]) == mark(told[1]) != mark(told[0].replace("x", "y"))


def test_repeated_looks_are_folded_but_writes_are_not() -> None:
    folded = jobs.fold(estate.CALLS)
    assert [one.times for one in folded] == [1, 1, 11, 1, 1]


def test_only_what_differs_is_changed() -> None:
    before = {
        "cpu_cores": "4",
        "memory_gib": "8",
        "name": "a",
        "tags": "x y",
        "notes": "one\ntwo",
        "start_on_boot": "1",
    }
    wish = guest.changed({**before, "memory_gib": "4", "notes": "one\r\ntwo", "start_on_boot": ""}, before)
    assert (wish.memory_mb, wish.start_on_boot) == (4096, False)
    assert (wish.cpu_cores, wish.name, wish.tags, wish.notes) == (None, None, None, None)
    with pytest.raises(Invalid):
        guest.changed(before, before)


@pytest.mark.parametrize(
    ("gib", "mib"), [("8", 8192), ("0.5", 512), ("1,5", 1536), ("", ""), ("lots", "lots"), ("inf", "inf")]
)
def test_memory_is_typed_in_gib(gib: str, mib: object) -> None:
    assert measures.mebibytes(gib) == mib


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://edge-brn.example.net:8006", "edge-brn"),
        ("https://10.0.0.7:8006", "10-0-0-7"),
        ("https://[2001:db8::7]:8006", "2001-db8-7"),
    ],
)
def test_a_server_gets_an_id_by_its_address(address: str, name: str) -> None:
    assert server_add.suggested_id(address) == name


def test_an_audit_rows_object_leads_to_its_page() -> None:
    assert links.audited("guest rack/105") == links.guest(GuestKey("rack", 105))
    assert links.audited("people") == ""
