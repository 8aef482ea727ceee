"""Values to store."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

from comserv.domain.guest import Guest, GuestKey, GuestStatus, GuestType
from comserv.domain.job import Job, JobKind, JobState, Step
from comserv.domain.picture import Node, Picture, Storage
from comserv.domain.server import Server, Tls, TlsMode, parse_token_id
from comserv.persistence import jobs, servers
from comserv.persistence.database import Transaction

SECRET = "5f0c9d2e-0000-4000-8000-123456789abc"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
_ids = itertools.count()


def a_server(server_id: str = "rack") -> Server:
    return Server(
        id=server_id,
        name=f"The {server_id}",
        addresses=("https://10.0.0.1:8006", "https://10.0.0.2:8006"),
        token_id=parse_token_id("comserv@pve!manager"),
        tls=Tls(TlsMode.FINGERPRINT, fingerprints={"https://10.0.0.1:8006": "AA:BB"}),
    )


async def with_server(tx: Transaction, server_id: str = "rack") -> Server:
    return await servers.add(tx, a_server(server_id), SECRET)


def a_job(server: str = "rack", vmid: int | None = 105, **values: object) -> Job:
    """Each with an id of its own, later ones sorting later."""
    job = Job(
        id=f"{next(_ids):016d}",
        kind=JobKind.CREATE_VM,
        state=JobState.QUEUED,
        title="Create web-01",
        server=server,
        vmid=vmid,
        node="pve1",
        requested_by="anna",
        via="page",
        created=AT,
        steps=(Step("reserve"), Step("clone"), Step("configure")),
        request={"hostname": "web-01", "network": {"dns": ["10.0.0.1"]}},
    )
    return replace(job, **values)  # type: ignore[arg-type]


async def with_job(tx: Transaction, **values: object) -> Job:
    return await jobs.add(tx, a_job(**values))  # type: ignore[arg-type]


def a_picture(server: str = "rack", guests: int = 2, cpu: float = 0.1) -> Picture:
    return Picture(
        server=server,
        as_of=AT,
        version="9.1.6",
        quorate=True,
        nodes=(Node("pve1", True, cpu, 8, 1 << 35, 1 << 34, 1000),),
        storages=(Storage("pve1", "local", "dir", frozenset({"images", "iso"}), total=1 << 40, used=1 << 39),),
        guests=tuple(
            Guest(
                GuestKey(server, 100 + number),
                GuestType.QEMU,
                "pve1",
                f"vm-{number}",
                GuestStatus.RUNNING,
                tags=("blue", "web"),
                memory=1 << 30,
            )
            for number in range(guests)
        ),
    )
