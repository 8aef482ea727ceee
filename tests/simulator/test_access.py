"""People, tokens, groups, roles and the access control list, as their administrators see and change them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Simulator, end, start


@pytest.fixture(scope="module")
def people() -> Iterator[Simulator]:
    """The recorded world's people, for tests that make their own beside them."""
    simulator = start("--world", "recorded", "--speed", "20")
    yield simulator
    end(simulator)


@pytest.fixture
def ada(people: Simulator) -> Iterator[str]:
    """A user who is gone after the test, with her entries."""
    assert people.call("POST", "/access/users", userid="ada@pve", password="secret1234").status == 200
    yield "ada@pve"
    people.call("DELETE", "/access/users/ada@pve")


def token(people: Simulator, who: str, name: str, **options: Any) -> str:
    """Makes a token that can be used from now on."""
    made = people.call("POST", f"/access/users/{who}/token/{name}", **options).data
    people.told["credentials"][made["full-tokenid"]] = made["value"]
    return made["full-tokenid"]


def test_a_users_own_fields_are_told_only_where_they_are_set(people: Simulator, ada: str) -> None:
    assert people.call("GET", f"/access/users/{ada}").data == {"enable": 1, "expire": 0, "groups": [], "tokens": None}
    people.call("PUT", f"/access/users/{ada}", comment="countess", groups="ops")
    told = people.call("GET", f"/access/users/{ada}").data
    assert (told["comment"], told["groups"], told["email"]) == ("countess", ["ops"], "")


def test_a_disabled_user_cannot_sign_in_or_use_a_token(people: Simulator, ada: str) -> None:
    who = token(people, ada, "t1", privsep=0)
    assert people.call("GET", "/version", who).status == 200
    people.call("PUT", f"/access/users/{ada}", enable=0)
    assert people.call("GET", "/version", who).status == 401
    assert people.call("POST", "/access/ticket", username=ada, password="secret1234").status == 401


def test_a_tokens_secret_is_told_once_and_what_was_sent_is_given_back_as_sent(people: Simulator, ada: str) -> None:
    made = people.call("POST", f"/access/users/{ada}/token/t1", expire=0, comment="x").data
    assert made["info"] == {"expire": "0", "comment": "x", "privsep": 1}
    assert people.call("GET", f"/access/users/{ada}/token/t1").data == {"expire": 0, "comment": "x", "privsep": 1}
    assert people.call("POST", f"/access/users/{ada}/token/t1").errors == {"tokenid": "Token already exists."}


def test_a_token_that_has_expired_or_is_deleted_is_nobody(people: Simulator, ada: str) -> None:
    who = token(people, ada, "t1")
    people.call("PUT", f"/access/users/{ada}/token/t1", expire=1_000_000_000)
    assert people.call("GET", "/version", who).status == 401
    people.call("PUT", f"/access/users/{ada}/token/t1", expire=0)
    assert people.call("GET", "/version", who).status == 200
    people.call("DELETE", f"/access/users/{ada}/token/t1")
    assert people.call("GET", "/version", who).status == 401


def test_a_changed_password_counts_at_once(people: Simulator, ada: str) -> None:
    ticket = people.call("POST", "/access/ticket", username=ada, password="secret1234").data
    headers = {
        "Cookie": f"PVEAuthCookie={ticket['ticket']}",
        "CSRFPreventionToken": ticket["CSRFPreventionToken"],
        "Content-Type": "application/x-www-form-urlencoded",
    }
    body = "userid=ada%40pve&password=another1234&confirmation-password=secret1234"
    assert people.send("PUT", "/api2/json/access/password", body, headers).status == 200
    assert people.call("POST", "/access/ticket", username=ada, password="secret1234").status == 401
    assert people.call("POST", "/access/ticket", username=ada, password="another1234").status == 200


def test_who_manages_one_group_sees_its_members_and_no_one_else(people: Simulator, ada: str) -> None:
    people.call("PUT", "/access/acl", path="/access/groups/ops", roles="PVEUserAdmin", users=ada)
    seen = {user["userid"] for user in people.call("GET", "/access/users", token(people, ada, "t1", privsep=0)).data}
    assert seen == {"vmuser@pve"}


def test_an_entry_of_the_list_is_replaced_not_doubled(people: Simulator, ada: str) -> None:
    for propagate in (1, 0):
        people.call("PUT", "/access/acl", path="/vms/4000", roles="PVEAuditor", users=ada, propagate=propagate)
    found = [entry for entry in people.call("GET", "/access/acl").data if entry["ugid"] == ada]
    assert [(entry["path"], entry["propagate"]) for entry in found] == [("/vms/4000", 0)]


def test_a_deleted_user_takes_his_entries_and_those_of_his_tokens_along(people: Simulator) -> None:
    people.call("POST", "/access/users", userid="bob@pve")
    token(people, "bob@pve", "t1")
    people.call("PUT", "/access/acl", path="/vms", roles="PVEAuditor", users="bob@pve", tokens="bob@pve!t1")
    people.call("DELETE", "/access/users/bob@pve")
    assert not [entry for entry in people.call("GET", "/access/acl").data if entry["ugid"].startswith("bob@pve")]


def test_nobody_gives_away_what_he_does_not_have(people: Simulator, ada: str) -> None:
    people.call("PUT", "/access/acl", path="/vms", roles="PVEVMAdmin", users=ada)
    who = token(people, ada, "t1", privsep=0)
    given: dict[str, Any] = {"path": "/vms/4000", "users": "low@pve"}
    assert people.call("PUT", "/access/acl", who, roles="PVEVMUser", **given).status == 200
    refused = people.call("PUT", "/access/acl", who, roles="Administrator", **given)
    assert "superset of privileges" in refused.reason
    people.call("PUT", "/access/acl", roles="PVEVMUser", **given, delete=1)


def test_a_role_that_grows_gives_more_to_those_who_have_it(people: Simulator, ada: str) -> None:
    people.call("POST", "/access/roles", roleid="Looks", privs="VM.Audit")
    people.call("PUT", "/access/acl", path="/vms", roles="Looks", users=ada)
    who = token(people, ada, "t1", privsep=0)
    assert people.call("GET", "/access/permissions", who).data == {"/vms": {"VM.Audit": 1}}
    people.call("PUT", "/access/roles/Looks", privs="VM.Console", append=1)
    assert people.call("GET", "/access/permissions", who).data == {"/vms": {"VM.Audit": 1, "VM.Console": 1}}
    people.call("DELETE", "/access/roles/Looks")
    assert people.call("GET", "/access/permissions", who).data == {}


def test_built_in_roles_and_realms_stay(people: Simulator) -> None:
    assert people.call("DELETE", "/access/roles/PVEAdmin").reason.endswith("cannot be deleted")
    assert people.call("DELETE", "/access/domains/pam").status == 200
    assert {realm["realm"] for realm in people.call("GET", "/access/domains").data} >= {"pam", "pve"}


def test_a_group_that_is_deleted_leaves_its_members_behind(people: Simulator, ada: str) -> None:
    people.call("POST", "/access/groups", groupid="crew")
    people.call("PUT", f"/access/users/{ada}", groups="crew")
    assert people.call("GET", "/access/groups/crew").data == {"members": [ada]}
    people.call("DELETE", "/access/groups/crew")
    assert people.call("GET", f"/access/users/{ada}").data["groups"] == []


def test_a_pool_gives_rights_on_what_is_in_it_only_while_it_is_in_it(people: Simulator, ada: str) -> None:
    people.finished(people.call("POST", "/nodes/pve1/qemu", vmid=300, memory=64).data)
    people.call("POST", "/pools", poolid="mine")
    people.call("PUT", "/access/acl", path="/pool/mine", roles="PVEVMUser", users=ada)
    who = token(people, ada, "t1", privsep=0)
    assert people.call("GET", "/nodes/pve1/qemu/300/config", who).status == 403
    people.call("PUT", "/pools/mine", vms=300)
    assert people.call("GET", "/nodes/pve1/qemu/300/config", who).status == 200
    people.call("PUT", "/pools/mine", vms=300, delete=1)
    assert people.call("GET", "/nodes/pve1/qemu/300/config", who).status == 403


def test_a_guest_is_in_one_pool_and_moves_only_when_told_so(people: Simulator) -> None:
    people.finished(people.call("POST", "/nodes/pve1/qemu", vmid=301, memory=64).data)
    for pool in ("first", "second"):
        people.call("POST", "/pools", poolid=pool)
    people.call("PUT", "/pools/first", vms=301)
    assert "'allow-move' is not set" in people.call("PUT", "/pools/second", vms=301).reason
    assert people.call("PUT", "/pools/second", vms=301, allow__move=1).status == 200
    assert people.call("GET", "/pools/first").data["members"] == []
    assert people.call("DELETE", "/pools/second").reason.endswith("is not empty (contains VM 301)")
    assert people.call("DELETE", "/pools/first").status == 200


def test_a_nested_pool_needs_its_parent_and_keeps_it(people: Simulator) -> None:
    assert people.call("POST", "/pools", poolid="above/below").reason.endswith("of pool 'above/below' does not exist")
    people.call("POST", "/pools", poolid="above")
    assert people.call("POST", "/pools", poolid="above/below").status == 200
    assert people.call("DELETE", "/pools/above").reason.endswith("(contains pool 'above/below')")
    assert people.call("DELETE", "/pools", poolid="above/below").status == 200
    assert people.call("DELETE", "/pools/above").status == 200
