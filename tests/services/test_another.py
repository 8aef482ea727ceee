"""Another one like this, and what was used last: over a simulated server, from the request of our job and from a bare configuration."""

from dataclasses import replace

import pytest

from comserv.domain.errors import Conflict, Forbidden, NotFound
from comserv.domain.guest import GuestKey
from comserv.domain.person import Role
from comserv.domain.vmrequest import parse_vm_request, to_mapping
from tests.domain.test_sshkey import ED25519
from tests.installed import ADMIN, OPERATOR, VIEWER, Installed, Pve, unique

pytestmark = pytest.mark.anyio
PASSWORD = "hunter2 hunter2"


def static(address: str) -> dict[str, object]:
    return {"type": "static", "ip_address": address, "subnet_mask": 24, "gateway": "10.20.31.1", "bridge": "vmbr0"}


async def test_another_like_one_of_ours_is_asked_for_as_that_one_was(comserv: Installed, pve: Pve) -> None:
    cloud_init = {"user": "debian", "password": PASSWORD, "ssh_keys": [ED25519]}
    job = await comserv.created(
        hostname="like-01",
        network=static("10.20.31.11"),
        cloud_init=cloud_init,
        cpu_cores=2,
        memory_mb=768,
        tags=["web"],
    )
    another = comserv.services.another
    await comserv.seen(comserv.key(job))
    like = await another.like_guest(OPERATOR, comserv.key(job))
    assert (like.name, like.job, like.secrets) == ("like-01", job.id, ("cloud_init.password",))
    request = like.request
    assert (request.hostname, request.vmid, request.network.ip_address) == ("like-02", None, "10.20.31.12")
    assert (request.cpu_cores, request.memory_mb, request.tags) == (2, 768, ("web",))
    assert request.cloud_init == replace(request.cloud_init, user="debian", password="", ssh_keys=(ED25519,))
    assert await another.like_job(OPERATOR, job.id) == like
    # it can be sent as it is; what the first of two takes, the next proposal leaves
    second = await comserv.ended(await comserv.services.vms.create(OPERATOR, parse_vm_request(to_mapping(request))))
    assert second.state == "succeeded", second
    await comserv.seen(comserv.key(second))
    third = (await another.like_guest(OPERATOR, comserv.key(job))).request
    assert (third.hostname, third.network.ip_address) == ("like-03", "10.20.31.13")


async def test_a_running_creation_has_its_name_and_address_already(comserv: Installed, pve: Pve) -> None:
    job = await comserv.create(hostname="soon-01", network=static("10.20.31.41"))
    request = (await comserv.services.another.like_job(OPERATOR, job.id)).request
    assert (request.hostname, request.network.ip_address) == ("soon-02", "10.20.31.42")
    await comserv.ended(job)


async def test_another_like_one_of_somebody_else_follows_its_configuration(comserv: Installed, pve: Pve) -> None:
    node = pve.the(pve.template)["node"]
    pve.done("POST", f"/nodes/{node}/qemu/{pve.template}/clone", newid=6100, name="theirs")
    pve.other(
        "PUT", f"/nodes/{node}/qemu/6100/config", cores=3, memory=1536, tags="db", ciuser="root", cipassword=PASSWORD,
        ipconfig0="ip=10.20.31.90/24,gw=10.20.31.1",
    )  # fmt: skip
    key = GuestKey("lab", 6100)
    await comserv.seen(key)
    like = await comserv.services.another.like_guest(OPERATOR, key)
    request = like.request
    assert (like.job, like.secrets, request.hostname) == ("", ("cloud_init.password",), "theirs-2")
    assert (request.template.vmid, request.cpu_cores, request.memory_mb) == (pve.template, 3, 1536)
    assert request.network.ip_address == "10.20.31.91" and request.cloud_init.user == "root"
    assert PASSWORD not in str(like) and "***" not in str(to_mapping(request, secrets=True))
    pve.done("DELETE", f"/nodes/{node}/qemu/6100")


async def test_a_guest_that_took_our_vms_place_is_not_taken_for_it(comserv: Installed, pve: Pve) -> None:
    job = await comserv.created(hostname=unique(), memory_mb=640)
    key, node = comserv.key(job), job.node
    pve.done("DELETE", f"/nodes/{node}/qemu/{key.vmid}")
    pve.done("POST", f"/nodes/{node}/qemu", vmid=key.vmid, name="foreign", memory=256)
    like = await comserv.services.another.like_guest(OPERATOR, key)
    assert (like.job, like.request.memory_mb, like.request.template.vmid) == ("", 256, 0)
    pve.done("DELETE", f"/nodes/{node}/qemu/{key.vmid}")


async def test_who_may_not_plan_learns_no_request_and_what_made_no_vm_has_none(comserv: Installed, pve: Pve) -> None:
    job = await comserv.created(hostname=unique())
    another = comserv.services.another
    for attempt in (
        another.like_job(VIEWER, job.id),
        another.like_guest(VIEWER, comserv.key(job)),
        another.last(VIEWER),
    ):
        with pytest.raises(Forbidden):
            await attempt
    with pytest.raises(NotFound):
        await another.like_job(OPERATOR, "nothing")
    from comserv.domain.power import PowerAction

    power = await comserv.ended(await comserv.services.guests.power(OPERATOR, comserv.key(job), PowerAction.START))
    with pytest.raises(Conflict):
        await another.like_job(OPERATOR, power.id)


async def test_what_was_used_last_on_the_page_is_kept_per_person_and_never_the_password(
    comserv: Installed, pve: Pve
) -> None:
    person = await comserv.services.people.create(ADMIN, unique("person"), Role.OPERATOR, "a short sentence does")
    somebody = replace(OPERATOR, name=person.name, person_id=person.id, via="page")
    assert await comserv.services.another.last(somebody) is None
    cloud_init = {"user": "debian", "password": PASSWORD, "ssh_keys": [ED25519]}
    body = comserv.body(
        network=static("10.20.31.120"), cloud_init=cloud_init, memory_mb=896, tags=["x"], description="y"
    )
    await comserv.ended(await comserv.services.vms.create(somebody, parse_vm_request(body)))
    await comserv.create()  # by the API, and by another
    last = await comserv.services.another.last(somebody)
    assert last is not None
    request = last.request
    assert (request.hostname, request.memory_mb, request.tags, request.description) == ("", 896, (), "")
    assert (request.network.ip_address, request.network.gateway) == ("10.20.31.121", "10.20.31.1")
    assert request.cloud_init.password == "" and request.cloud_init.ssh_keys == (ED25519,)
    assert PASSWORD not in await comserv.everything_written()
