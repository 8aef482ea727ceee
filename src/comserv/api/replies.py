"""How an endpoint answers, and how it says so in the OpenAPI document: both from the same shape."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import Response

from comserv.api.problems import MEDIA_TYPE
from comserv.api.shapes.job import Job
from comserv.domain import job as domain
from comserv.domain.person import NEEDED, Action

JSON = "application/json"
PROBLEM = {"$ref": "#/components/schemas/Problem"}
PREFIX = "/api/v1"

_encode = msgspec.json.Encoder(enc_hook=str).encode


def reply(shape: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_encode(shape), status, headers, JSON)


def nothing() -> Response:
    return Response(status_code=204)


def job_reply(job: domain.Job) -> Response:
    """202 with the job, and where to look how it goes on."""
    return reply(Job.of(job), 202, {"Location": f"{PREFIX}/jobs/{job.id}"})


def schema_of(shape: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def problem(status: int) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": PROBLEM}}}


def answers(
    shape: type[msgspec.Struct] | None,
    *problems: int,
    needs: Action | None = None,
    status: int = 200,
    description: str = "",
    body: type[msgspec.Struct] | None = None,
    examples: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The keywords of a route: what it answers with (None: nothing), with which problems, and the role that it needs.

    body: the shape of a body that the domain itself parses; examples: bodies by name.
    """
    good: dict[str, Any] = {"description": description or HTTPStatus(status).phrase}
    if shape is not None:
        good["content"] = {JSON: {"schema": schema_of(shape)}}
    if needs is not None:
        problems = (401, 403, *problems) if NEEDED[needs] != "viewer" else (401, *problems)
    responses: dict[int | str, Any] = {status: good, **{code: problem(code) for code in sorted(set(problems))}}
    responses["default"] = {"description": "Any other problem", "content": {MEDIA_TYPE: {"schema": PROBLEM}}}
    extra: dict[str, Any] = {}
    if needs is not None:
        extra = {"x-comserv-role": str(NEEDED[needs]), "x-comserv-action": str(needs)}
    if body is not None:
        content: dict[str, Any] = {"schema": schema_of(body)}
        if examples:
            content["examples"] = {name: {"value": value} for name, value in examples.items()}
        extra["requestBody"] = {"required": True, "content": {JSON: content}}
    return {
        "status_code": status,
        "responses": responses,
        "response_model": None,
        "response_class": Response,
        "openapi_extra": extra,
    }
