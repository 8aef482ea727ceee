"""SSH public keys that people keep, to be put into the VMs that they make. A private one is refused and never kept."""

from dataclasses import replace

from comserv.domain.errors import Invalid
from comserv.domain.person import Action, Actor
from comserv.domain.session import OwnKey
from comserv.domain.sshkey import blob_of, clean_name, read_ssh_keys
from comserv.persistence import lastrequests, sshkeys
from comserv.persistence.database import Database, Transaction
from comserv.services.permission import permit, person_of, write_audit

MOST = 50


class SshKeys:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def list(self, actor: Actor) -> tuple[OwnKey, ...]:
        """One's own, the oldest first; none for the command line that acts as `local`."""
        await permit(self._db, actor, Action.OWN_ACCOUNT, "ssh keys")
        if actor.person_id is None:
            return ()
        async with self._db.read() as tx:
            return await sshkeys.of_person(tx, actor.person_id)

    async def add(self, actor: Actor, text: str, name: str = "", offered: bool = True) -> tuple[OwnKey, ...]:
        """One key or several lines of authorized_keys, all or none. name: in place of the comment of a single key.

        Raises Invalid for what is no public key, Conflict for one that is there already.
        """
        await permit(self._db, actor, Action.OWN_ACCOUNT, "ssh keys")
        person = person_of(actor)
        keys = read_ssh_keys(text)
        if clean_name(name) and len(keys) == 1:
            keys = (replace(keys[0], name=clean_name(name)),)
        async with self._db.write() as tx:
            if len(await sshkeys.of_person(tx, person)) + len(keys) > MOST:
                raise Invalid(fields={"key": f"A person keeps at most {MOST} keys; remove some that are not used."})
            added = [await sshkeys.add(tx, person, key, offered) for key in keys]
            for one in keys:
                detail = f"{one.type} {one.fingerprint} {one.name}".rstrip()
                await write_audit(tx, actor, "add_ssh_key", f"person {actor.name}", detail=detail)
        return tuple(added)

    async def change(self, actor: Actor, key_id: int, name: str | None = None, offered: bool | None = None) -> OwnKey:
        """Another name, or whether it is ticked when a VM is made; None leaves as it is. Raises NotFound."""
        await permit(self._db, actor, Action.OWN_ACCOUNT, "ssh keys")
        async with self._db.write() as tx:
            shorter = None if name is None else clean_name(name)
            return await sshkeys.change(tx, person_of(actor), key_id, shorter, offered)

    async def remove(self, actor: Actor, key_id: int) -> None:
        """It is not offered any more; VMs that have it keep it. Raises NotFound."""
        await permit(self._db, actor, Action.OWN_ACCOUNT, "ssh keys")
        async with self._db.write() as tx:
            gone = await sshkeys.remove(tx, person_of(actor), key_id)
            await _forget_in_last(tx, gone)
            detail = f"{gone.key.type} {gone.key.fingerprint} {gone.key.name}".rstrip()
            await write_audit(tx, actor, "remove_ssh_key", f"person {actor.name}", detail=detail)


async def _forget_in_last(tx: Transaction, gone: OwnKey) -> None:
    """A key that was given up does not come back with what was used last."""
    last = await lastrequests.get(tx, gone.person_id)
    if last is None:
        return
    request, at = last
    cloud_init = dict(request.get("cloud_init", {}))
    cloud_init["ssh_keys"] = [line for line in cloud_init.get("ssh_keys", []) if blob_of(line) != gone.key.blob]
    await lastrequests.put(tx, gone.person_id, {**request, "cloud_init": cloud_init}, at)
