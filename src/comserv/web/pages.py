"""Rendering: a page is a frozen dataclass that declares what its template shows; nothing else reaches the template.

The surroundings of every page (who, theme, tokens, live parts) are the `Shell`. Autoescape is always on, and a name that
is not declared is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import jinja2
from fastapi.responses import HTMLResponse
from jinja2_fragments import render_block
from markupsafe import Markup

from comserv import __version__
from comserv.domain import units
from comserv.domain.person import Action, Actor
from comserv.web import links, measures, verbs, vocabulary
from comserv.web.assets import Assets
from comserv.web.icons import GLYPHS, ICONS
from comserv.web.rows import Rows

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Drawn:
    """A live part as it was drawn: its HTML, and a mark that changes with it (but not with the mere passing of time).

    rows: where it is a list of which single rows can be sent.
    """

    name: str
    html: Markup
    mark: str
    rows: Rows | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Shell:
    """What stands around every page. actor None: nobody is signed in. parts: the live parts of this page by kind."""

    actor: Actor | None = None
    csrf: str = ""
    nonce: str = ""
    theme: str = ""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    parts: Mapping[str, Drawn] = field(default_factory=dict)
    notice: str = ""

    @property
    def events(self) -> str:
        return links.events((part.name, part.mark) for part in self.parts.values())

    def may(self, action: str) -> bool:
        return self.actor is not None and self.actor.may(Action(action))


class Page:
    """Base of all pages: a frozen dataclass whose fields are the template's context."""

    template: ClassVar[str]
    section: ClassVar[str] = ""


class Undeclared(jinja2.StrictUndefined):
    """What no page declares is an error; only an inline `if` without `else` may come to nothing."""

    def _nothing(self) -> bool:
        return bool(self._undefined_hint and self._undefined_hint.startswith("the inline if-expression"))

    def __str__(self) -> str:
        return "" if self._nothing() else super().__str__()

    def __bool__(self) -> bool:
        return False if self._nothing() else super().__bool__()


class Pages:
    """The templates, ready to render."""

    def __init__(self, assets: Assets) -> None:
        loader = jinja2.FileSystemLoader(TEMPLATES)
        self._templates = jinja2.Environment(
            loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=Undeclared
        )
        self._templates.filters["zipped"] = lambda names: [(name, name) for name in names]
        self._templates.globals.update(
            asset=assets.url,
            check_glyph=_known(GLYPHS, "glyph"),
            check_icon=_known(ICONS, "icon"),
            link=links,
            measure=measures,
            size=units.size,
            verbs=verbs,
            version=__version__,
            words=vocabulary,
        )

    def page(self, page: Page, shell: Shell, status: int = 200) -> HTMLResponse:
        """The whole page."""
        return HTMLResponse(self._templates.get_template(page.template).render(_context(page, shell)), status)

    def block(self, page: Page, shell: Shell, block: str, status: int = 200) -> HTMLResponse:
        """One block of a page's template, for a dialog or a part that loads by itself."""
        return HTMLResponse(render_block(self._templates, page.template, block, _context(page, shell)), status)

    def text(self, template: str, **context: Any) -> Markup:
        """A template by itself: what live parts are drawn with; it knows `now`."""
        return Markup(self._templates.get_template(template).render(now=datetime.now(UTC), **context))  # noqa: S704 - escaped


def _context(page: Page, shell: Shell) -> dict[str, Any]:
    own = {item.name: getattr(page, item.name) for item in fields(page)}  # pyright: ignore[reportArgumentType] # every page is a dataclass
    return {**own, "shell": shell, "now": shell.now, "section": page.section}


def _known(names: Any, what: str) -> Any:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"{name} is no {what} of web/icons.py")
        return name

    return check
