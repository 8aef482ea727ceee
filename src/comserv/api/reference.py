"""`/openapi.json` and `/docs`: the reference, for programs and for people; both without a token, and from our own files."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from comserv.api.problems import STATUS
from comserv.api.route import PublicRoute
from comserv.domain.errors import ComservError

router = APIRouter(route_class=PublicRoute, include_in_schema=False)

POLICY = (
    "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)

STYLE = (files("comserv.api") / "templates" / "reference.css").read_bytes()


@dataclass(frozen=True)
class Field:
    """A parameter or a property, as a line of a table. place: path, query, header or body."""

    name: str
    type: str
    required: bool
    text: str
    place: str = ""


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    summary: str
    description: str
    role: str
    public: bool
    fields: tuple[Field, ...]
    body: str
    example: str
    replies: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Section:
    """The operations of one noun."""

    name: str
    description: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Shape:
    name: str
    description: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Fault:
    code: str
    status: int
    title: str
    cure: str


def type_words(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A schema as a word or two: `string`, `list of Guest`, `integer or null`; the words of an enumeration themselves."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return type_words(schemas[name], schemas) if "enum" in schemas.get(name, {}) else name
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_words(one, schemas) for one in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(str(word) for word in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {type_words(schema.get('items', {}), schemas)}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {type_words(schema['additionalProperties'], schemas) or 'anything'}"
    kind = schema.get("type", "anything")
    return schema.get("format", kind) if schema.get("format") == "date-time" else str(kind)


def _properties(schema: dict[str, Any], schemas: dict[str, Any], place: str = "") -> tuple[Field, ...]:
    required = set(schema.get("required", ()))
    return tuple(
        Field(name, type_words(one, schemas), name in required, one.get("description", ""), place)
        for name, one in schema.get("properties", {}).items()
    )


def _operation(method: str, path: str, told: dict[str, Any], schemas: dict[str, Any]) -> Operation:
    parameters = tuple(
        Field(
            p["name"],
            type_words(p["schema"], schemas).removesuffix(" or null"),
            p.get("required", False),
            p.get("description", ""),
            p["in"],
        )
        for p in told.get("parameters", ())
    )
    content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = _body_name(content.get("schema", {}))
    fields = parameters + (_properties(schemas.get(body, {}), schemas, "body") if body else ())
    return Operation(
        id=told["operationId"],
        method=method.upper(),
        path=path,
        summary=told["summary"],
        description=told["description"].partition("\n\nNeeds the role")[0].partition("\n")[2].strip(),
        role=told.get("x-comserv-role", ""),
        public="security" not in told,
        fields=fields,
        body=body,
        example=_example(content),
        replies=tuple(_reply(code, one, schemas) for code, one in told["responses"].items()),
    )


def _body_name(schema: dict[str, Any]) -> str:
    refs = [one for one in [schema, *schema.get("anyOf", ())] if "$ref" in one]
    return refs[0]["$ref"].rpartition("/")[2] if refs else ""


def _example(content: dict[str, Any]) -> str:
    examples = list(content.get("examples", {}).values())
    return msgspec.json.format(msgspec.json.encode(examples[-1]["value"]), indent=2).decode() if examples else ""


def _reply(code: str, told: dict[str, Any], schemas: dict[str, Any]) -> tuple[str, str, str]:
    shapes = " or ".join(type_words(one["schema"], schemas) for one in told.get("content", {}).values())
    return code, told["description"], shapes


def sections(document: dict[str, Any]) -> tuple[Section, ...]:
    schemas = document["components"]["schemas"]
    operations = [
        (told["tags"][0], _operation(method, path, told, schemas))
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    ]
    return tuple(
        Section(tag["name"], tag["description"], tuple(one for name, one in operations if name == tag["name"]))
        for tag in document["tags"]
    )


def shapes(document: dict[str, Any]) -> tuple[Shape, ...]:
    schemas = sorted(document["components"]["schemas"].items())
    return tuple(
        Shape(name, schema.get("description", ""), _properties(schema, document["components"]["schemas"]))
        for name, schema in schemas
        if "properties" in schema
    )


def faults() -> tuple[Fault, ...]:
    """Every error that a reply can be, from the error trees themselves."""
    found, waiting = [], [ComservError]
    while waiting:
        cls = waiting.pop(0)
        waiting[:0] = cls.__subclasses__()
        found.append(cls)
    return tuple(_fault(cls) for cls in dict.fromkeys(found))


def _fault(cls: type[ComservError]) -> Fault:
    error = cls.__new__(cls)
    ComservError.__init__(error)
    status = next(STATUS[one] for one in cls.__mro__ if one in STATUS)
    return Fault(error.code, status, error.title, error.cure)


def page(app: FastAPI) -> str:
    """The reference as HTML."""
    environment = Environment(
        loader=PackageLoader("comserv.api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    document = app.openapi()
    return environment.get_template("reference.html").render(
        document=document,
        stylesheets=app.state.stylesheets,
        sections=sections(document),
        shapes=shapes(document),
        faults=faults(),
    )


@router.get("/openapi.json")
async def get_openapi(request: Request) -> Response:
    return Response(msgspec.json.encode(request.app.openapi()), media_type="application/json")


@router.get("/docs")
async def get_docs(request: Request) -> Response:
    """The page is made once: nothing in it changes while Comserv runs."""
    kept = request.app.state
    if not hasattr(kept, "reference"):
        kept.reference = page(request.app)
    return Response(kept.reference, media_type="text/html", headers={"Content-Security-Policy": POLICY})


@router.get("/docs.css")
async def get_docs_style() -> Response:
    return Response(STYLE, media_type="text/css")
