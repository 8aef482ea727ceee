"""One installation, wired and not started: data folder, key, database, clients, services. Commands need no more than this."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from comserv import log
from comserv.domain.errors import ConfigurationError
from comserv.domain.ownership import Sign
from comserv.jobs.clients import Clients
from comserv.jobs.jobtimes import JobTimes
from comserv.persistence.database import Database
from comserv.persistence.vault import Vault, load_or_create_key
from comserv.services.another import Another
from comserv.services.audit import Audit
from comserv.services.bundles import Bundles, Surroundings
from comserv.services.doctor import Doctor
from comserv.services.estate import Estate
from comserv.services.finding import Finder
from comserv.services.guests import Guests
from comserv.services.jobs import Jobs
from comserv.services.live import Live
from comserv.services.load import Loads
from comserv.services.maintenance import Maintenances
from comserv.services.metrics import Metrics
from comserv.services.overview import Overview
from comserv.services.passwords import Passwords
from comserv.services.people import People
from comserv.services.serveraddresses import ServerAddresses
from comserv.services.servers import Servers
from comserv.services.servertoken import ServerToken
from comserv.services.services import Services
from comserv.services.sessions import Sessions
from comserv.services.sshkeys import SshKeys
from comserv.services.vms import Vms
from comserv.settings import Settings


@dataclass
class Installation:
    """Everything of this process, wired and not started."""

    settings: Settings
    database: Database
    clients: Clients
    estate: Estate
    passwords: Passwords
    sign: Sign
    services: Services
    job_times: JobTimes

    async def close(self) -> None:
        await self.clients.close()
        self.passwords.close()
        await self.database.close()


def wire(settings: Settings) -> Installation:
    """Raises ConfigurationError (data folder, key, database URL)."""
    os.umask(0o077)  # the database and its journals are for nobody else, also in a folder that others may enter
    vault = Vault(_key(settings))
    database = Database(settings.database, vault)

    def sign(message: bytes) -> str:
        return vault.lasting_hash(message, "marker").hex()

    clients, estate, passwords, times = Clients(database), Estate(database), Passwords(), JobTimes()
    loads = Loads(database, estate, clients, settings.sweep_seconds)
    servers = Servers(database, estate, clients)
    services = Services(
        servers=servers,
        server_addresses=ServerAddresses(database, clients, servers),
        server_token=ServerToken(database, clients, servers),
        guests=Guests(database, estate, clients),
        vms=Vms(database, estate, clients),
        another=Another(database, estate, clients),
        jobs=Jobs(database, estate, clients, sign),
        people=People(database, passwords),
        sessions=Sessions(database, passwords, timedelta(hours=settings.sign_in_hours)),
        ssh_keys=SshKeys(database),
        audit=Audit(database),
        overview=Overview(database, estate, settings.data_dir if settings.embedded else None),
        finder=Finder(database, estate),
        bundles=Bundles(database, estate, loads, _surroundings(settings)),
        metrics=Metrics(database, estate, clients, times),
        live=Live(database, estate.caught_up),
        loads=loads,
        maintenances=Maintenances(database, estate, clients),
        doctor=Doctor(database, estate, clients),
    )
    return Installation(settings, database, clients, estate, passwords, sign, services, times)


def _surroundings(settings: Settings) -> Surroundings:
    """For bundles: what is set, without secrets, and the secrets that settings themselves hold."""
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    password = urlsplit(url).password or ""
    told = {name: str(value) for name, value in settings.model_dump(exclude={"database_url"}).items()}
    told["database"] = url.partition(":")[0] or "sqlite"
    return Surroundings(told, (unquote(password), password) if password else (), log.recent)


def _key(settings: Settings) -> str:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        cure = "Make the folder yourself, or name another one: COMSERV_DATA_DIR."
        raise ConfigurationError(f"{settings.data_dir} cannot be made: {error.strerror}", cure=cure) from error
    return load_or_create_key(settings.key_path)


@asynccontextmanager
async def open_installation(settings: Settings) -> AsyncIterator[Services]:
    """The services on this data folder, without jobs and sweeps: for commands, also while `serve` runs."""
    installation = wire(settings)
    try:
        await installation.database.start()
        await installation.estate.load()
        yield installation.services
    finally:
        await installation.close()
