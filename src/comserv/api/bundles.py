"""Bundles for a report, of a job or of a server: `.zip`, every secret gone."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from comserv.api.replies import answers
from comserv.api.route import Given, JobId, Route, ServerId, Who
from comserv.domain.person import Action
from comserv.services.bundles import Bundle

router = APIRouter(tags=["bundles"], route_class=Route)

ZIP = "application/zip"
Anonymous = Annotated[bool, Query(description="Names, addresses and people stand as words like `guest-3`.")]


def _as_file() -> dict[str, Any]:
    route = answers(None, 404, needs=Action.TAKE_BUNDLE)
    route["responses"][200] = {
        "description": "The bundle.",
        "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
    }
    return route


def _sent(bundle: Bundle) -> Response:
    return Response(
        bundle.content, media_type=ZIP, headers={"Content-Disposition": f'attachment; filename="{bundle.name}"'}
    )


@router.get("/jobs/{job_id}/bundle", **_as_file())
async def get_job_bundle(who: Who, services: Given, job_id: JobId, anonymous: Anonymous = False) -> Response:
    """Job, steps, calls with the replies that were kept, its server, versions, settings, log."""
    return _sent(await services.bundles.of_job(who, job_id, anonymous=anonymous))


@router.get("/servers/{server_id}/bundle", **_as_file())
async def get_server_bundle(who: Who, services: Given, server_id: ServerId, anonymous: Anonymous = False) -> Response:
    """Registration, health, load, picture, last test, its last jobs, versions, settings, log."""
    return _sent(await services.bundles.of_server(who, server_id, anonymous=anonymous))
