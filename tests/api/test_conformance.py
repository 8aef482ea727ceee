"""The running API against its own OpenAPI document: whatever is sent, it answers as the document says."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from comserv.api.application import application
from tests.api.conftest import register
from tests.processes import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DOCUMENT = application(None).openapi()  # pyright: ignore[reportArgumentType] # the routes do not need services
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CHECKED = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def api(running: Running, estate: dict[str, Any]) -> Running:
    """With a second server, `spare`, that may be removed and turned inside out."""
    register(running, "spare", estate["servers"][1])
    return running


def harmless(body: Any) -> Any:
    """No name is looked up outside: every address is one of this machine where nothing listens."""
    if isinstance(body, dict) and isinstance(body.get("addresses"), list) and body["addresses"]:
        return {**body, "addresses": ["127.0.0.1:1"]}
    if isinstance(body, dict) and isinstance(body.get("address"), str):
        return {**body, "address": "127.0.0.1:1"}
    return body


@SCHEMA.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
def test_every_reply_is_as_the_document_says(case: schemathesis.Case, api: Running) -> None:
    case.body = harmless(case.body)
    if case.operation.label == "DELETE /tokens/{token_id}":
        case.path_parameters["token_id"] = 10**6  # a small one may be the token of this very test
    if case.operation.label in ("DELETE /servers/{server_id}", "PATCH /servers/{server_id}"):
        case.path_parameters["server_id"] = "spare"
    headers = {"Authorization": f"Bearer {api.tokens['admin']}"}
    response = case.call(base_url=f"{api.url}/api/v1", headers=headers)
    assert response.status_code != 500, response.text
    if response.status_code >= 400:
        problem = response.json()
        assert problem["title"] and problem["cure"] and problem["code"], response.text
    case.validate_response(response, checks=CHECKED, headers=headers)
