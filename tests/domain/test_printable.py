"""What a stranger's text may do to a terminal: nothing."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web-01", "web-01"),
        ("Größe: 3 µs, 日本, 👍", "Größe: 3 µs, 日本, 👍"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        ("a\r\nb\tc\x07", "a\\x0d\nb\tc\\x07"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_what_acts_is_shown_as_an_escape_and_the_rest_as_it_is(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_that_controls_is_left(text: str) -> None:
    left = {unicodedata.category(one) for one in printable(text) if one not in "\t\n"}
    assert "Cc" not in left and "Cs" not in left
    assert printable(printable(text)) == printable(text)
