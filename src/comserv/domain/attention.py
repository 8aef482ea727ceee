"""What needs somebody's attention, made from facts: each with what is so, why it matters, what to do, and where it leads."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from comserv.domain.connection import Stage, StageName, StageState
from comserv.domain.job import Job, JobState, WaitReason
from comserv.domain.picture import Health, Picture, Storage
from comserv.domain.server import Server, ServerState
from comserv.domain.units import size
from comserv.domain.versions import support_ends

FULL = 0.9  # of a storage
HELD_LONG = timedelta(minutes=5)
ENDS_SOON, ENDS_VERY_SOON = timedelta(days=21), timedelta(days=3)
SUPPORT_ENDS_SOON = timedelta(days=90)
DISK_SCARCE, DISK_ENDING = 2 * 1024**3, 300 * 1024**2  # bytes left for our own database
FROM_TESTS = {
    StageName.CLOCK: "Its clock is not ours",
    StageName.RIGHTS: "Its token lacks rights",
}


@dataclass(frozen=True)
class Attention:
    """tone: `bad` or `warn`. what: a whole sentence. kind + subject: where it leads (`server` rack, `job` id, `guest` rack/105).

    cure: what to do, a sentence; empty where looking at it says so.
    """

    tone: str
    what: str
    why: str
    since: datetime | None
    kind: str
    subject: str
    cure: str = ""


@dataclass(frozen=True)
class ServerFacts:
    """guests: how many are known. stages, tested: the last connection test, and when that was."""

    server: Server
    health: Health
    picture: Picture
    stale: bool
    guests: int
    stages: tuple[Stage, ...] = ()
    tested: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """ended: jobs that ended lately. disk_left: bytes that are free where our own database lies, None where another keeps it."""

    servers: tuple[ServerFacts, ...] = ()
    open_jobs: tuple[Job, ...] = ()
    ended: tuple[Job, ...] = ()
    disk_left: int | None = None


def attention(facts: Facts, now: datetime) -> tuple[Attention, ...]:
    """The urgent first, and the newest of them."""
    found = [
        *_of_disk(facts.disk_left),
        *(one for server in facts.servers for one in of_server(server, now)),
        *_of_jobs(facts.ended),
        *_of_held(facts.open_jobs, now),
    ]
    return tuple(sorted(found, key=lambda one: (one.tone != "bad", -(one.since.timestamp() if one.since else 0))))


def of_server(facts: ServerFacts, now: datetime) -> Iterator[Attention]:
    """All of one server, in no order."""
    if facts.server.maintenance:
        yield from _resting(facts)
    elif facts.health.state in (ServerState.DOWN, ServerState.UNREACHED):
        yield from _silent(facts)
    elif facts.stale and facts.picture.as_of:
        why = "No sweep of it has ended since; its guests are shown as last seen."
        cure = "Look whether the Comserv process that owns it runs well."
        yield _about(facts, "bad", "was not heard of lately.", why, facts.picture.as_of, cure)
    else:
        yield from _answering(facts)
    yield from _ending(facts, now)
    yield from _version(facts, now)


def _about(
    facts: ServerFacts, tone: str, what: str, why: str, since: datetime | None, cure: str = "", place: str = ""
) -> Attention:
    name = f"{facts.server.id} / {place}" if place else facts.server.id
    return Attention(tone, f"{name} {what}", why, since, "server", facts.server.id, cure)


def _resting(facts: ServerFacts) -> Iterator[Attention]:
    rest = facts.server.maintenance
    if rest:
        until = f" It ends by itself at {rest.until:%Y-%m-%d %H:%M} UTC." if rest.until else ""
        why = f"{rest.words}{until} Nothing is sent there."
        yield _about(facts, "warn", "is in maintenance.", why, rest.since, "End it on its page when the work is done.")


def _silent(facts: ServerFacts) -> Iterator[Attention]:
    health = facts.health
    detail = _sentence(health.error_detail or health.error_title)
    if health.state is ServerState.UNREACHED:
        if health.failures:
            yield _about(facts, "bad", "was never reached.", detail, health.failing_since, health.error_cure)
        return
    shown = f"Its {facts.guests} guests are shown as last seen." if facts.guests else "It has no guest that we know."
    yield _about(facts, "bad", "does not answer.", f"{detail} {shown}", health.failing_since, health.error_cure)


def _answering(facts: ServerFacts) -> Iterator[Attention]:
    as_of = facts.picture.as_of
    if facts.picture.quorate is False:
        why = "Nothing can be changed there until enough nodes see each other."
        yield _about(facts, "bad", "has no quorum.", why, as_of, "Bring back the nodes that are missing.")
    for node in facts.picture.nodes:
        if not node.online:
            why = "The cluster does not see it; its guests do not run, or cannot be reached."
            yield _about(facts, "bad", "is offline.", why, as_of, "Look at the host itself.", place=node.name)
    if facts.health.state is ServerState.SLOW:
        why = f"Its last answer took {facts.health.latency_ms or 0:.0f} ms."
        yield _about(facts, "warn", "answers slowly.", why, facts.health.last_good, "Look at the load of its nodes.")
    yield from _full_storages(facts)
    yield from _troubles(facts)
    yield from _tests(facts)


def _full_storages(facts: ServerFacts) -> Iterator[Attention]:
    seen: set[str] = set()
    for storage in facts.picture.storages:
        if not _is_full(storage) or (storage.shared and storage.name in seen):
            continue
        seen.add(storage.name)
        here = facts.server.id
        place = here if storage.shared else f"{here} / {storage.node}"
        percent = 100 * (storage.used or 0) / (storage.total or 1)
        what = f"{storage.name} on {place} is {percent:.0f} % full."
        why = "New disks will not fit, and snapshots may stop guests."
        yield Attention("warn", what, why, facts.picture.as_of, "server", here, "Free some space there, or add a disk.")


def _is_full(storage: Storage) -> bool:
    return bool(storage.active and storage.total and storage.used is not None and storage.used >= FULL * storage.total)


def _troubles(facts: ServerFacts) -> Iterator[Attention]:
    """Addresses that cannot be used while another one answers."""
    for one in facts.health.troubles:
        bare = one.address.removeprefix("https://")
        what = f"shows another certificate at {bare}." if one.refused else f"does not answer at {bare}."
        yield _about(facts, "warn", what, f"{_sentence(one.detail)} Another address is used.", one.since, one.cure)


def _tests(facts: ServerFacts) -> Iterator[Attention]:
    for stage in facts.stages:
        if stage.stage in FROM_TESTS and stage.state in (StageState.WARNING, StageState.FAILED):
            tone = "bad" if stage.state is StageState.FAILED else "warn"
            what = f"{FROM_TESTS[stage.stage]}: {facts.server.id}."
            cure = stage.cure.splitlines()[0] if stage.cure else ""
            yield Attention(tone, what, _sentence(stage.text), facts.tested, "server", facts.server.id, cure)


def _ending(facts: ServerFacts, now: datetime) -> Iterator[Attention]:
    """Certificates and the token, whether or not the server answers."""
    told: set[str] = set()
    for one in facts.health.certificates:
        if one.fingerprint in told or one.not_after - now > ENDS_SOON:
            continue
        told.add(one.fingerprint)
        what = f"has a certificate at {one.address.removeprefix('https://')} that {_ends(one.not_after, now)}."
        why = "After that browsers and Comserv may refuse to speak to it."
        cure = "Renew it there (`pvenode cert`, or `pvecm updatecerts --force`), then accept the new one on its page."
        yield _about(facts, _how_soon(one.not_after, now), what, why, None, cure)
    expires = facts.health.token_expires
    if expires and expires - now <= ENDS_SOON:
        what = f"has a token that {_ends(expires, now)}."
        why = "Without it Comserv can neither look nor act there."
        yield _about(facts, _how_soon(expires, now), what, why, None, "Give it more time, or rotate it on its page.")


def _how_soon(end: datetime, now: datetime) -> str:
    return "bad" if end - now <= ENDS_VERY_SOON else "warn"


def _ends(end: datetime, now: datetime) -> str:
    days = (end - now).days
    if end <= now:
        return f"ended on {end:%Y-%m-%d}"
    return f"ends on {end:%Y-%m-%d}, in {days} day{'' if days == 1 else 's'}"


def _version(facts: ServerFacts, now: datetime) -> Iterator[Attention]:
    end, today = support_ends(facts.picture.version), now.astimezone(UTC).date()
    if end and end - today <= SUPPORT_ENDS_SOON:
        yield _unsupported(facts, end, today)
    unlike = sorted(set(facts.health.node_versions.values()))
    if len(unlike) > 1:
        told = ", ".join(f"{node} {version}" for node, version in sorted(facts.health.node_versions.items()))
        why = f"{told}. Guests may not move from a newer to an older one."
        yield _about(facts, "warn", "has nodes of unlike versions.", why, None, "Bring all nodes to the same version.")


def _unsupported(facts: ServerFacts, end: date, today: date) -> Attention:
    version, over = facts.picture.version, end < today
    what = f"runs Proxmox VE {version}, whose support {'ended' if over else 'ends'} on {end}."
    why = "There are no security updates any more." if over else "After that there are no security updates."
    return _about(facts, "warn", what, why, None, "Upgrade it to the next release.")


def _of_jobs(ended: Iterable[Job]) -> Iterator[Attention]:
    for job in ended:
        if job.state is JobState.FAILED and job.error:
            cure = job.error.cure.splitlines()[0] if job.error.cure else ""
            yield Attention("bad", f"{job.title} failed.", job.error.title, job.ended, "job", job.id, cure)


def _of_held(running: Iterable[Job], now: datetime) -> Iterator[Attention]:
    """Not those that wait for a maintenance: that one stands there itself."""
    for job in running:
        waiting = job.waiting
        if waiting and waiting.reason is not WaitReason.MAINTENANCE and now - waiting.since > HELD_LONG:
            yield Attention("warn", f"{job.title} is held.", waiting.text, waiting.since, "job", job.id)


def _of_disk(left: int | None) -> Iterator[Attention]:
    if left is not None and left < DISK_SCARCE:
        tone, what = "bad" if left < DISK_ENDING else "warn", f"Comserv's own disk has {size(left)} left."
        why = "Without space nothing can be kept, and jobs stand still."
        yield Attention(tone, what, why, None, "page", "servers", "Free some space where the data folder lies.")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
