"""Sizes as Proxmox writes and shows them: KiB, MiB, GiB, TiB."""

import re

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_SIZE = re.compile(r"(\d{1,18})(\.\d{1,9})?([KMGT]?)")


def parse_size(text: str) -> int | None:
    """`size=` of a disk in bytes: `2G`, `3145729K`, `512M`, `4194304` (bytes); None for what is no size."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        return None
    return int(float(found[1] + (found[2] or "")) * _UNITS[found[3]]) if found[2] else int(found[1]) * _UNITS[found[3]]


def size(number: float) -> str:
    """Bytes for people: `512 MiB`, `64 GiB`, `2.1 TiB`."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(number) >= unit:
            return f"{number / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{number:.0f} B"


def gib_up(number: int) -> int:
    """Bytes in whole GiB, rounded up."""
    return -(-number // GIB)


def span(seconds: float) -> str:
    """A length of time for people: `12 s`, `4 min`, `3 h`, `2 days`."""
    for unit, name in ((172800, "days"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / (86400 if name == 'days' else unit):.0f} {name}"
    return f"{max(seconds, 0):.0f} s"
