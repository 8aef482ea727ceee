"""What belongs to a person: SSH keys, sessions, and what was used last; over a real installation."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from comserv.domain.errors import Conflict, Forbidden, Invalid, NotFound
from comserv.domain.person import Actor, Role
from comserv.domain.vmrequest import to_mapping
from comserv.installation import Installation, wire
from comserv.persistence import lastrequests, tables
from comserv.services.audit import AuditQuery
from comserv.services.sessions import SignedIn
from comserv.services.sshkeys import MOST
from comserv.settings import Settings
from tests.domain.test_another import REQUEST
from tests.domain.test_sshkey import ED25519, _rsa

pytestmark = pytest.mark.anyio
LOCAL = Actor("local", Role.ADMIN, "local")
PASSWORD = "correct horse battery staple"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    """With mara, an operator, vera, a viewer, and anna, an admin."""
    found = wire(Settings(data_dir=tmp_path))
    await found.database.start()
    for name, role in (("mara", Role.OPERATOR), ("vera", Role.VIEWER), ("anna", Role.ADMIN)):
        await found.services.people.create(LOCAL, name, role, PASSWORD)
    yield found
    await found.close()


async def _enter(installation: Installation, name: str, address: str = "10.0.0.7") -> tuple[Actor, SignedIn]:
    signed_in = await installation.services.sessions.sign_in(name, PASSWORD, address, FIREFOX)
    visitor = await installation.services.sessions.visitor(signed_in.token, address=address)
    assert visitor
    return visitor.actor, signed_in


async def test_keys_are_kept_named_and_given_up_by_their_person_alone(installation: Installation) -> None:
    keys = installation.services.ssh_keys
    mara, _ = await _enter(installation, "mara")
    vera, _ = await _enter(installation, "vera")
    (own,) = await keys.add(mara, ED25519, "my desk")
    assert (own.key.name, own.offered, own.key.text.split()[-1]) == ("my desk", True, "desk")
    with pytest.raises(Conflict):
        await keys.add(mara, ED25519)
    with pytest.raises(Conflict):  # all or none
        await keys.add(mara, f"{_rsa(2048)} new\n{ED25519}")
    assert [one.key.name for one in await keys.list(mara)] == ["my desk"]
    assert (await keys.add(vera, ED25519))[0].key == replace(own.key, name="mara@desk")
    for attempt in (keys.change(vera, own.id, "hers"), keys.remove(vera, own.id)):
        with pytest.raises(NotFound):
            await attempt
    changed = await keys.change(mara, own.id, " at\nhome ", False)
    assert (changed.key.name, changed.offered) == ("at home", False)
    await keys.remove(mara, own.id)
    assert await keys.list(mara) == () and await keys.list(LOCAL) == ()
    with pytest.raises(Forbidden):
        await keys.add(LOCAL, ED25519)
    said = await installation.services.audit.list(LOCAL, AuditQuery(who="mara", action="add_ssh_key"))
    assert own.key.fingerprint in said.items[0].detail and len(said.items) == 1


async def test_a_private_key_is_neither_kept_nor_written_down(installation: Installation, tmp_path: Path) -> None:
    mara, _ = await _enter(installation, "mara")
    body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQ"
    with pytest.raises(Invalid) as refused:
        await installation.services.ssh_keys.add(mara, f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}", body)
    assert "private key" in refused.value.fields["key"] and body not in str(refused.value.problem())
    assert all(body.encode() not in file.read_bytes() for file in tmp_path.glob("comserv.db*"))


async def test_nobody_keeps_keys_without_end(installation: Installation) -> None:
    mara, _ = await _enter(installation, "mara")
    many = "\n".join(_rsa(2048 + 8 * number) for number in range(MOST))
    assert len(await installation.services.ssh_keys.add(mara, many)) == MOST
    with pytest.raises(Invalid):
        await installation.services.ssh_keys.add(mara, ED25519)


async def test_sessions_tell_their_device_and_are_ended_one_by_one_or_all_others(installation: Installation) -> None:
    people = installation.services.people
    mara, first = await _enter(installation, "mara")
    for address in ("10.0.0.8", "10.0.0.9", "10.0.0.10"):
        await _enter(installation, "mara", address)
    found = await people.sessions(mara, first.token)
    assert {one.device for one in found} == {"Firefox 140 on Linux"}
    assert [one.address for one in found if one.current] == ["10.0.0.7"]
    await people.revoke_session(mara, next(one.id for one in found if one.address == "10.0.0.8"))
    assert await people.revoke_sessions(mara, first.token) == 2
    assert [one.address for one in await people.sessions(mara, first.token)] == ["10.0.0.7"]


async def test_admins_see_and_end_the_sessions_of_others_and_nobody_else_does(installation: Installation) -> None:
    people = installation.services.people
    mara, _ = await _enter(installation, "mara")
    anna, hers = await _enter(installation, "anna")
    (session,) = await people.sessions(anna, hers.token, "mara")
    assert not session.current
    for attempt in (
        people.sessions(mara, name="anna"),
        people.revoke_session(mara, 1, "anna"),
        people.revoke_sessions(mara, name="anna"),
    ):
        with pytest.raises(Forbidden):
            await attempt
    with pytest.raises(NotFound):  # another's session is not mara's
        await people.revoke_session(anna, (await people.sessions(anna))[0].id, "mara")
    await people.revoke_session(anna, session.id, "mara")
    await _enter(installation, "mara")
    assert await people.revoke_sessions(anna, hers.token, "mara") == 1
    assert len(await people.sessions(anna)) == 1


async def test_a_session_that_moves_shows_where_it_is_now(installation: Installation) -> None:
    mara, signed_in = await _enter(installation, "mara")
    async with installation.database.write() as tx:
        await tx.execute(tables.sessions.update().values(last_seen=tables.EPOCH))
    await installation.services.sessions.visitor(signed_in.token, address="192.0.2.9")
    assert [one.address for one in await installation.services.people.sessions(mara)] == ["192.0.2.9"]


async def test_a_key_that_was_given_up_does_not_come_back_with_what_was_used_last(installation: Installation) -> None:
    mara, _ = await _enter(installation, "mara")
    other = f"{_rsa(2048)} other"
    asked = replace(REQUEST, cloud_init=replace(REQUEST.cloud_init, password="", ssh_keys=(ED25519, other)))
    (own,) = await installation.services.ssh_keys.add(mara, ED25519)
    async with installation.database.write() as tx:
        await lastrequests.put(tx, mara.person_id or 0, to_mapping(asked))
    last = await installation.services.another.last(mara)
    assert last and last.request.cloud_init.ssh_keys == (ED25519, other)
    await installation.services.ssh_keys.remove(mara, own.id)
    last = await installation.services.another.last(mara)
    assert last and last.request.cloud_init.ssh_keys == (other,)
    async with installation.database.read() as tx:
        assert "hunter2" not in str((await tx.execute(select(tables.last_requests))).all())
