"""docs/rights.md tells the table of features as the code has it. `python -m tests.domain.test_rights_page` writes its tables anew."""

from pathlib import Path

from comserv.domain.cluster import Version
from comserv.domain.features import FEATURES, NEVER, Feature, Need
from comserv.domain.pveum import setup_lines

PAGE = Path(__file__).parents[2] / "docs" / "rights.md"
VERSIONS = (Version("9.1"), Version("8.4"))


def rows(today: bool) -> list[str]:
    head = (
        ["| what | privileges, and where | without it |", "|---|---|---|"]
        if today
        else ["| what | privileges, and where |", "|---|---|"]
    )
    return head + [row(feature) for feature in FEATURES if feature.today is today]


def row(feature: Feature) -> str:
    needs = "; ".join(words(need) for need in feature.needs)
    return f"| {feature.title} | {needs} |" + (f" {feature.without} |" if feature.today else "")


def words(need: Need) -> str:
    names = " or ".join(f"`{name}`" for name in (need.privilege, *need.instead))
    version = " (before 9)" if need.below == (9, 0) else " (since 9)" if need.since == (9, 0) else ""
    return f"{names}{version} on the {need.where}"


def tables() -> dict[str, str]:
    return {
        "today": "\n".join(rows(today=True)),
        "later": "\n".join(rows(today=False)),
        "never": "\n".join(f"- {one.what}. {one.instead}" for one in NEVER),
        "lines": "\n\n".join(
            f"Proxmox VE {version.text}:\n```\n" + "\n".join(setup_lines(version)) + "\n```" for version in VERSIONS
        ),
    }


def told(page: str) -> str:
    """The page with its tables as the code has them."""
    for name, table in tables().items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = page.partition(start)
        page = before + start + table + end + rest.partition(end)[2]
    return page


def test_the_page_tells_what_the_code_needs() -> None:
    page = PAGE.read_text()
    assert page == told(page)
    assert all(f"<!-- {name} -->" in page for name in tables())


if __name__ == "__main__":
    PAGE.write_text(told(PAGE.read_text()))
