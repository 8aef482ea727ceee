"""Property strings are read and written as Proxmox does (PVE::JSONSchema, recordings of net0, scsi0, ide2, agent)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.errors import Invalid
from comserv.domain.propertystring import parse, write

KEYS = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9:/.+-]{1,12}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "default_key", "values"),
    [
        ("virtio=BC:24:11:3C:93:E0,bridge=vmbr0", "model", {"virtio": "BC:24:11:3C:93:E0", "bridge": "vmbr0"}),
        ("virtio,bridge=vmbr0,tag=7", "model", {"model": "virtio", "bridge": "vmbr0", "tag": "7"}),
        ("local:100/vm-100-disk-0.raw,size=1G", "file", {"file": "local:100/vm-100-disk-0.raw", "size": "1G"}),
        ("none,media=cdrom", "file", {"file": "none", "media": "cdrom"}),
        ("1,fstrim_cloned_disks=1", "enabled", {"enabled": "1", "fstrim_cloned_disks": "1"}),
        ("1", "", {"": "1"}),
        ("ip=10.0.0.5/24,gw=10.0.0.1,ip6=auto", "", {"ip": "10.0.0.5/24", "gw": "10.0.0.1", "ip6": "auto"}),
        ("a=b=c", "", {"a": "b=c"}),
        (" ", "x", {}),
    ],
)
def test_a_property_string_is_read(text: str, default_key: str, values: dict[str, str]) -> None:
    assert parse(text, default_key) == values


@pytest.mark.parametrize("text", ["a=1,a=2", "virtio,e1000", "ip=", "x,model=y"])
def test_what_proxmox_refuses_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text, "model")


@pytest.mark.parametrize("values", [{"a": "1,2"}, {"a": ""}, {"a=b": "1"}])
def test_what_a_property_string_cannot_hold_is_not_written(values: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        write(values)


def test_a_default_value_with_an_equals_sign_is_written_with_its_key() -> None:
    assert write({"file": "local:import/a=b.raw", "size": "1G"}, "file") == "file=local:import/a=b.raw,size=1G"


@given(st.dictionaries(KEYS, VALUES, max_size=6), KEYS)
def test_what_is_written_reads_back(values: dict[str, str], default_key: str) -> None:
    assert parse(write(values, default_key), default_key) == values
