"""What needs attention, fact by fact: each sentence with its reason and its cure, and nothing where all is well."""
# ruff: noqa: E501 - a fact and its sentence stand on one line, like a table

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from comserv.domain.attention import Facts, ServerFacts, attention
from comserv.domain.connection import Stage, StageName, StageState
from comserv.domain.errors import Problem
from comserv.domain.job import Job, JobKind, JobState, Waiting, WaitReason
from comserv.domain.maintenance import Maintenance
from comserv.domain.outage import coverage, outage_of
from comserv.domain.picture import Health, Node, Picture, Storage
from comserv.domain.server import Server, ServerState, TokenId
from comserv.domain.standing import AddressTrouble, KeptCertificate

NOW = datetime(2026, 6, 24, 12, 0, tzinfo=UTC)
AGO = NOW - timedelta(minutes=14)
URL = "https://rack.example:8006"
SERVER = Server("rack", "Rack", (URL,), TokenId("comserv", "pve", "manager"))
UP = Health("rack", ServerState.UP, 12.0, NOW)
PICTURE = Picture("rack", NOW, 1, "9.1.6", "rack", True, (Node("pve1", True), Node("pve2", True)))
WELL = ServerFacts(SERVER, UP, PICTURE, stale=False, guests=3)
DOWN = replace(
    UP, state=ServerState.DOWN, failing_since=AGO, failures=9, next_try=NOW + timedelta(seconds=30),
    error_title="The server rack does not answer; nothing was carried out.", error_detail="No route to host", error_cure="Look at it.",
)  # fmt: skip
RESTING = replace(SERVER, maintenance=Maintenance("mara", AGO, "new disks", NOW + timedelta(hours=2)))


def certificate(days: float) -> KeptCertificate:
    return KeptCertificate(URL, "AA:BB", "CN=rack", "CN=ca", AGO, NOW + timedelta(days=days))


def job(**given: object) -> Job:
    values = {
        "id": "j1", "kind": JobKind.CREATE_VM, "state": JobState.RUNNING, "title": "Create web-01", "server": "rack", "vmid": 105,
        "node": "pve1", "requested_by": "olaf", "via": "page", "created": AGO,
    }  # fmt: skip
    return Job(**(values | given))  # pyright: ignore[reportArgumentType]


def of(**given: object) -> Facts:
    return Facts((replace(WELL, **given),))  # pyright: ignore[reportArgumentType]


TABLE = (
    (of(health=DOWN, stale=True), "bad", "rack does not answer."),
    (of(health=replace(DOWN, state=ServerState.UNREACHED), stale=True), "bad", "rack was never reached."),
    (of(stale=True, picture=replace(PICTURE, as_of=AGO)), "bad", "rack was not heard of lately."),
    (of(server=RESTING, stale=True), "warn", "rack is in maintenance."),
    (of(health=replace(UP, state=ServerState.SLOW)), "warn", "rack answers slowly."),
    (of(picture=replace(PICTURE, quorate=False)), "bad", "rack has no quorum."),
    (of(picture=replace(PICTURE, nodes=(Node("pve1", False),))), "bad", "rack / pve1 is offline."),
    (of(picture=replace(PICTURE, storages=(Storage("pve1", "local", total=100, used=93),))), "warn", "local on rack / pve1 is 93 % full."),
    (of(picture=replace(PICTURE, version="8.4.1")), "warn", "rack runs Proxmox VE 8.4.1, whose support ends on 2026-08-31."),
    (of(picture=replace(PICTURE, version="7.4-3")), "warn", "rack runs Proxmox VE 7.4-3, whose support ended on 2024-07-31."),
    (of(health=replace(UP, node_versions={"pve1": "9.1.6", "pve2": "9.0.11"})), "warn", "rack has nodes of unlike versions."),
    (of(health=replace(UP, certificates=(certificate(12.5),))), "warn", "rack has a certificate at rack.example:8006 that ends on 2026-07-07, in 12 days."),
    (of(health=replace(UP, certificates=(certificate(-1),))), "bad", "rack has a certificate at rack.example:8006 that ended on 2026-06-23."),
    (of(health=replace(UP, token_expires=NOW + timedelta(days=1.5))), "bad", "rack has a token that ends on 2026-06-26, in 1 day."),
    (of(health=replace(UP, troubles=(AddressTrouble("https://pve2:8006", AGO, "refused", "Look."),))), "warn", "rack does not answer at pve2:8006."),
    (of(stages=(Stage(StageName.CLOCK, StageState.WARNING, 1, "It is 90 s ahead", "Set it."),), tested=AGO), "warn", "Its clock is not ours: rack."),
    (of(stages=(Stage(StageName.RIGHTS, StageState.FAILED, 1, "No rights", "pveum …"),), tested=AGO), "bad", "Its token lacks rights: rack."),
    (Facts(ended=(job(state=JobState.FAILED, ended=AGO, error=Problem("x", "The clone failed.", cure="Try again.")),)), "bad", "Create web-01 failed."),
    (Facts(open_jobs=(job(waiting=Waiting(WaitReason.LOCK, AGO, None, "Locked.")),)), "warn", "Create web-01 is held."),
    (Facts(disk_left=100 * 1024**2), "bad", "Comserv's own disk has 100 MiB left."),
)  # fmt: skip


@pytest.mark.parametrize(("facts", "tone", "what"), TABLE, ids=[row[2] for row in TABLE])
def test_each_fact_is_told_with_its_reason_and_where_it_leads(facts: Facts, tone: str, what: str) -> None:
    found = attention(facts, NOW)
    assert [(one.tone, one.what) for one in found] == [(tone, what)]
    assert found[0].why and found[0].subject and (found[0].cure or found[0].kind == "job")


def test_where_all_is_well_nothing_is_told() -> None:
    waits = job(waiting=Waiting(WaitReason.MAINTENANCE, AGO, None, "In maintenance."))
    fine = of(health=replace(UP, certificates=(certificate(90),), token_expires=NOW + timedelta(days=90)))
    assert attention(replace(fine, open_jobs=(waits,), disk_left=10**12), NOW) == ()


def test_the_urgent_stands_first_and_the_newest_of_it() -> None:
    slow = replace(WELL, health=replace(UP, state=ServerState.SLOW))
    down = replace(WELL, health=DOWN, stale=True)
    failed = job(state=JobState.FAILED, ended=NOW, error=Problem("x", "The clone failed."))
    told = attention(Facts((slow, down), ended=(failed,)), NOW)
    assert [one.tone for one in told] == ["bad", "bad", "warn"] and told[0].kind == "job"


def test_an_outage_says_since_when_why_and_when_it_is_asked_again() -> None:
    down = outage_of(SERVER, DOWN, PICTURE, stale=True)
    rest = outage_of(RESTING, UP, PICTURE, stale=True)
    assert down and (down.since, down.reason, down.next_try) == (AGO, "No route to host.", DOWN.next_try)
    assert (
        rest
        and rest.wanted
        and (rest.reason, rest.next_try) == ("In maintenance: new disks.", NOW + timedelta(hours=2))
    )
    assert outage_of(SERVER, UP, PICTURE, stale=False) is None
    known = coverage(4, (rest, None, down))
    assert (known.words, known.outages) == ("3 of 4 servers".replace("3", "2"), (down, rest))
    assert coverage(1, ()).words == "1 server"
