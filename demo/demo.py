"""Starts Comserv with a simulated estate and prints one link that signs in as the demo's administrator.

Three servers: `lab` (one node), `rack` (a cluster of three) and `branch`, which was seen once and is down since. Everything lies in
var/demo, so that starting again finds the same world and the same jobs. Only the commands and the REST interface are used.
"""

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
BIN = HERE / ".venv" / "bin"
FOLDER = Path(os.environ.get("COMSERV_DEMO_DIR") or HERE / "var" / "demo")
STOP_WITHIN = 4.0  # seconds; the promise is 5
SERVERS = {
    "lab": ("Lab, under the desk", ["--nodes", "1", "--guests", "18", "--templates", "1", "--seed", "11"]),
    "rack": ("Rack, three nodes", ["--nodes", "3", "--guests", "36", "--templates", "2", "--seed", "23"]),
    "branch": ("Branch office", ["--nodes", "1", "--guests", "6", "--templates", "1", "--seed", "5"]),
}
DOWN = "branch"
stopping = threading.Event()


def say(text: str) -> None:
    print(text, flush=True)


def die_with_parent() -> None:
    """So that nothing is left behind where this process is killed outright (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)


def free_port(wanted: int, taken: set[int]) -> int:
    """`wanted` when it is free, else any other."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = probe.getsockname()[1]
            if found not in taken:
                taken.add(found)
                return found
    raise SystemExit("No free port on 127.0.0.1.")


def start(name: str, command: list[str], **settings: str) -> subprocess.Popen[str]:
    """A child of its own session, its log beside its data."""
    log = (FOLDER / f"{name}.log").open("a")
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE if "simulator" in command[0] else log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
        env={**os.environ, **settings},
    )


def comserv(*words: str, given: str = "") -> str:
    """A command on the demo's data folder."""
    done = subprocess.run([BIN / "comserv", *words], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"comserv {' '.join(words[:2])} failed: {done.stderr.strip()}")
    return done.stdout


def ask(base: str, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One REST call: (status, JSON)."""
    request = urllib.request.Request(f"{base}/api/v1{path}", method=method)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(
            request, data=None if body is None else json.dumps(body).encode(), timeout=30
        ) as reply:
            return reply.status, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def wait_for(what: str, limit: float, check: Any, child: subprocess.Popen[str] | None = None) -> Any:
    """Until check() gives something; raises SystemExit after `limit` seconds, or where the child has ended."""
    end = time.monotonic() + limit
    while time.monotonic() < end and not stopping.is_set():
        if child is not None and child.poll() is not None:
            break
        with contextlib.suppress(OSError):
            if found := check():
                return found
        time.sleep(0.1)
    raise SystemExit(
        130 if stopping.is_set() else f"{what} did not come up within {limit:.0f} s; see the logs in {FOLDER}."
    )


class Demo:
    def __init__(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.kept = FOLDER / "demo.json"
        self.state: dict[str, Any] = json.loads(self.kept.read_text()) if self.kept.exists() else {"ports": {}}
        self.children: dict[str, subprocess.Popen[str]] = {}

    def save(self) -> None:
        fresh = self.kept.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(self.state))
        fresh.replace(self.kept)

    def simulate(self, name: str, port: int) -> None:
        """Starts a simulated server; `told` reads what it says."""
        folder = FOLDER / "servers" / name
        folder.mkdir(parents=True, exist_ok=True)
        self.children[name] = start(
            name, [str(BIN / "pve-simulator"), "--port", str(port), "--state", str(folder), *SERVERS[name][1]]
        )

    def told(self, name: str) -> dict[str, Any]:
        """Its one line of JSON, once it is ready."""
        said = self.children[name].stdout
        line = said.readline() if said else ""
        if not line:
            raise SystemExit(f"The simulated server {name} did not start; see {FOLDER / name}.log.")
        return json.loads(line)

    def run(self) -> None:
        first = not self.state.get("ready")
        taken: set[int] = set()
        ports = {name: free_port(self.state["ports"].get(name, 0), taken) for name in SERVERS}
        present = [name for name in SERVERS if first or name != DOWN]
        for name in present:
            self.simulate(name, ports[name])
        port = free_port(int(os.environ.get("COMSERV_PORT") or self.state["ports"].get("comserv", 8080)), taken)
        base = f"http://127.0.0.1:{port}"
        os.environ.update(COMSERV_DATA_DIR=str(FOLDER / "comserv"), COMSERV_HOST="127.0.0.1", COMSERV_PORT=str(port))
        self.children["comserv"] = start("comserv", [str(BIN / "comserv"), "serve"])
        wait_for(
            "Comserv",
            45,
            lambda: urllib.request.urlopen(f"{base}/api/v1/health", timeout=5).status == 200,
            self.children["comserv"],
        )
        if first and "token" not in self.state:
            comserv(
                "user", "create", "demo", "--role", "admin", "--password-stdin", given=secrets.token_urlsafe(24) + "\n"
            )
            self.state["token"] = json.loads(comserv("token", "create", "--user", "demo", "--json"))["token"]
        moved = {name for name in SERVERS if self.state["ports"].get(name) not in (None, ports[name])}
        self.state["ports"] = {**ports, "comserv": port}
        self.save()
        for name in present:
            self.register(base, name, self.told(name), moved=name in moved)
        if first:
            self.let_down(base)
            self.state["ready"] = True
            self.save()
        link = json.loads(comserv("user", "sign-in-link", "demo", "--json"))["path"]
        say(f"\n  Comserv with a simulated estate is ready. Ctrl-C ends it.\n\n  {base}{link}\n")
        self.watch()

    def register(self, base: str, name: str, world: dict[str, Any], moved: bool) -> None:
        token = world["tokens"]["full"]
        body = {
            "name": SERVERS[name][0],
            "addresses": [world["url"]],
            "token_id": token["id"],
            "token_secret": token["secret"],
            "tls": {"mode": "fingerprint", "fingerprint": world["fingerprint"]},
        }
        status, answer = ask(base, self.state["token"], "POST", "/servers", {"id": name, **body})
        if status == 409 and moved:
            status, answer = ask(base, self.state["token"], "PATCH", f"/servers/{name}", body)
        if status not in (200, 201, 409):
            raise SystemExit(f"The server {name} could not be added: {answer}")

    def let_down(self, base: str) -> None:
        """The branch was seen once; from now on it does not answer."""
        token = self.state["token"]
        wait_for(
            "The branch's first picture", 20, lambda: ask(base, token, "GET", f"/guests?server={DOWN}")[1].get("items")
        )
        child = self.children.pop(DOWN)
        child.terminate()
        child.wait(10)
        ask(base, token, "POST", f"/servers/{DOWN}/test")
        wait_for("The branch's end", 20, lambda: ask(base, token, "GET", f"/servers/{DOWN}")[1].get("state") == "down")

    def watch(self) -> None:
        """Until somebody says stop, or a part ends by itself."""
        while not stopping.wait(0.5):
            for name, child in self.children.items():
                if child.poll() is not None:
                    raise SystemExit(f"{name} ended by itself ({child.returncode}); see {FOLDER / name}.log.")

    def end(self) -> None:
        """Asks all to stop, and stops what does not listen."""
        for child in self.children.values():
            child.terminate()
        end = time.monotonic() + STOP_WITHIN
        for child in self.children.values():
            try:
                child.wait(max(0.05, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def main() -> None:
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, lambda *_: stopping.set())
    demo = Demo()
    try:
        demo.run()
    finally:
        demo.end()
    say("  Ended; everything is kept in var/demo. `make demo` goes on from there.")


if __name__ == "__main__":
    sys.exit(main())
