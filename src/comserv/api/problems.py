"""The one place where an error becomes an HTTP status and `application/problem+json`."""

from collections.abc import Mapping

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from comserv.api import errors as api
from comserv.api.shapes.plan import Finding
from comserv.api.shapes.problem import Problem, Stage
from comserv.domain import errors as domain

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[domain.ComservError], int] = {
    domain.ComservError: 500,
    domain.ConfigurationError: 500,
    domain.DatabaseUnavailable: 503,
    domain.Unauthenticated: 401,
    domain.TooManyAttempts: 429,
    domain.Forbidden: 403,
    domain.NotFound: 404,
    domain.Conflict: 409,
    domain.Invalid: 422,
    # Proxmox's 401 and 403 are about the server's token, not about the caller's: for the caller they are a bad gateway.
    domain.ProxmoxError: 502,
    domain.ServerUnreachable: 503,
    domain.CertificateRefused: 502,
    domain.OutcomeUnknown: 504,
    domain.GuestMissing: 404,
    domain.VmidTaken: 409,
    domain.GuestLocked: 409,
    domain.LockTimeout: 503,
    domain.DigestMismatch: 409,
    domain.ParametersRefused: 422,
    api.RequestError: 400,
    api.BodyTooLarge: 413,
    api.WrongContentType: 415,
    api.NoSuchPath: 404,
    api.WrongMethod: 405,
}
"""By class; a class that is not named answers as the nearest above it does."""

RETRY_AFTER: dict[type[domain.ComservError], int] = {
    domain.DatabaseUnavailable: 5,
    domain.ServerUnreachable: 10,
    domain.LockTimeout: 10,
}
"""Seconds: a server that is down is asked again by its sweep after 10 s, and Proxmox's own lock wait is 10 s."""

_encode = msgspec.json.Encoder().encode


def status_of(error: domain.ComservError) -> int:
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def problem_of(error: domain.ComservError, request_id: str = "") -> Problem:
    """The error as JSON, with everything that its class knows beyond the words."""
    problem = Problem.of(error.problem())
    problem.status, problem.request_id = status_of(error), request_id
    if isinstance(error, domain.Invalid):
        problem.fields = error.fields
    if isinstance(error, domain.PlanBlocked | domain.RightsMissing):
        problem.findings = [Finding.of(finding) for finding in error.findings]
    if isinstance(error, domain.ConnectionTestFailed):
        problem.stages = [Stage.of(stage) for stage in error.stages]
    return problem


def _headers(error: domain.ComservError) -> dict[str, str]:
    headers = {}
    seconds = error.facts.get("retry_after", RETRY_AFTER.get(type(error)))
    if seconds is not None:
        headers["Retry-After"] = str(max(1, round(seconds)))
    if isinstance(error, domain.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="comserv"'
    return headers


def problem_response(
    error: domain.ComservError, request_id: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    problem = problem_of(error, request_id)
    headers = {**_headers(error), **(headers or {})}
    return Response(_encode(problem), problem.status or 500, headers, MEDIA_TYPE)


def invalid(error: RequestValidationError) -> domain.Invalid:
    """Every field that is wrong, by its dotted name; what was sent is not repeated, it may be a secret."""
    fields: dict[str, str] = {}
    for fault in error.errors():
        place, *names = [str(part) for part in fault["loc"]]
        name = ".".join(names) or place
        if name in fields:  # a union: one text per possibility
            continue
        fields[name] = fault["msg"].removeprefix("Value error, ")
    return domain.Invalid(fields=fields)


def translated(request: Request, error: HTTPException) -> domain.ComservError:
    """The framework's own refusals in our words."""
    path, method = request.url.path, request.method
    match error.status_code:
        case 404:
            return api.NoSuchPath(path=path)
        case 405:
            return api.WrongMethod(path=path, method=method)
        case _:
            return api.RequestError(str(error.detail))


def request_id_of(request: Request) -> str:
    return request.scope.get("state", {}).get("request_id", "")


def methods_at(app: FastAPI, request: Request) -> set[str]:
    """The methods that the request's path knows, in capitals, as the OpenAPI document tells them."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    patterns = ((compile_path(template)[0], methods) for template, methods in app.openapi()["paths"].items())
    return {method.upper() for pattern, methods in patterns if pattern.match(path) for method in methods}


def install(app: FastAPI) -> None:
    """All errors of an application go through here, also those that nobody expected."""

    @app.exception_handler(domain.ComservError)
    async def ours(request: Request, error: domain.ComservError) -> Response:
        if status_of(error) == 500:
            log.error("request failed", path=request.url.path, exc_info=error)
        return problem_response(error, request_id_of(request))

    @app.exception_handler(RequestValidationError)
    async def fields(request: Request, error: RequestValidationError) -> Response:
        return problem_response(invalid(error), request_id_of(request))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the framework names the methods of one route only
            headers["Allow"] = ", ".join(sorted(methods_at(app, request))) or "GET"
        return problem_response(translated(request, error), request_id_of(request), headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        """The outermost edge: the framework raises it again after this reply, so that it is logged with its traceback."""
        request_id = request_id_of(request)
        headers = {"X-Request-Id": request_id} if request_id else None
        return problem_response(domain.ComservError(), request_id, headers)
