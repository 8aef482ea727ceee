"""Everything that pages, the API and the live stream may call, one attribute per noun; wired in app.py."""

from dataclasses import dataclass

from comserv.services.another import Another
from comserv.services.audit import Audit
from comserv.services.bundles import Bundles
from comserv.services.doctor import Doctor
from comserv.services.finding import Finder
from comserv.services.guests import Guests
from comserv.services.jobs import Jobs
from comserv.services.live import Live
from comserv.services.load import Loads
from comserv.services.maintenance import Maintenances
from comserv.services.metrics import Metrics
from comserv.services.overview import Overview
from comserv.services.people import People
from comserv.services.serveraddresses import ServerAddresses
from comserv.services.servers import Servers
from comserv.services.servertoken import ServerToken
from comserv.services.sessions import Sessions
from comserv.services.sshkeys import SshKeys
from comserv.services.vms import Vms


@dataclass(frozen=True)
class Services:
    servers: Servers
    guests: Guests
    vms: Vms
    another: Another
    jobs: Jobs
    people: People
    sessions: Sessions
    ssh_keys: SshKeys
    audit: Audit
    overview: Overview
    finder: Finder
    bundles: Bundles
    metrics: Metrics
    live: Live
    loads: Loads
    maintenances: Maintenances
    server_addresses: ServerAddresses
    server_token: ServerToken
    doctor: Doctor
