"""HTTP as uvicorn reads it, with bounds that it lacks: on what stands before a body, and on the time that a request may take to come.

Without them anybody who reaches the port could fill memory with a header that never ends, or hold connections open for good.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD = 64 << 10  # bytes of request line and headers
HEAD_WITHIN = 20.0  # seconds from the connection, or from a request's first byte, to the end of its headers
MOST_REST = 8 << 20  # bytes of what follows: a body of 1 MiB at most, but in chunks as small as the sender likes
BODY_WITHIN = 60.0  # seconds for the rest; 1 MiB is the most that is taken


class BoundedHttp(HttpToolsProtocol):
    """Answers 431 to a head that is too long; hangs up on whoever is too slow to finish a request."""

    _size = 0  # bytes of this request's head, and then of its rest
    _in_head = True
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._expect(HEAD_WITHIN)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._size += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._size > MOST_HEAD:
            self._refuse()
        elif self._size > MOST_REST:
            self._hang_up()

    def on_message_begin(self) -> None:
        self._size, self._in_head = 0, True
        self._expect(HEAD_WITHIN)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes after a body in chunks is of no use, and could go on for good
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._size, self._in_head = 0, False
        self._expect(BODY_WITHIN)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._expect(None)
        self._size, self._in_head = 0, True
        super().on_message_complete()

    def _expect(self, seconds: float | None) -> None:
        """The next part of the request within this time; None: nothing is waited for."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = None if seconds is None else self.loop.call_later(seconds, self._hang_up)

    def _hang_up(self) -> None:
        self._expect(None)
        self.transport.abort()

    def _refuse(self) -> None:
        told = b"The request's headers are too long.\n"
        head = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
        self.transport.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(told) + told)
        self.transport.close()
