"""The one place that wires real things: database, owner, engine, stories, services, pages and API, and the server around them."""

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from types import FrameType

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from comserv import listening, log
from comserv.api.application import mounted
from comserv.api.requestids import RequestIds
from comserv.installation import Installation, open_installation, wire
from comserv.jobs.addresses import Addresses
from comserv.jobs.background import kept_going
from comserv.jobs.change import change
from comserv.jobs.engine import Engine
from comserv.jobs.owner import FolderOwner, Owner
from comserv.jobs.power import power
from comserv.jobs.provisioning import provisioning
from comserv.jobs.removal import removal
from comserv.jobs.rights import RightsLooks
from comserv.jobs.sharedowner import SharedOwner
from comserv.jobs.sweep import Sweeps
from comserv.jobs.upkeep import keep_up
from comserv.jobs.workplace import Workplace
from comserv.persistence import rotation
from comserv.proxmox import destinations
from comserv.services.services import Services
from comserv.settings import Settings
from comserv.web import router as web
from comserv.web.assets import Assets

STYLESHEETS = ("vendor/inter/wght.css", "vendor/jetbrains-mono/wght.css", "vendor/tabler.min.css", "app.css")
STOP_WITHIN = 3  # seconds for requests that are under way when Comserv is told to stop; the promise is 5 in all

logger = structlog.get_logger(__name__)


@asynccontextmanager
async def running(installation: Installation) -> AsyncIterator[None]:
    """All that works in the background: owner, engine, sweeps, addresses, and what follows the changes."""
    settings, database = installation.settings, installation.database
    await database.start()
    async with database.write() as tx:
        renewed = await rotation.reencrypt(tx)
    if renewed:
        logger.info("secrets were encrypted anew with the first key", secrets=renewed)
    await installation.estate.load()
    owner: Owner = FolderOwner(database, settings.data_dir) if settings.embedded else SharedOwner(database)
    place = Workplace(
        installation.clients,
        installation.sign,
        timedelta(seconds=settings.outcome_wait),
        timedelta(seconds=settings.proof_wait),
    )
    stories = [provisioning(place), power(place), change(place), removal(place)]
    engine = Engine(database, owner, stories, hold_limit=settings.hold_limit_time, times=installation.job_times)
    sweeps = Sweeps(database, installation.clients, settings.sweep_seconds, engine.wake_server)
    owner.watch(sweeps)
    owner.watch(Addresses(database, installation.clients))
    looks = RightsLooks(database, installation.clients)
    installation.clients.on_refusal = looks.soon
    owner.watch(looks)
    kept = timedelta(days=settings.job_retention_days), timedelta(days=settings.audit_retention_days)
    works: dict[str, Callable[[], Awaitable[None]]] = {
        "estate": installation.estate.follow,
        "clients": installation.clients.follow,
        "live": installation.services.live.run,
        "sweeps": sweeps.follow,
        "rights": looks.follow,
        "upkeep": lambda: keep_up(database, *kept),
    }
    background = [asyncio.create_task(kept_going(name, work), name=name) for name, work in works.items()]
    await engine.start()
    try:
        await owner.start()
        yield
    finally:
        await installation.services.live.stop()
        await owner.stop()
        await engine.stop()
        await place.close()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


def build(installation: Installation, stopping: asyncio.Event, port: int | None) -> Starlette:
    """The API, and the pages after it, as one application."""
    settings, services = installation.settings, installation.services
    assets = Assets()
    api = mounted(services, [assets.url(name) for name in STYLESHEETS])
    pages = web.application(
        services, secure=settings.secure, port=port, public_url=settings.public_url, stopping=stopping
    )
    if not settings.metrics:
        return Starlette(routes=[api, Mount("/", pages)], middleware=[Middleware(RequestIds)])
    from comserv.api.metrics import Exposition, RequestMetrics  # loaded only where it is asked for

    told = Exposition(services, settings.metrics)
    outer = [Middleware(RequestIds), Middleware(RequestMetrics, web=told.web)]
    return Starlette(routes=[told.route(), api, Mount("/", pages)], middleware=outer)


class Server(uvicorn.Server):
    """Ends the live streams as soon as it is told to stop, so that no open tab delays it."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._stopping.set()


def serve(settings: Settings) -> None:
    """Runs until SIGINT or SIGTERM. Raises ConfigurationError for settings that cannot work."""
    log.configure(settings.log_level, settings.log_format)
    listening.check(settings)
    installation = wire(settings)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(settings, installation))


async def _serve(settings: Settings, installation: Installation) -> None:
    stopping = asyncio.Event()
    certificate = listening.certificate(settings)
    tls = listening.Tls(settings, certificate) if certificate else None
    listener = listening.bind(settings)
    destinations.listening_on(destinations.own_addresses(listener))
    port = listener.getsockname()[1]
    base = listening.base_url(settings, port)
    try:
        async with running(installation):
            gc.collect()
            gc.freeze()  # what was imported and read by now stays: no full collection has to walk it again, some 0.1 s each
            known = listening.KnownHosts(build(installation, stopping, port), settings, tls, base)
            app = listening.behind_proxy(known, settings)
            config = uvicorn.Config(
                app,
                http=listening.BoundedHttp,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOP_WITHIN,
                timeout_keep_alive=30,
                ws="none",
                lifespan="off",
                proxy_headers=False,  # `behind_proxy` reads them, after the peer was looked at
                ssl_context_factory=(lambda *_: tls.context) if tls else None,
            )
            server = Server(config, stopping)
            ending = asyncio.create_task(_end_streams(stopping, installation.services))
            announcing = asyncio.create_task(_announce(server, installation, base, certificate))
            following = asyncio.create_task(kept_going("certificate", tls.follow)) if tls else None
            try:
                await server.serve([listener])
            finally:
                stopping.set()
                rest = [task for task in (announcing, following) if task]
                for task in rest:
                    task.cancel()
                await asyncio.gather(*rest, ending, return_exceptions=True)
    finally:
        listener.close()
        await installation.close()


async def _end_streams(stopping: asyncio.Event, services: Services) -> None:
    await stopping.wait()
    await services.live.stop()


async def _announce(
    server: Server, installation: Installation, base: str, certificate: listening.Certificate | None
) -> None:
    """Says where it listens; the set-up link only to a terminal, never into a log."""
    await server.listens.wait()
    logger.info("listening", url=base)
    sessions = installation.services.sessions
    await sessions.served_at(base)
    told = [f"Comserv listens on {base}"]
    if certificate:
        told.append(f"Its certificate's SHA-256 fingerprint: {certificate.fingerprint}")
    if not await sessions.set_up():
        if sys.stdout.isatty():
            link = f"{base}/set-up/{await sessions.make_setup_link()}"
            told.append(f"Make the first administrator here, within an hour: {link}")
        else:
            told.append("Nobody can sign in yet. For a link that makes the first administrator: comserv setup-link")
    print("\n".join(told), flush=True)  # noqa: T201 # for the person who started it


__all__ = ["Installation", "build", "open_installation", "running", "serve", "wire"]
