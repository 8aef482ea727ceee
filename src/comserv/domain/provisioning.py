"""The calls of a creation: their parameters, built from request, decision and what the clone's configuration shows."""

from collections.abc import Mapping
from dataclasses import dataclass

from comserv.domain.guest import GuestConfig
from comserv.domain.ownership import Sign
from comserv.domain.plan import Decision, PlannedCall
from comserv.domain.vmrequest import VmRequest


@dataclass(frozen=True)
class Difference:
    """One value of the configuration that is not as asked."""

    key: str
    asked: str
    found: str


def clone_parameters(request: VmRequest, decision: Decision, vmid: int, job: str, sign: Sign) -> dict[str, str]:
    """`POST /nodes/{template_node}/qemu/{template_vmid}/clone`. The description carries the marker from the first moment on."""
    raise NotImplementedError


def configure_parameters(
    request: VmRequest, decision: Decision, vmid: int, config: GuestConfig, job: str, sign: Sign
) -> dict[str, str]:
    """`POST /nodes/{node}/qemu/{vmid}/config` on the clone's configuration as it is now. Raises SecretsMissing."""
    raise NotImplementedError


def grow_parameters(request: VmRequest, decision: Decision, config: GuestConfig) -> dict[str, str] | None:
    """`PUT /nodes/{node}/qemu/{vmid}/resize`: an absolute size, so that it can be repeated. None: large enough already."""
    raise NotImplementedError


def planned_calls(
    request: VmRequest, decision: Decision, template_config: GuestConfig | None
) -> tuple[PlannedCall, ...]:
    """Every call that will change something, in order, secrets as `•••`, the marker told as such."""
    raise NotImplementedError


def verify_configuration(
    request: VmRequest, decision: Decision, vmid: int, config: GuestConfig, job: str, sign: Sign
) -> tuple[Difference, ...]:
    """What was asked and is not in the configuration; empty when all is there. The password cannot be compared, the marker's stage tells it."""
    raise NotImplementedError
