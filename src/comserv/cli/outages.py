"""What a list printed is not fresh: a line a server to standard error, so that the output stays clean."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from comserv.cli.output import ago, note


def tell_missing(missing: Sequence[dict[str, Any]], servers: int) -> None:
    """missing: the `incomplete` of a list of so many servers."""
    if not missing:
        return
    note(f"Fresh for {servers - len(missing)} of {servers} server{'' if servers == 1 else 's'}:")
    for one in missing:
        seen = f"as of {ago(one['as_of'])}" if one["as_of"] else "never seen"
        note(f"  {one['server']}: {seen}. {one['reason']}{_next(one)}")


def _next(one: dict[str, Any]) -> str:
    if not one["next_try"]:
        return ""
    left = max(0.0, (datetime.fromisoformat(one["next_try"]) - datetime.now(UTC)).total_seconds())
    return f" It ends in {left:.0f} s." if one["state"] == "maintenance" else f" Next try in {left:.0f} s."
