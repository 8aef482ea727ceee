"""`/metrics` for Prometheus, where the setting `metrics` opens it: from this machine only, or with an API token.

Loaded only then: who does not use it does not pay for it.
"""

import ipaddress
from collections.abc import Iterator
from importlib.metadata import version
from time import perf_counter

from prometheus_client import CollectorRegistry, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comserv.api.route import authenticate
from comserv.domain.errors import ComservError, Forbidden, Unauthenticated
from comserv.domain.server import ServerState
from comserv.services.metrics import Figures, Times
from comserv.services.services import Services

PATH = "/metrics"
PROXIES_SAY = ("x-forwarded-for", "forwarded", "x-real-ip")


class Exposition:
    """One process's registry: web requests as they are counted, everything else as of the moment of asking."""

    def __init__(self, services: Services, mode: str) -> None:
        """mode: `loopback` or `token`, as in the setting."""
        self._services, self._mode = services, mode
        self._registry = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self.web = Histogram(
            "comserv_web_request_seconds",
            "Requests to Comserv by the route's template, not by its path; streams are not among them.",
            ("method", "route", "status"),
            registry=self._registry,
        )

    def route(self) -> Route:
        return Route(PATH, self._answer)

    async def _answer(self, request: Request) -> Response:
        try:
            figures = await self._figures(request)
        except ComservError as error:
            status = {Unauthenticated: 401, Forbidden: 403}.get(type(error), 500)
            return PlainTextResponse(f"{error.title} {error.detail}\n{error.cure}\n", status)
        now = CollectorRegistry(auto_describe=False)
        now.register(_Collected(figures))
        body = generate_latest(self._registry) + generate_latest(now)
        return Response(body, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def _figures(self, request: Request) -> Figures:
        """Raises Unauthenticated, Forbidden."""
        if self._mode != "loopback":
            request.app.state.services = self._services  # where the API's own check of tokens looks for them
            return await self._services.metrics.read(await authenticate(request))
        if not _from_here(request):
            raise Unauthenticated(
                "Metrics are told to this machine only.", cure="Set COMSERV_METRICS=token, and send one."
            )
        return await self._services.metrics.figures()


def _from_here(request: Request) -> bool:
    """The peer itself, not one that a proxy on this machine speaks for."""
    try:
        here = request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
    return here and not any(name in request.headers for name in PROXIES_SAY)


class RequestMetrics:
    """ASGI middleware: each request by method, route template and status. What no route serves is `unknown`."""

    def __init__(self, app: ASGIApp, web: Histogram) -> None:
        self._app, self._web = app, web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, told = perf_counter(), {"status": "500", "stream": ""}

        async def listen(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = str(message["status"])
                types = [value for name, value in message["headers"] if name.lower() == b"content-type"]
                told["stream"] = "yes" if any(value.startswith(b"text/event-stream") for value in types) else ""
            await send(message)

        try:
            await self._app(scope, receive, listen)
        finally:
            if not told["stream"]:
                labels = (
                    scope["method"] if scope["method"] in KNOWN_METHODS else "other",
                    template(scope),
                    told["status"],
                )
                self._web.labels(*labels).observe(perf_counter() - began)


KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def template(scope: Scope) -> str:
    """`/api/v1/servers/{server_id}`; names of guests, ids and one-time links never stand in it."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    if path is None or isinstance(route, Mount):
        return "static" if scope["path"].startswith("/static/") else "unknown"
    root = scope.get("root_path", "")
    return path if path.startswith(root) and root else f"{root}{path}"


class _Collected(Collector):
    """What was read for one answer."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("comserv", "The Comserv that answers.", {"version": version("comserv")})
        yield from self._servers()
        yield from self._jobs()
        seconds = self._figures.database
        up = GaugeMetricFamily("comserv_database_up", "Whether the database answers.", value=float(seconds is not None))
        yield up
        if seconds is not None:
            yield GaugeMetricFamily(
                "comserv_database_read_seconds", "How long a small reading took just now.", value=seconds
            )

    def _servers(self) -> Iterator[Metric]:
        for name, text, value in _SERVER_GAUGES:
            family = GaugeMetricFamily(f"comserv_server_{name}", text, labels=("server",))
            for one in self._figures.servers:
                found = value(one)
                if found is not None:
                    family.add_metric((one.id,), float(found))
            yield family
        states = GaugeMetricFamily("comserv_server_state", "1 for the state that it is in.", labels=("server", "state"))
        guests = GaugeMetricFamily(
            "comserv_guests", "Guests as last seen, templates left out.", labels=("server", "status")
        )
        times = HistogramMetricFamily(
            "comserv_server_request_seconds",
            "Requests of this process to Proxmox VE, by what for; status none: no answer came.",
            labels=("server", "purpose", "status"),
        )
        for one in self._figures.servers:
            for state in ServerState:
                states.add_metric((one.id, str(state)), float(one.state is state))
            for status, count in sorted(one.guests.items()):
                guests.add_metric((one.id, status), count)
            for row in one.requests:
                _add(times, (one.id, *row.labels), row)
        yield from (states, guests, times)

    def _jobs(self) -> Iterator[Metric]:
        labels = ("kind", "state", "waiting")
        jobs = GaugeMetricFamily(
            "comserv_jobs_open", "Jobs that have not ended; waiting: what they are held for.", labels=labels
        )
        for key, count in sorted(self._figures.jobs.items()):
            jobs.add_metric(key, count)
        text = "Jobs that this process ended, from being asked for to their end."
        times = HistogramMetricFamily("comserv_job_seconds", text, labels=("kind", "state"))
        for row in self._figures.job_times:
            _add(times, row.labels, row)
        yield from (jobs, times)


_SERVER_GAUGES = (
    ("up", "1 where it answered at its last sweep.", lambda one: one.state in (ServerState.UP, ServerState.SLOW)),
    ("maintenance", "1 where nothing is sent by somebody's wish.", lambda one: one.maintenance),
    ("stale", "1 where its figures are too old to be called fresh.", lambda one: one.stale),
    ("picture_age_seconds", "Since its picture was taken.", lambda one: one.age),
    ("sweep_seconds", "How long the last good sweep took.", lambda one: one.sweep),
    ("sweep_failures", "Failed sweeps in a row.", lambda one: one.failures),
    ("breaker_open", "1 where sweeps are held back after failures.", lambda one: one.breaker_open),
    ("requests_in_flight", "Calls of this process on their way.", lambda one: one.in_flight),
    ("requests_waiting", "Calls of this process that wait for a place.", lambda one: one.waiting),
)


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], row: Times) -> None:
    buckets = [("+Inf" if bound == float("inf") else f"{bound:g}", float(count)) for bound, count in row.buckets]
    family.add_metric(labels, buckets, sum_value=row.seconds)
