"""Addresses, certificates and tokens of a cluster: offered, decided once, replaced while everything runs."""

from collections.abc import AsyncIterator, Iterator

import pytest

from comserv.domain.errors import Conflict, ConnectionTestFailed, FewerRights, Forbidden, Invalid
from comserv.domain.server import Tls, TlsMode, parse_token_id
from comserv.domain.trust import ChangedCertificate
from comserv.persistence import servers
from comserv.services import serveraddresses
from comserv.services.serveraddresses import ServerAddresses
from comserv.services.servers import ServerEdit
from comserv.services.servertoken import ServerToken
from tests.installed import ADMIN, OPERATOR, Installed, Pve, installed

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def pve() -> Iterator[Pve]:
    """A cluster of three nodes, each with a port and a certificate of its own."""
    with Pve("--nodes", "3", "--guests", "4", "--templates", "2", "--node-ports") as made:
        yield made


@pytest.fixture(scope="module")
async def shared(pve: Pve, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installed]:
    async with installed(pve, tmp_path_factory.mktemp("trust")) as made:
        yield made


@pytest.fixture
async def lab(comserv: Installed, pve: Pve, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Registered by its first node and that one's fingerprint. The stand-in's nodes differ by port, real ones by address."""
    monkeypatch.setattr(serveraddresses, "address_of", lambda node, *_: pve.told["nodes"][node.name])
    pins = {pve.url: pve.world()["fingerprint"]}
    edit = ServerEdit(addresses=(pve.url,), tls=Tls(TlsMode.FINGERPRINT, fingerprints=pins))
    await comserv.services.servers.edit(ADMIN, "lab", edit)
    await comserv.eventually(lambda: state(comserv) == "up")
    return comserv


def _same(change: ChangedCertificate, fingerprint: str) -> dict[str, str]:
    return dict.fromkeys(change.addresses, fingerprint)


def state(comserv: Installed) -> str:
    return str(comserv.installation.estate.server("lab").health.state)


def addresses(comserv: Installed) -> ServerAddresses:
    return comserv.services.server_addresses


def tokens(comserv: Installed) -> ServerToken:
    return comserv.services.server_token


async def tls_of(comserv: Installed) -> Tls:
    return (await comserv.services.servers.get(ADMIN, "lab")).server.tls


async def test_the_other_nodes_are_offered_with_their_certificates_and_taken_by_tick(lab: Installed, pve: Pve) -> None:
    offers = await addresses(lab).offers(ADMIN, "lab")
    first, second, third = offers.addresses
    assert first.known_as == pve.url and not first.can_be_taken
    assert second.can_be_taken and second.certificate and second.certificate.pem
    told = pve.told["fingerprints"]
    assert [one.certificate.fingerprint for one in offers.addresses if one.certificate] == list(told.values())
    view = await addresses(lab).take(ADMIN, "lab", {second.address: second.certificate.fingerprint})
    assert view.server.addresses == (pve.url, second.address)
    assert (
        view.server.tls.fingerprints[second.address] == told[second.node] and third.address not in view.server.addresses
    )
    async with lab.database.read() as tx:
        assert (await servers.certificates(tx, "lab"))[second.address] == second.certificate.pem


async def test_an_address_is_taken_only_with_the_certificate_that_was_shown(lab: Installed, pve: Pve) -> None:
    second = (await addresses(lab).offers(ADMIN, "lab")).addresses[1]
    with pytest.raises(Conflict):
        await addresses(lab).take(ADMIN, "lab", {second.address: pve.told["fingerprint"]})
    with pytest.raises(Conflict):
        await addresses(lab).take(ADMIN, "lab", {"https://192.0.2.9:8006": pve.told["fingerprint"]})
    with pytest.raises(Invalid):
        await addresses(lab).take(ADMIN, "lab", {})
    with pytest.raises(Forbidden):
        await addresses(lab).offers(OPERATOR, "lab")


async def test_the_clusters_ca_is_trusted_where_it_signed_what_every_address_shows(lab: Installed, pve: Pve) -> None:
    ca = (await addresses(lab).offers(ADMIN, "lab")).ca
    assert ca and ca.refused_by == {} and not ca.in_use and ca.certificate.pem
    with pytest.raises(Conflict):
        await addresses(lab).trust_ca(ADMIN, "lab", pve.told["fingerprint"])
    view = await addresses(lab).trust_ca(ADMIN, "lab", ca.certificate.fingerprint)
    assert view.server.tls.mode is TlsMode.CA
    assert (now := (await addresses(lab).offers(ADMIN, "lab")).ca) and now.in_use
    pve.fault("certificate_renewed")  # of the same authority: nothing has to be decided
    pve.world()
    review = await addresses(lab).certificates(ADMIN, "lab")
    assert review.changed == () and len(review.agreed) == 1
    pve.told["fingerprint"] = pve.world()["fingerprint"]


async def test_a_changed_certificate_is_refused_shown_beside_the_old_one_and_accepted_once(
    lab: Installed, pve: Pve
) -> None:
    """Two addresses of one node show one change, which is one decision."""
    other_name = pve.url.replace("127.0.0.1", "localhost")
    before = pve.world()["fingerprint"]
    pins = Tls(TlsMode.FINGERPRINT, fingerprints={pve.url: before, other_name: before})
    await lab.services.servers.edit(ADMIN, "lab", ServerEdit(addresses=(pve.url, other_name), tls=pins))
    await lab.eventually(lambda: len(lab.installation.estate.server("lab").health.certificates) == 2)
    pve.fault("certificate_renewed", times=1)
    between = pve.world()["fingerprint"]
    await lab.eventually(lambda: state(lab) == "down")
    review = await addresses(lab).certificates(ADMIN, "lab")
    (change,) = review.changed
    assert change.addresses == (pve.url, other_name) and change.before and change.before.fingerprint == before
    assert change.now.fingerprint == between and "looks like a renewal" in change.words
    assert {row.what for row in change.differences} >= {"SHA-256", "Key"} and "pve-ssl.pem" in change.command
    pve.heal()
    pve.fault("certificate_renewed", times=1)
    after = pve.world()["fingerprint"]
    with pytest.raises(Conflict, match="does not show the certificate any more"):
        await addresses(lab).accept(ADMIN, "lab", _same(change, between))
    assert (await tls_of(lab)).fingerprints == pins.fingerprints
    await addresses(lab).accept(ADMIN, "lab", _same(change, after))
    await lab.eventually(lambda: state(lab) == "up", 15)
    assert (await addresses(lab).certificates(ADMIN, "lab")).changed == ()
    pve.told["fingerprint"] = after


async def test_another_address_answers_while_one_nodes_certificate_is_not_decided(lab: Installed, pve: Pve) -> None:
    second = (await addresses(lab).offers(ADMIN, "lab")).addresses[1]
    assert second.certificate
    wrong = {pve.url: ":".join(["AB"] * 32), second.address: second.certificate.fingerprint}
    edit = ServerEdit(addresses=(pve.url, second.address), tls=Tls(TlsMode.FINGERPRINT, fingerprints=wrong))
    await lab.services.servers.edit(ADMIN, "lab", edit)

    def told() -> bool:
        health = lab.installation.estate.server("lab").health
        return health.address == second.address and any(one.refused for one in health.troubles)

    await lab.eventually(told)
    assert state(lab) == "up"


async def test_a_new_token_is_tested_and_compared_before_the_old_one_goes(lab: Installed, pve: Pve) -> None:
    before = (await lab.services.servers.get(ADMIN, "lab")).server.token_id
    poor = pve.other("POST", f"/access/users/{before.userid}/token/poor", privsep=1)["value"]
    poor_id = parse_token_id(f"{before.userid}!poor")
    with pytest.raises(ConnectionTestFailed) as refused:
        await tokens(lab).replace(ADMIN, "lab", poor_id, poor)
    assert "no rights" in refused.value.detail
    pve.other("PUT", "/access/acl", path="/", roles="PVEAuditor", tokens=str(poor_id))
    with pytest.raises(FewerRights) as fewer:
        await tokens(lab).replace(ADMIN, "lab", poor_id, poor)
    assert "VM.Clone" in fewer.value.detail and "pveum acl modify" in fewer.value.cure
    with pytest.raises(ConnectionTestFailed):
        await tokens(lab).replace(ADMIN, "lab", poor_id, "11111111-2222-3333-4444-555555555555")
    assert (await lab.services.servers.get(ADMIN, "lab")).server.token_id == before


async def test_a_token_is_replaced_while_a_job_runs_and_the_old_one_can_go_at_once(lab: Installed, pve: Pve) -> None:
    before = (await lab.services.servers.get(ADMIN, "lab")).server.token_id
    pve.fault("task_slow", {"path": "/clone$"}, factor=10, times=1)
    job = await lab.sent(await lab.create(full_clone=True), "clone")
    lines = await tokens(lab).next_lines(ADMIN, "lab")
    value = pve.other("POST", f"/access/users/{before.userid}/token/{lines.token_id.name}", privsep=0)["value"]
    done = await tokens(lab).replace(ADMIN, "lab", lines.token_id, value)
    assert done.change.known and not done.change.lost
    assert done.remove_line == f"pveum user token remove {before.userid} {before.name}"
    pve.other("DELETE", f"/access/users/{before.userid}/token/{before.name}")
    ended = await lab.ended(job)
    assert ended.state == "succeeded", ended
    assert len(pve.named(str(job.request["hostname"]))) == 1
    assert value not in await lab.everything_written()
