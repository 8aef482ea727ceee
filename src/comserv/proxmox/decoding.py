"""What comes back: JSON straight into Structs. Proxmox sends numbers as text, text as numbers, and 0/1 as booleans."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, TypeVar, cast

import msgspec

T = TypeVar("T")

BEYOND_JSON = (
    UnicodeDecodeError,
    RecursionError,
)  # what msgspec lets through for bytes that are no UTF-8 and endless nesting
Text = str | int | float
Flag = bool | int | str | None


class Envelope(msgspec.Struct, Generic[T]):
    """Every good reply: `{"data": …}`; lists of tasks and their logs have a `total` beside it."""

    data: T
    total: int | None = None


class Refusal(msgspec.Struct):
    """A bad one. `message` is missing before libpve-http-server 5.2, `errors` everywhere but in a 400."""

    message: str = ""
    errors: dict[str, Any] = {}


@cache
def _decoder(of: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(Envelope[of], strict=False)


def decode(body: bytes, of: type[T]) -> Envelope[T]:
    """Raises msgspec.DecodeError (its ValidationError too) for what is not `{"data": <of>}`."""
    try:
        return cast("Envelope[T]", _decoder(of).decode(body))
    except BEYOND_JSON as error:
        raise msgspec.DecodeError(str(error)) from error


def decode_refusal(body: bytes) -> Refusal | None:
    """None where the body is not one of Proxmox's."""
    try:
        return msgspec.json.decode(body, type=Refusal)
    except (msgspec.DecodeError, *BEYOND_JSON):
        return None


def flag(value: Flag) -> bool:
    """0, "0", "" and nothing are false."""
    return value not in (None, 0, "0", "", False)


def whole(value: float | None) -> int | None:
    """A count or a size, which may come as 12, "12" or 12.0."""
    if value is None or value.__class__ is int:
        return value  # type: ignore[return-value] # the usual case, a thousand times a sweep
    return int(value) if math.isfinite(value) else None


def share(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 → aware UTC; None for nothing, 0 and what no calendar holds."""
    if not seconds or not math.isfinite(seconds):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Every value as text, as a configuration has them; what is no single value (lxc's raw lines) as JSON."""
    return {
        name: value
        if isinstance(value, str)
        else str(int(value))
        if isinstance(value, bool)
        else str(value)
        if isinstance(value, int | float)
        else msgspec.json.encode(value).decode()
        for name, value in values.items()
        if value is not None
    }
