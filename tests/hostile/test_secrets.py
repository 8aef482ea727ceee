"""A whole life with secrets in every place where one is given: none of them is found again, plain or encoded."""

import base64
import http.cookiejar
import io
import json
import ssl
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from comserv.domain.concealment import spellings
from tests.processes import PASSWORD, Running, comserv_running, free_port, run_comserv, simulator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CLOUD_INIT, AGAIN = "cl0ud/init+\"pass'word&<9f2c>", "t0ld/anew+\"pass'word&<77aa>"
MADE_UP = "5f0c9d2e-0c8e-4c0e-9b37-2b1e0c6a4c11"
PRIVATE = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"
PEM = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{PRIVATE}\n-----END OPENSSH PRIVATE KEY-----"


class Life:
    """One installation, who asks of it, and every reply that came."""

    def __init__(self, running: Running) -> None:
        self.running, self.replies = running, dict[str, bytes]()
        self.jar = http.cookiejar.CookieJar()
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.running.tokens['admin']}", "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body).encode()
        status, told = self._send(urllib.request.build_opener(), method, f"/api/v1{path}", sent, headers)
        return status, json.loads(told) if told[:1] in (b"{", b"[") else told

    def page(self, path: str, **fields: str) -> str:
        sent = urlencode(fields).encode() if fields else None
        return self._send(self._browser, "POST" if fields else "GET", path, sent, {})[1].decode()

    def _send(
        self, opener: Any, method: str, path: str, sent: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        request = urllib.request.Request(f"{self.running.url}{path}", sent, headers, method=method)  # our own
        try:
            with opener.open(request, timeout=60) as reply:
                status, told, said = reply.status, reply.read(), reply.headers
        except urllib.error.HTTPError as error:
            with error:
                status, told, said = error.code, error.read(), error.headers
        assert status < 500, (method, path, told)
        if path != "/api/v1/tokens":  # a new token is told once, to whoever makes it
            kept = [f"{name}: {value}" for name, value in said.items() if name.lower() != "set-cookie"]
            self.replies[f"{len(self.replies)} {method} {path}"] = "\n".join(kept).encode() + b"\n" + told
        return status, told

    def ended(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = {}
        for _ in range(240):
            job = self.ask("GET", f"/jobs/{job_id}")[1]
            if job["state"] not in ("queued", "running"):
                return job
            time.sleep(0.25)
        raise AssertionError(job)


@pytest.fixture(scope="module")
def estate() -> Iterator[dict[str, Any]]:
    with simulator("--speed", "20", "--guests", "3") as told:
        yield told


def test_no_secret_of_a_whole_life_is_found_anywhere(tmp_path: Path, estate: dict[str, Any]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    link = (
        run_comserv("setup-link", COMSERV_DATA_DIR=str(folder), COMSERV_PORT=str(free_port()))
        .out.split("/set-up/")[1]
        .split()[0]
    )
    with comserv_running(folder, COMSERV_LOG_LEVEL="DEBUG", COMSERV_METRICS="loopback") as running:
        life = Life(running)
        secrets = {"set-up link": link, **lived(life, estate)}
        everything_is_looked_at(life)
    key = (folder / "key").read_text().strip()
    secrets |= {"our key": key, "our key, raw": base64.b64decode(key).hex()}
    places = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "key"}
    assert any(path.endswith(".db") for path in places) and any(path.endswith("serve.log") for path in places)
    texts = {**places, **life.replies, **unpacked(life.replies)}
    found = {(name, path) for name, secret in secrets.items() for path, text in texts.items() if holds(text, secret)}
    assert not found


def lived(life: Life, estate: dict[str, Any]) -> dict[str, str]:
    """Every secret that was given to it, by what it is."""
    full, token = estate["tokens"]["full"], {}
    server = {
        "id": "rack",
        "addresses": [estate["url"]],
        "tls": {"mode": "fingerprint", "fingerprints": {estate["url"]: estate["fingerprint"]}},
    }
    server = {**server, "token_id": full["id"]}
    assert life.ask("POST", "/servers", {**server, "token_secret": MADE_UP})[0] in (422, 502)
    added = life.running.command(
        *("server", "add", "rack", "--address", estate["url"], "--fingerprint", estate["fingerprint"]),
        *("--token-id", full["id"], "--token-secret-stdin"),
        stdin=full["secret"],
    )
    assert added.code == 0, added.err
    assert life.ask("POST", "/servers/rack/token", {"token_id": full["id"], "token_secret": MADE_UP[::-1]})[0] >= 400
    assert life.ask("POST", "/servers/rack/token", {"token_id": full["id"], "token_secret": full["secret"]})[0] < 400
    _, made = life.ask("POST", "/tokens", {"name": "made", "role": "viewer"})
    assert life.ask("POST", "/account/ssh-keys", {"key": PEM})[0] == 422
    assert life.ask("PUT", "/account/password", {"current": "wr0ng-present-one", "new": "an0ther-l0ng-one"})[0] == 422
    assert life.ask("POST", "/people", {"name": "eve", "role": "viewer", "password": "3ve-has-a-l0ng-one"})[0] == 201
    life.page("/sign-in", user="admin", password="not-the-passw0rd-of-admin")  # a wrong one
    life.page("/sign-in", user="admin", password=PASSWORD)
    creations(life, estate)
    cookies = {f"cookie {one.name}": one.value or "" for one in life.jar}
    assert cookies
    tokens = {f"API token of {role}": token for role, token in life.running.tokens.items()}
    return {
        "token secret": full["secret"],
        "wrong token": MADE_UP,
        "other wrong token": MADE_UP[::-1],
        "password": PASSWORD,
        "new token": made["token"],
        "private key": PRIVATE,
        "wrong present password": "wr0ng-present-one",
        "new password": "an0ther-l0ng-one",
        "another's": "3ve-has-a-l0ng-one",
        "wrong password": "not-the-passw0rd-of-admin",
        "cloud-init": CLOUD_INIT,
        "cloud-init, anew": AGAIN,
        **tokens,
        **cookies,
        **token,
    }


def creations(life: Life, estate: dict[str, Any]) -> None:
    """One with a password; one that fails at it, is retried without and then with it; one that never begins."""
    template = {"server": "rack", "vmid": estate["templates"][0]}
    wish = {
        "server": "rack",
        "template": template,
        "start_after_creation": False,
        "cloud_init": {"user": "debian", "password": CLOUD_INIT},
    }
    assert life.ask("POST", "/vms/plan", {**wish, "hostname": "first"})[0] == 200
    status, job = life.ask("POST", "/vms", {**wish, "hostname": "first"})
    assert status == 202 and life.ended(job["id"])["state"] == "succeeded", job
    assert life.ask("POST", "/vms", {**wish, "hostname": "first", "cpu_cores": 100000})[0] == 422
    assert (
        life.ask(
            "POST", "/vms", {**wish, "hostname": "keyed", "cloud_init": {**wish["cloud_init"], "ssh_keys": [PEM]}}
        )[0]
        == 422
    )
    faults = [
        {
            "effect": "status",
            "match": {"path": "/config$", "method": "POST"},
            "status": 500,
            "text": f"no: {CLOUD_INIT}",
        }
    ]
    control(estate, "POST", "faults", faults)
    status, job = life.ask("POST", "/vms", {**wish, "hostname": "second"})
    assert status == 202 and life.ended(job["id"])["state"] == "failed", job
    control(estate, "DELETE", "faults")
    assert life.ask("POST", f"/jobs/{job['id']}/retry", {})[0] in (409, 422)
    assert life.ask("POST", f"/jobs/{job['id']}/retry", {"secrets": {"cloud_init.password": AGAIN}})[0] < 400
    assert life.ended(job["id"])["state"] == "succeeded"


def control(estate: dict[str, Any], method: str, what: str, body: Any = None) -> None:
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{estate['url']}/_sim/{what}", sent, method=method)  # the simulator
    with urllib.request.urlopen(request, context=ssl._create_unverified_context()):  # its certificate is made up
        pass


def everything_is_looked_at(life: Life) -> None:
    for path in (
        "/servers/rack/bundle",
        "/audit?limit=500",
        "/jobs",
        "/servers",
        "/people",
        "/tokens",
        "/sessions",
        "/account",
        "/overview",
        "/guests",
    ):
        life.ask("GET", path)
    for job in life.ask("GET", "/jobs")[1]["items"]:
        for what in ("", "/calls", "/bundle", "/request"):
            life.ask("GET", f"/jobs/{job['id']}{what}")
        life.page(f"/jobs/{job['id']}")
    for path in (
        "/",
        "/guests",
        "/jobs",
        "/servers",
        "/servers/rack",
        "/servers/rack/edit",
        "/servers/rack/token",
        "/people",
        "/people/eve",
        "/audit",
    ):
        life.page(path)
    for path in ("/account", "/guests/new?server=rack", "/find?q=first", "/metrics", "/guests.csv"):
        life.page(path)
    assert len([1 for path in life.replies if path.endswith("/bundle")]) >= 3


def unpacked(replies: dict[str, bytes]) -> dict[str, bytes]:
    """The files inside of the bundles."""
    found: dict[str, bytes] = {}
    for path, reply in replies.items():
        if path.endswith("/bundle"):
            with zipfile.ZipFile(io.BytesIO(reply[reply.index(b"PK\x03\x04") :])) as bundle:
                found |= {f"{path} {name}": bundle.read(name) for name in bundle.namelist()}
    return found


def holds(text: bytes, secret: str) -> bool:
    return any(one.encode() in text for one in spellings(secret))


@pytest.mark.parametrize("spelt", sorted(spellings(CLOUD_INIT)))
def test_the_search_would_find_it(spelt: str) -> None:
    assert holds(f"before {spelt} after".encode(), CLOUD_INIT)
