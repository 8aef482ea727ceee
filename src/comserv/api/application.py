"""The REST API as one application below `/api/v1`: `mounted(services, stylesheets)`."""

import re
from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount

from comserv.api import (
    account,
    audit,
    bundles,
    guests,
    jobs,
    openapi,
    overview,
    people,
    problems,
    reference,
    servers,
    servertrust,
    sessions,
    tokens,
    vms,
)
from comserv.api.replies import PREFIX
from comserv.api.requestids import RequestIds
from comserv.services.services import Services

ROUTERS = (
    overview.public,
    overview.router,
    guests.router,
    vms.router,
    jobs.router,
    servers.router,
    servertrust.router,
    bundles.router,
    account.router,
    tokens.router,
    sessions.router,
    people.router,
    audit.router,
    reference.router,
)


def _operation_id(route: APIRoute) -> str:
    return route.name


def application(services: Services, stylesheets: Sequence[str] = ()) -> FastAPI:
    """Everything below `/api/v1`, with errors, request ids and reference of its own; to be mounted there.

    stylesheets: addresses of the pages' own, which the reference page wears too.
    """
    app = FastAPI(
        title="Comserv",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.services, app.state.stylesheets = services, tuple(stylesheets)
    app.add_middleware(RequestIds)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    openapi.install(app)
    return app


def mounted(services: Services, stylesheets: Sequence[str] = ()) -> Mount:
    """The route that puts the API below `/api/v1`, for every path there, also one with a line end in it."""
    below = Mount(PREFIX, application(services, stylesheets))
    below.path_regex = re.compile(below.path_regex.pattern, re.DOTALL)
    return below
