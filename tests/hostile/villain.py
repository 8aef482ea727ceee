"""A server that passes for a Proxmox VE, by asking a simulated one, until it is told to misbehave.

`Villains` runs many of them in a thread of its own, each on a port of its own.
"""

import asyncio
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from tests.proxmox.certificates import Authority, Certificate
from tests.proxmox.scripted import Act, Answer, Asked, Scripted, raw

RESOURCES = "/cluster/resources"


@dataclass
class Villain(Scripted):
    """`behind`: the simulator's line. `evil`: what is answered to a path instead, once it is set."""

    behind: dict[str, Any] = field(default_factory=dict)
    evil: Answer | None = None
    on: str = RESOURCES
    struck: int = 0  # how often the evil was answered

    def _chosen(self, asked: Asked) -> Answer:
        if self.evil is not None and asked.path == self.on:
            self.struck += 1
            return self.evil
        return self._pass_on

    async def _pass_on(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(await asyncio.to_thread(self._asked_behind, asked))

    def _asked_behind(self, asked: Asked) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        to = urlsplit(self.behind["url"])
        connection = http.client.HTTPSConnection(str(to.hostname), to.port, context=context, timeout=30)
        try:
            headers = {
                name: value for name, value in asked.headers.items() if name in ("authorization", "content-type")
            }
            connection.request(asked.method, asked.target, asked.body or None, headers)
            reply = connection.getresponse()
            kind = reply.getheader("Content-Type") or ""
            return raw(reply.read(), reply.status, reply.reason, kind, f"Date: {reply.getheader('Date')}")
        finally:
            connection.close()


class Villains:
    """As a context: the thread. `add` starts one."""

    def __init__(self, authority: Authority, behind: dict[str, Any]) -> None:
        self._authority, self._behind = authority, behind
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(32))  # what is passed on waits for the simulator
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.by_name: dict[str, Villain] = {}
        self.certificates: dict[str, Certificate] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for villain in self.by_name.values():
            self._run(villain.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def add(self, name: str) -> Villain:
        certificate = self._authority.issue()
        villain = Villain(context=certificate.context(), behind=self._behind)
        self._run(villain.__aenter__())
        self.by_name[name], self.certificates[name] = villain, certificate
        return villain

    def registration(self, name: str) -> dict[str, Any]:
        """The body of `POST /servers`."""
        token = self._behind["tokens"]["full"]
        return {
            "id": name,
            "name": name,
            "addresses": [self.by_name[name].address],
            "token_id": token["id"],
            "token_secret": token["secret"],
            "tls": {"mode": "fingerprint", "fingerprint": self.certificates[name].fingerprint},
        }

    def with_another_certificate(self, name: str) -> None:
        """From its next connection on; the port stays."""
        context = self.by_name[name].context
        assert context is not None
        context.load_cert_chain(self._authority.issue().file)
        self._loop.call_soon_threadsafe(self._drop, name)
        self._loop.call_soon_threadsafe(
            self._loop.call_later, 2.0, self._drop, name
        )  # one that was being made just then

    def _drop(self, name: str) -> None:
        for task in list(self.by_name[name]._tasks):
            task.cancel()


# --- what a hostile server answers


def rows(*given: dict[str, Any]) -> bytes:
    """`/cluster/resources` with these rows."""
    return json_reply({"data": list(given)})


def json_reply(value: Any) -> bytes:
    return raw(json.dumps(value).encode(), 200, "OK", "application/json;charset=UTF-8")


def vm(**given: Any) -> dict[str, Any]:
    """A row of a VM that is in order, but for what is given."""
    row = {
        "id": "qemu/900", "type": "qemu", "vmid": 900, "name": "odd", "node": "pve", "status": "running", "template": 0, "cpu": 0.1,
        "maxcpu": 2, "mem": 1, "maxmem": 2, "disk": 0, "maxdisk": 5, "uptime": 9, "tags": "", "netin": 1, "netout": 1,
    }  # fmt: skip
    return {**row, **given}


def endless(head: bytes, part: bytes, pause: float = 0.0, most: int = 1 << 62) -> Act:
    """Sends a part again and again until the other side has enough."""

    async def act(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        sent = 0
        while sent < most:
            writer.write(part)
            sent += len(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return act


def written(text: bytes, then: Callable[[asyncio.StreamWriter], None] = lambda _: None) -> Act:
    async def act(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()
        then(writer)

    return act


def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
