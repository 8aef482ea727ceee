"""Filters that live in the address: `?server=lab,rack&tag=prod&q=web`, shown as chips and typed as `tag:prod web`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.datastructures import QueryParams

_TYPED = re.compile(r'([a-z]+:)?(?:"([^"]*)"|([^\s"]+))')


@dataclass(frozen=True)
class Chip:
    """One term as it is shown; `without` is the address of the list without it."""

    name: str
    value: str
    without: str


@dataclass(frozen=True)
class Filter:
    """terms: name → values, any of which may match. text: what is free text. others: kept parameters (sort)."""

    terms: Mapping[str, tuple[str, ...]]
    text: str = ""
    others: Mapping[str, str] | None = None

    def address(self, **changed: str) -> dict[str, str]:
        """Parameters of the address of this list, some of them changed; an empty value takes one away."""
        own = {name: ",".join(values) for name, values in self.terms.items() if values}
        return {**own, "q": self.text, **(self.others or {}), **changed}

    def chips(self, link: Callable[..., str]) -> tuple[Chip, ...]:
        terms = [
            Chip(name, ", ".join(values), link(**self.address(**{name: ""})))
            for name, values in self.terms.items()
            if values
        ]
        text = [Chip("text", self.text, link(**self.address(q="")))] if self.text else []
        return (*terms, *text)


def read(params: QueryParams, names: tuple[str, ...], others: tuple[str, ...] = ("sort",)) -> tuple[Filter, bool]:
    """The filter of an address, and whether something new was typed that belongs into the address as chips.

    `add` is what was typed into the filter field: words are text, `name:value` is a term, "quotes" hold words together.
    """
    terms = {name: tuple(filter(None, params.get(name, "").split(","))) for name in names}
    words = [params.get("q", "").strip()]
    for name, quoted, plain in _TYPED.findall(params.get("add", "")):
        value, name = quoted or plain, name.removesuffix(":")
        if name in names and value:
            terms[name] = tuple(dict.fromkeys((*terms[name], *value.split(","))))
        else:
            words.append(f"{name}:{value}" if name else value)
    kept = {name: params.get(name, "") for name in others}
    return Filter(terms, " ".join(filter(None, words)), kept), "add" in params
