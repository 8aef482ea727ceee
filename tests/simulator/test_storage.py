"""Storages that fill and empty with what lies on them, and the files that come onto them."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Answer, Simulator, end, start

GIB = 1024**3
LOCAL = "/nodes/pve1/storage/local"


@pytest.fixture(scope="module")
def disks() -> Iterator[Simulator]:
    """The recorded world's storages."""
    simulator = start("--world", "recorded", "--speed", "10")
    yield simulator
    end(simulator)


@pytest.fixture
def clean(disks: Simulator) -> Iterator[Simulator]:
    """Without fault rules before and after."""
    disks.control("DELETE", "faults")
    yield disks
    disks.control("DELETE", "faults")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server with two images; its address."""
    head = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(16) + (5 * GIB).to_bytes(8, "big")
    (tmp_path / "cloud.qcow2").write_bytes(head.ljust(4096, b"\0"))
    (tmp_path / "garbage.qcow2").write_bytes(b"no image at all")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def listing(simulator: Simulator, **asked: Any) -> dict[str, dict[str, object]]:
    """Volumes of `local` by id."""
    return {row["volid"]: row for row in simulator.call("GET", f"{LOCAL}/content", **asked).data}


def used(simulator: Simulator) -> int:
    """Bytes in use on `local` at this moment."""
    return simulator.call("GET", f"{LOCAL}/status").data["used"]


def upload(simulator: Simulator, name: str, content: str, data: bytes, **fields: str) -> Answer:
    """Sends a file as a browser does: fields first, the file last."""
    parts = {"content": content, **{key.replace("__", "-"): value for key, value in fields.items()}}
    lines = [
        f'--cut\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in parts.items()
    ]
    file = f'--cut\r\nContent-Disposition: form-data; name="filename"; filename="{name}"\r\n\r\n'
    body = "".join([*lines, file, data.decode("latin-1"), "\r\n--cut--\r\n"])
    headers = {**simulator.token(), "Content-Type": "multipart/form-data; boundary=cut"}
    return simulator.send("POST", f"/api2/json{LOCAL}/upload", body, headers)


def test_a_volume_takes_room_at_once_and_gives_it_back(disks: Simulator) -> None:
    before = used(disks)
    made = disks.call("POST", f"{LOCAL}/content", vmid=901, filename="vm-901-disk-0.qcow2", size="8G").data
    assert made == "local:901/vm-901-disk-0.qcow2"
    assert listing(disks, vmid=901)[made]["size"] == 8 * GIB
    assert used(disks) == before + int(str(listing(disks)[made]["used"]))
    assert disks.call("DELETE", f"{LOCAL}/content/{made}", delay=5).data is None
    assert used(disks) == before


def test_a_size_without_a_unit_is_in_kibibytes(disks: Simulator) -> None:
    made = disks.call("POST", f"{LOCAL}/content", vmid=902, filename="vm-902-disk-0.raw", size=1048576).data
    assert disks.call("GET", f"{LOCAL}/content/{made}").data["size"] == GIB
    assert disks.call("POST", f"{LOCAL}/content", vmid=902, filename="vm-902-disk-0.raw", size="1G").status == 500


def test_the_list_of_the_cluster_follows_with_the_next_round(disks: Simulator) -> None:
    upload(disks, "big.iso", "iso", b"\0" * 400_000)
    wanted = used(disks)
    end = time.monotonic() + 3
    while True:
        rows = disks.call("GET", "/cluster/resources", type="storage").data
        if next(row for row in rows if row["storage"] == "local")["disk"] == wanted:
            break
        assert time.monotonic() < end
        time.sleep(0.1)


def test_nothing_goes_onto_a_full_storage(clean: Simulator) -> None:
    clean.control("POST", "faults", [{"effect": "storage_full", "storage": "local"}])
    status = clean.call("GET", f"{LOCAL}/status").data
    assert (status["avail"], status["used"]) == (0, status["total"])
    answer = clean.call("POST", f"{LOCAL}/content", vmid=903, filename="vm-903-disk-0.raw", size="1G")
    assert "No space left on device" in answer.reason


def test_a_disabled_storage_has_no_figures_and_no_content(disks: Simulator) -> None:
    rows = {row["storage"]: row for row in disks.call("GET", "/nodes/pve1/storage").data}
    assert (rows["offstore"]["active"], rows["offstore"]["total"]) == (0, 0)
    assert "used_fraction" not in rows["offstore"]
    assert disks.call("GET", "/nodes/pve1/storage/offstore/content").reason == "storage 'offstore' is disabled"
    assert "offstore" not in {row["storage"] for row in disks.call("GET", "/nodes/pve1/storage", enabled=1).data}


def test_storages_can_be_asked_for_by_what_they_hold(disks: Simulator) -> None:
    rows = disks.call("GET", "/nodes/pve1/storage", content="snippets").data
    assert [row["storage"] for row in rows] == ["local"]


def test_a_new_storage_is_there_at_once_and_bound_to_its_nodes(disks: Simulator) -> None:
    assert disks.call("POST", "/storage", storage="extra", type="dir", path="/srv", nodes="pve2").status == 200
    assert "extra" not in {row["storage"] for row in disks.call("GET", "/nodes/pve1/storage").data}
    disks.call("PUT", "/storage/extra", nodes="pve1")
    assert "extra" in {row["storage"] for row in disks.call("GET", "/nodes/pve1/storage").data}
    assert disks.call("POST", "/storage", storage="extra", type="dir", path="/srv").reason.endswith("already defined")
    disks.call("DELETE", "/storage/extra")
    assert disks.call("GET", "/storage/extra").reason == "storage 'extra' does not exist"


def test_an_uploaded_file_is_listed_under_a_harmless_name(disks: Simulator) -> None:
    status = disks.finished(upload(disks, "../../my file.iso", "iso", b"x" * 5000).data)
    assert (status["type"], status["exitstatus"]) == ("imgcopy", "OK")
    assert listing(disks, content="iso")["local:iso/my_file.iso"]["size"] == 5000


def test_an_upload_with_a_wrong_checksum_fails_in_its_task(disks: Simulator) -> None:
    right = hashlib.sha256(b"abc").hexdigest()
    for wanted, ended in ((right, "OK"), ("0" * 64, f"checksum mismatch: got '{right}' != expect '{'0' * 64}'")):
        answer = upload(disks, "sum.iso", "iso", b"abc", checksum__algorithm="sha256", checksum=wanted)
        assert disks.finished(answer.data)["exitstatus"] == ended


def test_an_upload_of_the_wrong_kind_is_refused_at_once(disks: Simulator) -> None:
    assert upload(disks, "x.txt", "iso", b"x").errors == {"filename": "wrong file extension"}
    assert set(upload(disks, "x.raw", "images", b"x").errors) == {"content"}


def test_deleting_what_is_not_there_succeeds_and_says_so_in_the_log(disks: Simulator) -> None:
    upid = disks.call("DELETE", f"{LOCAL}/content/local:iso/gone.iso").data
    assert disks.finished(upid)["exitstatus"] == "OK"
    log = [line["t"] for line in disks.call("GET", f"/nodes/pve1/tasks/{upid}/log").data]
    assert log[0] == "disk image '/var/lib/vz/template/iso/gone.iso' does not exist"


def download(simulator: Simulator, url: str, name: str, **options: Any) -> str:
    """The end of a download of an image to import."""
    path = f"{LOCAL}/download-url"
    upid = simulator.call("POST", path, url=url, filename=name, content="import", **options).data
    return simulator.finished(upid)["exitstatus"]


def test_an_image_is_downloaded_from_a_web_server_once(disks: Simulator, web: str) -> None:
    assert download(disks, f"{web}/cloud.qcow2", "one.qcow2") == "OK"
    assert listing(disks, content="import")["local:import/one.qcow2"]["size"] == 4096
    again = download(disks, f"{web}/cloud.qcow2", "one.qcow2")
    assert again == "refusing to override existing file '/var/lib/vz/import/one.qcow2'"


def test_a_download_fails_in_the_words_of_the_real_one(disks: Simulator, web: str) -> None:
    assert download(disks, f"{web}/missing.qcow2", "two.qcow2") == "download failed: exit code 8"
    assert download(disks, f"{web}/garbage.qcow2", "three.qcow2").endswith("Image is not in qcow2 format")
    wrong = download(disks, f"{web}/cloud.qcow2", "four.qcow2", checksum="1" * 32, checksum__algorithm="md5")
    assert wrong.startswith("checksum mismatch: got '")
    assert not {"local:import/two.qcow2", "local:import/three.qcow2", "local:import/four.qcow2"} & set(listing(disks))


def test_an_imported_image_becomes_a_disk_of_its_virtual_size(disks: Simulator, web: str) -> None:
    download(disks, f"{web}/cloud.qcow2", "five.qcow2")
    source = "local:0,import-from=local:import/five.qcow2"
    disks.finished(disks.call("POST", "/nodes/pve1/qemu", vmid=905, scsi0=source).data)
    assert disks.call("GET", "/nodes/pve1/qemu/905/config").data["scsi0"].endswith("size=5G")


def test_who_may_not_see_a_guest_does_not_see_its_disks(disks: Simulator) -> None:
    disks.call("POST", f"{LOCAL}/content", vmid=906, filename="vm-906-disk-0.raw", size="1G")
    disks.call("PUT", "/access/acl", path="/storage/local", roles="PVEDatastoreUser", users="low@pve")
    rows = disks.call("GET", f"{LOCAL}/content", "low@pve!none").data
    assert {row["content"] for row in rows} <= {"iso", "vztmpl", "import"}
    assert disks.call("DELETE", f"{LOCAL}/content/local:iso/mini.iso", "low@pve!none").status == 403
    disks.call("PUT", "/access/acl", path="/storage/local", roles="PVEDatastoreUser", users="low@pve", delete=1)
