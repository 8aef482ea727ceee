"""How the load that Comserv puts on a server is printed."""

from typing import Any

from comserv.cli.output import ago, facts, say


def show_load(load: dict[str, Any]) -> None:
    """load: as `/servers/{id}/load` answers."""
    budget, breaker = load["budget"], load["breaker"]
    kinds = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in load["by_purpose"].items() if count)
    next_try = f", next try at {breaker['next_try']}" if breaker["next_try"] else ""
    facts(
        (
            ("requests", f"{load['requests']} in the last minute" + (f": {kinds}" if kinds else "")),
            ("errors", load["errors"]),
            ("in flight", f"{load['in_flight']} of {budget['calls_in_flight']}, {load['waiting']} waiting"),
            ("heavy", f"at most {budget['heavy_per_node']} on a node"),
            ("sweeps", f"every {budget['sweep_seconds']:g} s"),
            ("breaker", f"{breaker['state']}, {breaker['failures']} failures in a row{next_try}"),
            ("gentleness", load["gentleness"]),
        )
    )
    for call in load["slowest"]:
        say(f"  {call['ms']:>7.0f} ms  {call['method']} {call['path']}  ({call['purpose']}, {ago(call['at'])})")
