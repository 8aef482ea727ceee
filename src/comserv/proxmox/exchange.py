"""One call and its answer, with all that stands around it: limits, one more try for reads, records for an observer,
errors in the words of the domain, and replies decoded."""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Protocol, TypeVar, cast

import msgspec

from comserv.domain.errors import OutcomeUnknown, PermissionMissing, ProxmoxError, ReplyUnreadable, ServerUnreachable
from comserv.domain.job import CallRecord
from comserv.domain.load import Purpose
from comserv.domain.task import Upid, parse_upid
from comserv.proxmox.connections import Connections
from comserv.proxmox.decoding import Envelope, decode
from comserv.proxmox.encoding import Call, Parameters, masked, masked_text
from comserv.proxmox.errors import Reply, error_of, unreadable, with_cure
from comserv.proxmox.limits import Limits
from comserv.proxmox.meter import Meter

T = TypeVar("T")
KEPT_OF_A_REFUSAL = 4096


class Observer(Protocol):
    """Whoever wants to know each call: a job that records them."""

    async def before_write(self) -> None:
        """Awaited right before the bytes of a call that changes something are sent; what it raises stops the call."""

    async def called(self, record: CallRecord) -> None:
        """Awaited after every call, good or bad."""


class Exchange:
    """Sends calls to one server. Every method raises the errors under ProxmoxError, and nothing else of its own."""

    def __init__(
        self,
        connections: Connections,
        limits: Limits,
        observer: Observer | None = None,
        secrets: Iterable[str] = (),
        *,
        meter: Meter | None = None,
        purpose: Purpose = Purpose.PAGE,
        on_refusal: Callable[[str], None] | None = None,
    ) -> None:
        """on_refusal: told the server's id when a change was refused for a right that is missing."""
        self._connections, self._limits, self._on_refusal = connections, limits, on_refusal
        self._observer, self._own_secrets = observer, tuple(secrets)
        self._meter, self._purpose = meter or Meter(), purpose

    @property
    def _secrets(self) -> tuple[str, ...]:
        """Masked wherever they stand in a record; the token's value only where records are kept at all."""
        return (*self._own_secrets, self._connections.secret) if self._observer else self._own_secrets

    @property
    def server_id(self) -> str:
        return self._connections.server.id

    async def get(self, path: str, of: type[T], parameters: Parameters | None = None, *, heavy_on: str = "") -> T:
        """The `data` of a reply, decoded. A dropped connection is tried once more."""
        return (await self.get_counted(path, of, parameters, heavy_on=heavy_on)).data

    async def get_counted(
        self, path: str, of: type[T], parameters: Parameters | None = None, *, heavy_on: str = ""
    ) -> Envelope[T]:
        """The same with its `total`, which lists of tasks and logs have."""
        return await self.read(Call("GET", path, parameters or {}, heavy_on=heavy_on), of)

    async def read(self, call: Call, of: type[T]) -> Envelope[T]:
        return self.decoded(await self.send(call), of, call.changes)

    async def change(self, method: str, path: str, parameters: Parameters | None = None, *, heavy_on: str = "") -> None:
        """A synchronous change; it is done when this returns. Never sent twice."""
        await self.send(Call(method, path, parameters or {}, changes=True, heavy_on=heavy_on))

    async def task(self, method: str, path: str, parameters: Parameters | None = None, *, heavy_on: str = "") -> Upid:
        """A change that begins a task. Never sent twice."""
        call = Call(method, path, parameters or {}, changes=True, heavy_on=heavy_on)
        reply = await self.send(call)
        try:
            return parse_upid(self.server_id, self.decoded(reply, cast("type[str]", Any), changes=True).data)
        except ReplyUnreadable as error:
            raise OutcomeUnknown(
                f"{call} was answered without a task: {error.detail}", server=self.server_id
            ) from error

    async def send(self, call: Call) -> Reply:
        """A good reply, whose body is not read yet."""
        async with AsyncExitStack() as held:
            with self._meter.waits():
                await held.enter_async_context(self._limits.place(call.heavy_on))
            try:
                return await self._attempt(call)
            except ServerUnreachable as error:
                if call.changes or not _dropped(error):
                    raise
            return await self._attempt(call)

    async def _attempt(self, call: Call) -> Reply:
        guard = self._observer.before_write if self._observer and call.changes else None
        began, at = perf_counter(), datetime.now(UTC)
        try:
            with self._meter.measured(self._purpose, call.method, call.path) as measured:
                reply = await self._connections.send(call, guard)
                measured.status = reply.status
        except ProxmoxError as error:
            await self._record(call, at, began, None, error.detail)
            raise
        error = error_of(self._without_secrets(reply), self.server_id, call.changes)
        await self._record(call, at, began, reply, "")
        if error:
            if isinstance(error, PermissionMissing):
                error = with_cure(error, self.server_id)
                if call.changes and self._on_refusal:
                    self._on_refusal(self.server_id)
            raise error
        return reply

    def decoded(self, reply: Reply, of: type[T], changes: bool = False) -> Envelope[T]:
        """The body of a good reply. Raises ReplyUnreadable, or OutcomeUnknown for one to a change."""
        try:
            return decode(reply.body, of)
        except msgspec.DecodeError as error:
            raise unreadable(self.server_id, str(error), reply, changes) from error

    def _without_secrets(self, reply: Reply) -> Reply:
        """A refusal may repeat what was sent; its words are kept and shown."""
        if reply.status < 300 or not self._secrets:
            return reply
        return replace(reply, body=masked_text(reply.body.decode("utf-8", "replace"), self._secrets).encode())

    async def _record(self, call: Call, at: datetime, began: float, reply: Reply | None, failure: str) -> None:
        if self._observer is None:
            return
        body = reply.body.decode("utf-8", "replace") if reply else failure
        bad = reply is None or reply.status >= 300
        await self._observer.called(
            CallRecord(
                at=at,
                method=call.method,
                path=call.path,
                parameters=masked(call.parameters, self._secrets),
                status=reply.status if reply else None,
                ms=(perf_counter() - began) * 1000,
                upid=_upid_in(body) if call.changes and not bad else "",
                reply=self._refusal(reply, body) if bad else "",
            )
        )

    def _refusal(self, reply: Reply | None, body: str) -> str:
        text = body or (reply.reason if reply else "")
        return masked_text(text, self._secrets)[:KEPT_OF_A_REFUSAL]


def _upid_in(body: str) -> str:
    """The task that a change began. A read names tasks too, in lists: those belong to whoever began them."""
    start = body.find('"UPID:')
    return body[start + 1 : body.find('"', start + 1)] if start >= 0 and len(body) < 1024 else ""


def _dropped(error: ServerUnreachable) -> bool:
    """The connection ended although it had been there: with a kept one that is no news (semantics section 18)."""
    return error.proxmox is None and error.facts.get("dropped", False)
