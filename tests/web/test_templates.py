"""Templates keep to the rules that the content policy and the pages' design set."""

import re
from pathlib import Path

import jinja2
import pytest

from comserv.web.icons import GLYPHS, ICONS
from comserv.web.pages import TEMPLATES

WEB = TEMPLATES.parent
FILES = sorted(TEMPLATES.rglob("*.html"))
FORBIDDEN = {
    r"<script(?![^>]*\b(src|nonce)=)": "an inline script without a nonce",
    r"\son[a-z]+\s*=": "an event handler in an attribute",
    r"hx-on": "a script in hx-on",
    r"[\"']\s*(js|javascript):": "a script in a value",
    r"hx-trigger=\"[^\"]*\[": "a filter in hx-trigger, which htmx evaluates",
    r"\|\s*safe\b": "text that is not escaped",
    r"autoescape\s+false": "text that is not escaped",
    r"https?://(?!pve1|www\.w3)[a-z0-9]": "a foreign address",
}


def name(path: Path) -> str:
    return str(path.relative_to(TEMPLATES))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_template_holds_nothing_that_runs(path: Path) -> None:
    text = path.read_text()
    found = [why for pattern, why in FORBIDDEN.items() if re.search(pattern, text)]
    assert not found


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_style_attribute_carries_only_data(path: Path) -> None:
    styles = re.findall(r"style=\"([^\"]*)\"", path.read_text())
    assert all(re.match(r"(width:|--t:)\{\{", style) for style in styles)


def test_the_rules_find_what_they_are_for() -> None:
    sinners = (
        "<script>x</script>",
        '<a onclick="x">',
        '<a hx-on:click="x">',
        '<a hx-vals="js:{x}">',
        '<a hx-trigger="click[x]">',
    )
    assert all(any(re.search(pattern, sinner) for pattern in FORBIDDEN) for sinner in sinners)


def used() -> tuple[set[str], set[str]]:
    text = "\n".join(path.read_text() for path in [*FILES, *WEB.glob("*.py")])
    named = {
        name for names in re.findall(r"m\.(?:icon|glyph)\(([^)]*)\)|say\([^,]*, '([a-z-]+)'", text) for name in names
    }
    quoted = set(re.findall(r"[\"']([a-z0-9-]+)[\"']", " ".join(named) + text))
    return quoted & set(ICONS), quoted & set(GLYPHS)


def test_every_drawing_that_is_listed_is_used() -> None:
    icons, glyphs = used()
    assert set(ICONS) - icons == set()
    assert set(GLYPHS) - glyphs == set()


def test_the_sprite_holds_every_drawing_that_is_listed() -> None:
    sprite = (WEB / "static/vendor/icons.svg").read_text()
    assert all(f'id="i-{icon}"' in sprite for icon in ICONS), "run: python build_frontend.py"
    assert all(f'id="g-{glyph}"' in sprite for glyph in GLYPHS), "run: python build_frontend.py"


def test_every_template_can_be_read() -> None:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    environment.filters["zipped"] = list
    for path in FILES:
        environment.get_template(name(path))


def test_htmx_waits_for_its_extensions() -> None:
    """Deferred, it would sometimes begin before hx-sse is there, and the page would never be live."""
    scripts = re.findall(r"<script src=\"\{\{ asset\('([^']+)'\) \}\}\"([^>]*)>", (TEMPLATES / "base.html").read_text())
    assert scripts == [("vendor/htmx.min.js", ""), ("vendor/hx-sse.min.js", " defer"), ("app.js", ' type="module"')]
