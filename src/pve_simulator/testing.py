"""A pytest plugin: simulated Proxmox VE servers for tests. Put `pytest_plugins = ["pve_simulator.testing"]` into a conftest.

    @pytest.mark.pve(world="cluster", speed=20)
    def test_it(pve: Simulator) -> None:
        client = MyClient(pve.url, pve.tokens["full"], fingerprint=pve.fingerprint)

Simulators with the same options are started once and shared by the tests of a process (so by those of a worker of pytest-xdist: each
takes free ports of its own); fault rules and remembered requests are gone before each test. `fresh=True` gives one for that test alone.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest

START_WITHIN, STOP_WITHIN = 60.0, 10.0  # seconds
SPEED = 20.0  # of a simulator whose test names none


@dataclass
class Reply:
    """What came back. `data` is what the API calls so; None where there is none."""

    status: int
    reason: str
    body: bytes

    @property
    def data(self) -> Any:
        """Raises ValueError where the body is no JSON."""
        return json.loads(self.body).get("data") if self.body else None


@dataclass
class Server:
    """One simulated server. `tokens`: `full`, `sep` and `none`, each with `id` and `secret`; `fingerprint` is SHA-256 as `AA:BB:…`."""

    told: dict[str, Any]

    @property
    def url(self) -> str:
        """`https://127.0.0.1:PORT`."""
        return self.told["url"]

    @property
    def fingerprint(self) -> str:
        """As it was at the start; `world()["fingerprint"]` is that of now."""
        return self.told["fingerprint"]

    @property
    def tokens(self) -> dict[str, dict[str, str]]:
        """The three tokens of the named worlds."""
        return self.told["tokens"]

    @property
    def templates(self) -> list[int]:
        """VMIDs."""
        return self.told["templates"]

    def call(self, method: str, path: str, /, token: str = "full", **parameters: Any) -> Reply:  # noqa: S107 - its name
        """A call of the API, `path` without `/api2/json`; dashes of parameters are written `__`. A lost connection raises OSError."""
        told = urlencode({name.replace("__", "-"): value for name, value in parameters.items()})
        inline = method in ("GET", "DELETE")
        who = self.tokens[token]
        request = urllib.request.Request(  # noqa: S310 - the address is the simulator's own
            f"{self.url}/api2/json{path}" + (f"?{told}" if inline and told else ""),
            None if inline else told.encode(),
            {"Authorization": f"PVEAPIToken={who['id']}={who['secret']}"},
            method=method,
        )
        return _open(request)

    def finished(self, upid: str, within: float = 30.0) -> str:
        """Waits for a task; its exit status. Raises TimeoutError after `within` seconds."""
        path = f"/nodes/{upid.split(':')[1]}/tasks/{quote(upid, safe='')}/status"
        end = time.monotonic() + within
        while time.monotonic() < end:
            status = self.call("GET", path).data
            if status["status"] == "stopped":
                return status["exitstatus"]
            time.sleep(0.05)
        raise TimeoutError(f"{upid} has not ended within {within} s")

    def world(self) -> dict[str, Any]:
        """What is really there: guests with their configurations, tasks with their logs, volumes, nodes, storages, pools."""
        return self._control("GET", "world")

    def requests(self) -> list[dict[str, Any]]:
        """Those that came since the test began: method, path, who, status (-1: no reply), milliseconds."""
        return self._control("GET", "requests")

    def fault(self, effect: str, path: str = "", method: str = "", node: str = "", **rule: Any) -> None:
        """Adds a fault rule: `fault("task_fail", "/clone$", exitstatus="no space", times=1)`. Raises ValueError for a bad one."""
        match = {"path": path, "method": method, "node": node}
        self._control("POST", "faults", [{"match": {k: v for k, v in match.items() if v}, "effect": effect, **rule}])

    def calm(self) -> None:
        """Takes all fault rules away and forgets the requests."""
        self._control("DELETE", "faults")
        self._control("DELETE", "requests")

    def _control(self, method: str, what: str, value: Any = None) -> Any:
        body = None if value is None else json.dumps(value).encode()
        reply = _open(urllib.request.Request(f"{self.url}/_sim/{what}", body, method=method))  # noqa: S310 - as above
        if reply.status != 200:
            raise ValueError(json.loads(reply.body)["error"])
        return json.loads(reply.body)


class Simulator(Server):
    """A running `pve-simulator`: its first server, and all of them in `servers`."""

    def __init__(self, *options: str) -> None:
        """`options` of the command but for the port. Raises RuntimeError where it does not start."""
        command = [sys.executable, "-m", "pve_simulator.command", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
        assert self.process.stdout  # noqa: S101 - it was asked for
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"pve-simulator {' '.join(options)} ended with {self.process.wait(START_WITHIN)}")
        super().__init__(json.loads(line))
        self.servers = [Server(told) for told in self.told["servers"]]

    def stop(self) -> None:
        """Ends the process."""
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout  # noqa: S101 - as above
        self.process.stdout.close()


def _open(request: urllib.request.Request) -> Reply:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # loopback; what is shown is tested elsewhere
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as came:  # noqa: S310 - as above
            return Reply(came.status, came.reason, came.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return Reply(refused.code, str(refused.reason), refused.read())


def options_of(marker: pytest.Mark | None) -> tuple[str, ...]:
    """The command's options for what a marker asks: `world`, `speed`, `nodes`, `guests`, `templates`, `servers`, `seed`, …"""
    asked = {"speed": SPEED, **({k: v for k, v in marker.kwargs.items() if k != "fresh"} if marker else {})}
    told: list[str] = []
    for name, value in asked.items():
        option = f"--{name.replace('_', '-')}"
        told += [option] if value is True else [] if value is False else [option, str(value)]
    return tuple(told)


def pytest_configure(config: pytest.Config) -> None:
    """Makes the marker known."""
    config.addinivalue_line(
        "markers",
        "pve(world, speed, nodes, guests, templates, servers, seed, fresh): which simulated Proxmox VE the fixture `pve` gives",
    )


@pytest.fixture(scope="session")
def pve_simulators() -> Iterator[Callable[..., Simulator]]:
    """Starts simulators by the options of the command, each once, and ends them with the session."""
    started: dict[tuple[str, ...], Simulator] = {}

    def get(*options: str) -> Simulator:
        if options not in started:
            started[options] = Simulator(*options)
        return started[options]

    yield get
    for simulator in started.values():
        simulator.stop()


@pytest.fixture
def pve(request: pytest.FixtureRequest, pve_simulators: Callable[..., Simulator]) -> Iterator[Simulator]:
    """The simulated Proxmox VE that the test's marker `pve` asks for; without one a node with guests at speed 20."""
    marker = request.node.get_closest_marker("pve")
    options = options_of(marker)
    if marker and marker.kwargs.get("fresh"):
        simulator = Simulator(*options)
        try:
            yield simulator
        finally:
            simulator.stop()
        return
    simulator = pve_simulators(*options)
    troubled = marker is not None and marker.kwargs.get("world") == "trouble"
    for server in simulator.servers:
        if not troubled:
            server.calm()
    yield simulator
    if not troubled:
        with contextlib.suppress(OSError):  # one that a test has killed
            for server in simulator.servers:
                server.calm()
