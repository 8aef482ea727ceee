"""The last step of a creation: whether the agent in the VM reports what was asked, or why nothing can be proven."""

from dataclasses import dataclass
from datetime import timedelta

from comserv.domain.address import read_address
from comserv.domain.guest import AgentAddress, AgentReport
from comserv.domain.units import span
from comserv.domain.vmrequest import VmRequest

PROOF_WAIT = timedelta(seconds=300)


@dataclass(frozen=True)
class Asked:
    """What has to be proven. address, address6: empty where any will do. agent: it is enabled in the configuration."""

    address: str = ""
    address6: str = ""
    started: bool = True
    agent: bool = True


@dataclass(frozen=True)
class Proven:
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class NotYet:
    reason: str


@dataclass(frozen=True)
class CannotProve:
    """A warning of the job, a whole sentence."""

    reason: str


@dataclass(frozen=True)
class Mismatch:
    """The agent answers, and reports something else than asked; a warning of the job."""

    reason: str
    addresses: tuple[str, ...]


def asked(request: VmRequest, agent: bool) -> Asked:
    return Asked(request.static_address, request.static_address6, request.start_after_creation, agent)


def prove(
    asked: Asked,
    report: AgentReport | None,
    elapsed: timedelta,
    limit: timedelta = PROOF_WAIT,
    running: bool | None = True,
    said: str = "",
) -> Proven | NotYet | CannotProve | Mismatch:
    """report: None while the agent does not answer. elapsed: since the start. running: whether the VM runs; None: not readable.

    said: Proxmox's words where the agent could not be asked for good (`No QEMU guest agent configured`, a missing right).
    """
    if not asked.started:
        return CannotProve("The VM was not started, so no agent can report its address.")
    if not asked.agent:
        return CannotProve("The guest agent is not enabled, so nothing inside the VM can report its address.")
    if said:
        return CannotProve(f"The agent cannot be asked: {said.strip().rstrip('.')}.")
    if running is False:
        return CannotProve("The VM does not run any more, so no agent can report its address.")
    late = elapsed >= limit
    if report is None:
        if late:
            return CannotProve(f"The agent did not answer within {span(limit.total_seconds())} after the start.")
        return NotYet("The agent does not answer yet.")
    addresses = reported(report)
    missing = [address for address in (asked.address, asked.address6) if address and address not in addresses]
    if not missing and addresses:
        return Proven(addresses)
    if not late:
        return NotYet("The agent answers, and its addresses are not yet those asked for.")
    if not addresses:
        return CannotProve("The agent answers, and reports no address.")
    return Mismatch(f"The agent reports {', '.join(addresses)}, asked was {', '.join(missing)}.", addresses)


def reported(report: AgentReport) -> tuple[str, ...]:
    """Addresses that others can reach, IPv4 first, each once, in the usual spelling."""
    usable = [_spelled(one) for one in report.addresses if not one.loopback and not one.link_local]
    return tuple(sorted({one for one in usable if one}, key=lambda one: (":" in one, usable.index(one))))


def _spelled(one: AgentAddress) -> str:
    address = read_address(one.address.partition("%")[0], 6 if ":" in one.address else 4)
    return str(address or "")
