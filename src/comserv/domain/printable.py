"""Texts of strangers, where they are printed as they are: on a terminal and in a log."""

import re

# Control characters but tab and line feed, what turns the direction of writing, and what has no width.
_ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    """With escapes (`\\x1b`, `\\u202e`) in place of characters that a terminal obeys instead of showing them."""
    return _ACTS.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
