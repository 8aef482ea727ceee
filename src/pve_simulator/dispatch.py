"""From a request of the API to its reply: find, check, proxy, verify, carry out."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

from pve_simulator import readonly, versions
from pve_simulator.authentication import Identity
from pve_simulator.call import ENDPOINTS, Call
from pve_simulator.errors import ApiError, ParameterError, PermissionDenied
from pve_simulator.faults import FOR_TASKS, Rule
from pve_simulator.lives import Life, mortal
from pve_simulator.parameters.verification import verify
from pve_simulator.permissions import Permissions, check_declared
from pve_simulator.replies import Reply, empty, failure, success
from pve_simulator.schema import Method, load
from pve_simulator.server import Server
from pve_simulator.versions import CURRENT, Version

INNER_TIMEOUT = 30.0  # seconds after which pveproxy gives up on what it asked another daemon or node
NO_ROUTE = 3.0
BROKEN_PIPE = 5.0


@dataclass
class Request:
    """A decoded request to the API. `path` begins with `/`, without `/api2/FORMAT` and query.

    `entry` is the node whose address the client asked.
    """

    method: str
    path: str
    form: str
    identity: Identity
    values: dict[str, Any]
    entry: str
    files: dict[str, bytes] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


async def dispatch(server: Server, request: Request) -> Reply | None:
    """The reply to a request. A slow inner call is given up on with 596 while its work goes on.

    None where the node that the client asked died over it.
    """
    privileged = False
    try:
        asked_node = server.estate.nodes.get(request.entry, server.estate.entry)
        found = load(versions.of(asked_node).name).find(request.method, request.path)
        if found is None:
            raise not_implemented(request)
        method, in_path = found
        values = merged(in_path, request.values)
        if request.identity.token and not method.allow_token:
            raise PermissionDenied(f"URI '{request.path}' not available with API token, need proper ticket.\n")
        check_declared(Permissions(server.estate), method.permissions, request.identity.user, values)
        node = values.get("node") if method.proxy_to_node else None
        remote = node is not None and node not in ("localhost", request.entry)
        if isinstance(node, str):
            unreachable = await reach(server, node, request)
            if unreachable:
                return unreachable
        privileged = method.protected or remote
        life = server.life(str(node) if remote else request.entry)
        work = asyncio.ensure_future(mortal(life, carry_out(server, request, method, values)))
        if not privileged:
            await asyncio.wait([work, life.over], return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        return await asked(server, work, life, str(node) if remote else None)
    except ApiError as error:
        return await refused(server, error, request.form, privileged)


def not_implemented(request: Request) -> ApiError:
    """501 of an unknown path or method, without a final newline."""
    return ApiError(501, f"Method '{request.method} {request.path}' not implemented", newline=False)


def merged(in_path: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    """Parameters of path, query and body; raises ParameterError where they contradict each other."""
    for name, value in values.items():
        if name in in_path and str(value) != in_path[name]:
            raise ParameterError({name: "duplicate parameter (already defined in URI) with conflicting values!"})
    return {**values, **in_path}


async def reach(server: Server, node: str, request: Request) -> Reply | None:
    """None if a node can be asked; else what pveproxy answers, after the time it takes."""
    if node in ("localhost", request.entry) and not server.faults.rules:
        return None
    if server.faults.standing("node_down", request.method, request.path, node):
        await server.clock.sleep(NO_ROUTE)
        return empty(595, "No route to host")
    if node == "localhost":
        return None
    if node not in server.estate.nodes and node not in server.estate.names:
        reason = f"hostname lookup '{node}' failed - failed to get address info for: {node}"
        raise ApiError(500, f"{reason}: Temporary failure in name resolution")
    if node not in server.estate.nodes or not server.estate.nodes[node].online:
        await server.clock.sleep(NO_ROUTE)
        return empty(595, "No route to host")
    return None


async def asked(server: Server, work: asyncio.Future[Reply], life: Life, node: str | None) -> Reply | None:
    """What an inner hop answers: given up on after 30 s, or 5 s after its node was lost, while the work goes on.

    A node that dies takes the work with it; None where that is the one that the client asked.
    """
    end = asyncio.get_running_loop().time() + server.clock.scaled(INNER_TIMEOUT)
    while not work.done():
        news = asyncio.ensure_future(server.faults.news.wait())
        left = max(0.0, end - asyncio.get_running_loop().time())
        await asyncio.wait([work, news, life.over], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        if work.done():
            break
        if node is None and life.ended:
            return None
        if node is not None and (life.ended or server.faults.down(node)):
            await server.clock.sleep(BROKEN_PIPE)
            return empty(596, "Broken pipe")
        if asyncio.get_running_loop().time() >= end:
            return empty(596, "Connection timed out")
    return work.result()


async def carry_out(server: Server, request: Request, method: Method, values: dict[str, Any]) -> Reply:
    """Verifies the parameters and runs the endpoint."""
    try:
        named = str(values.get("node", request.entry))
        where = server.estate.nodes.get(request.entry if named == "localhost" else named, server.estate.entry)
        version = versions.of(where)
        if not version.newest:
            CURRENT.set(version)
            method = own_method(version, request)
        typed = verify(method, values)
        null = next((name for name, value in typed.items() if value is None), None)
        if null is not None:
            raise ApiError(500, f"unable to parse value of '{null}' - got undefined value")
        readonly.check(server, request.method, method.template, values, where.name)
        handler = ENDPOINTS.get((request.method, method.template))
        if handler is None:
            raise ApiError(501, f"{request.method} {method.template} is not simulated")
        call = Call(server, request.method, request.path, request.identity, typed, values, request.entry)
        call.files, call.headers = request.files, request.headers
        FOR_TASKS.set(request.rules + readonly.for_tasks(server, request.method, method.template, values, where.name))
        data = await handler(call)
        if not version.newest:
            data = without(data, version.hidden.get((request.method, method.template)))
        if request.method != "GET":
            server.changed()
        privileged = method.protected or values.get("node", "localhost") not in ("localhost", request.entry)
        if isinstance(data, Reply):  # no JSON: a log as text, a file
            data.privileged = privileged
            return data
        extra = {name: value for name, value in call.extra.items() if value}  # Perl drops a total of 0
        return success(data, extra, request.form, privileged)
    except ApiError as error:
        return await refused(server, error, request.form, method.protected)
    except Exception:  # the outermost edge of a call: the reply is a 500, as a broken daemon's
        logging.getLogger(__name__).exception("%s %s broke", request.method, request.path)
        return failure(ApiError(500, "internal error of the simulator"), request.form)


def own_method(version: Version, request: Request) -> Method:
    """A call as the node that carries it out knows it; raises ApiError 501 where it does not."""
    found = load(version.name).find(request.method, request.path)
    if found is None:
        raise not_implemented(request)
    return found[0]


def without(data: Any, keys: frozenset[str] | None) -> Any:
    """A reply without what an older version does not tell."""
    if not keys:
        return data
    if isinstance(data, list):
        return type(data)(without(row, keys) for row in data)
    return {key: value for key, value in data.items() if key not in keys} if isinstance(data, dict) else data


async def refused(server: Server, error: ApiError, form: str, privileged: bool) -> Reply:
    """A refusal; one with characters beyond Latin-1 breaks the inner connection: 5 s, then 596."""
    if privileged and any(ord(letter) > 255 for letter in error.message):
        await server.clock.sleep(BROKEN_PIPE)
        return empty(596, "Broken pipe")
    return failure(error, form)
