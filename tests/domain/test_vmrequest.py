"""A request for a VM is read from hostile JSON, written for storing, and never shows its password."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.errors import Invalid, SecretsMissing
from comserv.domain.vmrequest import (
    MASK,
    PASSWORD,
    NetworkType,
    VmRequest,
    parse_vm_request,
    require_secrets,
    secrets_of,
    ssh_key_fault,
    stored_vm_request,
    to_mapping,
)
from tests.domain.strategies import KEY, a_request, requests

LEAST: dict[str, Any] = {"server": "rack", "hostname": "web-01", "template": {"vmid": 9000}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([*to_mapping(a_request()), "extra"])


def faults_of(**changes: object) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        parse_vm_request({**LEAST, **changes})
    return caught.value.fields


@given(requests())
def test_what_is_written_with_its_secrets_reads_back_the_same(request: VmRequest) -> None:
    assert parse_vm_request(to_mapping(request, secrets=True)) == request


@given(requests())
def test_what_is_stored_reads_back_the_same_once_the_secrets_are_given(request: VmRequest) -> None:
    assert stored_vm_request(to_mapping(request), secrets_of(request)) == request


@given(requests())
def test_a_stored_request_holds_no_password(request: VmRequest) -> None:
    stored = to_mapping(request)["cloud_init"]["password"]
    assert stored == (MASK if request.cloud_init.password else "")


@given(JSON | st.dictionaries(NAMES, JSON, max_size=6))
def test_any_json_is_read_or_refused_with_a_sentence_for_each_fault(body: object) -> None:
    try:
        parse_vm_request(body)
    except Invalid as error:
        assert error.fields
        assert all(sentence.endswith(".") for sentence in error.fields.values())


def test_the_least_that_can_be_asked_for() -> None:
    request = parse_vm_request(LEAST)
    assert request.template.server == "rack"
    assert request.network.type == NetworkType.DHCP
    assert request.start_after_creation
    assert request.enable_qemu_agent is None


def test_all_faults_come_at_once() -> None:
    faults = faults_of(cpu_cores=0, memory_mb="lots", network={"vlan": 5000, "ipv6": {"prefix": 129}}, colour="red")
    assert set(faults) == {"cpu_cores", "memory_mb", "network.vlan", "network.ipv6.prefix", "colour"}


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("server", {"server": ""}),
        ("server", {"server": "../etc"}),
        ("template", {"template": None}),
        ("template.vmid", {"template": {"vmid": 99}}),
        ("template.vmid", {"template": {}}),
        ("template.colour", {"template": {"vmid": 9000, "colour": 1}}),
        ("vmid", {"vmid": 1_000_000_000}),
        ("cpu_cores", {"cpu_cores": True}),
        ("memory_mb", {"memory_mb": 512.5}),
        ("disk_gb", {"disk_gb": float("nan")}),
        ("full_clone", {"full_clone": "yes"}),
        ("tags", {"tags": "prod"}),
        ("tags.1", {"tags": ["prod", "not;one"]}),
        ("node", {"node": "pve1/../.."}),
        ("hostname", {"hostname": "web\x00"}),
        ("network", {"network": []}),
        ("network.type", {"network": {"type": "magic"}}),
        ("network.type", {"network": {"ip_address": "10.0.0.5"}}),
        ("network.ip_address", {"network": {"type": "static", "ip_address": "10.0.0.256"}}),
        ("network.subnet_mask", {"network": {"subnet_mask": "255.0.255.0"}}),
        ("network.gateway", {"network": {"type": "static", "gateway": "fe80::1"}}),
        ("network.ipv6.address", {"network": {"ipv6": {"type": "static", "address": "fe80::1%eth0"}}}),
        ("network.dns_servers.0", {"network": {"dns_servers": ["dns.example"]}}),
        ("network.bridge", {"network": {"bridge": "vmbr0,tag=1"}}),
        ("cloud_init.user", {"cloud_init": {"user": "root;reboot"}}),
        ("cloud_init.password", {"cloud_init": {"password": "a\nb"}}),
        ("cloud_init.password", {"cloud_init": {"password": MASK}}),
        ("cloud_init.ssh_keys.0", {"cloud_init": {"ssh_keys": ["ssh-ed25519 AAAA"]}}),
    ],
)
def test_a_fault_names_its_field(field: str, changes: dict[str, object]) -> None:
    assert field in faults_of(**changes)


@pytest.mark.parametrize("mask", [24, "24", "/24", "255.255.255.0"])
def test_a_mask_is_taken_as_prefix_or_dotted(mask: object) -> None:
    network = {"type": "static", "ip_address": "10.0.0.5", "subnet_mask": mask}
    assert parse_vm_request({**LEAST, "network": network}).network.subnet_mask == 24


def test_an_address_may_bring_its_prefix() -> None:
    network = parse_vm_request({**LEAST, "network": {"type": "static", "ip_address": "10.0.0.5/20"}}).network
    assert (network.ip_address, network.subnet_mask) == ("10.0.0.5", 20)


def test_numbers_may_come_as_text_from_a_form() -> None:
    assert parse_vm_request({**LEAST, "cpu_cores": "4", "memory_mb": 2048.0, "vmid": ""}).cpu_cores == 4


def test_tags_become_what_proxmox_makes_of_them() -> None:
    assert parse_vm_request({**LEAST, "tags": ["Web", "prod", "web", ""]}).tags == ("prod", "web")


def test_a_host_name_that_will_not_do_is_left_to_the_plan() -> None:
    assert parse_vm_request({**LEAST, "hostname": "web_01"}).hostname == "web_01"


def test_a_fault_never_repeats_the_password() -> None:
    faults = faults_of(cloud_init={"password": "hush\x07hush"})
    assert "hush" not in str(faults)


def test_a_request_does_not_print_its_password() -> None:
    assert "top secret" not in repr(a_request())


def test_a_request_without_its_secret_says_which_is_missing() -> None:
    stored = stored_vm_request(to_mapping(a_request()))
    with pytest.raises(SecretsMissing) as caught:
        require_secrets(stored)
    assert caught.value.names == (PASSWORD,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (KEY, ""),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "private"),
        ("AAAAC3NzaC1lZDI1NTE5", "begins with its type"),
        ("ssh-ed25519 not-base64!", "not complete"),
        ("ssh-rsa " + KEY.split()[1], "not a key of the type ssh-rsa"),
    ],
)
def test_an_ssh_key_is_checked_for_its_form(text: str, said: str) -> None:
    assert said in ssh_key_fault(text) if said else not ssh_key_fault(text)
