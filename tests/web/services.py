"""Services that tell the estate of estate.py and keep what they were asked for; the pages cannot tell them from real ones."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from comserv.domain.connection import Stage, StageName, StageState
from comserv.domain.errors import (
    Conflict,
    Invalid,
    NotFound,
    PlanBlocked,
    ProxmoxSaid,
    RequestRefused,
    SecretsMissing,
    ServerUnreachable,
    TooManyAttempts,
    Unauthenticated,
)
from comserv.domain.guest import GuestKey
from comserv.domain.outage import Coverage
from comserv.domain.page import Page
from comserv.domain.person import Action, Actor, Person, Role
from comserv.domain.rights import RightsChange
from comserv.domain.sshkey import read_ssh_keys
from comserv.services.bundles import Bundle
from comserv.services.finding import Match
from comserv.services.guests import GuestPage, Outcome
from comserv.services.jobs import Remains
from comserv.services.live import Notice
from comserv.services.servertoken import TokenLines, TokenReplaced
from comserv.services.services import Services
from comserv.services.sessions import SignedIn, Visitor
from tests.web import estate

TOKEN, CSRF = "t0ken", "csrf-of-this-session"
GOOD, WRONG = "correct horse battery", "wrong horse"


@dataclass
class Told:
    """What the pages are told, and what they asked for; tests change it as they go."""

    role: Role = Role.ADMIN
    theme: str = ""
    signed_in: bool = True
    set_up: bool = True
    guests: tuple[Any, ...] = estate.GUESTS
    jobs: tuple[Any, ...] = estate.JOBS
    servers: tuple[Any, ...] = estate.SERVERS
    summary: Any = estate.SUMMARY
    counts: Any = estate.COUNTS
    plan: Any = estate.PLAN
    choices: Any = estate.CHOICES
    pending: Any = estate.PENDING
    deletion: Any = estate.DELETION
    stages: tuple[Stage, ...] = tuple(Stage(name, StageState.OK, 5, "Good") for name in StageName)
    keys: tuple[Any, ...] = estate.KEYS
    like: Any = estate.LIKE
    last: Any = None
    may: frozenset[str] | None = estate.MAY
    retry_needs: tuple[str, ...] = ()
    review: Any = estate.REVIEW
    offers: Any = estate.OFFERS
    refusal: Exception | None = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    reads: int = 0
    notices: list[Notice] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, topic: str, key: str = "") -> None:
        self.notices.append(Notice(len(self.notices) + 1, topic, key))
        self.news.set()


class _Told:
    def __init__(self, told: Told) -> None:
        self.told = told


class FakeSessions(_Told):
    async def visitor(self, token: str, request_id: str = "", address: str = "") -> Visitor | None:
        if not self.told.signed_in or token != TOKEN:
            return None
        person = replace(estate.ADMIN, role=self.told.role, theme=self.told.theme)
        return Visitor(estate.actor(self.told.role), person, CSRF)

    async def set_up(self) -> bool:
        return self.told.set_up

    async def check_setup_link(self, token: str) -> bool:
        return token == "good"

    async def use_setup_link(self, token: str, name: str, password: str, address: str, user_agent: str) -> SignedIn:
        if len(password) < 12:
            raise Invalid(fields={"password": "a password has 12 to 1024 characters"})
        self.told.set_up = True
        return self._in()

    async def sign_in(self, name: str, password: str, address: str, user_agent: str, former: str = "") -> SignedIn:
        if name == "slow":
            raise TooManyAttempts("The next try is taken in 30 s.", retry_after=30)
        if password != GOOD:
            raise Unauthenticated("Name and password do not belong together.", cure="Check both.")
        return self._in()

    async def sign_in_by_link(self, token: str, address: str, user_agent: str) -> SignedIn:
        if token != "good":
            raise Unauthenticated("This sign-in link is not good any more.", cure="Sign in with name and password.")
        return self._in()

    def _in(self) -> SignedIn:
        self.told.signed_in = True
        return SignedIn(TOKEN, CSRF, estate.ADMIN)

    async def sign_out(self, token: str) -> None:
        self.told.signed_in = False


class FakeDoctor(_Told):
    async def get(self, actor: Actor, server_id: str) -> Any:
        actor.require(Action.SEE)
        return estate.report(server_id, self.told.may)

    async def look(self, actor: Actor, server_id: str) -> Any:
        actor.require(Action.TEST_SERVER)
        self.told.asked.append(("doctor", server_id))
        if server_id == "backup":
            raise ServerUnreachable("No route to host.", server=server_id)
        return estate.report(server_id, self.told.may)


class FakeGuests(_Told):
    async def list(self, actor: Actor, query: Any) -> GuestPage:
        actor.require(Action.SEE)
        found = [
            one
            for one in self.told.guests
            if one.guest.template is query.templates
            and query.text.lower() in one.guest.name
            and (not query.servers or one.guest.key.server in query.servers)
            and (not query.tags or set(query.tags) & set(one.guest.tags))
            and (not query.statuses or str(one.guest.status) in query.statuses)
        ]
        found.sort(key=lambda one: one.guest.name, reverse=query.sort.startswith("-"))
        start = int(query.cursor or 0)
        counts: dict[str, int] = {}
        for one in found:
            counts[str(one.guest.status)] = counts.get(str(one.guest.status), 0) + 1
        more = str(start + query.limit) if start + query.limit < len(found) else None
        stale = sum(one.stale for one in found)
        items = tuple(found[start : start + query.limit])
        return GuestPage(items, len(found), len(self.told.guests), counts, stale, more)

    async def get(self, actor: Actor, key: GuestKey) -> Any:
        for one in self.told.guests:
            if one.guest.key == key:
                return one
        raise NotFound(noun="guest", name=str(key))

    async def live(self, actor: Actor, key: GuestKey) -> Any:
        view = await self.get(actor, key)
        if view.stale:
            raise ServerUnreachable("No route to host.", server=key.server)
        return estate.live(view, lock=view.guest.lock, pending=self.told.pending)

    async def agent(self, actor: Actor, key: GuestKey) -> Any:
        if key.vmid != 131:
            raise RequestRefused(server=key.server, said=ProxmoxSaid(500, "QEMU guest agent is not running"))
        return estate.AGENT

    async def tasks(self, actor: Actor, key: GuestKey) -> Any:
        return estate.TASKS

    async def power(self, actor: Actor, key: GuestKey, action: Any, idempotency_key: str = "") -> Any:
        actor.require(Action.POWER)
        self.told.asked.append(("power", key, action))
        return estate.HELD

    async def power_many(self, actor: Actor, keys: Any, action: Any) -> Any:
        actor.require(Action.POWER)
        self.told.asked.append(("power_many", tuple(keys), action))
        refusal = Conflict("It is stopped.").problem()
        return [Outcome(key, estate.HELD) if n % 2 == 0 else Outcome(key, None, refusal) for n, key in enumerate(keys)]

    async def change(self, actor: Actor, key: GuestKey, change: Any, idempotency_key: str = "") -> Any:
        actor.require(Action.CHANGE_GUEST)
        self.told.asked.append(("change", key, change))
        return estate.DONE

    async def deletion(self, actor: Actor, key: GuestKey) -> Any:
        actor.require(Action.DELETE_GUEST)
        return replace(self.told.deletion, view=await self.get(actor, key))

    async def delete(self, actor: Actor, key: GuestKey, typed_name: str, idempotency_key: str = "") -> Any:
        actor.require(Action.DELETE_GUEST)
        view = await self.get(actor, key)
        if typed_name != (view.guest.name or str(key.vmid)):
            raise Invalid("The name that was typed is another one; nothing was deleted.")
        self.told.asked.append(("delete", key))
        return estate.CANCELLED


class FakeJobs(_Told):
    async def list(self, actor: Actor, query: Any) -> Any:
        found = [job for job in self.told.jobs if not query.states or job.state in query.states]
        return Page(tuple(found[: query.limit]), None)

    async def get(self, actor: Actor, job_id: str) -> Any:
        for job in self.told.jobs:
            if job.id == job_id:
                return job
        raise NotFound(noun="job", name=job_id)

    async def calls(self, actor: Actor, job_id: str) -> Any:
        return estate.CALLS

    async def cancel(self, actor: Actor, job_id: str, running_task: Any) -> Any:
        actor.require(Action.CANCEL_JOB)
        self.told.asked.append(("cancel", job_id, running_task))

    async def retry(self, actor: Actor, job_id: str, secrets: Any = None) -> Any:
        actor.require(Action.RETRY_JOB)
        missing = [name for name in self.told.retry_needs if name not in (secrets or {})]
        if missing:
            raise SecretsMissing(missing)
        self.told.asked.append(("retry", job_id, secrets))

    async def remains(self, actor: Actor, job_id: str) -> Remains:
        return Remains(GuestKey("rack", 412), "db-replica-02 (412) stands on rack / rack-b, made by this job.", True)

    async def remove_remains(self, actor: Actor, job_id: str) -> Any:
        self.told.asked.append(("remove", job_id))
        return estate.CANCELLED


class FakeServers(_Told):
    async def list(self, actor: Actor) -> Any:
        return self.told.servers

    async def get(self, actor: Actor, server_id: str) -> Any:
        for one in self.told.servers:
            if one.server.id == server_id:
                return one
        raise NotFound(noun="server", name=server_id)

    async def look(self, actor: Actor, address: str) -> Any:
        actor.require(Action.TEST_SERVER)
        if "gone" in address:
            raise ServerUnreachable("Name or service not known.", server=address)
        return replace(estate.SEEN, address=address)

    async def test_new(self, actor: Actor, new: Any) -> AsyncIterator[Stage]:
        for stage in self.told.stages:
            await asyncio.sleep(0.02)
            yield stage

    async def test(self, actor: Actor, server_id: str) -> AsyncIterator[Stage]:
        self.told.asked.append(("test", server_id))
        async for stage in self.test_new(actor, None):
            yield stage

    async def add(self, actor: Actor, new: Any) -> Any:
        actor.require(Action.MANAGE_SERVERS)
        self.told.asked.append(("add", new))
        return replace(estate.LAB, server=replace(estate.LAB.server, id=new.id))

    async def edit(self, actor: Actor, server_id: str, edit: Any) -> Any:
        actor.require(Action.MANAGE_SERVERS)
        self.told.asked.append(("edit", server_id, edit))

    async def remove(self, actor: Actor, server_id: str) -> None:
        actor.require(Action.MANAGE_SERVERS)
        self.told.asked.append(("remove server", server_id))

    def pveum_lines(self, version: str, user: str, token: str) -> str:
        return f'pveum role add Comserv --privs "VM.Audit VM.Clone VM.Allocate"\npveum user add {user}\npveum user token add {user} {token}'


class FakeMaintenances(_Told):
    async def held_jobs(self, actor: Actor, server_id: str) -> int:
        return 2

    async def begin(self, actor: Actor, server_id: str, why: str = "", until: Any = None, *, lasts: Any = None) -> None:
        actor.require(Action.MANAGE_SERVERS)
        self.told.asked.append(("maintenance", server_id, why, lasts))

    async def end(self, actor: Actor, server_id: str) -> None:
        actor.require(Action.MANAGE_SERVERS)
        self.told.asked.append(("end maintenance", server_id))


class FakeLoads(_Told):
    async def get(self, actor: Actor, server_id: str) -> Any:
        return estate.LOAD

    async def set_gentleness(self, actor: Actor, server_id: str, gentleness: Any) -> None:
        actor.require(Action.MANAGE_SERVERS)
        self.told.asked.append(("gentleness", server_id, gentleness))


class FakeAddresses(_Told):
    async def certificates(self, actor: Actor, server_id: str) -> Any:
        actor.require(Action.MANAGE_SERVERS)
        return self.told.review

    async def accept(self, actor: Actor, server_id: str, shown: Any) -> Any:
        if self.told.refusal:
            raise self.told.refusal
        self.told.asked.append(("accept", server_id, shown))

    async def offers(self, actor: Actor, server_id: str) -> Any:
        actor.require(Action.MANAGE_SERVERS)
        return self.told.offers

    async def take(self, actor: Actor, server_id: str, ticked: Any) -> Any:
        if self.told.refusal:
            raise self.told.refusal
        self.told.asked.append(("take", server_id, ticked))

    async def trust_ca(self, actor: Actor, server_id: str, fingerprint: str) -> Any:
        self.told.asked.append(("trust ca", server_id, fingerprint))


class FakeToken(_Told):
    async def next_lines(self, actor: Actor, server_id: str) -> Any:
        return TokenLines(estate.NEXT_TOKEN, "pveum user token add comserv@pve manager-2 --privsep 1")

    async def replace(
        self, actor: Actor, server_id: str, token_id: Any, value: str, *, fewer_rights: bool = False
    ) -> Any:
        if self.told.refusal and not fewer_rights:
            raise self.told.refusal
        self.told.asked.append(("token", server_id, token_id, value))
        return TokenReplaced(estate.LAB, RightsChange(), "pveum user token remove comserv@pve manager")


class FakeBundles(_Told):
    async def of_job(self, actor: Actor, job_id: str, *, anonymous: bool = False) -> Bundle:
        self.told.asked.append(("bundle", job_id, anonymous))
        return Bundle(f"comserv-job-{job_id}.zip", b"PK")

    async def of_server(self, actor: Actor, server_id: str, *, anonymous: bool = False) -> Bundle:
        self.told.asked.append(("bundle", server_id, anonymous))
        return Bundle(f"comserv-server-{server_id}.zip", b"PK")


class FakeVms(_Told):
    async def choices(self, actor: Actor, server_id: str) -> Any:
        actor.require(Action.PLAN)
        if server_id == "branch":
            raise ServerUnreachable("No route to host.", server=server_id)
        return replace(self.told.choices, server=server_id)

    async def plan(self, actor: Actor, request: Any) -> Any:
        actor.require(Action.PLAN)
        self.told.asked.append(("plan", request))
        return self.told.plan

    async def create(self, actor: Actor, request: Any, idempotency_key: str = "", body: Any = None) -> Any:
        actor.require(Action.CREATE_VM)
        if self.told.plan.blocked:
            raise PlanBlocked(self.told.plan.findings)
        self.told.asked.append(("create", request, idempotency_key))
        return estate.RUNNING


class FakePeople(_Told):
    async def list(self, actor: Actor) -> Any:
        actor.require(Action.MANAGE_PEOPLE)
        return estate.PEOPLE

    async def get(self, actor: Actor, name: str) -> Person:
        actor.require(Action.MANAGE_PEOPLE)
        for person in estate.PEOPLE:
            if person.name == name:
                return person
        raise NotFound(noun="person", name=name)

    async def create(self, actor: Actor, name: str, role: Any, password: str) -> Any:
        actor.require(Action.MANAGE_PEOPLE)
        if len(password) < 12:
            raise Invalid(fields={"password": "a password has 12 to 1024 characters"})
        self.told.asked.append(("create person", name, role))

    async def change(self, actor: Actor, name: str, role: Any = None, disabled: Any = None) -> Any:
        actor.require(Action.MANAGE_PEOPLE)
        if name == "admin":
            raise Conflict("admin is the last admin.")
        self.told.asked.append(("change person", name, role, disabled))

    async def set_password(self, actor: Actor, name: str, password: str) -> None:
        self.told.asked.append(("password", name))

    async def own_password(self, actor: Actor, current: str, new: str, session_token: str = "") -> None:
        if current != GOOD:
            raise Invalid(fields={"current": "this is not your password"})
        self.told.asked.append(("own password", session_token))

    async def set_theme(self, actor: Actor, theme: str) -> None:
        self.told.theme = theme

    async def tokens(self, actor: Actor, name: str = "") -> Any:
        return estate.TOKENS

    async def create_token(
        self, actor: Actor, token_name: str, role: Any = None, days: Any = None, name: str = ""
    ) -> str:
        self.told.asked.append(("token", token_name, role, days))
        return "comserv_0123456789abcdef"

    async def revoke_token(self, actor: Actor, token_id: int, name: str = "") -> None:
        self.told.asked.append(("revoke token", token_id, name))

    async def sessions(self, actor: Actor, current_token: str = "", name: str = "") -> Any:
        return estate.SESSIONS

    async def revoke_session(self, actor: Actor, session_id: int, name: str = "") -> None:
        self.told.asked.append(("revoke session", session_id, name))

    async def revoke_sessions(self, actor: Actor, current_token: str = "", name: str = "") -> int:
        self.told.asked.append(("revoke sessions", current_token, name))
        return 2


class FakeSshKeys(_Told):
    async def list(self, actor: Actor) -> Any:
        return self.told.keys

    async def add(self, actor: Actor, text: str, name: str = "", offered: bool = True) -> Any:
        read_ssh_keys(text)
        self.told.asked.append(("add key", text))

    async def change(self, actor: Actor, key_id: int, name: Any = None, offered: Any = None) -> None:
        self.told.asked.append(("change key", key_id, offered))

    async def remove(self, actor: Actor, key_id: int) -> None:
        self.told.asked.append(("remove key", key_id))


class FakeAnother(_Told):
    async def like_guest(self, actor: Actor, key: GuestKey) -> Any:
        actor.require(Action.PLAN)
        return self.told.like

    async def like_job(self, actor: Actor, job_id: str) -> Any:
        actor.require(Action.PLAN)
        return replace(self.told.like, job=job_id)

    async def last(self, actor: Actor) -> Any:
        actor.require(Action.PLAN)
        return self.told.last


class FakeAudit(_Told):
    async def require(self, actor: Actor, action: Action, subject: str = "") -> None:
        actor.require(action)

    async def list(self, actor: Actor, query: Any) -> Any:
        actor.require(Action.SEE_AUDIT)
        return Page(estate.AUDIT if not query.who else (), None)


class FakeOverview(_Told):
    async def summary(self, actor: Actor) -> Any:
        return self.told.summary

    async def counts(self, actor: Actor) -> Any:
        self.told.reads += 1
        return self.told.counts


class FakeFinder(_Told):
    async def find(self, actor: Actor, text: str, limit: int = 20) -> Any:
        if text == "nothing":
            return ()
        return (
            Match("verb", "Start shop-03", "lab / pve1", "lab/135", "start"),
            Match("guest", "shop-01", "131 on lab / pve1, running", "lab/131"),
            Match("guest", "shop-03", "135 on lab / pve1, stopped", "lab/135"),
            Match("server", "lab", "lab, up", "lab"),
            Match("page", "Add a server", "Page", "add-server"),
            Match("job", "Create web-01", "running, on lab", estate.RUNNING.id),
        )

    async def coverage(self, actor: Actor) -> Coverage:
        return estate.COVERAGE


class FakeLive(_Told):
    async def follow(self, after: int | None = None) -> AsyncIterator[Notice]:
        last = len(self.told.notices) if after is None else after
        while True:
            for notice in self.told.notices[last:]:
                last = notice.id
                yield notice
            self.told.news.clear()
            await self.told.news.wait()


def services(told: Told) -> Services:
    return cast(
        Services,
        SimpleNamespace(
            servers=FakeServers(told),
            guests=FakeGuests(told),
            vms=FakeVms(told),
            server_addresses=FakeAddresses(told),
            server_token=FakeToken(told),
            jobs=FakeJobs(told),
            people=FakePeople(told),
            sessions=FakeSessions(told),
            ssh_keys=FakeSshKeys(told),
            another=FakeAnother(told),
            audit=FakeAudit(told),
            overview=FakeOverview(told),
            finder=FakeFinder(told),
            live=FakeLive(told),
            bundles=FakeBundles(told),
            loads=FakeLoads(told),
            maintenances=FakeMaintenances(told),
            doctor=FakeDoctor(told),
        ),
    )
