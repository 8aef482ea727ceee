"""The plan of a creation: placement, calls and findings, from the request and the facts; nothing is sent for it."""

from datetime import datetime

from comserv.domain.plan import Plan
from comserv.domain.planfacts import PlanFacts
from comserv.domain.vmrequest import VmRequest


def make_plan(request: VmRequest, facts: PlanFacts, now: datetime) -> Plan:
    """Never raises: what is not known is a finding. `plan.decision` is what the job carries out, None where a blocker hides it."""
    raise NotImplementedError
