"""The document under /openapi.json is true, complete, and readable without anything from elsewhere."""

import re
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from comserv.api.application import application
from comserv.api.openapi import shapes
from comserv.api.shapes.guest import GuestChange
from comserv.api.shapes.vm import EXAMPLES, VmRequest
from comserv.domain.change import ChangeRequest
from comserv.domain.vmrequest import parse_vm_request, to_mapping

PUBLIC = {("get", "/health")}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return application(SimpleNamespace()).openapi()  # pyright: ignore[reportArgumentType]


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, told) for path, methods in document["paths"].items() for method, told in methods.items()]


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(inner) for inner in value.values()))
    return set().union(*(references(inner) for inner in value)) if isinstance(value, list) else set()


def test_it_is_openapi_3_1_below_our_prefix(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1") and document["servers"] == [{"url": "/api/v1"}]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known


def test_every_operation_but_health_needs_a_token_and_says_the_role(document: dict[str, Any]) -> None:
    for method, path, told in operations(document):
        public = (method, path) in PUBLIC
        assert ("security" in told) is not public, path
        assert ("x-comserv-role" in told) is not public, path


def test_every_operation_tells_its_problems_and_its_purpose(document: dict[str, Any]) -> None:
    for _, path, told in operations(document):
        default = told["responses"]["default"]["content"]["application/problem+json"]["schema"]
        assert default == {"$ref": "#/components/schemas/Problem"}, path
        assert told["summary"] and told["description"] and told["tags"], path


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [told["operationId"] for _, _, told in operations(document)]
    assert len(ids) == len(set(ids))


def test_shapes_have_names_of_their_own_and_a_sentence() -> None:
    names = [shape.__name__ for shape in shapes()]
    assert len(names) == len(set(names))
    assert all(shape.__doc__ for shape in shapes())


def test_what_makes_a_job_takes_an_idempotency_key(document: dict[str, Any]) -> None:
    without = {"cancel_job", "retry_job"}  # they change a job that is there
    for _, path, told in operations(document):
        if "202" in told["responses"] and told["operationId"] not in without:
            assert "idempotency-key" in {parameter["name"] for parameter in told["parameters"]}, path


def names(shape: type, prefix: str = "") -> set[str]:
    """Dotted names of the fields, through nested objects."""
    found: set[str] = set()
    for field in msgspec.structs.fields(shape):
        inner = [one for one in getattr(field.type, "__args__", (field.type,)) if isinstance(one, type)]
        nested = [one for one in inner if issubclass(one, msgspec.Struct)]
        found |= names(nested[0], f"{prefix}{field.name}.") if nested else {prefix + field.name}
    return found


def dotted(mapping: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in mapping.items():
        found |= dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return found


def test_the_body_of_a_creation_has_the_fields_that_the_domain_reads() -> None:
    assert names(VmRequest) == dotted(to_mapping(parse_vm_request(EXAMPLES["static address"])))


def test_the_body_of_a_change_has_the_fields_that_the_domain_reads() -> None:
    assert set(GuestChange.__struct_fields__) == set(ChangeRequest.__dataclass_fields__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_creation_can_be_read(name: str) -> None:
    assert parse_vm_request(EXAMPLES[name]).hostname == "web-01"


@pytest.mark.anyio
async def test_the_document_and_its_page_need_no_token(call: Any) -> None:
    status, document, _ = await call("GET", "/openapi.json", token=None)
    assert status == 200 and "/guests" in document["paths"]
    status, page, response = await call("GET", "/docs", token=None)
    assert status == 200 and response.content_type == "text/html" and "Content-Security-Policy" in response.headers
    assert not re.search(r"(src|href)=\"(https?:)?//", page), "everything comes from our own files"
    assert all(f'id="{told["operationId"]}"' in page for _, _, told in operations(document))
    status, style, _ = await call("GET", "/docs.css", token=None)
    assert status == 200 and "//" not in style
