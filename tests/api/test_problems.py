"""Every error of the tree has its status, its words and its own facts, translated in one place."""

from collections.abc import Iterator

import msgspec
import pytest

from comserv.api import errors as api
from comserv.api.problems import MEDIA_TYPE, STATUS, problem_response, status_of
from comserv.api.reference import faults
from comserv.domain import errors
from comserv.domain.connection import Stage, StageName, StageState
from comserv.domain.plan import Finding, Level


def tree(cls: type[errors.ComservError] = errors.ComservError) -> Iterator[type[errors.ComservError]]:
    if cls.__module__ in (errors.__name__, api.__name__):
        yield cls
        for inner in cls.__subclasses__():
            yield from tree(inner)


def told(error: errors.ComservError) -> dict:
    return msgspec.json.decode(problem_response(error).body)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ComservError(), 500),
        (errors.Unauthenticated(), 401),
        (errors.TooManyAttempts(retry_after=7), 429),
        (errors.Forbidden(needed="admin"), 403),
        (errors.NotFound(noun="guest", name="rack/105"), 404),
        (errors.Conflict("It runs."), 409),
        (errors.Invalid(fields={"name": "is needed"}), 422),
        (errors.IdempotencyMismatch(), 422),
        (errors.SecretsMissing(["cloud_init.password"]), 422),
        (errors.ServerUnreachable(server="rack"), 503),
        (errors.CertificateRefused(server="rack"), 502),
        (errors.OutcomeUnknown(server="rack"), 504),
        (errors.TokenRefused(server="rack"), 502),
        (errors.PermissionMissing(server="rack"), 502),
        (errors.RequestRefused(server="rack"), 502),
        (errors.ParametersRefused(server="rack"), 422),
        (errors.GuestMissing(server="rack"), 404),
        (errors.GuestLocked(server="rack"), 409),
        (errors.DigestMismatch(server="rack"), 409),
        (errors.LockTimeout(server="rack"), 503),
        (api.BodyTooLarge(), 413),
        (api.WrongContentType(), 415),
        (api.WrongMethod(path="/x", method="PUT"), 405),
    ],
)
def test_an_error_answers_with_the_status_of_its_class(error: errors.ComservError, status: int) -> None:
    response = problem_response(error)
    assert (response.status_code, response.media_type) == (status, MEDIA_TYPE)


@pytest.mark.parametrize("cls", list(dict.fromkeys(tree())))
def test_every_error_of_the_tree_has_words_and_a_status_that_says_error(cls: type[errors.ComservError]) -> None:
    fault = next(fault for fault in faults() if fault.code == cls.__new__(cls).code)
    assert fault.status >= 400 and fault.title.endswith(".") and fault.cure


def test_a_token_of_a_server_that_is_refused_is_never_a_401_of_the_caller() -> None:
    assert not {401, 403} & {STATUS[cls] for cls in tree(errors.ProxmoxError) if cls in STATUS}


def test_an_error_that_the_table_does_not_name_answers_as_its_parent() -> None:
    class Unreachable(errors.ServerUnreachable):
        """Further away."""

    assert status_of(Unreachable(server="rack")) == 503


def test_a_problem_says_what_happened_why_and_what_to_do_and_keeps_proxmox_s_words() -> None:
    said = errors.ProxmoxSaid(500, "can't lock file '/var/lock/qemu-server/lock-105.conf'\n", {})
    problem = told(errors.LockTimeout(server="rack", said=said))
    assert problem["title"] == "The server rack waited 10 s for a lock and gave up."
    assert problem["code"] == "lock_timeout" and problem["cure"]
    assert problem["proxmox"] == {"status": 500, "message": said.message}


def test_faulty_fields_findings_and_stages_come_along() -> None:
    finding = Finding(Level.BLOCKER, "hostname_taken", "web-01 is taken.", "Choose another name.", "hostname")
    blocked = told(errors.PlanBlocked([finding]))
    assert blocked["findings"][0] == {
        "level": "blocker",
        "code": "hostname_taken",
        "text": "web-01 is taken.",
        "cure": "Choose another name.",
        "field": "hostname",
    }
    stage = Stage(StageName.TLS, StageState.FAILED, 12.34, "Another certificate.", "Compare it.")
    failed = told(errors.ConnectionTestFailed([stage]))
    assert failed["stages"][0]["stage"] == "tls" and failed["stages"][0]["state"] == "failed"
    missing = told(errors.SecretsMissing(["cloud_init.password"]))
    assert missing["fields"] == {"secrets.cloud_init.password": "is needed again"}


def test_who_is_slowed_down_or_not_signed_in_is_told_by_headers_too() -> None:
    assert problem_response(errors.TooManyAttempts(retry_after=6.6)).headers["Retry-After"] == "7"
    assert problem_response(errors.ServerUnreachable(server="rack")).headers["Retry-After"] == "10"
    assert problem_response(errors.Unauthenticated()).headers["WWW-Authenticate"].startswith("Bearer")
