"""Reads hostile JSON field by field and collects every fault, so that a person sees them all at once."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from comserv.domain.address import read_prefix
from comserv.domain.errors import Invalid

MAXIMUM_TEXT = 8192
ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


class Fields:
    """One JSON object that is being read. `faults` (dotted field → sentence) is shared with nested objects.

    A value that is missing or null gives the default; a wrong one notes a fault and gives the default too, so that
    reading goes on. Names that nobody asked for are faults at the end (`close`).
    """

    def __init__(self, value: object, prefix: str = "", faults: dict[str, str] | None = None) -> None:
        self.faults: dict[str, str] = {} if faults is None else faults
        self._prefix, self._seen = prefix, set[str]()
        self._values: Mapping[str, Any] = {}
        if isinstance(value, Mapping):
            self._values = value
        elif value is not None:
            self.faults[prefix.rstrip(".") or "body"] = "This has to be a JSON object."

    def fault(self, name: str, sentence: str) -> None:
        self.faults.setdefault(self._prefix + name, sentence)

    def given(self, name: str) -> bool:
        return self._values.get(name) is not None

    def absent(self, name: str) -> None:
        """Notes a name as known although it was not given."""
        self._seen.add(name)

    def _take(self, name: str) -> Any:
        self._seen.add(name)
        return self._values.get(name)

    def nested(self, name: str) -> "Fields":
        return Fields(self._take(name), f"{self._prefix}{name}.", self.faults)

    def text(self, name: str, default: str = "", *, check: Callable[[str], str] | None = None, most: int = 255) -> str:
        """A single-line text without control characters, outer spaces cut. `check` gives a sentence for what is wrong."""
        return self._text(name, default, check, most, lines=False)

    def lines(self, name: str, default: str = "", *, most: int = MAXIMUM_TEXT) -> str:
        """A text of several lines; line ends become \\n, outer white space is cut."""
        return self._text(name, default, None, most, lines=True)

    def _text(self, name: str, default: str, check: Callable[[str], str] | None, most: int, *, lines: bool) -> str:
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.fault(name, "This has to be a text.")
            return default
        value = value.replace("\r\n", "\n").replace("\r", "\n").strip()
        fault = _text_fault(value, most, lines) or (check(value) if check and value else "")
        if fault:
            self.fault(name, fault)
            return default
        return value

    def integer(self, name: str, least: int, most: int) -> int | None:
        """A whole number from least to most, also when it comes as text ("2") or as 2.0; None where it is missing."""
        value = self._take(name)
        if value is None or value == "":
            return None
        number = _whole(value)
        if number is None:
            self.fault(name, "This has to be a whole number.")
            return None
        if not least <= number <= most:
            self.fault(name, f"This has to be between {least} and {most}.")
            return None
        return number

    def mask(self, name: str) -> int | None:
        """An IPv4 mask as prefix length, from `24`, "24" or "255.255.255.0"; None where it is missing."""
        value = self._take(name)
        if value is None or value == "":
            return None
        known = not isinstance(value, bool) and isinstance(value, int | str)
        prefix = read_prefix(str(value)) if known else None
        if prefix is None:
            self.fault(name, "A mask is a prefix length (24) or dotted (255.255.255.0).")
        return prefix

    def secret(self, name: str, most: int = 1024) -> str:
        """A text that is taken as it is, spaces included, and is never part of a fault's sentence."""
        value = self._take(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fault(name, "This has to be a text.")
            return ""
        fault = _text_fault(value, most, lines=False)
        if fault:
            self.fault(name, fault)
        return "" if fault else value

    def boolean(self, name: str) -> bool | None:
        value = self._take(name)
        if value is None or isinstance(value, bool):
            return value
        self.fault(name, "This has to be true or false.")
        return None

    def choice(self, name: str, kind: type[ChoiceT], default: ChoiceT) -> ChoiceT:
        """One of the words of a StrEnum."""
        value = self._take(name)
        if value is None or value == "":
            return default
        words = [str(word) for word in kind]
        if not isinstance(value, str) or value not in words:
            self.fault(name, f"This has to be one of {', '.join(words)}.")
            return default
        return kind(value)

    def texts(self, name: str, *, check: Callable[[str], str] | None = None, most: int = 64) -> tuple[str, ...] | None:
        """A list of single-line texts, empty ones left out; None where it is missing. A fault names the place: `tags.2`."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            self.fault(name, "This has to be a list of texts.")
            return None
        if len(value) > most:
            self.fault(name, f"This may hold at most {most} entries.")
            return None
        inner = Fields({str(place): item for place, item in enumerate(value)}, f"{self._prefix}{name}.", self.faults)
        found = (inner.text(str(place), check=check, most=MAXIMUM_TEXT) for place in range(len(value)))
        return tuple(text for text in found if text)

    def close(self) -> None:
        """Notes every name that is not known."""
        for name in self._values:
            if name not in self._seen:
                self.fault(str(name)[:64], "There is no such field.")

    def raise_faults(self) -> None:
        """Raises Invalid with all that was found, if anything was."""
        if self.faults:
            raise Invalid(fields=self.faults)


def _text_fault(value: str, most: int, lines: bool) -> str:
    if len(value) > most:
        return f"This may have at most {most} characters, it has {len(value)}."
    if any((ord(c) < 32 and not (lines and c in "\n\t")) or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        return "This holds a control character."
    return ""


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 20:
        return int(value)
    return None
