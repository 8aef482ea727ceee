"""The running API for those who may not: whatever they send, also what fits no document, they are refused first and change nothing."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from comserv.api.application import application
from tests.api.test_conformance import harmless
from tests.processes import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DOCUMENT = application(None).openapi()  # pyright: ignore[reportArgumentType] # the routes do not need services
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)  # what fits the document, and what breaks it
OUTSIDE = {"no_such_path", "wrong_method"}  # a value with a slash makes another address, where nothing is
WRONG_TOKENS = {"nobody": "", "wrong": "Bearer cs_" + "x" * 43, "other scheme": "Basic YWRtaW46YWRtaW4="}
OWN = ("/account", "/tokens", "/sessions")  # what a viewer may change: things of one's own


PLACES = ("servers", "people", "jobs", "tokens", "tokens?person=operator", "account/ssh-keys")


def told(running: Running) -> dict[str, Any]:
    """All that people and programs can change, as an admin sees it."""
    return {place: _items(running, place) for place in PLACES}


def _items(running: Running, place: str) -> list[tuple[str, ...]]:
    """Of each row what tells it apart."""
    headers = {"Authorization": f"Bearer {running.tokens['admin']}"}
    asked = urllib.request.Request(f"{running.url}/api/v1/{place}", headers=headers)  # our own
    with urllib.request.urlopen(asked) as reply:
        rows = json.load(reply)["items"]
    kept = (
        "id",
        "name",
        "role",
        "disabled",
        "addresses",
        "token_id",
        "maintenance",
        "gentleness",
        "enabled",
        "default_node",
    )
    return [tuple(str(row.get(name)) for name in kept) for row in rows]


@pytest.fixture(scope="module")
def guarded(running: Running) -> Iterator[Running]:
    """Nothing has changed when all is over."""
    before = told(running)
    yield running
    assert told(running) == before


@SCHEMA.parametrize()
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
def test_whoever_may_not_is_refused_before_anything_else_is_looked_at(
    case: schemathesis.Case, guarded: Running
) -> None:
    told = DOCUMENT["paths"][case.operation.path][case.operation.method.lower()]
    if "security" not in told:
        return
    case.body = harmless(case.body)
    for authorization in WRONG_TOKENS.values():
        reply = sent(case, guarded, authorization)
        assert reply.status_code == 401 or problem(reply) in OUTSIDE, reply.text
    if told["x-comserv-role"] == "viewer" and case.operation.method != "GET" and case.operation.path.startswith(OWN):
        return
    reply = sent(case, guarded, f"Bearer {guarded.tokens['viewer']}")
    if told["x-comserv-role"] == "viewer":
        assert reply.status_code not in (401, 403, 500), reply.text
    else:
        assert reply.status_code == 403 or problem(reply) in OUTSIDE, reply.text


def sent(case: schemathesis.Case, running: Running, authorization: str) -> Any:
    """The request as it was drawn, but for who asks: a drawn one may leave that out, or have one of its own."""
    request = case.as_transport_kwargs(base_url=f"{running.url}/api/v1")
    headers = {name: value for name, value in request["headers"].items() if name.lower() != "authorization"}
    request["headers"] = headers | ({"Authorization": authorization} if authorization else {})
    with requests.Session() as session:
        session.trust_env = False
        return session.request(**request)


def problem(reply: Any) -> str:
    """Its code; every refusal has one, and words."""
    told = reply.json()
    assert told["title"] and told["cure"], reply.text
    return told["code"]
