"""What a token may do at a path that is not told follows from what is told, as Proxmox's own rules would have it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comserv.domain.rights import AclEntry, Rights, rights_as_told
from tests.domain.acls import ASKED, WHO, effective, estate, look


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10**9))
def test_rights_at_every_path_are_those_that_proxmox_would_find(seed: int) -> None:
    made = estate(seed, no_access=True)
    made.pools.clear()
    seen, _ = look(made)
    if seen.acl is not None and seen.token_facts is not None:
        assert {path: seen.rights.at(path) for path in ASKED} == {path: effective(made, path) for path in ASKED}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9))
def test_pools_give_their_rights_to_their_members(seed: int) -> None:
    made = estate(seed)
    seen, _ = look(made)
    if seen.acl is not None and seen.token_facts is not None:
        assert {path: seen.rights.at(path) for path in ASKED} == {path: effective(made, path) for path in ASKED}


def test_no_access_deeper_down_is_seen_by_its_entry_that_gives_nothing() -> None:
    told = {"/": {"VM.Audit": True}, "/vms": {"VM.Audit": True}}
    entry = AclEntry("/vms/110", "token", WHO, "NoAccess")
    assert rights_as_told(told).at("/vms/110") == {"VM.Audit"}
    assert rights_as_told(told, [entry]).at("/vms/110") == frozenset()


def test_a_path_that_is_always_told_and_is_not_has_nothing() -> None:
    assert rights_as_told({"/": {"VM.Audit": True}}).at("/vms/110") == frozenset()
    assert Rights({"/": {"VM.Audit": True}}).at("/vms/110") == {"VM.Audit"}


@pytest.mark.parametrize(("spreads", "held"), [(True, {"VM.PowerMgmt"}), (False, {"VM.Audit"})])
def test_what_does_not_propagate_hides_nothing(spreads: bool, held: set[str]) -> None:
    rights = Rights({"/": {"VM.Audit": True}, "/vms": {"VM.PowerMgmt": spreads}})
    assert rights.at("/vms/110") == held


def test_guests_of_pools_that_only_have_what_all_have_are_not_kept() -> None:
    given = {"VM.Audit": True, "VM.PowerMgmt": True}
    told = {"/": given, "/vms": given} | {f"/vms/{vmid}": given for vmid in range(100, 200)}
    rights = rights_as_told(told | {"/vms/150": {"VM.Audit": True}})
    assert set(rights.paths) == {"/", "/vms", "/vms/150"}
    assert rights.at("/vms/150") == {"VM.Audit"} and rights.at("/vms/151") == set(given)
