"""The port speaks HTTP as pveproxy does: judged by the bytes recorded from a real one, and by sentences."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import re
import socket
import ssl
import time
import zlib
from pathlib import Path

import pytest

from .conftest import Simulator

RECORDS = [
    json.loads(line)
    for line in (Path(__file__).parent / "recordings" / "14-http-and-timing.jsonl").read_text().split("\n")
    if line
]
NOT_ALIKE = {
    "raw.root-page",  # the recorded machine lacked its web interface
    "raw.encoded-path",  # of a VM that only the whole replay makes
    "raw.gzip-large",
    "raw.deflate-large",
}
RAW = {
    record["name"]: record
    for record in RECORDS
    if record["method"] == "RAW" and record["name"] not in NOT_ALIKE and record["response_body"]
}


def comparable(reply: str) -> list[str]:
    """Head lines and body of all replies on a connection, without what differs from run to run."""
    reply = re.sub(r"(Date|Expires): [^\r]*", r"\1: #", reply)
    reply = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:#", reply)
    reply = re.sub(r'"data":"\d+"', '"data":"#"', reply)  # the next free id, which depends on the world
    heads = re.split(r"(?=HTTP/1)", reply)
    lines: list[str] = []
    for head in heads:
        top, _, body = head.partition("\r\n\r\n")
        lines += top.split("\r\n")
        lines.append(json.dumps(json.loads(body), sort_keys=True) if body.startswith("{") else body)
    return lines


@pytest.mark.parametrize("name", RAW)
def test_bytes_on_the_socket_are_answered_as_the_real_one_answered(recorded: Simulator, name: str) -> None:
    record = RAW[name]
    secret = recorded.told["credentials"]["admin@pve!full"]
    sent = record["request_body"].replace("<TOKEN-SECRET>", secret)
    reply = recorded.raw(sent.encode("latin-1"), secure="plain-http" not in name).decode("latin-1")
    if name == "raw.expect-100":
        recorded.call("DELETE", "/pools/exp")
    assert comparable(reply) == comparable(record["response_body"])


@pytest.mark.parametrize("name", ["raw.header-too-many", "raw.header-too-large"])
def test_a_flood_of_headers_is_never_answered(recorded: Simulator, name: str) -> None:
    record = next(record for record in RECORDS if record["name"] == name)
    assert len(record["request_body"]) < 9000 or "X-A" in record["request_body"]
    lines = "".join(f"X-{number}: a\r\n" for number in range(80))
    extra = lines if name.endswith("many") else "X-A: " + "a" * 9000 + "\r\n"
    began = time.monotonic()
    reply = recorded.raw(f"GET /api2/json/version HTTP/1.1\r\n{extra}\r\n".encode(), patience=1.0)
    assert reply == b""
    assert time.monotonic() - began >= 1.0, "the connection stays open"


def test_a_kept_connection_serves_a_hundred_requests_and_no_more(recorded: Simulator) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", recorded.port, context=recorded.context, timeout=5)
    connection.auto_open = 0
    connection.connect()
    served = 0
    with pytest.raises((http.client.HTTPException, OSError)):
        while True:
            connection.request("GET", "/api2/json/version", headers=recorded.token())
            connection.getresponse().read()
            served += 1
    connection.close()
    assert served == 100


def test_an_idle_connection_is_closed_after_five_seconds_of_the_real_server(recorded: Simulator) -> None:
    with recorded.connect() as connection:
        token = recorded.token()["Authorization"]
        connection.sendall(f"GET /api2/json/version HTTP/1.1\r\nAuthorization: {token}\r\n\r\n".encode())
        assert b"Keep-Alive" in connection.recv(65536)
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.3 < time.monotonic() - began < 1.5, "5 s at speed 10"


def test_sixty_connections_at_once_are_all_served(recorded: Simulator) -> None:
    token = recorded.token()["Authorization"]
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(60):
            connections.append(stack.enter_context(recorded.connect()))
            connections[-1].sendall(f"GET /api2/json/version HTTP/1.1\r\nAuthorization: {token}\r\n\r\n".encode())
        replies = [connection.recv(65536) for connection in connections]
    assert all(reply.startswith(b"HTTP/1.1 200 OK") for reply in replies)


def test_tls_is_1_2_or_newer_without_alpn(recorded: Simulator) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", recorded.port)) as plain,
        context.wrap_socket(plain) as secure,
    ):
        assert secure.version() in ("TLSv1.2", "TLSv1.3")
        assert secure.selected_alpn_protocol() is None


def test_the_printed_fingerprint_is_that_of_the_certificate(recorded: Simulator) -> None:
    with recorded.connect() as connection:
        assert isinstance(connection, ssl.SSLSocket)
        certificate = connection.getpeercert(binary_form=True)
    assert certificate
    made = hashlib.sha256(certificate).hexdigest().upper()
    assert ":".join(made[index : index + 2] for index in range(0, 64, 2)) == recorded.told["fingerprint"]


def test_a_large_reply_is_compressed_when_the_client_takes_it_and_gzip_is_preferred(recorded: Simulator) -> None:
    plain = recorded.send("GET", "/api2/json/access/roles", None, recorded.token())
    assert len(plain.body) > 1024
    assert plain.header("Content-Encoding") == []
    both = recorded.send(
        "GET", "/api2/json/access/roles", None, {**recorded.token(), "Accept-Encoding": "deflate, gzip"}
    )
    assert both.header("Content-Encoding") == ["gzip"]
    assert by_role(gzip.decompress(both.body)) == by_role(plain.body)
    other = recorded.send("GET", "/api2/json/access/roles", None, {**recorded.token(), "Accept-Encoding": "deflate"})
    assert other.header("Content-Encoding") == ["deflate"]
    assert by_role(zlib.decompress(other.body)) == by_role(plain.body)


def by_role(body: bytes) -> dict[str, str]:
    """Privileges by role."""
    return {row["roleid"]: row["privs"] for row in json.loads(body)["data"]}


def test_the_order_of_keys_is_random(recorded: Simulator) -> None:
    orders = {recorded.call("GET", "/version").body for _ in range(20)}
    assert len(orders) > 1


def test_a_call_of_the_privileged_daemon_comes_with_two_connection_headers(recorded: Simulator) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = recorded.send("POST", "/api2/json/access/ticket", "username=admin%40pve&password=adminpass1", form)
    assert answer.header("Connection") == ["close", "Keep-Alive"]
    assert recorded.call("GET", "/version").header("Connection") == ["Keep-Alive"]


def test_extjs_answers_200_and_tells_the_failure_in_the_body(recorded: Simulator) -> None:
    answer = recorded.send("GET", "/api2/extjs/nodes/pve1/qemu/1/config", None, recorded.token())
    assert answer.status == 200
    assert (answer.json["success"], answer.json["status"]) == (0, "400")
    answer = recorded.send("GET", "/api2/extjs/nosuch", None, recorded.token())
    assert (answer.json["success"], answer.json["status"]) == (0, 501)
    assert recorded.send("GET", "/api2/extjs/version", None, recorded.token()).json["success"] == 1


def test_the_start_page_names_the_product(recorded: Simulator) -> None:
    answer = recorded.send("GET", "/")
    assert answer.status == 200
    assert b"Proxmox Virtual Environment" in answer.body
