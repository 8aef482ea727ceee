"""A public client, unchanged: proxmoxer goes through the whole life of a VM against the stand-in."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib
import io
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Simulator, end, start

proxmoxer: Any = importlib.import_module("proxmoxer")  # comes without types
tools: Any = importlib.import_module("proxmoxer.tools")


@pytest.fixture(scope="module")
def world() -> Iterator[Simulator]:
    """A cluster of two nodes with a template."""
    simulator = start("--nodes", "2", "--guests", "2", "--templates", "1", "--speed", "30")
    yield simulator
    end(simulator)


@pytest.fixture
def client(world: Simulator) -> Iterator[Any]:
    """A client with a token."""
    user, name = "admin@pve", "full"
    secret = world.told["credentials"][f"{user}!{name}"]
    yield from connected(world, user=user, token_name=name, token_value=secret)


@pytest.fixture
def signed_in(world: Simulator) -> Iterator[Any]:
    """A client with a password."""
    yield from connected(world, user="admin@pve", password=world.told["credentials"]["admin@pve"])


def connected(world: Simulator, **options: Any) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        made = proxmoxer.ProxmoxAPI("127.0.0.1", port=world.port, verify_ssl=False, timeout=30, **options)
        yield made
        made._store["session"].close()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server with one file; its address."""
    (tmp_path / "tiny.iso").write_bytes(b"\0" * 70_000)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/tiny.iso"
    server.shutdown()
    thread.join()
    server.server_close()


def finished(client: Any, upid: str) -> dict[str, Any]:
    """A task that ended well, as proxmoxer's own tools wait for it."""
    status = tools.Tasks.blocking_status(client, upid, timeout=20, polling_interval=0.05)
    assert status is not None and status["exitstatus"] == "OK", status
    return status


def template(client: Any) -> dict[str, Any]:
    """The template of the cluster."""
    return next(row for row in client.cluster.resources.get(type="vm") if row.get("template"))


def whole_life(client: Any) -> None:
    """List, clone, set, grow, start, snapshot, back up, stop, restore nothing, delete."""
    source = template(client)
    node, vmid = client.nodes(source["node"]), int(client.cluster.nextid.get())
    finished(client, node.qemu(source["vmid"]).clone.post(newid=vmid, name="made-by-client", full=1))
    vm = node.qemu(vmid)
    disk = next(key for key in vm.config.get() if key in ("scsi0", "virtio0", "sata0"))
    vm.config.put(memory=2048, cores=2, description="ä & ü = 100 %", tags="one;two")
    finished(client, vm.config.post(ciuser="me", ipconfig0="ip=dhcp"))
    finished(client, vm.resize.put(disk=disk, size="+1G"))
    told = vm.config.get()
    assert told["name"] == "made-by-client" and told["cores"] == 2 and told["description"].strip() == "ä & ü = 100 %"
    finished(client, vm.status.start.post())
    assert vm.status.current.get()["status"] == "running"
    finished(client, vm.snapshot.post(snapname="before", vmstate=0))
    assert {"before", "current"} == {row["name"] for row in vm.snapshot.get()}
    finished(client, vm.snapshot("before").delete())
    finished(client, node.vzdump.post(vmid=vmid, storage="local", mode="snapshot", compress="zstd"))
    backups = node.storage("local").content.get(content="backup", vmid=vmid)
    assert len(backups) == 1
    finished(client, vm.status.stop.post())
    finished(client, vm.delete(purge=1))
    assert vmid not in {row["vmid"] for row in node.qemu.get()}
    finished(client, node.storage("local").content(backups[0]["volid"]).delete())


def test_a_client_with_a_token_goes_through_a_whole_life(client: Any) -> None:
    assert client.version.get()["release"].startswith("9.")
    whole_life(client)


def test_a_client_with_a_password_goes_through_a_whole_life(signed_in: Any) -> None:
    assert signed_in.access.permissions.get()["/"]
    whole_life(signed_in)


@pytest.mark.parametrize("name", ["client", "signed_in"])
def test_files_come_by_upload_and_by_url(name: str, web: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(name)
    storage = client.nodes(client.nodes.get()[0]["node"]).storage("local")
    data = bytes(range(256)) * 300
    file = io.BytesIO(data)
    file.name = f"sent-by-{name}.iso"  # as an open file has it
    sums = {"checksum-algorithm": "sha256", "checksum": hashlib.sha256(data).hexdigest()}
    finished(client, storage.upload.post(content="iso", filename=file, **sums))
    finished(client, storage("download-url").post(content="iso", filename=f"fetched-{name}.iso", url=web))
    found = {row["volid"]: row["size"] for row in storage.content.get(content="iso")}
    assert found[f"local:iso/sent-by-{name}.iso"] == len(data) and found[f"local:iso/fetched-{name}.iso"] == 70_000
    for volid in (f"local:iso/sent-by-{name}.iso", f"local:iso/fetched-{name}.iso"):
        finished(client, storage.content(volid).delete())


def test_refusals_reach_the_client_with_the_servers_words(client: Any) -> None:
    node = client.nodes(client.nodes.get()[0]["node"])
    with pytest.raises(proxmoxer.ResourceException) as refusal:
        node.qemu(999_999).config.get()
    assert refusal.value.status_code == 500 and "does not exist" in str(refusal.value)
    with pytest.raises(proxmoxer.ResourceException) as wrong:
        node.qemu.post(vmid=150, memory="much")
    assert wrong.value.status_code == 400 and wrong.value.errors["memory"]


def test_logs_and_ids_of_tasks_are_as_the_clients_tools_expect(client: Any) -> None:
    source = template(client)
    upid = client.nodes(source["node"]).qemu(source["vmid"]).status.start.post()
    assert tools.Tasks.decode_upid(upid)["type"] == "qmstart"
    until = time.monotonic() + 20
    while client.nodes(source["node"]).tasks(upid).status.get()["status"] == "running" and time.monotonic() < until:
        time.sleep(0.05)
    rows = client.nodes(source["node"]).tasks(upid).log.get()
    assert tools.Tasks.decode_log(rows).endswith("TASK ERROR: you can't start a vm if it's a template")
