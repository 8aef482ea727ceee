"""ACLs drawn at random, what Proxmox's rules make of them (told by the simulator's own evaluation), and `pveum` lines carried out."""

import random
import shlex
from datetime import UTC, datetime

from comserv.domain.guest import Guest, GuestKey, GuestType
from comserv.domain.picture import Node, Picture, Storage
from comserv.domain.rights import AclEntry, BridgePlace, Rights, RightsSeen, TokenFacts, rights_as_told
from comserv.domain.server import TokenId
from pve_simulator.permissions import Permissions
from pve_simulator.world import access
from pve_simulator.world.estate import Estate
from pve_simulator.world.privileges import ROLES

USER, WHO = "comserv@pve", "comserv@pve!manager"
TOKEN = TokenId("comserv", "pve", "manager")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOCAL = "/sdn/zones/localnetwork"
PATHS = (
    "/", "/", "/", "/vms", "/vms", "/vms/100", "/vms/101", "/pool", "/pool/a", "/pool/b", "/storage", "/storage/s1",
    "/nodes", "/nodes/n1", "/sdn", "/sdn/zones", LOCAL, f"{LOCAL}/vmbr0",
)  # fmt: skip
ASKED = (*PATHS, "/vms/999", "/storage/s9", "/pool/z", "/nodes/n9", f"{LOCAL}/vmbr9", "/sdn/zones/z/v", "/access")


def estate(seed: int, *, most: int = 7, no_access: bool = False) -> Estate:
    """Two pools, four guests, a user with a token, a group, and some entries for them and for others."""
    chance = random.Random(seed)
    made = Estate(secret="")
    token = access.Token("manager", "x", chance.random() < 0.8)
    made.users[USER] = access.User(USER, groups=["ops"] if chance.random() < 0.3 else [], tokens={"manager": token})
    made.users["bob@pve"] = access.User("bob@pve")
    made.groups = {"ops": access.Group("ops"), "other": access.Group("other")}
    made.pools = {"a": access.Pool("a", guests=[100, 101], storages=["s1"]), "b": access.Pool("b", guests=[102])}
    if chance.random() < 0.5:
        made.roles["Comserv"] = ["VM.Audit"]
    roles = [name for name in (*ROLES, *made.roles) if name != "NoAccess" or no_access]
    for _ in range(chance.randrange(most)):
        kind, who = chance.choice(
            (("user", USER), ("user", USER), ("token", WHO), ("token", WHO), ("group", "ops"), ("user", "bob@pve"))
        )
        path = chance.choice(PATHS)
        if no_access and path.startswith("/pool"):
            continue
        propagates = chance.random() < 0.9 or _is_mixed(made, path, kind)
        made.acl.append(access.AclEntry(path, kind, who, chance.choice(roles), propagates))  # pyright: ignore[reportArgumentType]
    return made


def _is_mixed(made: Estate, path: str, kind: str) -> bool:
    """A user's entry that does not propagate beside its group's that does would be told as if there were only the first."""
    return any(entry.path == path and entry.kind != kind for entry in made.acl)


def effective(made: Estate, path: str) -> frozenset[str]:
    return frozenset(Permissions(made).of(WHO, path))


def entries(made: Estate) -> tuple[AclEntry, ...]:
    return tuple(AclEntry(one.path, one.kind, one.who, one.role, one.propagate) for one in made.acl)


def told(made: Estate, who: str, seen: RightsSeen, acl: tuple[AclEntry, ...] | None) -> Rights:
    groups = made.users[USER].groups
    names = seen.names if who == WHO else (None if seen.token_facts is None else {USER, *groups})
    return rights_as_told(Permissions(made).effective(who), acl, names)


def look(made: Estate, *, blind: bool = False) -> tuple[RightsSeen, Picture]:
    """As `look_at_rights` and a sweep would see it. blind: also an auditor may not see the ACL and the user."""
    may, user = Permissions(made), made.users[USER]
    token = user.tokens["manager"]
    acl = entries(made) if may.may(WHO, "/access", "Sys.Audit") and not blind else None
    facts = None
    if may.may(WHO, "/access/groups", "Sys.Audit") and not blind:
        facts = TokenFacts(None, token.privsep, groups=tuple(user.groups))
    role = frozenset(made.roles["Comserv"]) if "Comserv" in made.roles else None
    seen = RightsSeen(NOW, WHO, "9.1.6", role=role, acl=acl, token_facts=facts)
    bridges = tuple(
        BridgePlace(f"{LOCAL}/{name}", name)
        for name in ("vmbr0", "vmbr1")
        if may.may(WHO, f"{LOCAL}/{name}", "SDN.Use")
    )
    rights = told(made, WHO, seen, acl)
    users = None if acl is None else told(made, USER, seen, acl)
    return RightsSeen(NOW, WHO, "9.1.6", rights, users, acl, role, facts, bridges), picture(made)


def picture(made: Estate) -> Picture:
    may, pools = Permissions(made), {100: "a", 101: "a", 102: "b"}
    guests = tuple(
        Guest(GuestKey("lab", vmid), GuestType.QEMU, "n1", f"vm{vmid}", template=vmid == 102, pool=pools.get(vmid, ""))
        for vmid in (100, 101, 102, 103)
        if may.may(WHO, f"/vms/{vmid}", "VM.Audit")
    )
    storages = tuple(
        Storage("n1", name, content=frozenset({"images"}))
        for name in ("s1", "s2")
        if may.may(WHO, f"/storage/{name}", "Datastore.Audit")
    )
    return Picture("lab", NOW, nodes=(Node("n1", True),), guests=guests, storages=storages)


def carry_out(made: Estate, lines: tuple[str, ...]) -> None:
    """`pveum role add|modify`, `pveum acl modify|delete`, as root would run them; comments do nothing."""
    for line in lines:
        if line.startswith("#"):
            continue
        words = shlex.split(line)
        if words[1] == "role":
            given = words[words.index("--privs") + 1].split()
            assert (words[2] == "add") == ("Comserv" not in made.roles), line
            assert words[2] == "add" or "--append" in words, line
            made.roles["Comserv"] = sorted({*made.roles.get("Comserv", ()), *given})
            continue
        assert words[:2] == ["pveum", "acl"], line
        kind = "token" if "--tokens" in words else "user"
        path, who, role = words[3], words[words.index(f"--{kind}s") + 1], words[words.index("--roles") + 1]
        assert role == "NoAccess" or role in made.roles, line
        made.acl = [one for one in made.acl if (one.path, one.who, one.role) != (path, who, role)]
        if words[2] == "modify":
            made.acl.append(access.AclEntry(path, kind, who, role, "--propagate" not in words))
