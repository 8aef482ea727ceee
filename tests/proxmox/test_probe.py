"""The connection test tells, stage by stage, what is so, why it matters, and what to do."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from comserv.domain.connection import Stage, StageName, StageState
from comserv.domain.server import Server, Tls, TlsMode
from comserv.proxmox.connections import Timeouts
from comserv.proxmox.probe import probe
from tests.proxmox.certificates import Authority, Certificate
from tests.proxmox.conftest import QUICK, SECRET, TOKEN
from tests.proxmox.scripted import Answer, Scripted, close, raw, reply, silence

pytestmark = pytest.mark.anyio

MakeServer = Callable[..., Scripted]
MakeRegistered = Callable[..., Server]
DENIED = reply(None, 403, "Permission check failed", message="Permission check failed (/, Sys.Audit)\n")
EVERYTHING = [
    "Datastore.AllocateSpace",
    "Datastore.Audit",
    "Pool.Audit",
    "SDN.Use",
    "Sys.Audit",
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
    "VM.GuestAgent.Audit",
]
NODES = [{"type": "node", "node": name, "status": "online"} for name in ("pve1", "pve2")]
STORAGE = {"type": "storage", "storage": "local", "node": "pve1", "status": "available", "content": "images,iso"}
GUESTS = [{"type": "qemu", "vmid": 100, "node": "pve1", "status": "running"},
          {"type": "qemu", "vmid": 9000, "node": "pve1", "status": "stopped", "template": 1},
          {"type": "lxc", "vmid": 300, "node": "pve1", "status": "running"}]  # fmt: skip
TOKEN_PATH = f"GET /access/users/{TOKEN.userid}"


def token_reply(ends: int = 0) -> Answer:
    return reply({"enable": 1, "expire": 0, "tokens": {TOKEN.name: {"expire": ends, "privsep": 1}}})


def good(**changed: Answer) -> dict[str, Answer]:
    """A cluster in good order; changed: by the name of what is asked."""
    routes: dict[str, Answer] = {
        "domains": reply([{"realm": "pam", "type": "pam"}, {"realm": "pve", "type": "pve"}]),
        "version": reply({"version": "9.1.6", "release": "9.1"}),
        "token": token_reply(),
        "permissions": reply({"/": dict.fromkeys(EVERYTHING, 1)}),
        "status": reply(
            [{"type": "cluster", "name": "rack", "quorate": 1}, {"type": "node", "name": "pve1", "online": 1}]
        ),
        "resources": reply([*NODES, STORAGE, *GUESTS]),
    } | changed
    paths = {
        "domains": "GET /access/domains",
        "version": "GET /version",
        "token": TOKEN_PATH,
        "permissions": "GET /access/permissions",
        "status": "GET /cluster/status",
        "resources": "GET /cluster/resources",
    }
    return {paths[name]: answer for name, answer in routes.items()}


async def stages_of(server: Server, timeouts: Timeouts = QUICK) -> dict[StageName, Stage]:
    stages = [stage async for stage in probe(server, SECRET, timeouts)]
    assert [stage.stage for stage in stages] == list(StageName)
    for stage in stages:
        assert stage.text
        assert stage.cure or stage.state in (StageState.OK, StageState.SKIPPED), stage
    return {stage.stage: stage for stage in stages}


def states(stages: dict[StageName, Stage]) -> dict[StageName, StageState]:
    return {name: stage.state for name, stage in stages.items()}


def fails_at(stages: dict[StageName, Stage], name: StageName) -> Stage:
    """The stage that failed; the ones before it passed, the ones after it were not tried."""
    order = list(StageName)
    before, behind = order[: order.index(name)], order[order.index(name) + 1 :]
    assert all(stages[n].state in (StageState.OK, StageState.WARNING) for n in before)
    assert stages[name].state is StageState.FAILED
    assert all(stages[n].state is StageState.SKIPPED for n in behind)
    return stages[name]


async def test_a_server_in_good_order_passes_every_stage(scripted: MakeServer, server_at: MakeRegistered) -> None:
    async with scripted(routes=good()) as server:
        stages = await stages_of(server_at(server.address))
    assert set(states(stages).values()) == {StageState.OK}
    assert stages[StageName.NODES].text == "The cluster rack: pve1, pve2, all online, quorate."
    assert stages[StageName.GUESTS].text == "3 guests: 2 VMs, 1 of them templates, 1 containers."
    assert all(stage.ms >= 0 for stage in stages.values())


async def test_the_token_is_sent_to_nobody_that_did_not_answer_as_proxmox(
    scripted: MakeServer, server_at: MakeRegistered
) -> None:
    async with scripted(raw(b"<html>hello</html>", content_type="text/html")) as server:
        fails_at(await stages_of(server_at(server.address)), StageName.HTTP)
    assert all("authorization" not in asked.headers for asked in server.asked)


async def test_a_name_without_address_is_told(server_at: MakeRegistered) -> None:
    stage = fails_at(await stages_of(server_at("https://no-such-host.invalid:8006")), StageName.NAME)
    assert "no-such-host.invalid has no address" in stage.text


async def test_a_closed_port_is_told(server_at: MakeRegistered) -> None:
    async with Scripted() as gone:
        address = gone.address
    assert "connection refused" in fails_at(await stages_of(server_at(address)), StageName.TCP).text


async def test_what_speaks_no_tls_is_told(server_at: MakeRegistered) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 301 Moved\r\n\r\n")
        writer.close()

    plain = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with plain:
        address = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}"
        stage = fails_at(await stages_of(server_at(address)), StageName.TLS)
    assert "does not speak TLS" in stage.text


@pytest.mark.parametrize("mode", list(TlsMode))
async def test_a_certificate_that_was_not_agreed_is_shown_and_refused(
    mode: TlsMode, authority: Authority, tmp_path_factory: pytest.TempPathFactory, server_at: MakeRegistered
) -> None:
    other = authority.issue("renewed")
    stranger = Authority(tmp_path_factory.mktemp("ca"))
    async with Scripted(context=other.context(), routes=good()) as server:
        tls = Tls(mode, stranger.pem, {server.address: "AA:" * 31 + "AA"})
        stage = fails_at(await stages_of(server_at(server.address, tls=tls)), StageName.TLS)
    assert other.fingerprint in stage.text
    assert server.asked == []


async def test_the_clusters_own_ca_is_enough(
    authority: Authority, scripted: MakeServer, server_at: MakeRegistered, certificate: Certificate
) -> None:
    async with scripted(routes=good()) as server:
        stages = await stages_of(server_at(server.address, tls=Tls(TlsMode.CA, authority.pem)))
    assert stages[StageName.TLS].state is StageState.OK
    for word in (certificate.fingerprint, "CN=pve1", "CN=Test CA", "do not trust it"):
        assert word in stages[StageName.TLS].text


@pytest.mark.parametrize(("days", "word"), [(-1, "expired"), (10, "ends in")])
async def test_an_old_certificate_is_a_warning(
    days: int, word: str, authority: Authority, server_at: MakeRegistered
) -> None:
    old = authority.issue(days=days)
    async with Scripted(context=old.context(), routes=good()) as server:
        pinned = server_at(server.address, tls=Tls(TlsMode.FINGERPRINT, "", {server.address: old.fingerprint}))
        stages = await stages_of(pinned)
    assert stages[StageName.TLS].state is StageState.WARNING
    assert word in stages[StageName.TLS].text
    assert stages[StageName.GUESTS].state is StageState.OK


async def test_one_address_of_two_that_is_down_is_a_warning_and_the_test_goes_on(
    scripted: MakeServer, server_at: MakeRegistered
) -> None:
    async with Scripted() as gone:
        down = gone.address
    async with scripted(routes=good()) as server:
        stages = await stages_of(server_at(down, server.address))
    assert stages[StageName.TCP].state is StageState.WARNING
    assert "connection refused" in stages[StageName.TCP].text and "is open" in stages[StageName.TCP].text
    assert stages[StageName.TLS].state is StageState.OK
    assert stages[StageName.GUESTS].state is StageState.OK


@pytest.mark.parametrize("answer", [close, silence, raw(b"{}"), reply({"pam": 1})])
async def test_what_is_no_proxmox_is_told_before_the_token_is_tried(
    answer: Answer, scripted: MakeServer, server_at: MakeRegistered
) -> None:
    async with scripted(routes=good(domains=answer)) as server:
        fails_at(await stages_of(server_at(server.address)), StageName.HTTP)


async def test_another_product_of_proxmox_is_named(scripted: MakeServer, server_at: MakeRegistered) -> None:
    mail = reply([{"realm": "pam"}]).replace(b"pve-api-daemon", b"pmg-api-daemon")
    async with scripted(routes=good(domains=mail)) as server:
        stage = fails_at(await stages_of(server_at(server.address)), StageName.HTTP)
    assert "Mail Gateway" in stage.text


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("7.4-17", StageState.FAILED),
        ("8.3.5", StageState.FAILED),
        ("8.4.0", StageState.OK),
        ("9.0.11", StageState.OK),
        ("9.1.6", StageState.OK),
        ("9.2.0", StageState.WARNING),
        ("10.0.1", StageState.WARNING),
        ("next", StageState.FAILED),
    ],
)
async def test_8_4_to_9_1_are_supported_and_others_are_told_so(
    version: str, state: StageState, scripted: MakeServer, server_at: MakeRegistered
) -> None:
    async with scripted(routes=good(version=reply({"version": version}))) as server:
        stages = await stages_of(server_at(server.address))
    assert stages[StageName.VERSION].state is state
    assert version in stages[StageName.VERSION].text


async def test_a_refused_token_stands_for_four_things_and_the_cure_says_so(
    scripted: MakeServer, server_at: MakeRegistered
) -> None:
    async with scripted(routes=good(version=raw(b"", 401, "Authentication failed!"))) as server:
        stages = await stages_of(server_at(server.address))
    assert stages[StageName.VERSION].state is StageState.SKIPPED
    stage = stages[StageName.TOKEN]
    assert stage.state is StageState.FAILED
    assert stage.proxmox and stage.proxmox.message == "Authentication failed!"
    assert all(word in stage.text for word in ("wrong value", "unknown", "expired", "disabled", "never worked"))
    assert "pveum user token list comserv@pve" in stage.cure and "pveum user list" in stage.cure
    assert stages[StageName.RIGHTS].state is StageState.SKIPPED


async def test_a_token_that_may_not_read_about_itself_is_fine(scripted: MakeServer, server_at: MakeRegistered) -> None:
    async with scripted(routes=good(token=DENIED)) as server:
        assert (await stages_of(server_at(server.address)))[StageName.TOKEN].state is StageState.OK


async def test_a_token_that_ends_soon_is_a_warning(scripted: MakeServer, server_at: MakeRegistered) -> None:
    soon = int((datetime.now(UTC) + timedelta(days=3, hours=1)).timestamp())
    async with scripted(routes=good(token=token_reply(soon))) as server:
        stage = (await stages_of(server_at(server.address)))[StageName.TOKEN]
    assert stage.state is StageState.WARNING
    assert "in 3 days" in stage.text


@pytest.mark.parametrize("readable", [True, False])
async def test_a_token_without_rights_is_told_with_the_lines_that_cure_it(
    readable: bool, scripted: MakeServer, server_at: MakeRegistered
) -> None:
    token: Answer = token_reply() if readable else DENIED
    async with scripted(routes=good(permissions=reply({}), token=token)) as server:
        stage = fails_at(await stages_of(server_at(server.address)), StageName.RIGHTS)
    assert "privsep 1" in stage.text and "comserv@pve" in stage.text
    assert stage.cure.splitlines() == [
        'pveum role add Comserv --privs "' + " ".join(sorted(EVERYTHING)) + '"',
        "pveum acl modify / --users comserv@pve --roles Comserv",
        "pveum acl modify / --tokens 'comserv@pve!manager' --roles Comserv",
    ]


async def test_before_9_the_agents_privilege_is_another(scripted: MakeServer, server_at: MakeRegistered) -> None:
    old = good(version=reply({"version": "8.4.14"}), permissions=reply({}))
    async with scripted(routes=old) as server:
        stage = fails_at(await stages_of(server_at(server.address)), StageName.RIGHTS)
    assert "VM.Monitor" in stage.cure and "VM.GuestAgent" not in stage.cure


async def test_a_missing_right_is_a_warning_that_names_it(scripted: MakeServer, server_at: MakeRegistered) -> None:
    most = {name: 1 for name in EVERYTHING if name not in ("VM.Clone", "SDN.Use")}
    async with scripted(routes=good(permissions=reply({"/": most}))) as server:
        stages = await stages_of(server_at(server.address))
    assert stages[StageName.RIGHTS].state is StageState.WARNING
    assert "SDN.Use, VM.Clone" in stages[StageName.RIGHTS].text
    assert 'pveum role modify Comserv --append 1 --privs "SDN.Use VM.Clone"' in stages[StageName.RIGHTS].cure
    assert stages[StageName.GUESTS].state is StageState.OK


@pytest.mark.parametrize(
    ("apart", "state"), [(5, StageState.OK), (300, StageState.WARNING), (-300, StageState.WARNING)]
)
async def test_clocks_that_differ_are_told(
    apart: int, state: StageState, scripted: MakeServer, server_at: MakeRegistered
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=apart), usegmt=True)
    version = raw(b'{"data":{"version":"9.1.6"}}', 200, "OK", "application/json", f"Date: {date}")
    async with scripted(routes=good(version=version)) as server:
        stage = (await stages_of(server_at(server.address)))[StageName.CLOCK]
    assert stage.state is state
    assert state is StageState.OK or ("ahead" if apart > 0 else "behind") in stage.text


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"status": reply([{"type": "cluster", "name": "rack", "quorate": 0}])}, "no quorum"),
        ({"status": DENIED}, "may not see"),
        ({"resources": reply([NODES[0], NODES[1] | {"status": "offline"}, STORAGE])}, "Offline: pve2"),
    ],
)
async def test_trouble_among_the_nodes_is_a_warning(
    changed: dict[str, Answer], word: str, scripted: MakeServer, server_at: MakeRegistered
) -> None:
    async with scripted(routes=good(**changed)) as server:
        stage = (await stages_of(server_at(server.address)))[StageName.NODES]
    assert stage.state is StageState.WARNING
    assert word in stage.text


async def test_a_default_node_that_is_not_there_is_a_warning(scripted: MakeServer, server_at: MakeRegistered) -> None:
    async with scripted(routes=good()) as server:
        registered = replace(server_at(server.address), default_node="pve9")
        assert "pve9" in (await stages_of(registered))[StageName.NODES].text


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([*NODES], "sees no storage"),
        ([*NODES, STORAGE | {"status": "unknown"}], "Not available: local on pve1"),
        ([*NODES, STORAGE | {"content": "iso"}], "for disks of VMs: none"),
    ],
)
async def test_storages_without_use_are_a_warning(
    rows: list[dict[str, str]], word: str, scripted: MakeServer, server_at: MakeRegistered
) -> None:
    async with scripted(routes=good(resources=reply(rows))) as server:
        stage = (await stages_of(server_at(server.address)))[StageName.STORAGES]
    assert stage.state is StageState.WARNING
    assert word in stage.text


async def test_stages_come_as_they_end(scripted: MakeServer, server_at: MakeRegistered) -> None:
    """The page shows the first ones while a later one still waits; leaving early closes every connection."""
    async with scripted(routes=good(permissions=silence)) as server:
        stages = probe(server_at(server.address), SECRET, Timeouts(connect=1, read=30, whole=30))
        seen = [await asyncio.wait_for(anext(stages), 2) for _ in range(6)]
        assert [stage.stage for stage in seen] == list(StageName)[:6]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stages), 0.1)
