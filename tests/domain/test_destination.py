"""Where nothing is ever sent, however the address is written."""

import pytest

from comserv.domain.destination import refused_destination

OWN = (("127.0.0.1", 8080),)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.7.8", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fe80::1%eth0",
        "fd00:ec2::254", "100.100.100.200", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "::ffff:0.0.0.0", "255.255.255.255",
        "not an address", "",
    ],
)  # fmt: skip
def test_metadata_link_local_and_no_machines_are_refused(address: str) -> None:
    assert refused_destination(address, 8006, OWN)


@pytest.mark.parametrize(
    "address", ["10.0.0.5", "192.168.1.2", "127.0.0.1", "127.0.0.2", "::1", "fd12::5", "203.0.113.9"]
)
def test_private_public_and_other_loopback_addresses_are_where_servers_stand(address: str) -> None:
    assert not refused_destination(address, 8006, OWN)


@pytest.mark.parametrize(
    ("own", "address", "refused"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.9", True),
        ("0.0.0.0", "10.0.0.1", False),
        ("::", "::1", True),
        ("::", "127.0.0.1", True),
    ],
)
def test_comserv_is_no_server_of_its_own(own: str, address: str, refused: bool) -> None:
    assert bool(refused_destination(address, 8080, ((own, 8080),))) is refused
    assert not refused_destination(address, 8081, ((own, 8080),))
