"""A changed certificate is told beside the one before; another token's rights beside those of the one in use."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from comserv.domain.certificate import NodeCertificate
from comserv.domain.cluster import ClusterNode
from comserv.domain.connection import CertificateSeen
from comserv.domain.pveum import remove_line, rotation_lines, successor
from comserv.domain.rights import Rights, RightsChange, rights_lost
from comserv.domain.server import Tls, TlsMode, parse_token_id
from comserv.domain.trust import address_of, compare_command, differences, judge_change, shown_on_8006

NOW = datetime(2026, 11, 24, tzinfo=UTC)
OWN = "CN=Proxmox Virtual Environment,OU=1,O=PVE Cluster Manager CA"
BEFORE = CertificateSeen(
    "https://pve1:8006", "AA:BB", "CN=pve1.example.net,O=PVE Cluster Node", OWN, "2024-11-20T00:00:00+00:00",
    "2026-12-20T00:00:00+00:00", False, "", ("pve1",), "k1",
)  # fmt: skip
RENEWED = replace(
    BEFORE, fingerprint="CC:DD", not_before="2026-11-20T00:00:00+00:00", not_after="2028-11-20T00:00:00+00:00"
)


@pytest.mark.parametrize(
    ("now", "word"),
    [
        (RENEWED, "the same key"),
        (replace(RENEWED, key="k2"), "a new key"),
        (replace(RENEWED, issuer="CN=R3,O=Let's Encrypt"), "Another authority"),
        (replace(RENEWED, subject="CN=pve2.example.net"), "another node"),
        (replace(RENEWED, not_before="2020-01-01T00:00:00+00:00"), "older"),
        (replace(RENEWED, not_after="2026-11-01T00:00:00+00:00"), "expired"),
    ],
)
def test_what_kind_of_change_it_is_is_said_and_never_that_it_is_right(now: CertificateSeen, word: str) -> None:
    words, cure = judge_change(BEFORE, now, NOW)
    assert word in words and "Compare" in cure


def test_only_what_differs_is_shown_and_a_lost_copy_is_said() -> None:
    assert [row.what for row in differences(BEFORE, "AA:BB", RENEWED)] == ["SHA-256", "Valid from", "Valid until"]
    assert [row.what for row in differences(None, "AA:BB", RENEWED)] == ["SHA-256"]
    assert "No copy" in judge_change(None, RENEWED, NOW)[0]


def test_the_command_names_the_file_that_the_node_shows() -> None:
    assert compare_command(BEFORE, ("pve1", "pve2")).endswith("-in /etc/pve/nodes/pve1/pve-ssl.pem")
    assert compare_command(BEFORE).endswith("-in /etc/pve/local/pve-ssl.pem")
    assert compare_command(replace(BEFORE, issuer="CN=R3")).endswith("pveproxy-ssl.pem")
    hostile = replace(BEFORE, subject="CN=pve1;reboot")
    assert ";" not in compare_command(hostile, ("pve1",))


def test_an_installed_certificate_is_shown_instead_of_the_nodes_own() -> None:
    own = NodeCertificate("pve1", "pve-ssl.pem", "AA", "", "", None, None)
    ca, installed = replace(own, filename="pve-root-ca.pem"), replace(own, filename="pveproxy-ssl.pem")
    assert shown_on_8006((ca, own)) is own and shown_on_8006((ca, own, installed)) is installed
    assert shown_on_8006((ca,)) is None


def test_a_node_is_offered_by_address_or_by_name_where_authorities_vouch_for_names() -> None:
    node = ClusterNode("pve2", True, address="10.0.0.2")
    certificate = NodeCertificate("pve2", "pve-ssl.pem", "AA", "", "", None, None, ("10.0.0.2", "pve2.example.net"))
    assert address_of(node, certificate, Tls(TlsMode.CA)) == "https://10.0.0.2:8006"
    assert address_of(node, certificate, Tls(TlsMode.SYSTEM)) == "https://pve2.example.net:8006"
    assert address_of(replace(node, address="fd00::2"), None, Tls()) == "https://[fd00::2]:8006"
    assert address_of(replace(node, address=""), None, Tls()) == ""


def test_what_another_token_may_not_do_is_told_by_the_shortest_path() -> None:
    before = Rights({"/": {"VM.Audit": True, "VM.Clone": True}, "/vms": {"VM.Audit": True, "VM.Clone": True}})
    now = Rights({"/": {"VM.Audit": True}, "/vms": {"VM.Audit": True}, "/vms/100": {}})
    assert rights_lost(before, now) == {"/": ("VM.Clone",), "/vms/100": ("VM.Audit", "VM.Clone")}
    assert rights_lost(before, before) == {} == rights_lost(now, now)
    assert "may do less at /: VM.Clone" in RightsChange.between(before, now).words
    assert "the same" in RightsChange.between(before, before).words
    assert not RightsChange.between(None, now).known


@pytest.mark.parametrize(("name", "then"), [("manager", "manager-2"), ("manager-2", "manager-3"), ("a-b", "a-b-2")])
def test_the_next_token_has_the_next_name(name: str, then: str) -> None:
    token = successor(parse_token_id(f"comserv@pve!{name}"))
    assert token.name == then
    assert all(then in line for line in rotation_lines(token))
    assert remove_line(token) == f"pveum user token remove comserv@pve {then}"
