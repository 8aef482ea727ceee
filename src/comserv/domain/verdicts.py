"""What the findings of a connection test mean: each is judged by a pure function, in words, with its cure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from comserv.domain.cluster import ClusterStatus, Version
from comserv.domain.connection import CertificateSeen, StageState
from comserv.domain.errors import ProxmoxSaid
from comserv.domain.guest import Guest, GuestType
from comserv.domain.mending import role_append
from comserv.domain.picture import Node, Storage
from comserv.domain.pveum import acl_lines, needed_privileges, role_line
from comserv.domain.rights import Rights, TokenFacts
from comserv.domain.server import SUPPORTED_BELOW, SUPPORTED_FROM, TokenId

CERTIFICATE_SOON = timedelta(days=30)
TOKEN_SOON = timedelta(days=14)
CLOCKS_APART = 30.0  # seconds
DISKS = "images"


@dataclass(frozen=True)
class Verdict:
    state: StageState
    text: str
    cure: str = ""
    proxmox: ProxmoxSaid | None = None
    silent: bool = False


def ok(text: str) -> Verdict:
    return Verdict(StageState.OK, text)


def warning(text: str, cure: str, proxmox: ProxmoxSaid | None = None) -> Verdict:
    return Verdict(StageState.WARNING, text, cure, proxmox)


def failed(text: str, cure: str, proxmox: ProxmoxSaid | None = None) -> Verdict:
    return Verdict(StageState.FAILED, text, cure, proxmox)


def judge_version(version: Version) -> Verdict:
    lowest, highest = (".".join(map(str, numbers)) for numbers in (SUPPORTED_FROM, SUPPORTED_BELOW))
    if version.numbers == (0, 0):
        text = f"It tells a version that cannot be read: {version.text[:80] or 'none'}."
        return failed(text, f"Look at it on the server: `pveversion`; Comserv needs {lowest} or newer.")
    if version.numbers < SUPPORTED_FROM:
        cure = f"Upgrade it to {lowest} or newer (https://pve.proxmox.com/wiki/Upgrade_from_8_to_9)."
        return failed(f"It runs Proxmox VE {version.text}; Comserv needs {lowest} or newer.", cure)
    if version.numbers >= SUPPORTED_BELOW:
        cure = "It will work as far as its API is as before; look for a newer Comserv."
        return warning(f"It runs Proxmox VE {version.text}; Comserv is made for {lowest} to below {highest}.", cure)
    return ok(f"It runs Proxmox VE {version.text}.")


def judge_certificate(seen: CertificateSeen, now: datetime) -> Verdict:
    """Of a certificate that is what was agreed. Dates of the verified kinds are checked by TLS itself too."""
    from_, until = datetime.fromisoformat(seen.not_before), datetime.fromisoformat(seen.not_after)
    system = "the system's CAs trust it" if seen.trusted_by_system else "the system's CAs do not trust it"
    text = (
        f"{seen.address} shows the certificate that was agreed: {seen.subject}, by {seen.issuer}, "
        f"{from_:%Y-%m-%d} to {until:%Y-%m-%d}, SHA-256 {seen.fingerprint}; {system}."
    )
    renew = "Renew it on the node: `pvecm updatecerts --force` for its own, or through ACME; then accept the new one."
    if until <= now:
        return warning(f"{text} It expired {until:%Y-%m-%d}.", renew)
    if from_ > now:
        return warning(f"{text} It is valid from {from_:%Y-%m-%d} only.", "Compare the clocks of both machines.")
    if until - now < CERTIFICATE_SOON:
        return warning(f"{text} It ends in {(until - now).days} days.", renew)
    return ok(text)


def judge_token(token: TokenId, facts: TokenFacts | None, now: datetime) -> Verdict:
    """facts: None where the token may not read about itself."""
    if facts is None:
        return ok(f"{token} is known and enabled.")
    if facts.expires is None:
        return ok(f"{token} is known and enabled, and does not end.")
    text = f"{token} is known and enabled; it ends {facts.expires:%Y-%m-%d}"
    if facts.expires - now < TOKEN_SOON:
        cure = f"Give it more time: pveum user token modify {token.userid} {token.name} --expire 0"
        return warning(f"{text}, in {max((facts.expires - now).days, 0)} days.", cure)
    return ok(f"{text}.")


def judge_rights(rights: Rights, token: TokenId, version: Version, facts: TokenFacts | None) -> Verdict:
    """Proxmox does not tell which of both an empty set means, unless the token may read about itself."""
    if rights.none_at_all:
        return failed(_why_no_rights(token, facts), "\n".join((role_line(version), *acl_lines(token))))
    everywhere = {privilege for given in rights.paths.values() for privilege in given}
    lacking = tuple(sorted(set(needed_privileges(version)) - everywhere))
    if lacking:
        cure = "\n".join((role_append(lacking), *acl_lines(token)))
        return warning(f"The token lacks {', '.join(lacking)}; what needs them will be refused.", cure)
    partly = tuple(p for p in needed_privileges(version) if p not in rights.at("/"))
    if partly:
        return ok(f"The token has every right that Comserv uses; not everywhere: {', '.join(partly)}.")
    return ok("The token has every right that Comserv uses, at /.")


def _why_no_rights(token: TokenId, facts: TokenFacts | None) -> str:
    if facts and facts.separated:
        return (
            f"The token has no rights. It is separated (privsep 1): it may do what both {token.userid} and the token "
            "itself are allowed, and at least one of them has nothing."
        )
    if facts:
        return f"The token has no rights: it has those of {token.userid}, and that user has none."
    return (
        f"The token has no rights. Either it is separated (privsep 1) and has no ACL of its own, which it needs beside "
        f"its user's; or {token.userid} has no rights at all."
    )


def judge_clock(ahead: float, node: str = "") -> Verdict:
    """ahead: seconds by which the server's clock, or this node's, is ahead of ours; told to the second."""
    text = f"The clocks differ by {abs(ahead):.0f} s{' on ' + node if node else ''}"
    if abs(ahead) <= CLOCKS_APART:
        return ok(f"{text}.")
    where = "ahead" if ahead > 0 else "behind"
    return warning(
        f"{text}: the server's is {where}. Times of tasks and ends of tokens will look wrong.",
        "Let both follow a time server: `systemctl status chrony` on the server, `timedatectl` here.",
    )


def judge_nodes(
    nodes: Sequence[Node], status: ClusterStatus | None, default_node: str, said: ProxmoxSaid | None
) -> Verdict:
    """status: None where it may not be read, with Proxmox's words in `said`."""
    names = ", ".join(node.name for node in nodes)
    offline = [node.name for node in nodes if not node.online]
    kind = f"The cluster {status.name}: {names}" if status and status.name else f"Nodes: {names}"
    if default_node and default_node not in {node.name for node in nodes}:
        return warning(f"{kind}. The default node {default_node} is not among them.", "Choose one of these.")
    if status and not status.quorate:
        return warning(
            f"{kind}. It has no quorum: Proxmox refuses every change.",
            "Bring nodes back until more than half are online: `pvecm status` on a node tells.",
        )
    if offline:
        return warning(f"{kind}. Offline: {', '.join(offline)}.", "Their guests are shown as last known.")
    if status is None:
        return warning(f"{kind}. The token may not see whether there is a quorum.", "Give it Sys.Audit at /.", said)
    return ok(f"{kind}, all online{', quorate' if status.name else ''}.")


def judge_storages(storages: Sequence[Storage]) -> Verdict:
    if not storages:
        return warning("The token sees no storage.", "Give it Datastore.Audit and Datastore.AllocateSpace at /storage.")
    names = sorted({storage.name for storage in storages})
    lost = sorted({f"{storage.name} on {storage.node}" for storage in storages if not storage.active})
    for_disks = sorted({storage.name for storage in storages if DISKS in storage.content})
    text = f"{len(names)} storages: {', '.join(names)}; for disks of VMs: {', '.join(for_disks) or 'none'}."
    if lost:
        return warning(f"{text} Not available: {', '.join(lost)}.", "Look at them on the server: `pvesm status`.")
    if not for_disks:
        return warning(text, "Allow the content images on one: Datacenter, Storage, Edit, Content.")
    return ok(text)


def judge_guests(guests: Sequence[Guest]) -> Verdict:
    templates = sum(guest.template for guest in guests)
    containers = sum(guest.type is GuestType.LXC for guest in guests)
    if not guests:
        return ok("The token sees no guests: there are none, or it lacks VM.Audit at /vms.")
    return ok(
        f"{len(guests)} guests: {len(guests) - containers} VMs, {templates} of them templates, {containers} containers."
    )
