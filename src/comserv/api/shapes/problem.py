"""A problem (RFC 9457): what happened, why, what to do, and what Proxmox said."""

from typing import ClassVar

from msgspec import Struct

from comserv.api.shapes.plan import Finding
from comserv.domain import errors as domain
from comserv.domain.connection import Stage as DomainStage
from comserv.domain.connection import StageName, StageState


class ProxmoxSaid(Struct, omit_defaults=True):
    """Proxmox's own words, never shortened; `errors` by parameter."""

    status: int
    message: str
    errors: dict[str, str] = {}

    @classmethod
    def of(cls, said: domain.ProxmoxSaid) -> "ProxmoxSaid":
        return cls(said.status, said.message, dict(said.errors))


class Stage(Struct):
    """A stage of the connection test. ms: how long it took."""

    stage: StageName
    state: StageState
    ms: float
    text: str
    cure: str
    proxmox: ProxmoxSaid | None

    @classmethod
    def of(cls, stage: DomainStage) -> "Stage":
        said = ProxmoxSaid.of(stage.proxmox) if stage.proxmox else None
        return cls(stage.stage, stage.state, round(stage.ms, 1), stage.text, stage.cure, said)


class Problem(Struct, omit_defaults=True):
    """`title` says what happened, `detail` why, `cure` what to do; `code` is the stable word for programs."""

    TYPE: ClassVar[str] = "/api/v1/docs#problem-"

    type: str
    code: str
    title: str
    detail: str
    cure: str
    status: int | None = None
    proxmox: ProxmoxSaid | None = None
    fields: dict[str, str] = {}
    findings: list[Finding] = []
    stages: list[Stage] = []
    request_id: str = ""

    @classmethod
    def of(cls, problem: domain.Problem) -> "Problem":
        said = ProxmoxSaid.of(problem.proxmox) if problem.proxmox else None
        return cls(cls.TYPE + problem.code, problem.code, problem.title, problem.detail, problem.cure, proxmox=said)
