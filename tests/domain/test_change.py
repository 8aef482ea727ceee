"""A change sends only what differs, keeps our marker and anybody's other edit, and says what waits for a restart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.change import (
    ChangeRequest,
    change_call,
    change_effect,
    change_parameters,
    differing,
    is_changed,
    parse_change_request,
    to_mapping,
)
from comserv.domain.errors import Invalid
from comserv.domain.guest import GuestConfig, GuestType
from comserv.domain.ownership import Marker, read_marker, strip_marker, with_marker
from tests.domain.strategies import HOSTNAMES, LABELS, NOTES, sign, template_configs

QEMU, LXC = GuestType.QEMU, GuestType.LXC
MARKER = Marker("0d7k3v9a1x4q2m7t", "rack", 101)
CONFIG = GuestConfig(
    {
        "name": "web-01",
        "cores": "2",
        "memory": "1024",
        "tags": "prod;web",
        "description": with_marker("hello", MARKER, sign),
    },
    "d1",
)
CHANGES = st.builds(
    ChangeRequest,
    st.none() | st.integers(1, 64),
    st.none() | st.integers(16, 9000),
    st.none() | HOSTNAMES,
    st.none() | st.lists(LABELS, max_size=3).map(lambda tags: tuple(sorted(set(tags)))),
    st.none() | NOTES,
    st.none() | st.booleans(),
).filter(lambda change: change != ChangeRequest())


def carried_out(config: GuestConfig, parameters: dict[str, str]) -> GuestConfig:
    values = {**config.values, **parameters}
    for key in ["delete", "digest", *values.pop("delete", "").split(",")]:
        values.pop(key, None)
    return GuestConfig(values, config.digest + "+")


@given(CHANGES)
def test_what_is_written_reads_back_the_same(change: ChangeRequest) -> None:
    assert parse_change_request(to_mapping(change)) == change


@given(CHANGES, template_configs(), st.sampled_from(GuestType))
def test_once_carried_out_it_is_so_and_nothing_is_left_to_send(
    change: ChangeRequest, config: GuestConfig, type: GuestType
) -> None:
    parameters = change_parameters(change, type, config)
    after = carried_out(config, parameters)
    assert is_changed(change, type, after)
    assert change_parameters(change, type, after) == {}
    assert all(value != "" for value in parameters.values() if parameters.get("digest") != value)
    assert not parameters or parameters["digest"] == config.digest


@given(CHANGES, st.sampled_from(GuestType), st.booleans(), template_configs())
def test_each_field_that_differs_applies_now_or_later(
    change: ChangeRequest, type: GuestType, running: bool, config: GuestConfig
) -> None:
    effect = change_effect(change, type, running, config)
    assert sorted(effect.at_once + effect.after_restart) == sorted(differing(change, type, config))
    assert running or not effect.after_restart


@given(NOTES)
def test_a_change_of_the_notes_keeps_the_marker(notes: str) -> None:
    after = carried_out(CONFIG, change_parameters(ChangeRequest(notes=notes), QEMU, CONFIG))
    assert read_marker(after.get("description"), sign) == MARKER
    assert strip_marker(after.get("description")) == strip_marker(notes)


def test_only_what_differs_is_sent() -> None:
    change = ChangeRequest(cpu_cores=2, memory_mb=2048, name="web-01", tags=("prod", "web"), notes="hello")
    assert change_parameters(change, QEMU, CONFIG) == {"memory": "2048", "digest": "d1"}


def test_a_vm_is_changed_by_a_task_and_a_container_at_once() -> None:
    change = ChangeRequest(name="new")
    assert change_call(change, QEMU, "pve1", 101, CONFIG).method == "POST"
    call = change_call(change, LXC, "pve1", 200, GuestConfig({"hostname": "old"}, "d1"))
    assert (call.method, call.path) == ("PUT", "/nodes/pve1/lxc/200/config")
    assert call.parameters == {"hostname": "new", "digest": "d1"}


def test_the_last_tag_and_the_last_note_are_deleted_since_proxmox_takes_no_empty_value() -> None:
    config = GuestConfig({"tags": "prod", "description": "hello"}, "d1")
    parameters = change_parameters(ChangeRequest(tags=(), notes=""), QEMU, config)
    assert parameters == {"delete": "tags,description", "digest": "d1"}


def test_cpu_and_memory_of_a_running_vm_wait_for_a_restart() -> None:
    change = ChangeRequest(cpu_cores=4, memory_mb=4096, name="new", start_on_boot=True)
    effect = change_effect(change, QEMU, True, CONFIG)
    assert effect.after_restart == ("cpu_cores", "memory_mb")
    assert effect.at_once == ("name", "start_on_boot")


def test_cpu_and_memory_apply_at_once_where_they_can_be_plugged() -> None:
    config = GuestConfig({**CONFIG.values, "hotplug": "network,disk,cpu,memory", "numa": "1"}, "d1")
    assert change_effect(ChangeRequest(cpu_cores=4, memory_mb=4096), QEMU, True, config).after_restart == ()


def test_a_container_takes_cpu_and_memory_at_once() -> None:
    config = GuestConfig({"hostname": "ct", "cores": "1", "memory": "512"}, "d1")
    change = ChangeRequest(cpu_cores=2, memory_mb=1024, name="new")
    assert change_effect(change, LXC, True, config).after_restart == ("name",)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ([], "body"),
        ({"cpu_cores": 0}, "cpu_cores"),
        ({"memory_mb": "x"}, "memory_mb"),
        ({"name": "a_b"}, "name"),
        ({"name": " "}, "name"),
        ({"tags": ["a b"]}, "tags.0"),
        ({"start_on_boot": 1}, "start_on_boot"),
        ({"disk": 5}, "disk"),
    ],
)
def test_a_fault_names_its_field(body: object, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_change_request(body)
    assert field in caught.value.fields
