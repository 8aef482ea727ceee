"""What the command line offers, and how it ends where nothing answers."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from comserv.cli.exits import MEANING, Exit, exit_of
from comserv.cli.main import app

SECRETS = ("password", "secret", "token-secret", "secrets")


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, one in inner.items():
        yield from commands(one, (*path, name))


ALL = dict(commands())
REST = [path for path in ALL if path[0] in ("guest", "vm", "job", "server", "account", "session", "ssh-key")]


def test_the_nouns_of_the_interface_are_there() -> None:
    assert {path[0] for path in ALL} == {
        "serve",
        "setup-link",
        "user",
        "token",
        "account",
        "session",
        "ssh-key",
        "server",
        "guest",
        "vm",
        "job",
        "doctor",
    }


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help, path


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_secret_is_ever_an_argument(path: tuple[str, ...]) -> None:
    """An argument is in the shell's history and in the list of processes."""
    for parameter in ALL[path].params:
        for option in parameter.opts:
            name = option.lstrip("-")
            if name in SECRETS or name.endswith("-stdin"):
                assert parameter.is_flag or (name == "secret" and parameter.metavar == "NAME"), (path, option)


@pytest.mark.parametrize("path", REST, ids=" ".join)
def test_whatever_speaks_to_comserv_can_answer_in_json(path: tuple[str, ...]) -> None:
    options = {option for parameter in ALL[path].params for option in parameter.opts}
    told_otherwise = (
        ("server", "remove"),
        ("server", "pveum"),
        ("server", "bundle"),
        ("job", "bundle"),
    )  # lines, and files
    assert "--json" in options or path in told_otherwise


def test_help_is_fast_and_lists_the_exit_codes(comserv: Any) -> None:
    """By the processor's time, which a busy machine does not change much; alone it takes 0.2 s by the clock."""
    times, ended = [], comserv("--help")
    for _ in range(3):
        before = os.times()
        assert comserv("--help").code == 0
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert all(f"{code.value} {meaning.split(',')[0].split()[0]}" in ended.out for code, meaning in MEANING.items())
    assert min(times) < 0.4, f"{min(times):.2f} s"


def test_help_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = ["fastapi", "aiohttp", "sqlalchemy", "pydantic", "msgspec", "starlette", "uvicorn", "asyncio", "structlog"]
    code = f"import sys, comserv.cli.main; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "arguments",
    [("fly",), ("guest", "fly"), ("guest", "show"), ("guest", "list", "--limit", "x"), ("user", "create", "a")],
)
def test_what_is_not_understood_is_2(comserv: Any, arguments: tuple[str, ...]) -> None:
    ended = comserv(*arguments, COMSERV_TOKEN="t")
    assert ended.code == Exit.USAGE and "Usage" in ended.err and not ended.out


def test_without_a_token_it_says_how_to_get_one(comserv: Any) -> None:
    ended = comserv("guest", "list")
    assert ended.code == Exit.REFUSED and "COMSERV_TOKEN" in ended.err and "comserv token create" in ended.err


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_where_comserv_does_not_answer_it_is_6_and_says_what_to_do(comserv: Any, nobody: str) -> None:
    ended = comserv("server", "list", COMSERV_URL=nobody, COMSERV_TOKEN="t")
    assert ended.code == Exit.UNREACHABLE and nobody in ended.err and "comserv serve" in ended.err and not ended.out


def test_an_error_is_json_too_where_json_was_asked_for(comserv: Any, nobody: str) -> None:
    ended = comserv("server", "list", "--json", COMSERV_URL=nobody, COMSERV_TOKEN="t")
    assert set(json.loads(ended.err)) == {"title", "detail", "cure"} and not ended.out


def test_a_request_file_that_is_none_is_named(comserv: Any, tmp_path: Path, nobody: str) -> None:
    broken = tmp_path / "web.json"
    broken.write_text("{")
    ended = comserv("vm", "create", "--from", str(broken), COMSERV_URL=nobody, COMSERV_TOKEN="t")
    assert ended.code == Exit.USAGE and str(broken) in ended.err


def test_flags_make_a_request_of_what_is_named_only() -> None:
    from comserv.cli.vm import request

    options = {
        "name": "web-02",
        "file": Path("/dev/null"),
        "memory": 4096,
        "ip": "10.20.30.42/24",
        "gateway": "10.20.30.1",
    }
    options.pop("file")
    body = request(**options, template=9000, server="rack", tag=["web"], ip6="2001:db8::2/64", start=False)
    assert body == {
        "hostname": "web-02",
        "server": "rack",
        "template": {"vmid": 9000},
        "memory_mb": 4096,
        "tags": ["web"],
        "network": {
            "type": "static",
            "ip_address": "10.20.30.42",
            "subnet_mask": "24",
            "gateway": "10.20.30.1",
            "ipv6": {"type": "static", "address": "2001:db8::2", "prefix": "64"},
        },
        "start_after_creation": False,
    }


def test_flags_go_before_the_file_and_keep_what_they_do_not_name(tmp_path: Path) -> None:
    from comserv.cli.vm import request

    file = tmp_path / "web.json"
    file.write_text(json.dumps({"hostname": "web-01", "network": {"type": "dhcp", "bridge": "vmbr0"}, "cpu_cores": 2}))
    body = request(name="web-02", file=file, vlan=7)
    assert body == {"hostname": "web-02", "cpu_cores": 2, "network": {"type": "dhcp", "bridge": "vmbr0", "vlan": 7}}


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        ({"status": 404, "code": "not_found"}, Exit.NOT_FOUND),
        ({"status": 403, "code": "forbidden"}, Exit.REFUSED),
        ({"status": 401, "code": "unauthenticated"}, Exit.REFUSED),
        ({"status": 409, "code": "conflict"}, Exit.CONFLICT),
        ({"status": 422, "code": "plan_blocked"}, Exit.CONFLICT),
        ({"status": 422, "code": "invalid"}, Exit.USAGE),
        ({"status": 503, "code": "server_unreachable"}, Exit.UNREACHABLE),
        ({"status": 500, "code": "comserv_error"}, Exit.ERROR),
    ],
)
def test_a_problem_ends_with_the_code_of_its_kind(problem: dict[str, Any], code: Exit) -> None:
    assert exit_of(problem) == code
