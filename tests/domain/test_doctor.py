"""The doctor: what works, where, what is missing, and lines that mend it whatever the ACL looks like."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comserv.domain.cluster import Version
from comserv.domain.doctor import Diagnosis, FeatureState, examine, lacking_for
from comserv.domain.features import BY_ID, FEATURES, TODAY, FeatureId, privileges_of
from comserv.domain.guest import Guest, GuestKey, GuestType
from comserv.domain.mending import ROLE, refusal_cure
from comserv.domain.picture import Node, Picture, Storage
from comserv.domain.pveum import needed_privileges, setup_lines
from comserv.domain.rights import (
    AclEntry,
    BridgePlace,
    ForeignTask,
    RightsSeen,
    TokenFacts,
    rights_as_told,
)
from comserv.domain.tokennotes import token_notes
from comserv.domain.tokenrefused import TokenKnown, Worked, how_to_check, why_refused
from pve_simulator.world.privileges import PRIVILEGES, ROLES
from tests.domain.acls import ASKED, NOW, TOKEN, WHO, carry_out, effective, estate, look

NINE, EIGHT = Version("9.1.6"), Version("8.4.1")
VMS = tuple(
    Guest(GuestKey("lab", vmid), GuestType.QEMU, "n1", f"vm{vmid}", pool="a" if vmid == 101 else "")
    for vmid in (100, 101, 110)
)
PICTURE = Picture(
    "lab",
    NOW,
    nodes=(Node("n1", True),),
    guests=(*VMS, Guest(GuestKey("lab", 9000), GuestType.QEMU, "n1", "tpl", template=True)),
    storages=(Storage("n1", "local", content=frozenset({"iso"})), Storage("n1", "fast", content=frozenset({"images"}))),
)  # fmt: skip
BRIDGES = tuple(BridgePlace(f"/sdn/zones/localnetwork/{name}", name) for name in ("vmbr0", "vmbr1"))
FACTS = TokenFacts(None, True)


def seen(paths: dict[str, set[str]], *acl: AclEntry, version: Version = NINE, **more: object) -> RightsSeen:
    told = {path: dict.fromkeys(names, True) for path, names in paths.items()}
    everywhere = told.get("/", {})
    standard = {path: everywhere for path in ("/nodes", "/pool", "/sdn", "/storage", "/vms", "/access") if everywhere}
    rights = rights_as_told({**standard, **told}, acl or None)
    given = {"version": version.text, "rights": rights, "acl": acl or None, "bridges": BRIDGES, **more}
    return RightsSeen(NOW, WHO, **given)  # pyright: ignore[reportArgumentType]


def states(diagnosis: Diagnosis) -> dict[FeatureId, FeatureState]:
    return {verdict.feature.id: verdict.state for verdict in diagnosis.verdicts}


def the(diagnosis: Diagnosis, feature: FeatureId):  # FeatureVerdict
    return next(verdict for verdict in diagnosis.verdicts if verdict.feature.id is feature)


def but(*lacking: str, version: Version = NINE) -> set[str]:
    return set(needed_privileges(version)) - set(lacking)


# --- lines


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10**9), st.booleans())
def test_the_lines_mend_all_that_is_blocked_and_break_nothing(seed: int, blind: bool) -> None:
    """At the second go at the latest: what the first lets the token see may show an entry that hindered."""
    made = estate(seed)
    before = examine(*look(made, blind=blind), TOKEN)
    assert before.needs_attention == bool(before.mend.lines)
    used, held = set(needed_privileges(NINE)), {path: effective(made, path) for path in ASKED}
    carry_out(made, before.mend.lines)
    for path in ASKED:
        assert held[path] & used <= effective(made, path), (path, before.mend.text)
    once = examine(*look(made, blind=blind), TOKEN)
    carry_out(made, once.mend.lines)
    if not blind:
        assert not examine(*look(made), TOKEN).needs_attention, (before.mend.text, once.mend.text)


@pytest.mark.parametrize("version", [NINE, EIGHT], ids=str)
def test_the_lines_that_set_a_token_up_give_what_is_used_and_nothing_more(version: Version) -> None:
    role = setup_lines(version, TOKEN)[0]
    given = set(role.partition('--privs "')[2].rstrip('"').split())
    assert given == set(privileges_of(TODAY, version))
    assert set(states(examine(seen({"/": given}, version=version), PICTURE, TOKEN)).values()) == {FeatureState.WORKS}
    for privilege in given:
        diagnosis = examine(seen({"/": given - {privilege}}, version=version), PICTURE, TOKEN)
        assert diagnosis.needs_attention, f"{privilege} is given and not needed"


def test_a_token_without_anything_is_offered_both_causes() -> None:
    diagnosis = examine(seen({}), PICTURE, TOKEN)
    assert diagnosis.nothing and set(states(diagnosis).values()) == {FeatureState.BLOCKED}
    lines = diagnosis.mend.lines
    assert lines[0].startswith("pveum role add Comserv --privs") and "VM.GuestAgent.Audit" in lines[0]
    assert lines[1] == f"pveum acl modify / --tokens '{WHO}' --roles Comserv"
    assert lines[2].startswith("# Only if the user comserv@pve") and lines[3].startswith("pveum acl modify / --users")
    assert diagnosis.mend.notes and "pveum user permissions comserv@pve" in diagnosis.mend.notes[0]


def test_where_the_user_has_all_only_the_token_gets_a_line() -> None:
    user = rights_as_told(
        {"/": dict.fromkeys(needed_privileges(NINE), True)} | {"/vms": dict.fromkeys(PRIVILEGES, True)}
    )
    mend = examine(seen({"/": {"VM.Audit"}}, user_rights=user, role=frozenset()), PICTURE, TOKEN).mend
    assert any("--tokens" in line for line in mend.lines) and not any("--users" in line for line in mend.lines[:2])


def test_a_role_that_is_there_and_given_gets_only_what_is_missing() -> None:
    acl = tuple(AclEntry("/", kind, who, ROLE) for kind, who in (("user", "comserv@pve"), ("token", WHO)))
    diagnosis = examine(
        seen({"/": but("VM.Clone")}, *acl, role=frozenset(but("VM.Clone")), token_facts=FACTS), PICTURE, TOKEN
    )
    assert diagnosis.mend.lines == ('pveum role modify Comserv --append 1 --privs "VM.Clone"',)
    assert [verdict.feature.id for verdict in diagnosis.of(FeatureState.BLOCKED)] == [FeatureId.CREATE_VM]
    assert the(diagnosis, FeatureId.CREATE_VM).reason == "The token lacks VM.Clone at /vms."


def test_the_lines_are_for_the_servers_own_version() -> None:
    old = examine(seen({"/": but("VM.Monitor", version=EIGHT)}, version=EIGHT), PICTURE, TOKEN)
    assert the(old, FeatureId.SEE_ADDRESSES).missing[0].privilege == "VM.Monitor" and "VM.Monitor" in old.mend.text
    new = examine(seen({"/": but("VM.GuestAgent.Audit")}), PICTURE, TOKEN)
    assert "VM.GuestAgent.Audit" in new.mend.text and "VM.Monitor" not in new.mend.text
    assert states(examine(seen({"/": but("VM.GuestAgent.Audit") | {"VM.GuestAgent.Unrestricted"}}), PICTURE, TOKEN))[
        FeatureId.SEE_ADDRESSES
    ] is FeatureState.WORKS  # fmt: skip


def test_a_token_that_is_not_separated_needs_no_line_of_its_own() -> None:
    facts = TokenFacts(None, separated=False)
    lines = examine(seen({}, token_facts=facts), PICTURE, TOKEN).mend.lines
    assert not any("--tokens" in line for line in lines) and any("--users" in line for line in lines)


# --- where it works


def test_no_access_to_one_guest_is_told_and_its_line_takes_it_away() -> None:
    acl = (AclEntry("/", "token", WHO, "Administrator"), AclEntry("/vms/110", "token", WHO, "NoAccess"))
    hidden = replace(PICTURE, guests=tuple(guest for guest in PICTURE.guests if guest.key.vmid != 110))
    diagnosis = examine(seen({"/": set(PRIVILEGES)}, *acl, token_facts=FACTS), hidden, TOKEN)
    power = the(diagnosis, FeatureId.POWER)
    assert power.state is FeatureState.PARTLY and power.reason == "Not for 110."
    assert f"pveum acl delete /vms/110 --tokens '{WHO}' --roles NoAccess" in power.mend.lines
    assert not diagnosis.needs_attention and not diagnosis.mend.lines


def test_rights_on_a_pool_and_a_storage_work_for_these_only() -> None:
    rights = {"/pool/a": but(), "/vms/101": but(), "/storage/fast": but(), BRIDGES[1].path: but()}
    diagnosis = examine(seen(rights), PICTURE, TOKEN)
    assert the(diagnosis, FeatureId.POWER).reason == "Only for pool a."
    assert the(diagnosis, FeatureId.SET_SIZE).reason == "Only into pool a."
    assert the(diagnosis, FeatureId.SET_NETWORK).reason == "Only into pool a; only with vmbr1."
    assert the(diagnosis, FeatureId.SEE_STORAGES).reason == "Only on fast."
    assert the(diagnosis, FeatureId.SEE_NODES).state is FeatureState.BLOCKED
    assert "pveum acl modify /nodes --tokens" in diagnosis.mend.text
    assert "pveum acl modify / --tokens 'comserv@pve!manager' --roles Comserv --propagate 0" in diagnosis.mend.text


def test_a_bridge_and_a_virtual_network_are_told_one_by_one() -> None:
    vnet = BridgePlace("/sdn/zones/inner/blue", "blue")
    given = {"/": but("SDN.Use"), vnet.path: but()}
    diagnosis = examine(seen(given, bridges=(*BRIDGES, vnet)), PICTURE, TOKEN)
    assert the(diagnosis, FeatureId.SET_NETWORK).reason == "Only with blue."


def test_one_guest_is_judged_by_its_own_path() -> None:
    look = seen({"/": but(), "/vms/110": {"VM.Audit"}})
    lacking = lacking_for(BY_ID[FeatureId.POWER], look, VMS[2])
    assert [(one.path, one.privilege) for one in lacking] == [("/vms/110", "VM.PowerMgmt")]
    assert not lacking_for(BY_ID[FeatureId.POWER], look, VMS[0])


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_built_in_role_is_judged_by_what_it_holds(role: str) -> None:
    held = set(ROLES[role])
    for feature, state in states(examine(seen({"/": held} if held else {}), PICTURE, TOKEN)).items():
        works = all(need.met_by(frozenset(held)) for need in BY_ID[feature].needed(NINE))
        assert (state is FeatureState.WORKS) == works and (works or state is FeatureState.BLOCKED)


def test_every_privilege_in_the_table_is_one_of_proxmox() -> None:
    named = {name for feature in FEATURES for need in feature.needed(NINE) for name in (need.privilege, *need.instead)}
    assert named <= PRIVILEGES
    assert len({feature.id for feature in FEATURES}) == len(FEATURES) == len(FeatureId)
    assert all(feature.without for feature in TODAY)


# --- what else is known of the token


def test_the_end_of_a_token_is_told_or_said_to_be_unknown() -> None:
    def codes(look: RightsSeen) -> set[str]:
        return {note.code for note in token_notes(look, TOKEN, NOW)}

    assert "token_end_unknown" in codes(seen({}))
    assert "token_end" in codes(seen({}, token_facts=FACTS))
    assert "token_ends" in codes(seen({}, token_facts=TokenFacts(NOW + timedelta(days=3), True)))
    assert "user_ends" in codes(seen({}, token_facts=TokenFacts(None, True, True, NOW + timedelta(days=3))))
    task = ForeignTask("UPID:…", "vzdump", "105", "n1", NOW)
    assert "token_shared" in codes(seen({}, foreign=(task,))) and "token_shared" not in codes(seen({}))


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (TokenKnown(TOKEN), "never worked from here"),
        (TokenKnown(TOKEN, ("pam",)), "no realm pve"),
        (TokenKnown(TOKEN, ("pam", "pve"), Worked(NOW - timedelta(hours=3))), "It worked 3 h ago"),
        (TokenKnown(TOKEN, (), Worked(NOW, TokenFacts(NOW - timedelta(days=1), True))), "it has expired"),
        (TokenKnown(TOKEN, (), Worked(NOW, TokenFacts(None, True, True, NOW))), "user comserv@pve was to end"),
    ],
)
def test_a_401_is_narrowed_by_what_is_known(known: TokenKnown, words: str) -> None:
    assert words in why_refused(known, NOW)
    assert "pveum user list" in how_to_check(known)


def test_a_refusal_of_proxmox_names_a_line_for_one_privilege_of_several() -> None:
    cure = refusal_cure("/vms/105", ("VM.Config.HWType", "VM.Config.CPU"), "lab")
    assert 'pveum role modify Comserv --append 1 --privs "VM.Config.CPU"' in cure and "/vms/105" in cure
