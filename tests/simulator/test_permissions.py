"""Rights are inherited, replaced, cancelled, joined by pools and narrowed by tokens as on the real one."""

from __future__ import annotations

import pytest

from pve_simulator.errors import ApiError, PermissionDenied
from pve_simulator.permissions import Permissions, check_declared, normal
from pve_simulator.world.access import AclEntry, Group, Pool, Token, User
from pve_simulator.world.estate import Estate
from pve_simulator.world.privileges import PRIVILEGES

from .conftest import Simulator

USER, SEPARATED, WHOLE = "anna@pve", "anna@pve!sep", "anna@pve!whole"


@pytest.fixture
def estate() -> Estate:
    """One user in one group, with a separated and a whole token, and no entry in the list."""
    made = Estate(secret="x")
    tokens = {"sep": Token("sep", "s", True), "whole": Token("whole", "s", False)}
    made.users[USER] = User(USER, groups=["ops"], tokens=tokens)
    made.users["root@pam"] = User("root@pam", tokens={"full": Token("full", "s", False)})
    made.groups["ops"] = Group("ops")
    made.roles["Look"] = ["VM.Audit"]
    made.roles["Use"] = ["VM.PowerMgmt"]
    return made


def grant(estate: Estate, path: str, role: str, who: str = USER, propagate: bool = True) -> None:
    """Adds an entry; what kind of one is told by the name."""
    kind = "token" if "!" in who else "user" if "@" in who else "group"
    estate.acl.append(AclEntry(path, kind, who, role, propagate))


def test_a_role_counts_below_its_path_if_it_propagates(estate: Estate) -> None:
    grant(estate, "/vms", "Look")
    grant(estate, "/vms/7", "Use", propagate=False)
    permissions = Permissions(estate)
    assert permissions.may(USER, "/vms/1", "VM.Audit")
    assert not permissions.may(USER, "/", "VM.Audit")
    assert permissions.of(USER, "/vms/7") == {"VM.PowerMgmt": False}


def test_a_deeper_entry_replaces_what_was_inherited(estate: Estate) -> None:
    grant(estate, "/", "Administrator")
    grant(estate, "/vms/1", "Look")
    permissions = Permissions(estate)
    assert set(permissions.of(USER, "/vms/1")) == {"VM.Audit"}
    assert set(permissions.of(USER, "/vms/2")) == PRIVILEGES


def test_a_users_entry_beats_the_groups_on_the_same_path(estate: Estate) -> None:
    grant(estate, "/vms", "Administrator", "ops")
    assert Permissions(estate).may(USER, "/vms/1", "VM.Allocate")
    grant(estate, "/vms", "Look")
    assert not Permissions(estate).may(USER, "/vms/1", "VM.Allocate")


def test_no_access_cancels_everything_else(estate: Estate) -> None:
    grant(estate, "/", "Administrator")
    grant(estate, "/vms/1", "NoAccess")
    grant(estate, "/vms/1", "Look")
    assert Permissions(estate).of(USER, "/vms/1") == {}


def test_a_pool_gives_its_rights_to_its_guests_and_storages(estate: Estate) -> None:
    estate.pools["p"] = Pool("p", guests=[5], storages=["tank"])
    grant(estate, "/pool/p", "Use")
    permissions = Permissions(estate)
    assert permissions.may(USER, "/vms/5", "VM.PowerMgmt")
    assert permissions.may(USER, "/storage/tank", "VM.PowerMgmt")
    assert not permissions.may(USER, "/vms/6", "VM.PowerMgmt")


def test_a_whole_token_has_its_users_rights_and_a_separated_one_the_intersection(estate: Estate) -> None:
    grant(estate, "/vms", "Look")
    assert Permissions(estate).may(WHOLE, "/vms/1", "VM.Audit")
    assert not Permissions(estate).may(SEPARATED, "/vms/1", "VM.Audit")
    grant(estate, "/vms", "Administrator", SEPARATED)
    assert set(Permissions(estate).of(SEPARATED, "/vms/1")) == {"VM.Audit"}


def test_root_may_everything_and_a_token_of_root_is_not_root(estate: Estate) -> None:
    permissions = Permissions(estate)
    assert permissions.may("root@pam!full", "/", "Sys.Modify")
    check_declared(permissions, None, "root@pam", {})
    with pytest.raises(PermissionDenied, match=r"\(user != root@pam\)"):
        check_declared(permissions, None, "root@pam!full", {})


def test_what_lacks_is_named_the_first_of_all_or_every_one_of_any(estate: Estate) -> None:
    permissions = Permissions(estate)
    every = {"check": ["perm", "/vms/{vmid}", ["VM.Audit", "VM.Clone"]]}
    one = {"check": ["perm", "/vms/{vmid}", ["VM.Audit", "VM.Clone"], "any", 1]}
    with pytest.raises(PermissionDenied, match=r"\(/vms/9, VM.Audit\)"):
        check_declared(permissions, every, USER, {"vmid": "9"})
    with pytest.raises(PermissionDenied, match=r"\(/vms/9, VM.Audit\|VM.Clone\)"):
        check_declared(permissions, one, USER, {"vmid": "9"})
    grant(estate, "/vms/9", "Look")
    check_declared(permissions, one, USER, {"vmid": "9"})


def test_a_declared_or_needs_one_and_its_refusal_is_bare(estate: Estate) -> None:
    declared = {
        "check": [
            "and",
            ["perm", "/vms/{vmid}", ["VM.Clone"]],
            ["or", ["perm", "/vms/{newid}", ["VM.Allocate"]], ["perm", "/pool/{pool}", ["VM.Allocate"]]],
        ]
    }
    estate.roles["Clone"] = ["VM.Clone"]
    grant(estate, "/vms/1", "Clone")
    values = {"vmid": "1", "newid": "2"}
    with pytest.raises(PermissionDenied, match=r"Permission check failed$"):
        check_declared(Permissions(estate), declared, USER, values)
    grant(estate, "/vms/2", "PVEVMAdmin")
    check_declared(Permissions(estate), declared, USER, values)


def test_oneself_is_only_the_user_never_a_token(estate: Estate) -> None:
    declared = {"check": ["or", ["userid-param", "self"], ["userid-group", ["User.Modify"]]]}
    check_declared(Permissions(estate), declared, USER, {"userid": USER})
    with pytest.raises(PermissionDenied):
        check_declared(Permissions(estate), declared, WHOLE, {"userid": USER})


def test_group_rights_reach_the_groups_members(estate: Estate) -> None:
    estate.users["bert@pve"] = User("bert@pve", groups=["ops"])
    estate.users["carl@pve"] = User("carl@pve")
    grant(estate, "/access/groups/ops", "PVEUserAdmin")
    declared = {"check": ["userid-group", ["User.Modify"]]}
    check_declared(Permissions(estate), declared, USER, {"userid": "bert@pve"})
    with pytest.raises(PermissionDenied):
        check_declared(Permissions(estate), declared, USER, {"userid": "carl@pve"})
    with pytest.raises(ApiError, match="no such user"):
        check_declared(Permissions(estate), declared, USER, {"userid": "ghost@pve"})


@pytest.mark.parametrize(("path", "found"), [("//vms///1/", "/vms/1"), ("/", "/"), ("/no de!", None)])
def test_paths_are_brought_to_one_form(path: str, found: str | None) -> None:
    assert normal(path) == found


def test_403_comes_before_400_and_before_does_not_exist(recorded: Simulator) -> None:
    for path in ("/nodes/pve1/qemu/4242/config", "/nodes/pve1/qemu/4242/config?foo=1"):
        answer = recorded.send("GET", f"/api2/json{path}", None, recorded.token("low@pve!none"))
        assert (answer.status, answer.reason) == (403, "Permission check failed (/vms/4242, VM.Audit)")


def test_lists_are_filtered_instead_of_refused(recorded: Simulator) -> None:
    for path in ("/nodes/pve1/qemu", "/storage", "/pools", "/access/users", "/access/acl", "/nodes/pve1/tasks"):
        answer = recorded.call("GET", path, who="low@pve!none")
        assert (answer.status, answer.data) == (200, []), path
    rows = recorded.call("GET", "/cluster/resources", who="low@pve!none").data
    assert [(row["type"], "mem" in row) for row in rows] == [("node", False)]
