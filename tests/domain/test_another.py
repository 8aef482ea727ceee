"""Another one like this: a next name, a next address, nothing secret; and what a configuration tells of how it was asked for."""

from dataclasses import replace

import pytest

from comserv.domain.another import another, next_address, next_name, request_of, worth_repeating
from comserv.domain.guest import Guest, GuestConfig, GuestKey, GuestType
from comserv.domain.vmrequest import (
    CloudInit,
    Ipv6,
    Ipv6Type,
    Network,
    NetworkType,
    TemplateRef,
    VmRequest,
    parse_vm_request,
    to_mapping,
)
from tests.domain.test_sshkey import ED25519

REQUEST = VmRequest(
    server="rack",
    hostname="web-01",
    template=TemplateRef("rack", 9000),
    node="pve1",
    vmid=105,
    description="Front",
    tags=("web",),
    pool="team",
    network=Network(NetworkType.STATIC, "10.0.0.9", 24, "10.0.0.1", "vmbr0", 20, dns_servers=("10.0.0.2",)),
    cloud_init=CloudInit("debian", "hunter2 hunter2", (ED25519,)),
)


@pytest.mark.parametrize(
    ("name", "taken", "following"),
    [
        ("web-01", (), "web-02"),
        ("web-01", ("web-02", "WEB-03", "web-05."), "web-04"),
        ("web-09", (), "web-10"),
        ("web-99", (), "web-100"),
        ("web7", ("web8",), "web9"),
        ("db", (), "db-2"),
        ("db", ("db-2",), "db-3"),
        ("a1.example.org", ("a2.example.org",), "a3.example.org"),
        ("2024", (), "2025"),
        ("x" * 63, (), ""),
    ],
)
def test_the_next_name_counts_on_over_those_that_are_there(name: str, taken: tuple[str, ...], following: str) -> None:
    assert next_name(name, taken) == following


@pytest.mark.parametrize(
    ("address", "prefix", "gateway", "taken", "following"),
    [
        ("10.0.0.9", 24, "10.0.0.1", (), "10.0.0.10"),
        ("10.0.0.9", 24, "10.0.0.10", ("10.0.0.11", "10.0.0.12/24"), "10.0.0.13"),
        ("10.0.0.254", 24, "10.0.0.1", (), "10.0.0.2"),
        ("10.0.0.1", 30, "10.0.0.2", (), ""),
        ("10.0.0.9", None, "", (), ""),
        ("2001:db8::9", 64, "2001:db8::1", ("2001:DB8:0::a",), "2001:db8::b"),
        ("2001:db8::ffff:ffff:ffff:ffff", 64, "", (), "2001:db8::1"),
    ],
)
def test_the_next_address_is_one_that_nobody_has(
    address: str, prefix: int | None, gateway: str, taken: tuple[str, ...], following: str
) -> None:
    assert next_address(address, prefix, gateway, set(taken)) == following


def test_another_has_nothing_of_the_first_that_may_be_there_only_once() -> None:
    made = another(REQUEST, ["web-02"], {"10.0.0.10"})
    assert (made.hostname, made.vmid, made.network.ip_address) == ("web-03", None, "10.0.0.11")
    assert made.cloud_init.password == "" and made.cloud_init.ssh_keys == (ED25519,)
    same = replace(made, hostname="", vmid=None, network=REQUEST.network, cloud_init=REQUEST.cloud_init)
    assert same == replace(REQUEST, hostname="", vmid=None)
    six = replace(REQUEST, network=Network(ipv6=Ipv6(Ipv6Type.STATIC, "2001:db8::9", 64)))
    assert another(six, [], ()).network.ipv6.address == "2001:db8::a"


def test_what_is_kept_for_the_next_time_holds_no_secret_and_nothing_of_this_very_vm() -> None:
    kept = worth_repeating(REQUEST)
    assert "hunter2" not in str(to_mapping(kept, secrets=True))
    assert (kept.hostname, kept.vmid, kept.description, kept.tags, kept.node, kept.pool) == ("", None, "", (), "", "")
    assert kept.network == REQUEST.network and kept.template == REQUEST.template


def _guest(**values: object) -> Guest:
    return Guest(GuestKey("rack", 105), GuestType.QEMU, "pve1", name="web-01", **values)  # pyright: ignore[reportArgumentType]


CONFIG = {
    "name": "web-01", "cores": "2", "sockets": "2", "memory": "4096",
    "scsi0": "local:9000/base-9000-disk-0.qcow2/105/vm-105-disk-0.qcow2,size=20G",
    "boot": "order=scsi0", "net0": "virtio=BC:24:11:3F:9A:02,bridge=vmbr1,tag=20", "agent": "1", "onboot": "1", "tags": "web;Prod",
    "ciuser": "debian", "cipassword": "**********", "sshkeys": ED25519.replace(" ", "%20").replace("+", "%2B") + "%0A",
    "ipconfig0": "ip=10.0.0.9/24,gw=10.0.0.1,ip6=auto", "nameserver": "10.0.0.2 10.0.0.3", "searchdomain": "example.org",
    "description": "Front",
}  # fmt: skip


def test_a_configuration_tells_how_its_vm_would_be_asked_for() -> None:
    made = request_of(_guest(pool="team"), GuestConfig(CONFIG, "0" * 40))
    assert made.template == TemplateRef("rack", 9000) and made.storage == ""
    assert (made.cpu_cores, made.memory_mb, made.disk_gb) == (4, 4096, 20)
    assert (made.pool, made.tags, made.start_on_boot, made.enable_qemu_agent) == ("team", ("prod", "web"), True, True)
    assert made.cloud_init == CloudInit("debian", "", (ED25519,))
    assert made.network == Network(
        NetworkType.STATIC, "10.0.0.9", 24, "10.0.0.1", "vmbr1", 20, Ipv6(Ipv6Type.AUTO), ("10.0.0.2", "10.0.0.3"),
        "example.org",
    )  # fmt: skip
    assert parse_vm_request(to_mapping(made)) == made


def test_a_bare_configuration_tells_what_it_can() -> None:
    made = request_of(_guest(), GuestConfig({"scsi0": "local-lvm:vm-105-disk-0,size=2G", "ipconfig0": "ip=dhcp"}, ""))
    assert made.template.vmid == 0 and made.storage == "local-lvm" and made.hostname == "web-01"
    assert made.network == Network()
    hostile = request_of(_guest(), GuestConfig({"ipconfig0": "ip=x/y,ip6=z", "sshkeys": "%zz", "net0": "?"}, ""))
    assert hostile.network == Network() and hostile.cloud_init.ssh_keys == ()
    assert request_of(_guest(template=True), GuestConfig({}, "")).template.vmid == 105
