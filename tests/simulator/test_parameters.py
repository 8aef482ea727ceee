"""Parameters are verified as the real one verifies them: every fault, in its words, in one reply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from pve_simulator.errors import ParameterError
from pve_simulator.parameters import decoding
from pve_simulator.parameters.formats import FormatError
from pve_simulator.parameters.verification import parse_property_string, verify
from pve_simulator.schema import load

from .conftest import Simulator

UNDEFINED = "property is not defined in schema and the schema does not allow additional properties"
# Refused by the real one in its code, before the description is looked at.
IN_CODE = {"user.create.no-realm"}


def requests() -> Iterator[tuple[dict[str, Any], Any, dict[str, Any]]]:
    """Recorded calls that came as far as verification: (record, method, values)."""
    for file in sorted((Path(__file__).parent / "recordings").glob("*.jsonl")):
        for record in map(json.loads, filter(None, file.read_text().split("\n"))):
            path, _, query = record["path"].removeprefix("/api2/json").partition("?")
            kind, body = record["request_headers"].get("Content-Type", ""), record["request_body"]
            if record["status"] not in (200, 400) or not record["path"].startswith("/api2/json"):
                continue
            if isinstance(body, dict) or "multipart" in kind:
                continue
            found = load().find(record["method"], unquote(path))
            if found:
                sent = decoding.json_object(body.encode()) if "json" in kind else decoding.form(body or "")
                values = {**sent, **decoding.form(query), **found[1]}
                values.pop("_dc", None)
                yield record, found[0], values


def faults(method: Any, values: dict[str, Any]) -> dict[str, str] | None:
    """What verification says."""
    try:
        verify(method, values)
    except ParameterError as refusal:
        return refusal.errors
    return None


def test_what_the_real_one_accepted_is_accepted_and_what_it_refused_is_refused_in_its_words() -> None:
    compared = 0
    for record, method, values in requests():
        found = faults(method, values)
        if found is None or record["name"] in IN_CODE:
            continue
        assert record["status"] == 400, f"{record['name']} was accepted by the real one: {found}"
        assert found == json.loads(record["response_body"])["errors"], record["name"]
        compared += 1
    assert compared >= 105


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("virtio,bridge=vmbr0", {"model": "virtio", "bridge": "vmbr0"}),
        (
            "e1000=BC:24:11:00:00:01,bridge=vmbr0,firewall=yes",
            {"model": "e1000", "macaddr": "BC:24:11:00:00:01", "bridge": "vmbr0", "firewall": "1"},
        ),
        ("bridge=vmbr1,virtio", {"model": "virtio", "bridge": "vmbr1"}),
    ],
)
def test_a_property_string_is_taken_apart_by_default_key_and_aliases(text: str, members: dict[str, str]) -> None:
    assert parse_property_string(load().formats["net[n]"], text) == members


@pytest.mark.parametrize("text", ["virtio,bridge=vmbr0,bridge=vmbr1", "virtio,e1000", "=x", "virtio,tag="])
def test_a_property_string_that_cannot_be_taken_apart_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_property_string(load().formats["net[n]"], text)


def test_a_form_loses_what_follows_a_second_equals_sign() -> None:
    assert decoding.form("net0=virtio,bridge=vmbr0&a=1;b=x+y%2B") == {"net0": "virtio,bridge", "a": "1", "b": "x y+"}


def test_a_repeated_key_makes_a_list_which_only_lists_take(recorded: Simulator) -> None:
    answer = recorded.send("GET", "/api2/json/nodes/pve1/tasks?limit=1&limit=2", None, recorded.token())
    assert answer.errors == {"limit": "type check ('integer') failed - got ARRAY"}


def test_all_faults_come_in_one_reply(recorded: Simulator) -> None:
    answer = recorded.call("POST", "/nodes/pve1/qemu", vmid=99, memory=1, foo=1)
    assert answer.status == 400
    assert answer.reason == "Parameter verification failed."
    assert answer.json["message"] == "Parameter verification failed.\n"
    assert answer.errors == {
        "vmid": "invalid format - value does not look like a valid VM ID\n",
        "memory": "invalid format - format error\nmemory.current: value must have a minimum value of 16\n",
        "foo": UNDEFINED,
    }


def test_a_parameter_of_the_path_may_not_be_contradicted(recorded: Simulator) -> None:
    answer = recorded.call("PUT", "/nodes/pve1/qemu/101/config", vmid=102)
    assert answer.errors == {"vmid": "duplicate parameter (already defined in URI) with conflicting values!"}


@pytest.mark.parametrize(
    ("kind", "body", "status", "reason"),
    [
        ("text/plain", "x", 506, "upload 'Content-Type 'text/plain' not implemented"),
        (
            "application/JSON",
            "{}",
            506,
            "upload 'Content-Type 'application/JSON' not implemented",
        ),
        (
            "application/json",
            "[1]",
            500,
            "Not a HASH reference at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 978.",
        ),
        ("application/x-www-form-urlencoded", "a" * 600_000, 501, "for data too large"),
    ],
)
def test_a_body_of_the_wrong_kind_is_refused_by_the_http_layer(
    recorded: Simulator, kind: str, body: str, status: int, reason: str
) -> None:
    answer = recorded.send("POST", "/api2/json/pools", body, {**recorded.token(), "Content-Type": kind})
    assert (answer.status, answer.reason) == (status, reason)
    assert answer.header("Connection") == ["close"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_get_and_delete_take_no_body(recorded: Simulator, method: str) -> None:
    answer = recorded.send(method, "/api2/json/pools", "poolid=x", recorded.token())
    assert (answer.status, answer.reason) == (501, f"Unexpected content for method '{method}'")
