"""A simulator as a process of its own, and ways to speak to it: over http.client, or byte by byte."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest


def client_context() -> ssl.SSLContext:
    """TLS that accepts the simulator's own authority; what certificate it is, is tested by itself."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@dataclass
class Answer:
    """A reply as it came."""

    status: int
    reason: str
    body: bytes
    headers: list[tuple[str, str]]
    seconds: float

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        """What the API calls data."""
        return self.json["data"]

    @property
    def errors(self) -> dict[str, str]:
        """The texts per parameter of a 400."""
        return self.json["errors"]

    def header(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass
class Simulator:
    """A running process and what it printed."""

    process: subprocess.Popen[str]
    told: dict[str, Any]
    context: ssl.SSLContext = field(default_factory=client_context)

    @property
    def port(self) -> int:
        """Of the first server."""
        port = urlsplit(self.told["url"]).port
        assert port
        return port

    def token(self, who: str = "admin@pve!full") -> dict[str, str]:
        """Headers of an API token."""
        return {"Authorization": f"PVEAPIToken={who}={self.told['credentials'][who]}"}

    def send(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None, port: int = 0
    ) -> Answer:
        """One request on a connection of its own; a lost connection raises RemoteDisconnected or OSError."""
        connection = http.client.HTTPSConnection("127.0.0.1", port or self.port, context=self.context, timeout=30)
        began = time.monotonic()
        try:
            connection.request(method, path, body and body.encode(), headers or {})
            reply = connection.getresponse()
            return Answer(reply.status, reply.reason, reply.read(), reply.getheaders(), time.monotonic() - began)
        finally:
            connection.close()

    def call(self, method: str, path: str, /, who: str = "admin@pve!full", port: int = 0, **parameters: Any) -> Answer:
        """One call of the API with a token; parameters in the query of GET and DELETE, else as a form."""
        told = urlencode({key.replace("__", "-"): value for key, value in parameters.items()})
        headers = self.token(who)
        if port:
            server = next(one for one in self.told["servers"] if one["url"].endswith(f":{port}"))
            headers = {"Authorization": f"PVEAPIToken={who}={server['credentials'][who]}"}
        if method in ("GET", "DELETE"):
            return self.send(method, f"/api2/json{path}" + (f"?{told}" if told else ""), None, headers, port)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self.send(method, f"/api2/json{path}", told, headers, port)

    def control(self, method: str, path: str, value: Any = None, port: int = 0) -> Any:
        """One control request."""
        answer = self.send(method, f"/_sim/{path}", None if value is None else json.dumps(value), port=port)
        assert answer.status == 200, answer.body
        return answer.json

    def finished(self, upid: str, seconds: float = 20) -> dict[str, Any]:
        """The status of a task once it has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self.call("GET", f"/nodes/{upid.split(':')[1]}/tasks/{quote(upid, safe='')}/status").data
            if status["status"] == "stopped":
                return status
            time.sleep(0.05)
        raise AssertionError(f"{upid} has not ended within {seconds} s")

    def raw(self, sent: bytes, secure: bool = True, patience: float = 2.0) -> bytes:
        """What comes back to bytes on the socket until the server closes, or says nothing for `patience` seconds."""
        with contextlib.closing(self.connect(secure)) as connection:
            connection.sendall(sent)
            connection.settimeout(patience)
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                while part := connection.recv(65536):
                    received += part
            return received

    def connect(self, secure: bool = True) -> socket.socket:
        """A connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return self.context.wrap_socket(plain) if secure else plain

    def kill(self) -> None:
        """Ends the process at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """Ends the process in good order; its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


def start(*options: str) -> Simulator:
    """Starts a simulator on a free port and waits for its line."""
    command = [str(Path(sys.executable).with_name("pve-simulator")), "--port", "0", *options]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    line = process.stdout.readline()
    assert line, f"the simulator printed nothing and ended with {process.wait(10)}"
    return Simulator(process, json.loads(line))


def end(simulator: Simulator) -> None:
    """Ends a simulator, whatever state it is in."""
    if simulator.process.poll() is None:
        simulator.process.kill()
    simulator.process.wait(10)
    if simulator.process.stdout:
        simulator.process.stdout.close()


@pytest.fixture
def starting() -> Iterator[Callable[..., Simulator]]:
    """Starts simulators with options of the test's own; ends them after it."""
    with contextlib.ExitStack() as stack:

        def begin(*options: str) -> Simulator:
            simulator = start(*options)
            stack.callback(end, simulator)
            return simulator

        yield begin


@pytest.fixture(scope="session")
def recorded() -> Iterator[Simulator]:
    """The recorded world at speed 10, shared: only for tests that leave no trace in it."""
    simulator = start("--world", "recorded", "--speed", "10")
    yield simulator
    end(simulator)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Simulator]:
    """A cluster of three nodes at speed 20, shared: only for tests that clean up behind themselves."""
    simulator = start("--nodes", "3", "--guests", "12", "--templates", "2", "--speed", "20")
    yield simulator
    end(simulator)


@pytest.fixture
def faulty(cluster: Simulator) -> Iterator[Simulator]:
    """The shared cluster without fault rules before and after the test."""
    cluster.control("DELETE", "faults")
    cluster.control("DELETE", "requests")
    yield cluster
    cluster.control("DELETE", "faults")
