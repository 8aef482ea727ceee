"""The connections to one server: its addresses in turn, TLS verified on each, and certainty about what was sent.

Three facts of Proxmox shape this (semantics sections 1 and 18): idle connections are closed after 5 s, so ours are let go
after 3; a reused connection may be closing as we write, so a change always opens a connection of its own, and what fails
before its first byte was surely not carried out; any error reply closes the connection, which is none of our business.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext
from time import monotonic
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from multidict import CIMultiDictProxy
from yarl import URL

from comserv.domain.errors import (
    CertificateRefused,
    OutcomeUnknown,
    ProxmoxError,
    ReplyUnreadable,
    ServerInMaintenance,
    ServerUnreachable,
)
from comserv.domain.server import Server
from comserv.proxmox import tls
from comserv.proxmox.destinations import DestinationRefused, judge, judge_literal
from comserv.proxmox.encoding import Call, encode
from comserv.proxmox.errors import NOTHING_REACHED_THE_NODE, Reply
from comserv.proxmox.limits import Rate
from comserv.proxmox.servertime import ServerTime

KEEP_ALIVE = 3.0  # seconds; Proxmox closes at 5
LARGEST_REPLY = 32 * 1024 * 1024  # bytes, unpacked; 10,000 guests are some 6 MB
AVOID_FAILED = 60.0  # seconds for which an address that failed is tried last
AVOID_SILENT = 300.0  # the same where it took a request and never answered: to try it again costs a long wait
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Timeouts:
    """Seconds. connect: name, TCP and TLS together. read: silence while we wait (Proxmox itself gives up at 30)."""

    connect: float = 5.0
    read: float = 40.0
    whole: float = 60.0


class Resolver(AbstractResolver):
    """Names are looked up in threads of the server's own: one whose DNS hangs keeps nobody else waiting."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        for *_, at in found:
            judge(str(at[0]), port)
        return [
            ResolveResult(
                hostname=host, host=str(at[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, at in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Lost(Exception):
    """The connection ended after the request went out and before its answer was whole."""


class _Stopped(Exception):
    """The guard of a sending raised; nothing was sent."""


@dataclass
class Sending:
    """One request on its way. guard: awaited right before its first byte, may raise. sent: whether that byte left.

    transport: what its answer comes on. certificate: in DER, on which that was trusted.
    """

    guard: Callable[[], Awaitable[None]] | None = None
    sent: bool = False
    refusal: BaseException | None = None
    transport: asyncio.Transport | None = None
    certificate: bytes | None = None

    async def about_to_send(self) -> None:
        if self.sent:
            raise Lost("the connection was lost")  # never twice, whatever the library would like
        if self.guard:
            try:
                await self.guard()
            except BaseException as error:
                self.refusal = error
                raise _Stopped from error
        self.sent = True

    def answered_on(self, transport: asyncio.Transport | None) -> None:
        self.transport = transport
        handshake = transport.get_extra_info("ssl_object") if transport else None
        self.certificate = handshake.getpeercert(binary_form=True) if handshake else None

    def hang_up(self) -> None:
        """Ends a connection that is closing: a goodbye of TLS would wait for the other side, half a minute if it hangs."""
        if self.transport and self.transport.is_closing():
            self.transport.abort()


_on_its_way: ContextVar[Sending] = ContextVar("_on_its_way")


class _Response(aiohttp.ClientResponse):
    async def start(self, connection: Connection) -> Self:
        _on_its_way.get().answered_on(connection.transport)
        await super().start(connection)
        return self


@dataclass(frozen=True)
class _Failure:
    """at: by the monotonic clock."""

    at: float
    error: ProxmoxError
    avoid: float = AVOID_FAILED


class Connections:
    """Sends requests to one server. Sessions are opened at the first use, in the running event loop.

    secret: the token's value; with none the requests go without credentials, as to what anybody may read.
    """

    def __init__(self, server: Server, secret: str, timeouts: Timeouts | None = None) -> None:
        self.rate, self.time = Rate(), ServerTime()
        self.address_in_use = ""
        self.certificates: dict[str, bytes] = {}
        self._timeouts = timeouts or Timeouts()
        self.update(server, secret)
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._resolver = Resolver()

    def update(self, server: Server, secret: str) -> None:
        """Another registration of the same server. It counts for whatever is sent from now on."""
        self.server, self.secret = server, secret
        self._headers = {"Accept": "application/json"}
        if secret:
            self._headers["Authorization"] = f"PVEAPIToken={server.token_id}={secret}"
        self._verifications: dict[str, tls.Pin | SSLContext] = {}
        self._failures: dict[str, _Failure] = {}

    async def close(self) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()
        await self._resolver.close()

    @property
    def failures(self) -> Mapping[str, ProxmoxError]:
        """What went wrong last, by address; an address that answered since then is not in it."""
        return {address: failure.error for address, failure in self._failures.items()}

    async def send(self, call: Call, guard: Callable[[], Awaitable[None]] | None = None) -> Reply:
        """Tries the addresses in turn until one takes the request.

        A 595 says that the node behind that address could not be reached from there and nothing came to it, so one other
        address is asked; so it is for a read that got no answer at all, or one that no Proxmox VE gives.

        Raises ServerUnreachable (CertificateRefused among them) when none was reached, OutcomeUnknown when a change was
        sent and no answer came, ServerUnreachable with the fact `dropped` when a read got none, and what `guard` raises.
        """

        async def may_go() -> None:
            if guard:
                await guard()
            self._stay_open()

        failed: list[ServerUnreachable] = []
        useless: Reply | None = None
        heard = 0  # addresses that took the request
        for address in self._in_turn():
            self._stay_open()
            sending = Sending(may_go)
            try:
                reply = await self._send_to(address, call, sending)
            except (ServerUnreachable, OutcomeUnknown) as error:
                silent = isinstance(error.__cause__, TimeoutError) and sending.sent
                self._failures[address] = _Failure(monotonic(), error, AVOID_SILENT if silent else AVOID_FAILED)
                heard += sending.sent
                if not isinstance(error, ServerUnreachable) or (sending.sent and not (silent and heard == 1)):
                    raise
                failed.append(error)
                continue
            self._answered(address, sending)
            heard += 1
            if heard > 1 or not _asked_elsewhere(call, reply):
                return reply
            useless = reply
        if useless is not None:
            return useless
        raise self._unreachable(failed) from (failed[-1].__cause__ if failed else None)

    def _answered(self, address: str, sending: Sending) -> None:
        self._failures.pop(address, None)
        self.address_in_use = address
        if sending.certificate:
            self.certificates[address] = sending.certificate

    def _stay_open(self) -> None:
        """In maintenance not one request leaves, whoever holds the client; what is on its way is still answered."""
        if self.server.maintenance:
            raise ServerInMaintenance(self.server.maintenance.words, server=self.server.id)

    def _in_turn(self) -> list[str]:
        """In order of preference, those that failed within the last minute at the end."""
        now = monotonic()

        def failed_lately(address: str) -> float:
            failure = self._failures.get(address)
            return failure.at if failure and now - failure.at < failure.avoid else 0.0

        return sorted(self.server.addresses, key=failed_lately)

    def _unreachable(self, failed: list[ServerUnreachable]) -> ServerUnreachable:
        refused = next((error for error in failed if isinstance(error, CertificateRefused)), None)
        detail = "; ".join(error.detail for error in failed) or "no address is known"
        if refused is None:
            return ServerUnreachable(detail, server=self.server.id)
        facts = {"address": refused.facts["address"], "seen": refused.facts.get("seen", "")}
        return CertificateRefused(detail, server=self.server.id, **facts)

    async def _send_to(self, address: str, call: Call, sending: Sending) -> Reply:
        try:  # a name is judged once it has been looked up, below
            judge_literal(*tls.host_and_port(address))
        except DestinationRefused as error:
            raise self._error(address, call, sending, error) from error
        verification = self._verification(address)
        url, body, headers = self._written(address, call)
        session = self._session(call.changes)
        on_its_way, asked = _on_its_way.set(sending), monotonic()
        try:
            async with session.request(
                call.method,
                url,
                data=body,
                headers=headers,
                ssl=verification,
                allow_redirects=False,
                trace_request_ctx=sending,
            ) as response:
                self.time.told(response.headers.get("Date", ""), asked, monotonic())
                return Reply(
                    status=response.status,
                    reason=response.reason or "",
                    body=await _limited(response),
                    content_type=_content_type(response.headers),
                    location=response.headers.get("Location", ""),
                    wants_password="WWW-Authenticate" in response.headers,
                    date=response.headers.get("Date", ""),
                    address=address,
                    software=response.headers.get("Server", ""),
                )
        except _Stopped:
            assert sending.refusal is not None  # noqa: S101 - it is what stopped the sending
            raise sending.refusal from None
        except (aiohttp.ClientError, OSError, TimeoutError, Lost, _TooLarge) as error:
            raise self._error(address, call, sending, error) from error
        finally:
            _on_its_way.reset(on_its_way)
            sending.hang_up()
            if sending.sent:
                self.rate.count()

    def _verification(self, address: str) -> tls.Pin | SSLContext:
        if address not in self._verifications:
            self._verifications[address] = tls.verification(self.server.tls, address, self.server.id)
        return self._verifications[address]

    def _written(self, address: str, call: Call) -> tuple[URL, bytes | None, dict[str, str]]:
        """DELETE's parameters go into the query: Proxmox refuses its body (semantics section 1)."""
        text = encode(call.parameters)
        url = f"{address}/api2/json{call.path}"
        if call.method in ("GET", "DELETE"):
            return URL(f"{url}?{text}" if text else url, encoded=True), None, self._headers
        return URL(url, encoded=True), text.encode(), self._headers | {"Content-Type": FORM}

    def _session(self, changes: bool) -> aiohttp.ClientSession:
        """One for reads, whose connections are kept a while, and one for changes, each on a connection of its own."""
        if changes not in self._sessions:
            connector = (
                aiohttp.TCPConnector(force_close=True, limit=0, resolver=self._resolver)
                if changes
                else aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE, limit=0, resolver=self._resolver)
            )
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_about_to_send)
            limits = self._timeouts
            self._sessions[changes] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(limits.whole, limits.connect, limits.read, limits.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
                trust_env=False,
                response_class=_Response,
            )
        return self._sessions[changes]

    def _error(self, address: str, call: Call, sending: Sending, error: Exception) -> ProxmoxError:
        """What a failed exchange means: before the first byte nothing was carried out; after it a change may have been."""
        if isinstance(error, _TooLarge | aiohttp.ClientResponseError):
            kind = OutcomeUnknown if call.changes else ReplyUnreadable
            return kind(f"{address} did not answer in HTTP as Proxmox does: {error}", server=self.server.id)
        if isinstance(error, aiohttp.ServerFingerprintMismatch):
            seen = ":".join(f"{byte:02X}" for byte in error.got)
            return self._certificate_refused(address, f"its fingerprint is {seen}, which was not accepted", seen)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return self._certificate_refused(address, tls.words(_inner(error)))
        text = f"{address}: {tls.words(_inner(error))}"
        if sending.sent and call.changes:
            return OutcomeUnknown(f"{call} was sent, then {text}", server=self.server.id)
        dropped = sending.sent and not isinstance(error, TimeoutError)
        return ServerUnreachable(text, server=self.server.id, address=address, dropped=dropped)

    def _certificate_refused(self, address: str, why: str, seen: str = "") -> CertificateRefused:
        """`facts` has address and, where a fingerprint was agreed, the one that was seen."""
        return CertificateRefused(f"{address}: {why}", server=self.server.id, address=address, seen=seen)


class _TooLarge(Exception):
    """The reply is larger than any that Proxmox gives."""


def _asked_elsewhere(call: Call, reply: Reply) -> bool:
    """Whether another address may know better: nothing reached the node, or, for a read, something else answered here."""
    return reply.status == NOTHING_REACHED_THE_NODE or (not call.changes and bool(reply.unlike_proxmox))


async def _about_to_send(_session: aiohttp.ClientSession, context: object, _parameters: object) -> None:
    await context.trace_request_ctx.about_to_send()  # type: ignore[attr-defined]


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > LARGEST_REPLY:
            raise _TooLarge(f"a reply of more than {LARGEST_REPLY // 1024 // 1024} MiB")
        parts.append(part)
    return b"".join(parts)


def _content_type(headers: CIMultiDictProxy[str]) -> str:
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _inner(error: Exception) -> BaseException:
    """The system's own error inside aiohttp's."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if isinstance(error.os_error, DestinationRefused):
            return error.os_error
        return OSError(0, f"no address is known for this name ({error.os_error.strerror or error.os_error})")
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
