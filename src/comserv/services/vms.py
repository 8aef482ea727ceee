"""A VM from a template: the plan, and the job that carries it out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comserv.domain.guest import Guest
from comserv.domain.job import Job
from comserv.domain.person import Actor
from comserv.domain.picture import Node, Storage
from comserv.domain.plan import Plan
from comserv.domain.vmrequest import VmRequest


@dataclass(frozen=True)
class TemplateChoice:
    """A template with what its configuration says, so that a form can begin with it. memory in MiB, disk in GiB."""

    guest: Guest
    cores: int | None = None
    memory_mb: int | None = None
    disk_gb: float | None = None
    cloud_init: bool | None = None
    agent: bool | None = None
    bridge: str = ""


@dataclass(frozen=True)
class Choices:
    """What the form of a creation offers on one server. vmid: the next free one as we know it, None when the server does not answer."""

    server: str
    templates: tuple[TemplateChoice, ...]
    nodes: tuple[Node, ...]
    storages: tuple[Storage, ...]
    bridges: Mapping[str, tuple[str, ...]]
    pools: tuple[str, ...]
    vmid: int | None
    problem: str = ""


class Vms:
    async def choices(self, actor: Actor, server_id: str) -> Choices:
        """Needs PLAN. Asks the server for templates' configurations and bridges; says what it could not learn in `problem`."""
        raise NotImplementedError

    async def plan(self, actor: Actor, request: VmRequest) -> Plan:
        """Asks the server where our picture is missing or old. A server that does not answer is a finding, not an error."""
        raise NotImplementedError

    async def create(
        self, actor: Actor, request: VmRequest, idempotency_key: str = "", body: Mapping[str, Any] | None = None
    ) -> Job:
        """Makes the plan anew and, without a blocker, reserves and makes the job in one transaction.

        Raises PlanBlocked, IdempotencyMismatch (the same key with another body).
        """
        raise NotImplementedError
