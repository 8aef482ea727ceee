"""Consoles: tickets, the websocket, a screen that answers, a terminal that answers, and tasks that end with the viewer."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .conftest import Simulator, end, start

UPDATE_ALL, UPDATE = b"\x03\x00" + struct.pack(">4H", 0, 0, 640, 400), b"\x03\x01" + struct.pack(">4H", 0, 0, 640, 400)


@pytest.fixture(scope="module")
def world() -> Iterator[Simulator]:
    """One node with a running VM 100, a stopped VM 101, a container 102 that runs, and VM 103 with a serial port."""
    simulator = start("--world", "recorded", "--speed", "20")
    try:
        disk = {
            "scsi0": "local:1",
            "ide2": "local:iso/mini.iso,media=cdrom",
            "name": "seen",
            "net0": "virtio,bridge=vmbr0",
        }
        more: dict[str, Any]
        for vmid, more in ((100, {"start": 1}), (101, {}), (103, {"start": 1, "serial0": "socket"})):
            simulator.finished(simulator.call("POST", "/nodes/pve1/qemu", vmid=vmid, **disk, **more).data)
        made = simulator.call(
            "POST", "/nodes/pve1/lxc", vmid=102, ostemplate="local:vztmpl/mini.tar.gz", rootfs="local:1", start=1
        )
        simulator.finished(made.data)
        yield simulator
    finally:
        end(simulator)


def proxied(world: Simulator, path: str, kind: str = "vncproxy", **parameters: Any) -> dict[str, Any]:
    """What a proxy call answered."""
    answer = world.call("POST", f"{path}/{kind}", **parameters)
    assert answer.status == 200, answer.body
    return answer.data


def joined(world: Simulator, path: str, told: dict[str, Any]) -> ClientConnection:
    """The websocket of a proxy."""
    query = urlencode({"port": told["port"], "vncticket": told["ticket"]})
    return connect(
        f"wss://127.0.0.1:{world.port}/api2/json{path}/vncwebsocket?{query}",
        ssl=world.context,
        additional_headers=world.token(),
        subprotocols=[Subprotocol("binary")],
        compression=None,
    )


class Screen:
    """A viewer that speaks just enough RFB."""

    def __init__(self, socket: ClientConnection, password: str) -> None:
        self.socket, self.buffer = socket, b""
        assert self.read(12) == b"RFB 003.008\n"
        socket.send(b"RFB 003.008\n")
        assert self.read(2) == b"\x01\x02", "a password is wanted"
        socket.send(b"\x02")
        key = bytes(int(f"{letter:08b}"[::-1], 2) for letter in password.encode()[:8])
        socket.send(Cipher(TripleDES(key * 3), modes.ECB()).encryptor().update(self.read(16)))
        (self.refused,) = struct.unpack(">I", self.read(4))
        if self.refused:
            self.reason = self.read(struct.unpack(">I", self.read(4))[0])
            return
        socket.send(b"\x01")
        self.width, self.height = struct.unpack(">HH", self.read(4))
        self.read(16)
        self.name = self.read(struct.unpack(">I", self.read(4))[0]).decode()

    def read(self, count: int) -> bytes:
        while len(self.buffer) < count:
            part = self.socket.recv(5)
            assert isinstance(part, bytes)
            self.buffer += part
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def update(self, request: bytes = UPDATE) -> dict[int, bytes]:
        """What a request for news brought: pixels by their first line."""
        self.socket.send(request)
        kind, count = struct.unpack(">BxH", self.read(4))
        assert kind == 0
        news = {}
        for _ in range(count):
            _, y, width, height, encoding = struct.unpack(">HHHHi", self.read(12))
            assert encoding == 0
            news[y] = self.read(width * height * 4)
        return news

    def press(self, symbol: int) -> None:
        for down in (1, 0):
            self.socket.send(struct.pack(">BBxxI", 4, down, symbol))


def watched(world: Simulator, upid: str) -> dict[str, Any]:
    """What the viewer of a proxy did so far."""
    return next(one for one in world.control("GET", "consoles") if one["upid"] == upid)


def test_a_screen_shows_a_picture_that_changes_and_takes_keys_pointer_and_clipboard(world: Simulator) -> None:
    path = "/nodes/pve1/qemu/100"
    told = proxied(world, path, websocket=1)
    with joined(world, path, told) as socket:
        assert socket.subprotocol == "binary"
        screen = Screen(socket, told["ticket"])
        assert not screen.refused and (screen.width, screen.height) == (640, 400) and screen.name == "QEMU (seen)"
        whole = screen.update(UPDATE_ALL)
        assert sum(len(part) for part in whole.values()) == 640 * 400 * 4
        assert any(part.strip(b"\0") for part in whole.values()), "something is to be seen"
        news = screen.update()
        assert news and len(news) < len(whole), "the cursor blinks, and no more is sent"
        for letter in "root":
            screen.press(ord(letter))
        socket.send(struct.pack(">BBHH", 5, 1, 320, 200) + struct.pack(">BxxxI", 6, 5) + b"paste")
        seen = watched(world, told["upid"])
        end_of_waiting = time.monotonic() + 5
        while not seen["clipboard"] and time.monotonic() < end_of_waiting:
            screen.update()
            seen = watched(world, told["upid"])
        assert seen["keys"] == [ord(letter) for letter in "root"]
        assert seen["pointer"] == [320, 200, 1] and seen["clipboard"] == "paste"
        assert seen["text"][-1].endswith("login: root")
    assert world.finished(told["upid"])["exitstatus"] == "OK", "the task ends when the viewer goes"


def test_a_wrong_password_is_refused_on_the_screen_and_a_generated_one_is_right(world: Simulator) -> None:
    path = "/nodes/pve1/qemu/100"
    told = proxied(world, path, websocket=1, generate__password=1)
    assert len(told["password"]) == 8
    with joined(world, path, told) as socket:
        assert Screen(socket, "12345678").refused == 1
    again = proxied(world, path, websocket=1, generate__password=1)
    with joined(world, path, again) as socket:
        assert Screen(socket, again["password"]).refused == 0


def test_a_viewer_that_never_comes_ends_the_task(world: Simulator) -> None:
    told = proxied(world, "/nodes/pve1/qemu/100")
    assert told["port"].isdigit() and told["ticket"].startswith("PVEVNC:")
    row = world.call("GET", "/nodes/pve1/tasks", source="active").data[0]
    assert (row["upid"], row["status"]) == (told["upid"], "RUNNING")
    assert world.finished(told["upid"])["exitstatus"] == "connection timed out"


def test_tickets_are_for_one_guest_one_user_and_one_viewer(world: Simulator) -> None:
    path = "/nodes/pve1/qemu/100"
    told = proxied(world, path)
    with joined(world, path, told):
        with pytest.raises(InvalidStatus) as second:
            joined(world, path, told)
        assert second.value.response.status_code == 500
        with pytest.raises(InvalidStatus) as other:
            joined(world, "/nodes/pve1/qemu/103", told)
        assert other.value.response.status_code == 401
    query = f"port={told['port']}&vncticket={quote(told['ticket'], safe='')}"
    answer = world.send("GET", f"/api2/json{path}/vncwebsocket?{query}", headers=world.token("root@pam!full"))
    assert (answer.status, answer.reason) == (401, "permission denied - invalid PVEVNC ticket")
    low = world.send("GET", f"/api2/json{path}/vncwebsocket?{query}", headers=world.token("low@pve!none"))
    assert low.status == 403


def test_a_stopped_vm_gets_a_ticket_and_fails_on_the_socket(world: Simulator) -> None:
    path = "/nodes/pve1/qemu/101"
    told = proxied(world, path)
    with joined(world, path, told) as socket, pytest.raises(ConnectionClosed):
        socket.recv(5)
    assert world.finished(told["upid"])["exitstatus"] == "Failed to run vncproxy."


@contextlib.contextmanager
def terminal(world: Simulator, path: str) -> Iterator[tuple[ClientConnection, dict[str, Any]]]:
    """A terminal that has taken its ticket."""
    told = proxied(world, path, "termproxy")
    with joined(world, path, told) as socket:
        socket.send(f"{told['user']}:{told['ticket']}\n".encode())
        assert socket.recv(5) == b"OK"
        yield socket, told


def read_until(socket: ClientConnection, text: str) -> str:
    """What a terminal wrote up to and with a text."""
    seen = ""
    while text not in seen:
        part = socket.recv(5)
        assert isinstance(part, bytes)
        seen += part.decode()
    return seen


@pytest.mark.parametrize("path", ["/nodes/pve1/qemu/103", "/nodes/pve1/lxc/102", "/nodes/pve1"])
def test_a_terminal_takes_keys_sizes_and_pings(world: Simulator, path: str) -> None:
    with terminal(world, path) as (socket, told):
        read_until(socket, "login: ")
        for part in (b"0:5:root\r", b"2", b"1:120:40:", b"0:7:sec", b"ret\r", b"0:10:stty size\r"):
            socket.send(part)
        assert "40 120" in read_until(socket, "40 120")
        socket.send("0:11:echo käse\r".encode())
        read_until(socket, "käse")
    assert world.finished(told["upid"])["exitstatus"] == "OK"


def test_a_terminal_with_a_bad_ticket_is_closed(world: Simulator) -> None:
    told = proxied(world, "/nodes/pve1/qemu/103", "termproxy")
    with joined(world, "/nodes/pve1/qemu/103", told) as socket:
        socket.send(b"admin@pve!full:PVEVNC:00000000::wrong\n")
        with pytest.raises(ConnectionClosed):
            socket.recv(5)


def test_a_vm_without_serial_port_says_so_on_its_terminal(world: Simulator) -> None:
    with terminal(world, "/nodes/pve1/qemu/100") as (socket, _):
        assert "unable to find a serial interface" in read_until(socket, "interface")
        with pytest.raises(ConnectionClosed):
            socket.recv(5)


def test_a_console_ends_when_its_guest_stops(world: Simulator) -> None:
    path = "/nodes/pve1/qemu/103"
    told = proxied(world, path)
    with joined(world, path, told) as socket:
        screen = Screen(socket, told["ticket"])
        screen.update(UPDATE_ALL)
        world.finished(world.call("POST", f"{path}/status/stop").data)
        with pytest.raises(ConnectionClosed), contextlib.suppress(TimeoutError):
            while True:
                screen.update()
    world.finished(world.call("POST", f"{path}/status/start").data)


def test_without_upgrade_only_the_port_is_told_and_odd_ports_are_refused(world: Simulator) -> None:
    path = "/nodes/pve1/qemu/100"
    told = proxied(world, path)
    query = f"port={told['port']}&vncticket={quote(told['ticket'], safe='')}"
    plain = world.send("GET", f"/api2/json{path}/vncwebsocket?{query}", headers=world.token())
    assert plain.data == {"port": told["port"]}
    odd = world.send("GET", f"/api2/json{path}/vncwebsocket?port=80&vncticket=x", headers=world.token())
    assert odd.errors == {"port": "value must have a minimum value of 5900"}


def test_a_shell_on_the_node_is_not_for_tokens(world: Simulator) -> None:
    answer = world.call("POST", "/nodes/pve1/vncshell")
    assert (answer.status, answer.reason) == (500, "value 'admin@pve!full' does not look like a valid user name")


def test_termproxy_can_ask_whether_a_ticket_is_right(world: Simulator) -> None:
    told = proxied(world, "/nodes/pve1/qemu/100")
    asked = {"authid": told["user"], "path": "/vms/100", "privs": "VM.Console"}
    body = urlencode({**asked, "vncticket": told["ticket"]})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert world.send("POST", "/api2/json/access/vncticket", body, form).status == 200
    wrong = urlencode({**asked, "vncticket": "PVEVNC:x"})
    assert world.send("POST", "/api2/json/access/vncticket", wrong, form).status == 401
