"""Only what we made is ours: a marker is signed for one server and one VM id, and a copy of a VM of ours is nobody's of ours."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comserv.domain.guest import GuestConfig
from comserv.domain.ownership import (
    Evidence,
    Marker,
    Stage,
    is_ours,
    keep_marker,
    read_marker,
    smbios_uuid,
    strip_marker,
    with_marker,
)
from tests.domain.strategies import sign

JOBS = st.from_regex(r"[a-z0-9]{16}", fullmatch=True)
SERVERS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
MARKERS = st.builds(Marker, JOBS, SERVERS, st.integers(100, 999_999_999), st.sampled_from(Stage))
NOTES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=80)

MADE = Marker("0d7k3v9a1x4q2m7t", "rack", 101, Stage.CONFIGURED)
OURS = Evidence("rack", 101, with_marker("notes", MADE, sign), "uuid-1", MADE.job, MADE.job, "uuid-1")


@given(MARKERS, NOTES)
def test_a_marker_is_read_back_from_below_a_persons_notes(marker: Marker, notes: str) -> None:
    description = with_marker(notes, marker, sign)
    assert read_marker(description, sign) == marker
    assert strip_marker(description) == strip_marker(notes)


@given(MARKERS, NOTES)
def test_a_marker_survives_how_proxmox_keeps_a_description(marker: Marker, notes: str) -> None:
    """Older versions add a newline at the end, browsers send CRLF."""
    description = with_marker(notes, marker, sign)
    assert read_marker(description.replace("\n", "\r\n") + "\n", sign) == marker


@given(MARKERS, MARKERS, NOTES)
def test_a_later_marker_replaces_an_earlier_one(first: Marker, second: Marker, notes: str) -> None:
    description = with_marker(with_marker(notes, first, sign), second, sign)
    assert read_marker(description, sign) == second
    assert description.count("Made by Comserv") == with_marker(notes, second, sign).count("Made by Comserv")


@given(MARKERS, st.integers(100, 999_999_999), SERVERS)
def test_a_marker_never_validates_for_another_guest(marker: Marker, vmid: int, server: str) -> None:
    assume((vmid, server) != (marker.vmid, marker.server))
    evidence = Evidence(server, vmid, with_marker("", marker, sign), "u", marker.job, marker.job, "u")
    assert not is_ours(evidence, sign).ours
    forged = with_marker("", marker, sign).replace(f":{marker.server}:{marker.vmid}:", f":{server}:{vmid}:")
    assert read_marker(forged, sign) is None


@given(MARKERS)
def test_a_marker_signed_with_another_key_is_none(marker: Marker) -> None:
    assert read_marker(with_marker("", marker, lambda message: "0" * 64), sign) is None


@given(MARKERS, NOTES, NOTES)
def test_a_change_of_the_notes_keeps_the_marker(marker: Marker, before: str, after: str) -> None:
    changed = keep_marker(after, with_marker(before, marker, sign))
    assert read_marker(changed, sign) == marker
    assert strip_marker(changed) == strip_marker(after)


@given(NOTES)
def test_notes_without_a_marker_stay_without(notes: str) -> None:
    assert keep_marker(notes, "whatever") == strip_marker(notes)


def test_what_we_made_is_ours() -> None:
    assert is_ours(OURS, sign).ours
    assert is_ours(OURS, sign).job == MADE.job


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"description": "notes"}, "no marker"),
        ({"vmid": 102}, "it is a copy"),
        ({"server": "lab"}, "it is a copy"),
        ({"uuid": "uuid-2"}, "it is a copy"),
        ({"uuid": ""}, "it is a copy"),
        ({"uuid_at_end": ""}, "was not read"),
        ({"reserved_by": "another"}, "not reserved"),
        ({"reserved_by": ""}, "not reserved"),
        ({"created_by": ""}, "No task"),
    ],
)
def test_one_missing_proof_is_enough_to_keep_our_hands_off(changes: dict[str, str], said: str) -> None:
    ownership = is_ours(replace(OURS, **changes), sign)  # type: ignore[arg-type]
    assert not ownership.ours
    assert said in " ".join(ownership.reasons)


def test_a_clone_of_a_vm_of_ours_is_not_ours() -> None:
    """It inherits the description, and has its own number and uuid."""
    assert not is_ours(replace(OURS, vmid=130, uuid="uuid-2", reserved_by="", created_by="", uuid_at_end=""), sign).ours


def test_a_backup_restored_over_the_same_number_is_not_ours() -> None:
    assert not is_ours(replace(OURS, uuid="uuid-2"), sign).ours


@pytest.mark.parametrize(
    ("smbios1", "uuid"),
    [
        ("uuid=7DD589F5-9baf-400a-a091-9feb06677563", "7dd589f5-9baf-400a-a091-9feb06677563"),
        (
            "base64=1,manufacturer=QQ==,uuid=7dd589f5-9baf-400a-a091-9feb06677563",
            "7dd589f5-9baf-400a-a091-9feb06677563",
        ),
        ("", ""),
        ("uuid=a,uuid=b", ""),
    ],
)
def test_the_uuid_is_read_from_smbios(smbios1: str, uuid: str) -> None:
    assert smbios_uuid(GuestConfig({"smbios1": smbios1}, "")) == uuid
