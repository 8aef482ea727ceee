"""The OpenAPI 3.1 document: the framework's own from the routes, with the schemas of our shapes beside it."""

from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from comserv.api.replies import PREFIX
from comserv.api.shapes import (
    audit,
    doctor,
    guest,
    job,
    load,
    outage,
    overview,
    person,
    plan,
    problem,
    server,
    trust,
    vm,
)

DESCRIPTION = """\
Virtual machines on any number of Proxmox VE servers: look, plan, create, change, switch, delete.

Every call but `/health` needs an API token in `Authorization: Bearer …`. Lists have `limit` and `cursor`; the next page is
asked for with `next_cursor`. What takes time answers 202 with a **job**; ask for it until its `state` has ended. An
`Idempotency-Key` makes a repeated request safe. Errors are `application/problem+json`: what happened (`title`), why
(`detail`), what to do (`cure`), and Proxmox's own words (`proxmox`).
"""

TAGS = [
    {"name": "guests", "description": "VMs and containers of all servers."},
    {"name": "vms", "description": "A VM from a template: what is offered, the plan, the creation."},
    {"name": "jobs", "description": "Durable work, made of steps."},
    {"name": "servers", "description": "Proxmox VE installations, each a single node or a cluster."},
    {"name": "bundles", "description": "All that tells how a job or a server fared, for a report; secrets gone."},
    {"name": "overview", "description": "At a glance."},
    {"name": "account", "description": "Who one is."},
    {"name": "tokens", "description": "API tokens."},
    {"name": "sessions", "description": "Browsers that are signed in."},
    {"name": "people", "description": "Who may come in, and as what."},
    {"name": "audit", "description": "Who changed or tried what."},
]

SHAPES = (audit, doctor, guest, job, load, outage, overview, person, plan, problem, server, trust, vm)


def shapes() -> list[type[msgspec.Struct]]:
    """Every shape, by its name; names are unique over all modules."""
    found = {
        thing
        for module in SHAPES
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, msgspec.Struct) and thing is not msgspec.Struct
    }
    return sorted(found, key=lambda shape: shape.__name__)


def _shape_schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(shapes(), ref_template="#/components/schemas/{name}")
    return schemas


def _tidy(document: dict[str, Any]) -> None:
    """Takes out what the framework adds and no reply of ours has; tells the role in words."""
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            role = operation.get("x-comserv-role")
            operation["summary"] = operation["description"].partition("\n")[0].rstrip(".")
            if role:
                operation["description"] += f"\n\nNeeds the role {role}."


def document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title="Comserv",
        version=version("comserv"),
        openapi_version="3.1.0",
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
        servers=[{"url": PREFIX}],
    )
    made["components"]["schemas"].update(_shape_schemas())
    _tidy(made)
    return made


def install(app: FastAPI) -> None:
    """`app.openapi()` gives the document, made once."""
    app.openapi = cache(lambda: document(app))
