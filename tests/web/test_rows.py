"""Lists row by row: what differs is found, and where rows came, went or moved, nothing less than the whole list will do."""

from comserv.web.live import mark
from comserv.web.rows import Rows, split

LIST = (
    '\n<tr id="a" class="stale">\n<td>one</td></tr>\n<tr id="b"><td>two</td></tr>\n\n<tr id="c"><td>three</td></tr>\n'
)


def rows(html: str) -> Rows:
    found = split(html, mark)
    assert found is not None
    return found


def test_only_the_rows_that_differ_are_told() -> None:
    after = rows(LIST.replace("two", "2"))
    assert after.changed_since(rows(LIST)) == '<tr id="b"><td>2</td></tr>'
    assert rows(LIST).changed_since(rows(LIST)) == ""


def test_the_passing_of_time_changes_no_row() -> None:
    before, after = (rows(LIST.replace("one", f'<time datetime="x">{age} s ago</time>')) for age in (1, 2))
    assert after.changed_since(before) == ""


def test_other_rows_or_another_order_need_the_whole_list() -> None:
    a, b, c = (f'<tr id="{name}"><td></td></tr>' for name in "abc")
    for other in (a + b, a + b + c + '<tr id="d"></tr>', b + a + c):
        assert rows(other).changed_since(rows(a + b + c)) is None


def test_what_is_no_list_has_no_rows() -> None:
    assert split('<section class="explain">It does not answer.</section>', mark) is None
    assert split("", mark) is None
    assert split('<tr id="a"></tr><tr id="a"></tr>', mark) is None
