"""A request is hostile until it is parsed: who sent it, where it goes and what it holds."""

import io
from types import SimpleNamespace
from typing import Any

import pytest

from comserv.domain.errors import NotFound
from comserv.domain.person import Actor, Person, Role

pytestmark = pytest.mark.anyio


class People:
    """Creates whoever is asked for, and remembers who asked."""

    def __init__(self) -> None:
        self.asked_by: Actor | None = None

    async def create(self, actor: Actor, name: str, role: Role, password: str) -> Person:
        self.asked_by = actor
        return Person(2, name, role)

    async def get(self, actor: Actor, name: str) -> Person:
        raise NotFound(noun="person", name=name)

    async def list(self, actor: Actor) -> tuple[Person, ...]:
        return tuple(Person(place, f"person-{place:02}", Role.VIEWER) for place in range(7))


@pytest.fixture
async def people(services: SimpleNamespace) -> People:
    services.people = People()
    return services.people


MARA = {"name": "mara", "role": "viewer", "password": "correct horse battery"}


async def test_health_needs_no_token(call: Any) -> None:
    status, body, response = await call("GET", "/health", token=None)
    assert status == 200 and body["status"] == "ok" and body["set_up"] is False
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic bWFyYTp4", "Bearer wrong", "Bearer " + "x" * 999]
)
async def test_without_a_good_bearer_token_nothing_else_is_looked_at(
    call: Any, people: People, authorization: str
) -> None:
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    status, body, response = await call("POST", "/people", token=None, headers=headers, data=b"{not json")
    assert status == 401 and body["code"] == "unauthenticated" and people.asked_by is None
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_cookie_is_no_token(call: Any) -> None:
    for name in ("comserv", "__Host-comserv", "session"):
        status, _, _ = await call("GET", "/people", token=None, headers={"Cookie": f"{name}=t0ken"})
        assert status == 401


async def test_what_is_sent_reaches_the_service_with_who_asked(call: Any, people: People) -> None:
    status, body, response = await call("POST", "/people", json=MARA, headers={"X-Request-Id": "from-the-test"})
    assert status == 201 and body["name"] == "mara" and "password" not in body
    assert people.asked_by and people.asked_by.name == "mara" and people.asked_by.request_id == "from-the-test"
    assert response.headers["X-Request-Id"] == "from-the-test"
    assert response.headers["Location"] == "/api/v1/people/mara"


@pytest.mark.parametrize("asked", ["", "two words", "x" * 65, "päng"])
async def test_a_request_id_that_is_none_is_replaced_by_one_of_ours(call: Any, asked: str) -> None:
    _, _, response = await call("GET", "/health", headers={"X-Request-Id": asked})
    assert response.headers["X-Request-Id"] not in ("", asked)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "body_unreadable"),
        (b"", "application/json", 422, "invalid"),
        (b"[" * 100_000, "application/json", 400, "body_unreadable"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "application/json", 400, "body_unreadable"),
        (b'{"name": "\xff"}', "application/json", 400, "body_unreadable"),
        (b'{"name": "\\ud800"}', "application/json", 400, "body_unreadable"),
        (b'{"name": "a\\u0000b", "role": "viewer", "password": "x"}', "application/json", 400, "body_unreadable"),
        (b'{"name": NaN}', "application/json", 400, "body_unreadable"),
        (b"name=mara", "application/x-www-form-urlencoded", 415, "wrong_content_type"),
        (b'{"name": "mara"}', "text/plain", 415, "wrong_content_type"),
        (b'{"name": "mara"}', "", 415, "wrong_content_type"),
        (io.BytesIO(b" " * (1 << 20) + b"{}"), "application/json", 413, "body_too_large"),
        (b'"mara"', "application/json", 422, "invalid"),
        (b"[]", "application/json", 422, "invalid"),
        (b"{}", "application/json", 422, "invalid"),
    ],
)
async def test_a_body_that_is_no_request_is_a_problem(
    call: Any, people: People, body: Any, content_type: str, status: int, code: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    options = {} if content_type else {"skip_auto_headers": ["Content-Type"]}
    got, problem, response = await call("POST", "/people", data=body, headers=headers, **options)
    assert (got, problem["code"]) == (status, code), problem
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["title"] and problem["cure"] and people.asked_by is None


async def test_every_wrong_field_is_named_and_no_value_repeated(call: Any, people: People) -> None:
    wrong = {"name": 7, "role": "king", "password": ["geheim"], "colour": "red"}
    status, problem, _ = await call("POST", "/people", json=wrong)
    assert status == 422 and set(problem["fields"]) == {"name", "role", "password", "colour"}
    assert "geheim" not in str(problem)


@pytest.mark.parametrize(
    "path", ["/people/a%00b", "/people/a%0Ab", "/people/a%0A", "/guests?text=%00", "/people?limit=5&cursor=%07"]
)
async def test_control_characters_in_an_address_are_refused(call: Any, people: People, path: str) -> None:
    status, problem, _ = await call("GET", path)
    assert status == 400 and problem["code"] == "malformed_address"


@pytest.mark.parametrize("path", ["/nothing", "/people/", "/people/a/b/c", "/"])
async def test_an_unknown_path_is_a_problem(call: Any, path: str) -> None:
    status, problem, _ = await call("GET", path)
    assert status == 404 and problem["code"] == "no_such_path" and problem["title"].endswith(f"/api/v1{path}.")


async def test_a_wrong_method_is_a_problem_that_names_the_right_ones(call: Any) -> None:
    status, problem, response = await call("PUT", "/people", json={})
    assert status == 405 and problem["code"] == "wrong_method"
    assert {word.strip() for word in response.headers["Allow"].split(",")} == {"GET", "POST"}


async def test_what_a_service_refuses_arrives_as_its_own_problem(call: Any, people: People) -> None:
    status, problem, response = await call("GET", "/people/nobody")
    assert status == 404 and problem["title"] == "There is no person nobody."
    assert problem["request_id"] == response.headers["X-Request-Id"]


async def test_numbers_out_of_range_do_not_reach_a_service(call: Any) -> None:
    for path in ("/guests/rack/99", "/guests/rack/1000000000", f"/guests/rack/{10**30}", "/guests/rack/one"):
        status, problem, _ = await call("GET", path)
        assert status == 422 and "vmid" in problem["fields"], path


async def test_a_list_is_read_page_by_page(call: Any, people: People) -> None:
    names, cursor = [], ""
    while True:
        status, page, _ = await call("GET", f"/people?limit=3&cursor={cursor}")
        assert status == 200 and len(page["items"]) <= 3
        names += [person["name"] for person in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert all(c.isalnum() or c in "-_" for c in cursor)
    assert names == [f"person-{place:02}" for place in range(7)]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x"])
async def test_a_limit_is_between_1_and_500(call: Any, people: People, query: str) -> None:
    status, problem, _ = await call("GET", f"/people?{query}")
    assert status == 422 and "limit" in problem["fields"]


@pytest.mark.parametrize("cursor", ["x", "%C3%A4", "bnVsbA", "MTI"])
async def test_a_cursor_of_somebody_else_is_refused(call: Any, people: People, cursor: str) -> None:
    status, problem, _ = await call("GET", f"/people?cursor={cursor}")
    assert status == 422 and "cursor" in problem["fields"]


async def test_an_unexpected_error_is_a_problem_with_the_id_to_look_for(
    call: Any, services: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        async def list(self, actor: Actor) -> None:
            raise ZeroDivisionError("secret inner workings")

    services.people = Broken()
    status, problem, response = await call("GET", "/people")
    assert status == 500 and problem["code"] == "comserv_error" and "secret" not in str(problem)
    assert problem["request_id"] == response.headers["X-Request-Id"]
    assert "ZeroDivisionError" in caplog.text
