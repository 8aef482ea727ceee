"""Names, addresses, sizes and back-off: the small decisions that the large ones stand on."""

from datetime import timedelta
from ipaddress import ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.address import (
    gateway_unusable,
    holders,
    interface,
    read_address,
    read_prefix,
    unusable,
    usable_range,
)
from comserv.domain.errors import Invalid
from comserv.domain.guest import AddressSource, GuestKey, KnownAddress
from comserv.domain.hostname import hostname_fault, same_name
from comserv.domain.retry import Breaker, back_off
from comserv.domain.server import parse_address
from comserv.domain.units import GIB, gib_up, parse_size, size, span
from tests.domain.strategies import HOSTNAMES, NOW


@pytest.mark.parametrize(
    "text", ["a" * 64, "a" * 300, "a..b", ".a", "", "https://[::", "[zz]", "pve1:0x1", "https://u@pve1"]
)
def test_what_could_not_even_be_looked_up_is_no_address(text: str) -> None:
    with pytest.raises(Invalid):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("pve1", "https://pve1:8006"),
        ("PVE1.example.org.:443", "https://pve1.example.org:443"),
        ("https://[fd00::1]/api2/json", "https://[fd00::1]:8006"),
        ("10.0.0.7", "https://10.0.0.7:8006"),
    ],
)
def test_an_address_is_read_from_what_people_write(text: str, address: str) -> None:
    assert parse_address(text) == address


class TestNames:
    @given(HOSTNAMES)
    def test_a_dns_name_will_do(self, name: str) -> None:
        assert hostname_fault(name) == ""

    @pytest.mark.parametrize(
        "name", ["", "a_b", "-a", "a-", "a..b", ".a", "a b", "é", "a" * 64, "a." * 127 + "ab", "a\n"]
    )
    def test_anything_else_will_not_and_is_told_in_a_sentence(self, name: str) -> None:
        assert hostname_fault(name).endswith(".") or hostname_fault(name).endswith("web-01.")

    def test_names_are_the_same_whatever_their_case(self) -> None:
        assert same_name("Web-01", "web-01")


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "prefix"), [("24", 24), ("/0", 0), ("255.255.255.0", 24), ("0.0.0.0", 0), ("255.255.255.255", 32)]
    )
    def test_masks(self, text: str, prefix: int) -> None:
        assert read_prefix(text) == prefix

    @pytest.mark.parametrize("text", ["33", "", "255.0.255.0", "0.0.0.255", "x", "²", "-1"])
    def test_no_masks(self, text: str) -> None:
        assert read_prefix(text) is None

    @pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.01", "fe80::1%eth0", "10.0.0", "", "10.0.0.1/24"])
    def test_an_address_is_read_strictly(self, text: str) -> None:
        assert (read_address(text, 4) is not None) == (text == "10.0.0.1")
        assert read_address(text, 6) is None

    @given(st.ip_addresses(v=4), st.integers(1, 32))
    def test_of_a_subnet_only_network_and_broadcast_cannot_be_used(self, address: object, prefix: int) -> None:
        subnet = interface(str(address), prefix)
        assert subnet is not None
        first, last = usable_range(subnet)
        ends = subnet.ip in (subnet.network.network_address, subnet.network[-1]) and prefix < 31
        odd = subnet.ip.is_loopback or subnet.ip.is_multicast or subnet.ip.is_unspecified
        assert bool(unusable(subnet)) == (ends or odd)
        assert first in subnet.network
        assert last in subnet.network

    @pytest.mark.parametrize(
        ("address", "gateway", "fits"),
        [
            ("10.0.0.5/24", "10.0.0.1", True),
            ("10.0.0.5/24", "10.0.1.1", False),
            ("10.0.0.5/24", "10.0.0.5", False),
            ("10.0.0.5/24", "10.0.0.255", False),
            ("10.0.0.5/31", "10.0.0.4", True),
            ("10.0.0.5/24", "fe80::1", False),
            ("2001:db8::5/64", "fe80::1", True),
            ("2001:db8::5/64", "2001:db8::1", True),
            ("2001:db8::5/64", "2001:db8:1::1", False),
        ],
    )
    def test_a_gateway_has_to_be_in_reach(self, address: str, gateway: str, fits: bool) -> None:
        assert (gateway_unusable(ip_interface(address), gateway) == "") == fits

    def test_holders_are_found_however_the_address_is_spelled_newest_first(self) -> None:
        def known(vmid: int, address: str, minutes: int) -> KnownAddress:
            return KnownAddress(GuestKey("rack", vmid), address, AddressSource.AGENT, NOW - timedelta(minutes=minutes))

        found = holders(
            "2001:db8::1", [known(1, "2001:0DB8::0001/64", 9), known(2, "2001:db8::1", 1), known(3, "odd", 0)]
        )
        assert [one.guest.vmid for one in found] == [2, 1]


class TestSizes:
    @given(st.integers(0, 10**6), st.sampled_from("KMGT"))
    def test_a_size_of_a_disk(self, number: int, unit: str) -> None:
        assert parse_size(f"{number}{unit}") == number * 1024 ** ("KMGT".index(unit) + 1)

    @pytest.mark.parametrize("text", ["", "G", "-1G", "1GB", "1 G", "²G", "1e9"])
    def test_no_size(self, text: str) -> None:
        assert parse_size(text) is None

    @pytest.mark.parametrize(
        ("number", "text"),
        [(0, "0 B"), (512, "512 B"), (1536, "1.5 KiB"), (64 * GIB, "64 GiB"), (2150 * GIB, "2.1 TiB")],
    )
    def test_sizes_for_people(self, number: int, text: str) -> None:
        assert size(number) == text

    @given(st.integers(0, 10**15))
    def test_whole_gib_are_rounded_up(self, number: int) -> None:
        assert gib_up(number) * GIB >= number > (gib_up(number) - 1) * GIB

    @pytest.mark.parametrize(
        ("seconds", "text"), [(-3, "0 s"), (12, "12 s"), (240, "4 min"), (7200, "2 h"), (3 * 86400, "3 days")]
    )
    def test_lengths_of_time_for_people(self, seconds: float, text: str) -> None:
        assert span(seconds) == text


class TestBackOff:
    @given(st.integers(1, 10_000), st.floats(0, 1))
    def test_a_wait_grows_to_its_limit_and_is_spread_over_its_upper_half(self, failures: int, chance: float) -> None:
        wait = back_off(failures, chance)
        assert timedelta(seconds=1) <= wait <= timedelta(seconds=60)
        assert back_off(failures, 0.0) <= wait <= back_off(failures, 1.0)
        assert back_off(failures + 1, chance) >= wait

    def test_a_breaker_opens_at_the_third_failure_in_a_row_and_closes_with_an_answer(self) -> None:
        breaker = Breaker().failed(NOW, 1.0).failed(NOW, 1.0)
        assert not breaker.open(NOW)
        breaker = breaker.failed(NOW, 1.0)
        assert breaker.open(NOW)
        assert not breaker.open(NOW + timedelta(seconds=2))
        assert breaker.failed(NOW, 1.0).open(NOW + timedelta(seconds=3))
        assert not breaker.answered().open(NOW)
