"""The one permission check, and the audit rows around it: every service function begins with `permit`."""

from comserv.domain.audit import AuditEntry, Outcome
from comserv.domain.errors import Forbidden
from comserv.domain.person import Action, Actor
from comserv.persistence import audit
from comserv.persistence.database import Database, Transaction

NOT_AUDITED = frozenset({Action.SEE, Action.PLAN, Action.OWN_ACCOUNT})


async def permit(database: Database, actor: Actor, action: Action, subject: str = "") -> None:
    """Raises Forbidden; the refused attempt writes its audit row in a transaction of its own."""
    if actor.may(action):
        return
    async with database.write() as tx:
        await write_audit(tx, actor, str(action), subject, Outcome.REFUSED, "The role does not allow it.")
    actor.require(action)


def person_of(actor: Actor) -> int:
    """The id of the person who asks. Raises Forbidden for the command line that acts as `local`."""
    if actor.person_id is None:
        raise Forbidden("This way in is no person.", needed="viewer", cure="Name the person.")
    return actor.person_id


async def write_audit(
    tx: Transaction,
    actor: Actor,
    action: str,
    subject: str,
    outcome: Outcome = Outcome.DONE,
    detail: str = "",
    job: str = "",
) -> None:
    """In the transaction of the change itself: either both are there, or neither. subject: `guest rack/105`."""
    entry = AuditEntry(
        who=actor.name,
        action=action,
        object=subject,
        outcome=outcome,
        via=actor.via,
        address=actor.address,
        detail=detail,
        job=job,
        request_id=actor.request_id,
    )
    await audit.add(tx, entry)
