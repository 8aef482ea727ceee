"""What leaves the house in a report: secrets are gone by name, by value in any spelling, and by shape; names, where wanted, too."""

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "•••"
SHORTEST = 4  # characters; shorter values stand in too many other words
_NAMES = re.compile(
    r"(^|[_.\- ])(passw(or)?d|passphrase|cipassword|secrets?|tickets?|cookie|authorization|csrf\w*|private[_-]?key|key|value)$",
    re.IGNORECASE,
)
_SHAPES = (
    re.compile(r"(?<=PVEAPIToken=)[^\s\"',;]+"),
    re.compile(r"(?<=[Bb]earer )[^\s\"',;]+"),
    re.compile(r"\bcs_[A-Za-z0-9_-]{32,}"),  # API tokens of our own
    re.compile(r"\bPVE(?:VNC)?:[^\s\"':]+:[0-9A-F]{8}::[A-Za-z0-9+/=]+"),
    re.compile(r"(?<=://)[^/\s\"'@:]+:[^/\s\"'@]+(?=@)"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
)
_MAC = re.compile(r"\b(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\b(?!:)")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:])(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{3,39}(?![0-9A-Za-z:])")


def spellings(secret: str) -> frozenset[str]:
    """How a value may stand in a text: plain, in an address, in JSON, in HTML, in hex, and in base64 wherever it begins."""
    raw = secret.encode()
    found = {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        quote(quote(secret, safe=""), safe=""),
        html.escape(secret),
    }
    found |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], raw.hex(), raw.hex().upper()}
    for ahead, drop in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(b"\0" * ahead + raw).decode()
        kept = whole.rstrip("=")[drop : -1 if whole.endswith("=") else None]
        if len(kept) >= SHORTEST:
            found |= {kept, kept.replace("+", "-").replace("/", "_")}
    return frozenset(found)


def without_secrets(value: Any) -> Any:
    """Plain values with what is secret by its name masked, at any depth."""
    if isinstance(value, Mapping):
        return {name: MASK if _is_secret(name, inner) else without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [without_secrets(inner) for inner in value]
    return value


def _is_secret(name: object, value: Any) -> bool:
    return isinstance(value, str) and bool(value) and bool(_NAMES.search(str(name)))


class Concealment:
    """Cleans texts. secrets: values that are known. names: what to replace by a word of the same kind, by kind; none: all stay."""

    def __init__(self, secrets: Iterable[str], names: Mapping[str, Iterable[str]] | None = None) -> None:
        texts = {text for secret in secrets if len(secret) >= SHORTEST for text in spellings(secret)}
        self._secrets = sorted(texts, key=len, reverse=True)
        self._anonymous = names is not None
        self._words: dict[str, str] = {}
        for kind, values in (names or {}).items():
            for number, value in enumerate(sorted({one for one in values if len(one) > 1}), 1):
                self._words.setdefault(value.lower(), f"{kind}-{number}")
        longest = sorted(self._words, key=len, reverse=True)
        known = "|".join(map(re.escape, longest))
        self._names = re.compile(rf"(?<![A-Za-z0-9])(?:{known})(?![A-Za-z0-9])", re.IGNORECASE) if known else None

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        for shape in _SHAPES:
            text = shape.sub(MASK, text)
        return self._renamed(text) if self._anonymous else text

    def _renamed(self, text: str) -> str:
        if self._names:
            text = self._names.sub(lambda found: self._words[found[0].lower()], text)
        for kind, shape in (("mac", _MAC), ("ip", _IPV4), ("ip", _IPV6)):
            text = shape.sub(lambda found, kind=kind: self._word(kind, found[0]), text)
        return text

    def _word(self, kind: str, value: str) -> str:
        """The same for the same address; times of day and the like, which only look like one, are left."""
        if kind == "ip" and ":" in value and not _looks_like_ipv6(value):
            return value
        if value.lower() not in self._words:
            number = sum(word.startswith(f"{kind}-") for word in self._words.values()) + 1
            self._words[value.lower()] = f"{kind}-{number}"
        return self._words[value.lower()]


def _looks_like_ipv6(text: str) -> bool:
    """`12:00:00` is a time, and `UPID:pve:…` has other letters: an address has `::` or eight groups."""
    return "::" in text or text.count(":") == 7
