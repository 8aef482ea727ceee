"""Bundles for a report: asked for on the page of a job or a server, and downloaded."""

from fastapi import APIRouter, Request, Response

from comserv.domain.person import Action
from comserv.services.bundles import Bundle
from comserv.web.context import Web


def router(web: Web) -> APIRouter:
    routes = web.router()
    bundles = web.services.bundles

    @routes.get("/jobs/{job_id}/bundle")
    async def of_job(request: Request, job_id: str) -> Response:
        visitor = await web.visitor(request)
        await web.require(visitor, Action.TAKE_BUNDLE, f"job {job_id[:40]}")
        return _download(await bundles.of_job(visitor.actor, job_id, anonymous=_anonymous(request)))

    @routes.get("/servers/{server_id}/bundle")
    async def of_server(request: Request, server_id: str) -> Response:
        visitor = await web.visitor(request)
        await web.require(visitor, Action.TAKE_BUNDLE, f"server {server_id[:40]}")
        return _download(await bundles.of_server(visitor.actor, server_id, anonymous=_anonymous(request)))

    return routes


def _anonymous(request: Request) -> bool:
    return request.query_params.get("anonymous") == "yes"


def _download(bundle: Bundle) -> Response:
    headers = {"content-disposition": f'attachment; filename="{bundle.name}"'}
    return Response(bundle.content, media_type="application/zip", headers=headers)
