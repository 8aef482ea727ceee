"""Servers: added after a test, edited only into what works, and guided when a certificate was renewed."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from comserv.domain.connection import StageState
from comserv.domain.errors import Conflict, ConnectionTestFailed, Forbidden, Invalid, NotFound
from comserv.domain.picture import Health
from comserv.domain.server import ServerState, Tls, TlsMode, parse_token_id
from comserv.persistence import servers
from comserv.services.servers import ServerEdit, ServerView
from tests.installed import ADMIN, OPERATOR, Installed, Pve, a_server
from tests.processes import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def other() -> Iterator[Pve]:
    with Pve("--guests", "3", "--templates", "1", "--seed", "7") as made:
        yield made


@pytest.fixture
async def rack(comserv: Installed, other: Pve) -> AsyncIterator[ServerView]:
    """A second server, for this test."""
    other.heal()
    yield await comserv.services.servers.add(ADMIN, a_server(other, "rack"))
    other.heal()
    try:
        await comserv.services.servers.remove(ADMIN, "rack")
    except NotFound:
        return


def state(comserv: Installed, server: str = "rack") -> str:
    return str(comserv.installation.estate.server(server).health.state)


async def test_a_server_is_added_with_its_test_and_its_first_picture(comserv: Installed, rack: ServerView) -> None:
    assert rack.health.state is ServerState.UP and rack.guests == 3 and rack.picture.as_of
    assert rack.last_test and all(stage.state is not StageState.FAILED for stage in rack.last_test.stages)
    assert [view.server.id for view in await comserv.services.servers.list(OPERATOR)] == ["lab", "rack"]


async def test_an_id_that_is_taken_is_refused(comserv: Installed, rack: ServerView, other: Pve) -> None:
    with pytest.raises(Conflict):
        await comserv.services.servers.add(ADMIN, a_server(other, "rack"))


async def test_only_an_admin_may_add_or_edit_or_remove(comserv: Installed, other: Pve) -> None:
    with pytest.raises(Forbidden):
        await comserv.services.servers.add(OPERATOR, a_server(other, "rack"))
    with pytest.raises(Forbidden):
        await comserv.services.servers.edit(OPERATOR, "lab", ServerEdit(name="Mine"))
    with pytest.raises(Forbidden):
        await comserv.services.servers.remove(OPERATOR, "lab")


async def test_a_server_that_is_off_is_kept_as_unreached(comserv: Installed, other: Pve) -> None:
    address = f"https://127.0.0.1:{free_port()}"
    pin = Tls(TlsMode.FINGERPRINT, fingerprints={address: other.told["fingerprint"]})
    began = time.monotonic()
    added = await comserv.services.servers.add(ADMIN, a_server(other, "away", addresses=(address,), tls=pin))
    assert time.monotonic() - began < 10.5
    assert added.health.state is ServerState.UNREACHED and added.stale
    assert added.last_test and any(stage.state is StageState.FAILED for stage in added.last_test.stages)
    await comserv.services.servers.remove(ADMIN, "away")


async def test_a_server_whose_port_is_open_but_that_says_nothing_is_kept_as_unreached(
    comserv: Installed, other: Pve
) -> None:
    """The kernel takes connections for a process that hangs: silence is not an answer."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(20)
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        pin = Tls(TlsMode.FINGERPRINT, fingerprints={address: other.told["fingerprint"]})
        began = time.monotonic()
        added = await comserv.services.servers.add(ADMIN, a_server(other, "mute", addresses=(address,), tls=pin))
        assert time.monotonic() - began < 10.5
        assert added.health.state is ServerState.UNREACHED
        await comserv.services.servers.remove(ADMIN, "mute")


async def test_a_ca_that_is_none_is_refused_also_where_nothing_answers(comserv: Installed, other: Pve) -> None:
    wrong = a_server(
        other, "away", addresses=(f"https://127.0.0.1:{free_port()}",), tls=Tls(TlsMode.CA, ca_pem="BEGIN CERTIFICATE")
    )
    with pytest.raises(Invalid):
        await comserv.services.servers.add(ADMIN, wrong)


@pytest.mark.parametrize("fault", ["fingerprint", "secret", "token"])
async def test_a_server_that_answers_and_is_not_as_agreed_is_not_kept(
    comserv: Installed, other: Pve, fault: str
) -> None:
    wrong = {
        "fingerprint": {"tls": Tls(TlsMode.FINGERPRINT, fingerprints={other.url: ":".join(["AB"] * 32)})},
        "secret": {"token_secret": "11111111-2222-3333-4444-555555555555"},
        "token": {"token_id": parse_token_id("nobody@pve!here")},
    }[fault]
    with pytest.raises(ConnectionTestFailed) as refused:
        await comserv.services.servers.add(ADMIN, a_server(other, "rack", **wrong))
    failed = [stage for stage in refused.value.stages if stage.state is StageState.FAILED]
    assert failed and failed[0].text and failed[0].cure
    with pytest.raises(NotFound):
        await comserv.services.servers.get(ADMIN, "rack")


async def test_a_token_without_rights_is_kept_and_told(comserv: Installed, other: Pve) -> None:
    added = await comserv.services.servers.add(ADMIN, a_server(other, "poor", token="none"))
    stages = {str(one.stage): one for one in added.last_test.stages} if added.last_test else {}
    assert stages["rights"].state is StageState.FAILED and "pveum" in stages["rights"].cure
    await comserv.services.servers.remove(ADMIN, "poor")


async def test_an_edit_is_tested_before_it_counts(comserv: Installed, rack: ServerView, other: Pve) -> None:
    wrong = ServerEdit(token_secret="11111111-2222-3333-4444-555555555555")
    with pytest.raises(ConnectionTestFailed):
        await comserv.services.servers.edit(ADMIN, "rack", wrong)
    async with comserv.database.read() as tx:
        assert await servers.token_secret(tx, "rack") == other.told["tokens"]["full"]["secret"]
    renamed = await comserv.services.servers.edit(ADMIN, "rack", ServerEdit(name="The rack"))
    assert renamed.server.name == "The rack" and renamed.server.token_id == rack.server.token_id


async def test_a_server_that_answers_is_not_moved_to_an_address_that_does_not(
    comserv: Installed, rack: ServerView, other: Pve
) -> None:
    away = f"https://127.0.0.1:{free_port()}"
    pins = Tls(TlsMode.FINGERPRINT, fingerprints={away: other.told["fingerprint"]})
    with pytest.raises(ConnectionTestFailed, match="cannot be reached"):
        await comserv.services.servers.edit(ADMIN, "rack", ServerEdit(addresses=(away,), tls=pins))
    assert (await comserv.services.servers.get(ADMIN, "rack")).server.addresses == (other.url,)
    other.fault("server_down")
    await comserv.eventually(lambda: state(comserv) == "down")
    edited = await comserv.services.servers.edit(ADMIN, "rack", ServerEdit(addresses=(away,), tls=pins))
    assert edited.server.addresses == (away,)


async def test_a_token_is_replaced_while_the_server_is_in_use(comserv: Installed, rack: ServerView, other: Pve) -> None:
    secret = other.other("POST", "/access/users/admin@pve/token/second", privsep=0)["value"]
    edit = ServerEdit(token_id=parse_token_id("admin@pve!second"), token_secret=secret)
    edited = await comserv.services.servers.edit(ADMIN, "rack", edit)
    assert str(edited.server.token_id) == "admin@pve!second"

    def used() -> bool:
        return any("second" in str(row["who"]) for row in other.requests()[-3:])

    await comserv.eventually(used)
    assert secret not in await comserv.everything_written()
    other.other("DELETE", "/access/users/admin@pve/token/second")
    await comserv.eventually(lambda: state(comserv) == "down")
    found = comserv.installation.estate.server("rack").health
    assert "token" in found.error_title and "pveum" in found.error_cure


async def test_a_renewed_certificate_is_refused_told_and_accepted_by_an_edit(
    comserv: Installed, rack: ServerView, other: Pve
) -> None:
    before = other.world()["fingerprint"]
    other.fault("certificate_renewed")
    after = other.world()["fingerprint"]
    assert before != after
    await comserv.eventually(lambda: state(comserv) == "down")
    found = comserv.installation.estate.server("rack").health
    assert "certificate" in found.error_title and after in found.error_detail and "accept" in found.error_cure
    seen = await comserv.services.servers.look(ADMIN, other.url)
    assert seen.fingerprint == after
    tls = Tls(TlsMode.FINGERPRINT, fingerprints={other.url: after})
    edited = await comserv.services.servers.edit(ADMIN, "rack", ServerEdit(tls=tls))
    assert edited.server.tls.fingerprints == {other.url: after}
    await comserv.eventually(lambda: state(comserv) == "up", 15)
    other.told["fingerprint"] = after


async def test_the_certificate_and_the_tokens_end_are_kept_with_the_servers_health(
    comserv: Installed, rack: ServerView, other: Pve
) -> None:
    def health() -> Health:
        return comserv.installation.estate.server("rack").health

    await comserv.eventually(lambda: health().token_read_at)
    assert health().token_expires is None and health().address == other.url and health().troubles == ()
    (kept,) = health().certificates
    assert kept.address == other.url and kept.fingerprint == other.world()["fingerprint"]
    assert kept.not_after > comserv.database.clock()
    async with comserv.database.read() as tx:
        assert "BEGIN CERTIFICATE" in (await servers.certificates(tx, "rack"))[other.url]


async def test_an_address_that_fails_is_told_while_another_one_answers(
    comserv: Installed, rack: ServerView, other: Pve
) -> None:
    gone = f"https://127.0.0.1:{free_port()}"
    pins = Tls(TlsMode.FINGERPRINT, fingerprints={gone: other.told["fingerprint"], **rack.server.tls.fingerprints})
    await comserv.services.servers.edit(ADMIN, "rack", ServerEdit(addresses=(gone, other.url), tls=pins))

    def health() -> Health:
        return comserv.installation.estate.server("rack").health

    await comserv.eventually(lambda: health().troubles)
    (trouble,) = health().troubles
    assert trouble.address == gone and "refused" in trouble.detail and not trouble.refused
    assert health().address == other.url and state(comserv) == "up"


async def test_a_server_with_jobs_is_not_removed_and_its_rows_go_with_it_afterwards(
    comserv: Installed, rack: ServerView, other: Pve
) -> None:
    other.fault("task_slow", {"path": "/clone$"}, factor=14, times=1)
    body = {"server": "rack", "template": {"server": "rack", "vmid": other.template}, "full_clone": True}
    job = await comserv.sent(await comserv.create(**body), "clone")
    with pytest.raises(Conflict, match="1 job"):
        await comserv.services.servers.remove(ADMIN, "rack")
    assert (await comserv.ended(job)).state == "succeeded"
    await comserv.services.servers.remove(ADMIN, "rack")
    await comserv.eventually(lambda: [one.server.id for one in comserv.installation.estate.servers()] == ["lab"])
    assert (await comserv.get(job)).state == "succeeded"
    before = len(other.requests())
    await asyncio.sleep(2.2)
    assert len(other.requests()) == before


async def test_a_test_comes_stage_by_stage_and_is_kept(comserv: Installed, rack: ServerView) -> None:
    stages = [stage async for stage in comserv.services.servers.test(ADMIN, "rack")]
    assert [str(stage.stage) for stage in stages][:3] == ["name", "tcp", "tls"] or len(stages) >= 9
    kept = (await comserv.services.servers.get(ADMIN, "rack")).last_test
    assert kept and [one.stage for one in kept.stages] == [one.stage for one in stages]
