"""A simulator process for the client's tests: started on a free port, controlled over /_sim, ended with the test."""

import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from comserv.domain.server import Server, Tls, TlsMode, parse_token_id
from comserv.proxmox.client import Client
from comserv.proxmox.connections import Timeouts

COMMAND = Path(sys.executable).parent / "pve-simulator"
READY = 30.0


class Simulated:
    """`with Simulated("--nodes", "3") as simulated`. At ten times the speed."""

    def __init__(self, *options: str) -> None:
        command = [str(COMMAND), "--port", "0", "--speed", "10", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.told: dict[str, Any] = json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(READY)
        finally:
            if self._process.stdout:
                self._process.stdout.close()

    @property
    def url(self) -> str:
        return self.told["url"]

    @property
    def template(self) -> int:
        return self.told["templates"][0]

    def server(self, token: str = "full", tls: Tls | None = None) -> Server:
        pin = Tls(TlsMode.FINGERPRINT, fingerprints={self.url: self.told["fingerprint"]})
        return Server("lab", "Lab", (self.url,), parse_token_id(self.told["tokens"][token]["id"]), tls or pin)

    def secret(self, token: str = "full") -> str:
        return self.told["tokens"][token]["secret"]

    def client(self, token: str = "full", timeouts: Timeouts | None = None) -> Client:
        return Client(self.server(token), self.secret(token), timeouts)

    def fault(self, effect: str, match: dict[str, str] | None = None, **rest: Any) -> None:
        self._control("POST", "faults", [{"match": match or {}, "effect": effect, **rest}])

    def heal(self) -> None:
        self._control("DELETE", "faults")

    def world(self) -> dict[str, Any]:
        return self._control("GET", "world")

    def guest(self, vmid: int) -> dict[str, Any] | None:
        return next((guest for guest in self.world()["guests"] if guest["vmid"] == vmid), None)

    def requests(self) -> list[dict[str, Any]]:
        return self._control("GET", "requests")

    def _control(self, method: str, what: str, body: Any = None) -> Any:
        status, told = self.request(method, f"/_sim/{what}", json.dumps(body) if body is not None else None)
        assert status == 200, told
        return told

    def request(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Any request to the server; its status, and its JSON or its bytes."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        parts = urlsplit(self.url)
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=READY)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            text = answer.read()
            try:
                return answer.status, json.loads(text)
            except ValueError:
                return answer.status, text
        finally:
            connection.close()
