"""`/account`: who one is, one's own password, and the SSH public keys that one keeps."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from comserv.api.paging import Cursor, Limit, cut
from comserv.api.people import Password
from comserv.api.replies import PREFIX, answers, nothing, reply
from comserv.api.route import Given, Route, RowId, Who
from comserv.api.shapes.person import Account, SshKey, SshKeyList
from comserv.domain.errors import Invalid
from comserv.domain.person import Action
from comserv.domain.sshkey import read_ssh_keys

router = APIRouter(prefix="/account", tags=["account"], route_class=Route)


class OwnPassword(BaseModel):
    model_config = ConfigDict(extra="forbid")

    current: Password
    new: Password


EXAMPLE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM+sAiN2Cus++Mm372FYZbxKENB3+jEmjc3wFX9FWMw+ mara@desk"


class NewSshKey(BaseModel):
    """A public key. A private one is refused, and nothing of it is kept."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(max_length=16384)] = Field(
        description="One line, as in the file that ends in .pub.", examples=[EXAMPLE]
    )
    name: Annotated[str, Field(max_length=100)] = Field(default="", description="In place of the key's own comment.")
    default: bool = Field(default=True, description="Ticked when a VM is made on the page.")


class SshKeyPatch(BaseModel):
    """What is left away or null stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"default": False}]})

    name: Annotated[str, Field(max_length=100)] | None = None
    default: bool | None = None


@router.get("", **answers(Account, needs=Action.OWN_ACCOUNT))
async def get_account(who: Who) -> Response:
    """Who the token belongs to, and what role it has."""
    return reply(Account(who.name, who.role, who.via))


@router.put("/password", **answers(None, 422, 429, needs=Action.OWN_ACCOUNT, status=204))
async def set_own_password(who: Who, services: Given, password: OwnPassword) -> Response:
    """A new password for oneself; ends one's sessions. Wrong tries at the present one are slowed down as at sign-in."""
    await services.people.own_password(who, password.current, password.new)
    return nothing()


@router.get("/ssh-keys", **answers(SshKeyList, 422, needs=Action.OWN_ACCOUNT))
async def list_ssh_keys(who: Who, services: Given, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """One's own SSH public keys."""
    page = cut(await services.ssh_keys.list(who), lambda own: own.id, cursor, limit)
    return reply(SshKeyList([SshKey.of(own) for own in page.items], page.next_cursor))


@router.post("/ssh-keys", **answers(SshKey, 409, 422, needs=Action.OWN_ACCOUNT, status=201))
async def add_ssh_key(who: Who, services: Given, new: NewSshKey) -> Response:
    """Keeps a public key, to be put into VMs. One that is there already is 409; a private one is 422, and is not kept."""
    if len(new.key.strip().splitlines()) > 1:
        read_ssh_keys(new.key)
        raise Invalid(fields={"key": "This is more than one line: send one key at a time."})
    (added,) = await services.ssh_keys.add(who, new.key, new.name, new.default)
    return reply(SshKey.of(added), 201, {"Location": f"{PREFIX}/account/ssh-keys"})


@router.patch("/ssh-keys/{key_id}", **answers(SshKey, 404, 422, needs=Action.OWN_ACCOUNT))
async def change_ssh_key(who: Who, services: Given, key_id: RowId, changes: SshKeyPatch) -> Response:
    """Another name, or whether it is ticked when a VM is made on the page."""
    return reply(SshKey.of(await services.ssh_keys.change(who, key_id, changes.name, changes.default)))


@router.delete("/ssh-keys/{key_id}", **answers(None, 404, 422, needs=Action.OWN_ACCOUNT, status=204))
async def remove_ssh_key(who: Who, services: Given, key_id: RowId) -> Response:
    """It is not offered any more. VMs that have it keep it."""
    await services.ssh_keys.remove(who, key_id)
    return nothing()
