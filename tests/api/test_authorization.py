"""Every endpoint against every role and nobody: the table of who may do what, and no endpoint outside of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette

from comserv.api.application import application, mounted
from comserv.domain.person import Actor, Role
from comserv.installation import open_installation
from comserv.settings import Settings
from tests.api.conftest import listening

pytestmark = pytest.mark.anyio

NOBODY, VIEWER, OPERATOR, ADMIN = "nobody", "viewer", "operator", "admin"
ROLES = (NOBODY, VIEWER, OPERATOR, ADMIN)

VM = {"server": "rack", "hostname": "web-01", "template": {"server": "rack", "vmid": 9000}}
SERVER = {
    "id": "made",
    "addresses": ["127.0.0.1:1"],
    "token_id": "comserv@pve!manager",
    "token_secret": "5f0c9d2e-0c8e-4c0e-9b37-2b1e0c6a4c11",
}
PERSON = {"name": "somebody", "role": "viewer", "password": "correct horse battery staple"}

TABLE: list[tuple[str, str, Any, str]] = [
    ("GET", "/health", None, NOBODY),
    ("GET", "/overview", None, VIEWER),
    ("GET", "/find", None, VIEWER),
    ("GET", "/guests", None, VIEWER),
    ("POST", "/guests/power", {"guests": [{"server": "rack", "vmid": 105}], "action": "start"}, OPERATOR),
    ("GET", "/guests/{server_id}/{vmid}", None, VIEWER),
    ("GET", "/guests/{server_id}/{vmid}/config", None, VIEWER),
    ("GET", "/guests/{server_id}/{vmid}/request", None, OPERATOR),
    ("GET", "/guests/{server_id}/{vmid}/agent", None, VIEWER),
    ("GET", "/guests/{server_id}/{vmid}/tasks", None, VIEWER),
    ("POST", "/guests/{server_id}/{vmid}/power", {"action": "start"}, OPERATOR),
    ("PATCH", "/guests/{server_id}/{vmid}", {"memory_mb": 1024}, OPERATOR),
    ("GET", "/guests/{server_id}/{vmid}/deletion", None, OPERATOR),
    ("DELETE", "/guests/{server_id}/{vmid}", {"confirm": "web-01"}, OPERATOR),
    ("GET", "/vms/choices?server=rack", None, OPERATOR),
    ("POST", "/vms/plan", VM, OPERATOR),
    ("POST", "/vms", VM, OPERATOR),
    ("GET", "/jobs", None, VIEWER),
    ("GET", "/jobs/{job_id}", None, VIEWER),
    ("GET", "/jobs/{job_id}/request", None, OPERATOR),
    ("GET", "/jobs/{job_id}/calls", None, VIEWER),
    ("POST", "/jobs/{job_id}/cancel", {}, OPERATOR),
    ("POST", "/jobs/{job_id}/retry", {}, OPERATOR),
    ("GET", "/jobs/{job_id}/remains", None, VIEWER),
    ("DELETE", "/jobs/{job_id}/remains", None, OPERATOR),
    ("GET", "/servers", None, VIEWER),
    ("POST", "/servers", SERVER, ADMIN),
    ("POST", "/servers/look", {"address": "127.0.0.1:1"}, ADMIN),
    ("POST", "/servers/test", SERVER, ADMIN),
    ("GET", "/servers/{server_id}", None, VIEWER),
    ("PATCH", "/servers/{server_id}", {"name": "Rack"}, ADMIN),
    ("DELETE", "/servers/{server_id}", None, ADMIN),
    ("POST", "/servers/{server_id}/test", None, ADMIN),
    ("GET", "/servers/{server_id}/bundle", None, ADMIN),
    ("GET", "/jobs/{job_id}/bundle", None, ADMIN),
    ("GET", "/servers/{server_id}/load", None, VIEWER),
    ("GET", "/servers/{server_id}/doctor", None, VIEWER),
    ("POST", "/servers/{server_id}/doctor", None, ADMIN),
    ("POST", "/servers/{server_id}/maintenance", {"why": "new disks"}, ADMIN),
    ("DELETE", "/servers/{server_id}/maintenance", None, ADMIN),
    ("GET", "/servers/{server_id}/certificates", None, ADMIN),
    ("POST", "/servers/{server_id}/certificates", {"fingerprints": {"127.0.0.1:1": ":".join(["AB"] * 32)}}, ADMIN),
    ("GET", "/servers/{server_id}/offers", None, ADMIN),
    ("POST", "/servers/{server_id}/addresses", {"fingerprints": {"127.0.0.1:1": ":".join(["AB"] * 32)}}, ADMIN),
    ("POST", "/servers/{server_id}/ca", {"fingerprint": ":".join(["AB"] * 32)}, ADMIN),
    (
        "POST",
        "/servers/{server_id}/token",
        {"token_id": SERVER["token_id"], "token_secret": SERVER["token_secret"]},
        ADMIN,
    ),
    ("GET", "/account", None, VIEWER),
    ("PUT", "/account/password", {"current": "wrong", "new": "correct horse battery staple"}, VIEWER),
    ("GET", "/account/ssh-keys", None, VIEWER),
    ("POST", "/account/ssh-keys", {"key": "none"}, VIEWER),
    ("PATCH", "/account/ssh-keys/{key_id}", {"default": False}, VIEWER),
    ("DELETE", "/account/ssh-keys/{key_id}", None, VIEWER),
    ("GET", "/tokens", None, VIEWER),
    ("GET", "/tokens?person=admin", None, ADMIN),
    ("POST", "/tokens", {"name": "ci"}, VIEWER),
    ("POST", "/tokens", {"name": "ci", "person": "admin"}, ADMIN),
    ("POST", "/tokens", {"name": "ci", "role": "admin"}, ADMIN),
    ("DELETE", "/tokens/{token_id}", None, VIEWER),
    ("DELETE", "/tokens/{token_id}?person=admin", None, ADMIN),
    ("GET", "/sessions", None, VIEWER),
    ("GET", "/sessions?person=admin", None, ADMIN),
    ("DELETE", "/sessions", None, VIEWER),
    ("DELETE", "/sessions?person=admin", None, ADMIN),
    ("DELETE", "/sessions/{session_id}", None, VIEWER),
    ("DELETE", "/sessions/{session_id}?person=admin", None, ADMIN),
    ("GET", "/people", None, ADMIN),
    ("POST", "/people", PERSON, ADMIN),
    ("GET", "/people/{name}", None, ADMIN),
    ("PATCH", "/people/{name}", {"role": "viewer"}, ADMIN),
    ("PUT", "/people/{name}/password", {"password": "correct horse battery staple"}, ADMIN),
    ("GET", "/audit", None, ADMIN),
]
"""Method, path, body, and the least role that may. What the places in a path stand for does not exist."""

PLACES = {
    "server_id": "rack",
    "vmid": "105",
    "job_id": "nothing",
    "token_id": "999",
    "key_id": "999",
    "session_id": "999",
    "name": "x",
}


@pytest.fixture(scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """An installation with a person of each role, served; its address and the tokens by role."""
    folder: Path = tmp_path_factory.mktemp("installation")
    local = Actor("local", Role.ADMIN, "local")
    async with open_installation(Settings(data_dir=folder)) as services:
        tokens = {NOBODY: ""}
        for role in Role:
            await services.people.create(local, str(role), role, "correct horse battery staple")
            tokens[str(role)] = await services.people.create_token(local, "test", name=str(role))
        outer = Starlette(routes=[mounted(services)])
        async with listening(outer) as address:
            yield address, tokens


async def ask(
    installation: tuple[str, dict[str, str]], method: str, path: str, body: Any, role: str
) -> tuple[int, Any]:
    address, tokens = installation
    headers = {"Authorization": f"Bearer {tokens[role]}"} if tokens[role] else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, f"{address}/api/v1{path.format(**PLACES)}", json=body) as response,
    ):
        text = await response.read()
        return response.status, await response.json(content_type=None) if text else None


def test_no_endpoint_is_missing_from_the_table() -> None:
    document = application(None).openapi()  # pyright: ignore[reportArgumentType] # the routes do not need services
    known = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    assert known == {(method, path.partition("?")[0]) for method, path, _, _ in TABLE}


def test_the_document_tells_the_same_roles_as_the_table() -> None:
    paths = application(None).openapi()["paths"]  # pyright: ignore[reportArgumentType]
    for method, path, _, least in {(m, p, "", least) for m, p, _, least in TABLE if "?person" not in p}:
        told = paths[path.partition("?")[0]][method.lower()].get("x-comserv-role", NOBODY)
        assert told == least or (method, path) == ("POST", "/tokens"), (method, path)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("method", "path", "body", "least"), TABLE, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_whoever_may_not_is_refused_and_whoever_may_is_not(
    installation: tuple[str, dict[str, str]], method: str, path: str, body: Any, least: str, role: str
) -> None:
    status, told = await ask(installation, method, path, body, role)
    if ROLES.index(role) >= ROLES.index(least):
        assert (status not in (401, 403) and status < 500) or status in (502, 503), told
    elif role == NOBODY:
        assert status == 401 and told["code"] == "unauthenticated"
    else:
        assert status == 403 and told["code"] == "forbidden" and least in told["cure"] + told["detail"], told


async def test_every_refused_attempt_to_change_is_audited(installation: tuple[str, dict[str, str]]) -> None:
    status, _ = await ask(installation, "DELETE", "/servers/audited", None, VIEWER)
    assert status == 403
    _, told = await ask(installation, "GET", "/audit?outcome=refused&subject=server%20audited", None, ADMIN)
    assert [(row["who"], row["via"], row["outcome"]) for row in told["items"]] == [("viewer", "api", "refused")]


@pytest.mark.parametrize(
    ("method", "path", "row"),
    [
        ("POST", "/vms/plan", None),
        ("POST", "/vms", ("create_vm", "server rack")),
        ("PATCH", "/guests/rack/977", ("change_guest", "guest rack/977")),
    ],
)
@pytest.mark.parametrize("body", [{"server": "rack", "hostname": 7, "colour": "red"}, [], "nothing"])
async def test_whoever_may_not_is_refused_before_the_body_is_judged(
    installation: tuple[str, dict[str, str]], method: str, path: str, row: tuple[str, str] | None, body: Any
) -> None:
    assert (await ask(installation, method, path, body, VIEWER))[0] == 403
    assert (await ask(installation, method, path, body, OPERATOR))[0] == 422
    if row:
        _, told = await ask(installation, "GET", f"/audit?outcome=refused&who=viewer&action={row[0]}", None, ADMIN)
        assert row[1] in {entry["subject"] for entry in told["items"]} or not isinstance(body, dict)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (method, path, body)
        for method, path, body, least in TABLE
        if body and least in (OPERATOR, ADMIN) and "token" not in path
    ],
)
@pytest.mark.parametrize("spoilt", [{"colour": "red"}, [], "nothing"], ids=str)
async def test_the_role_comes_before_every_fault_of_a_body(
    installation: tuple[str, dict[str, str]], method: str, path: str, body: Any, spoilt: Any
) -> None:
    status, told = await ask(installation, method, path, spoilt, VIEWER)
    assert status == 403 and told["code"] == "forbidden", told
    assert "fields" not in told or not told["fields"]


async def test_a_refusal_before_the_body_was_understood_is_audited_too(
    installation: tuple[str, dict[str, str]],
) -> None:
    for method, path, subject in (
        ("POST", "/guests/rack/978/power", "guest rack/978"),
        ("PATCH", "/servers/unread", "server unread"),
        ("PATCH", "/people/unread", "person unread"),
        ("POST", "/servers", "servers"),
    ):
        assert (await ask(installation, method, path, {"colour": "red"}, VIEWER))[0] == 403
        _, told = await ask(installation, "GET", "/audit?outcome=refused&who=viewer", None, ADMIN)
        assert subject in {row["subject"] for row in told["items"]}, told


async def test_a_token_has_at_most_the_role_of_its_person(installation: tuple[str, dict[str, str]]) -> None:
    _, made = await ask(installation, "POST", "/tokens", {"name": "weak", "role": "viewer"}, ADMIN)
    address, tokens = installation
    weak = (address, {**tokens, "weak": made["token"]})
    assert (await ask(weak, "GET", "/account", None, "weak"))[1]["role"] == "viewer"
    assert (await ask(weak, "GET", "/people", None, "weak"))[0] == 403
    assert (await ask(weak, "POST", "/tokens", {"name": "x", "role": "operator"}, "weak"))[0] == 403
