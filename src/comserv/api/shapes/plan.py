"""A plan and its findings."""

from msgspec import Struct

from comserv.domain import plan as domain


class Finding(Struct):
    """One result of a pre-check. `code` is stable; `field` names the request's field (`network.ip_address`) or is empty."""

    level: domain.Level
    code: str
    text: str
    cure: str
    field: str

    @classmethod
    def of(cls, finding: domain.Finding) -> "Finding":
        return cls(finding.level, finding.code, finding.text, finding.cure, finding.field)


class PlannedCall(Struct):
    """A call that will be sent to Proxmox; secrets in `parameters` are shown as `•••`."""

    method: str
    path: str
    parameters: dict[str, str]
    note: str

    @classmethod
    def of(cls, call: domain.PlannedCall) -> "PlannedCall":
        return cls(call.method, call.path, dict(call.parameters), call.note)


class NodeChoice(Struct):
    """A node that was weighed, and why it was chosen or not."""

    node: str
    chosen: bool
    possible: bool
    reason: str


class Placement(Struct):
    """Where it will be, and why."""

    server: str
    node: str
    storage: str
    full_clone: bool
    reasons: list[str]
    choices: list[NodeChoice]

    @classmethod
    def of(cls, placement: domain.Placement) -> "Placement":
        choices = [NodeChoice(c.node, c.chosen, c.possible, c.reason) for c in placement.choices]
        return cls(
            placement.server,
            placement.node,
            placement.storage,
            placement.full_clone,
            list(placement.reasons),
            choices,
        )


class Plan(Struct):
    """What a creation will do, call by call. `blocked`: it has a blocker, so that a creation would be refused."""

    placement: Placement
    calls: list[PlannedCall]
    findings: list[Finding]
    blocked: bool

    @classmethod
    def of(cls, plan: domain.Plan) -> "Plan":
        calls = [PlannedCall.of(call) for call in plan.calls]
        findings = [Finding.of(finding) for finding in plan.findings]
        return cls(Placement.of(plan.placement), calls, findings, plan.blocked)
