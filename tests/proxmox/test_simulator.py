"""The client against the simulated Proxmox VE, over a real socket: the whole life of a VM, and what goes wrong in it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from comserv.domain import errors
from comserv.domain.connection import StageName, StageState
from comserv.domain.guest import GuestStatus
from comserv.domain.server import Tls, TlsMode
from comserv.domain.task import TaskStatus, Upid
from comserv.proxmox import tls
from comserv.proxmox.client import Client
from comserv.proxmox.connections import Timeouts
from comserv.proxmox.probe import probe
from comserv.proxmox.sweep import sweep
from tests.proxmox.simulated import Simulated

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SHORT = Timeouts(connect=2.0, read=1.0, whole=5.0)


@pytest.fixture(scope="module")
def one() -> Iterator[Simulated]:
    """A single node; what a test makes it removes, and every fault is healed."""
    with Simulated("--guests", "12") as simulated:
        yield simulated


@pytest.fixture(autouse=True)
def healed(one: Simulated) -> Iterator[None]:
    yield
    one.heal()


async def ended(client: Client, upid: Upid, within: float = 20.0) -> TaskStatus:
    async with asyncio.timeout(within):
        while (status := await client.task(upid).status()).running:
            await asyncio.sleep(0.05)
    return status


async def stage_states(one: Simulated, token: str = "full", secret: str = "") -> dict[StageName, StageState]:
    stages = [stage async for stage in probe(one.server(token), secret or one.secret(token), SHORT_BUT_401)]
    return {stage.stage: stage.state for stage in stages}


SHORT_BUT_401 = Timeouts(connect=2.0, read=6.0, whole=10.0)


async def test_the_connection_test_passes(one: Simulated) -> None:
    assert set((await stage_states(one)).values()) == {StageState.OK}


@pytest.mark.parametrize("token", ["none", "sep"])
async def test_a_token_without_rights_fails_at_rights(one: Simulated, token: str) -> None:
    states = await stage_states(one, token)
    assert states[StageName.TOKEN] is StageState.OK
    assert states[StageName.RIGHTS] is StageState.FAILED


async def test_a_wrong_value_fails_at_the_token(one: Simulated) -> None:
    states = await stage_states(one, secret="00000000-0000-0000-0000-000000000000")
    assert (states[StageName.HTTP], states[StageName.TOKEN]) == (StageState.OK, StageState.FAILED)


async def test_a_sweep_sees_what_the_world_has(one: Simulated) -> None:
    async with one.client() as client:
        picture = (await sweep(client, lambda: datetime.now(UTC))).picture
    world = {guest["vmid"]: guest for guest in one.world()["guests"]}
    assert {guest.key.vmid for guest in picture.guests} == set(world)
    assert {g.key.vmid for g in picture.guests if g.template} == set(one.told["templates"])
    assert (picture.version, picture.quorate) == ("9.1.6", True)
    assert [node.online for node in picture.nodes] == [True]
    assert any("images" in storage.content for storage in picture.storages)


async def test_the_ca_of_the_cluster_is_offered_and_verifies_it(one: Simulated) -> None:
    async with one.client() as client:
        node = (await client.cluster.status()).nodes[0].name
        certificates = {c.filename: c for c in await client.node(node).certificates()}
    assert certificates["pve-ssl.pem"].fingerprint == one.told["fingerprint"]
    ca = tls.parse_ca(certificates["pve-root-ca.pem"].pem)
    async with Client(one.server(tls=Tls(TlsMode.CA, ca)), one.secret()) as client:
        await client.version()


async def test_the_whole_life_of_a_vm(one: Simulated) -> None:
    async with one.client() as client:
        node = client.node((await client.cluster.resources()).nodes[0].name)
        vmid = await client.cluster.next_id()
        vm = node.qemu(vmid)

        upid = await node.qemu(one.template).clone(vmid, name="life-01", full=True)
        assert (upid.type, upid.id, upid.node) == ("qmclone", str(one.template), node.name)
        assert (await ended(client, upid)).ok
        log = await client.task(upid).log()
        assert log.lines[-1] == "TASK OK" and log.total == len(log.lines)

        config = await vm.config()
        changes = {"memory": 3072, "cores": 3, "ciuser": "ops", "cipassword": "s3cret;=&", "sshkeys": PUBLIC_KEY,
                   "ipconfig0": "ip=10.20.30.40/24,gw=10.20.30.1", "description": "two\nlines = ümläut; &c"}  # fmt: skip
        assert (await ended(client, await vm.configure(changes, digest=config.digest))).ok
        written = await vm.config()
        assert {name: written.get(name) for name in changes if name != "cipassword"} == {
            name: str(value) for name, value in changes.items() if name != "cipassword"
        }
        assert written.get("cipassword") == "**********"

        disk = next(name for name in ("scsi0", "virtio0", "sata0") if name in written.values)
        assert (await ended(client, await vm.resize(disk, "40G"))).ok
        assert "size=40G" in (await vm.config()).get(disk)

        assert (await ended(client, await vm.start())).ok
        state = await vm.current()
        assert (state.status, state.qmpstatus, state.name, state.memory) == (
            GuestStatus.RUNNING, "running", "life-01", 3072 * 1024 * 1024)  # fmt: skip
        async with asyncio.timeout(20):
            while not await vm.agent.answers():
                await asyncio.sleep(0.1)
        report = await vm.agent.report(datetime.now(UTC))
        assert "10.20.30.40" in {address.address for address in report.addresses}

        assert (await ended(client, await vm.suspend())).ok
        assert (await vm.current()).status is GuestStatus.PAUSED
        assert (await ended(client, await vm.resume())).ok
        assert (await ended(client, await vm.configure({"memory": 4096}))).ok
        assert [(change.key, change.value, change.pending) for change in await vm.pending()] == [
            ("memory", "3072", "4096")
        ]
        assert (await vm.config(current=True)).get("memory") == "3072"
        assert (await ended(client, await vm.shutdown(timeout=30, force_stop=True))).ok
        assert (await vm.current()).status is GuestStatus.STOPPED

        mine = await node.tasks.list(vmid=vmid)
        assert {"qmconfig", "qmstart", "qmshutdown"} <= {row.upid.type for row in mine}
        assert (await ended(client, await vm.delete(purge=True))).ok
        with pytest.raises(errors.GuestMissing):
            await vm.config()
    assert one.guest(vmid) is None


PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbyBiYXIgYmF6IHF1eCBxdXV4IGNvcmdlIGdyYXVs ops@example.net"


async def test_a_number_that_is_taken_and_a_guest_that_is_missing_are_told(one: Simulated) -> None:
    async with one.client() as client:
        node = client.node((await client.cluster.resources()).nodes[0].name)
        with pytest.raises(errors.VmidTaken):
            await node.qemu(one.template).clone(one.template)
        with pytest.raises(errors.VmidTaken):
            await client.cluster.is_free(one.template)
        with pytest.raises(errors.GuestMissing):
            await node.qemu(4242).current()
        with pytest.raises(errors.DigestMismatch):
            await node.qemu(one.template).configure({"tags": "x"}, digest="0" * 40)
        with pytest.raises(errors.ParametersRefused) as caught:
            await node.qemu(one.template).configure({"memory": "much"})
        assert "memory" in caught.value.detail


async def test_who_may_nothing_is_told_what_is_missing(one: Simulated) -> None:
    async with one.client("none") as client:
        assert (await client.access.rights()).none_at_all
        assert (await client.cluster.resources()).guests == ()
        with pytest.raises(errors.PermissionMissing) as caught:
            await client.node("pve1").qemu(one.template).config()
        assert caught.value.facts["path"] == f"/vms/{one.template}"


CLONE = {"method": "POST", "path": "/clone$"}


@pytest.mark.parametrize(("effect", "carried_out"), [("drop_before", False), ("drop_after", True)])
async def test_a_lost_reply_is_an_unknown_outcome_whether_or_not_it_was_carried_out(
    one: Simulated, effect: str, carried_out: bool
) -> None:
    """The client cannot know, so it says the same in both cases, and sends it once."""
    async with one.client() as client:
        node = client.node((await client.cluster.resources()).nodes[0].name)
        vmid = await client.cluster.next_id()
        one.fault(effect, CLONE, times=1)
        with pytest.raises(errors.OutcomeUnknown):
            await node.qemu(one.template).clone(vmid)
        assert (one.guest(vmid) is not None) is carried_out
        rows = await node.tasks.list(vmid=one.template, type="qmclone")
        for row in rows:
            await ended(client, row.upid)
        if carried_out:
            await ended(client, await node.qemu(vmid).delete())


@pytest.mark.parametrize(
    ("effect", "more", "kind"),
    [
        ("garbage", {}, errors.OutcomeUnknown),
        ("hang", {}, errors.OutcomeUnknown),
        ("status", {"status": 596, "text": "Broken pipe"}, errors.OutcomeUnknown),
        ("status", {"status": 595, "text": "No route to host"}, errors.ServerUnreachable),
        ("status", {"status": 500, "text": "VM is locked (backup)"}, errors.GuestLocked),
        ("status", {"status": 401, "text": "Authentication failed!"}, errors.TokenRefused),
    ],
)
async def test_what_goes_wrong_with_a_change_has_its_own_error(
    one: Simulated, effect: str, more: dict[str, object], kind: type[errors.ProxmoxError]
) -> None:
    async with one.client(timeouts=SHORT) as client:
        node = client.node((await client.cluster.resources()).nodes[0].name)
        one.fault(effect, {"method": "POST", "path": "/status/stop$"}, times=1, **more)
        with pytest.raises(errors.ProxmoxError) as caught:
            await node.qemu(one.template).stop()
        assert type(caught.value) is kind


async def test_a_read_survives_a_dropped_connection(one: Simulated) -> None:
    async with one.client() as client:
        one.fault("drop_before", {"path": "^/version$|/version$"}, times=1)
        assert (await client.version()).text == "9.1.6"


async def test_a_kept_connection_that_proxmox_closed_costs_nothing(one: Simulated) -> None:
    """At ten times the speed it closes idle connections after 0.5 s, sooner than we let them go."""
    async with one.client() as client:
        for pause in (0.0, 0.48, 0.5, 0.52, 0.7):
            await asyncio.sleep(pause)
            await client.version()


async def test_a_hundred_requests_on_a_connection_are_not_felt(one: Simulated) -> None:
    async with one.client() as client:
        for _ in range(230):
            await client.version()


async def test_a_renewed_certificate_is_refused_until_it_is_accepted() -> None:
    with Simulated("--guests", "1") as simulated:
        async with simulated.client() as client:
            await client.version()
            simulated.fault("certificate_renewed")
            await asyncio.sleep(3.2)  # the kept connection is let go after 3 s
            with pytest.raises(errors.CertificateRefused) as caught:
                await client.version()
            assert caught.value.facts["seen"] == (await tls.look(simulated.url)).fingerprint


async def test_a_node_that_is_down_is_told_and_the_others_go_on() -> None:
    with Simulated("--nodes", "3", "--guests", "6") as simulated:
        async with simulated.client() as client:
            names = [node.name for node in (await client.cluster.status()).nodes]
            assert len(names) == 3
            local = next(node.name for node in (await client.cluster.status()).nodes if node.local)
            other = next(name for name in names if name != local)
            simulated.fault("node_down", {"node": other})
            with pytest.raises(errors.ServerUnreachable) as caught:
                await client.node(other).status()
            assert caught.value.proxmox and caught.value.proxmox.status == 595
            assert (await client.node(local).status()).node == local
