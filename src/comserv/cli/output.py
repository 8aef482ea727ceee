"""What a command prints: JSON or tables to standard output, errors to standard error; and what it asks for."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comserv.cli.exits import NotAsked
from comserv.domain.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON as the API gives it.")]

TONES = {
    "running": "green",
    "up": "green",
    "ok": "green",
    "done": "green",
    "succeeded": "green",
    "slow": "yellow",
    "warning": "yellow",
    "paused": "yellow",
    "unreached": "yellow",
    "queued": "cyan",
    "down": "red",
    "failed": "red",
    "blocker": "red",
    "cancelled": "yellow",
}


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def console(error: bool = False) -> "Console":
    """Colours only on a terminal; a pipe gets lines as long as they are."""
    from rich.console import Console

    made = Console(stderr=error, highlight=False, soft_wrap=True, emoji=False)
    if not made.is_terminal:
        made.width = 10_000
    return made


def say(text: str = "") -> None:
    """A line for people; texts of servers may hold brackets, so no markup."""
    console().print(printable(text), markup=False)


def note(text: str) -> None:
    """A line beside the output, to standard error."""
    console(error=True).print(printable(text), markup=False, style="dim")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns whose name ends in + are numbers. A cell's colour is its word's."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for name in columns:
        grid.add_column(name.rstrip("+"), justify="right" if name.endswith("+") else "left", overflow="fold")
    for row in rows:
        words = ["" if cell is None else printable(str(cell)) for cell in row]
        grid.add_row(*(Text(word, TONES.get(word.partition(" ")[0], "")) for word in words))
    console().print(grid)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values below each other; what is not known is left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        first, *rest = value.splitlines() or [""]
        say(f"{name:<{width}}  {first}")
        for line in rest:
            say(f"{'':<{width}}  {line}")


def print_problem(problem: Mapping[str, Any], as_json: bool) -> None:
    """To standard error: what happened, why, what to do, and what Proxmox said."""
    if as_json:
        sys.stderr.write(json.dumps(dict(problem), ensure_ascii=False, indent=2) + "\n")
        return
    printer = console(error=True)
    for label, text, style in _problem_lines(problem):
        printer.print(f"{label:<7}{text}", style=style, markup=False)


def _problem_lines(problem: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    fields, findings = problem.get("fields", {}), problem.get("findings", ())
    yield "Error: ", str(problem.get("title", "")), "bold red"
    if problem.get("detail") and not findings and not fields:
        yield "Why:", problem["detail"], ""
    for name, text in fields.items():
        yield "Why:", f"{name}: {text}", ""
    for finding in findings:
        if finding["level"] == "blocker":
            yield "Why:", finding["text"], ""
            yield "Do:", finding["cure"], ""
    for stage in problem.get("stages", ()):
        if stage["state"] == "failed":
            yield "Why:", f"{stage['stage']}: {stage['text']}", ""
            yield "Do:", stage["cure"], ""
    if problem.get("proxmox"):
        yield "Proxmox", f" said ({problem['proxmox']['status']}): {problem['proxmox']['message'].strip()}", ""
    for line in str(problem.get("cure", "")).splitlines():
        yield "Do:", line, ""
    if problem.get("request_id") and problem.get("status", 0) >= 500:
        yield "Id:", f"the request's id is {problem['request_id']}", "dim"


def interactive() -> bool:
    return sys.stdin.isatty()


def ask(question: str, option: str, hidden: bool = False, default: str | None = None) -> str:
    """Raises NotAsked where nobody can answer. The question goes to standard error, so that output stays clean."""
    if not interactive():
        raise NotAsked(question, option)
    return typer.prompt(question, hide_input=hidden, default=default, err=True)


def secret(question: str, from_stdin: bool, option: str) -> str:
    """A password or a token's value: one line of standard input, or asked for. Never an argument."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return ask(question, option, hidden=True)


def size(number: float | None) -> str:
    """Bytes for people, as Proxmox shows them."""
    if number is None:
        return ""
    from comserv.domain.units import size as words

    return words(number)


def percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.0f} %"


def ago(text: str | None) -> str:
    """An ISO time as an age: `4 min ago`."""
    if not text:
        return "never"
    from comserv.domain.units import span

    return f"{span((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds())} ago"
