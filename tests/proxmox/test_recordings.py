"""Every recorded reply of a call that the client makes is decoded, and every recorded refusal is translated."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comserv.domain import errors
from comserv.domain.guest import GuestStatus, GuestType
from comserv.domain.task import TaskStatus, parse_upid
from comserv.proxmox import access, agent, cluster, guests, nodes, storage, tasks
from comserv.proxmox.decoding import decode, flag, texts
from comserv.proxmox.errors import PERMISSION, error_of, error_of_task
from comserv.proxmox.probe import RealmRow
from tests.proxmox.recordings import Record, named, records

NODE, VMID = r"/nodes/[^/]+", r"\d+"
Convert = Callable[[Any], object]


def rows(convert: Convert) -> Convert:
    return lambda found: [convert(row) for row in found]


def result(convert: Convert) -> Convert:
    return lambda found: convert(found.result)


def resource(row: cluster.Resource) -> object:
    """As Cluster.resources does; rows of other types are left out there."""
    kinds = {"node": cluster.node_of, "storage": cluster.storage_of}
    if row.type in cluster.KINDS:
        return cluster.guest_of("lab", row)
    return kinds[row.type](row) if row.type in kinds else None


DECODED: tuple[tuple[str, str, Any, Convert], ...] = (
    ("GET", "/version", cluster.VersionRow, str),
    ("GET", "/access/domains", list[RealmRow], str),
    ("GET", "/access/permissions", dict[str, dict[str, Any]], lambda found: [flag(v) for p in found.values() for v in p.values()]),
    ("GET", r"/access/users/[^/]+", access.UserRow, str),
    ("GET", "/access/acl", list[access.AclRow], str),
    ("GET", r"/access/roles/[^/]+", dict[str, Any], str),
    ("GET", "/nodes", list[cluster.NodeRow], str),
    ("GET", "/cluster/sdn/vnets", list[cluster.VnetRow], str),
    ("GET", "/cluster/resources", list[cluster.Resource], rows(resource)),
    ("GET", "/cluster/status", list[cluster.StatusRow], str),
    ("GET", "/cluster/nextid", int, int),
    ("GET", "/cluster/tasks", list[tasks.TaskRecord], rows(lambda row: tasks.task_row("lab", row))),
    ("GET", f"{NODE}/tasks", list[tasks.TaskRecord], rows(lambda row: tasks.task_row("lab", row))),
    ("GET", f"{NODE}/tasks/UPID:.*/status", tasks.StatusRecord, str),
    ("GET", f"{NODE}/tasks/UPID:.*/log", list[tasks.Line], str),
    ("GET", f"{NODE}/status", nodes.NodeStatusRow, str),
    ("GET", f"{NODE}/time", nodes.TimeRow, str),
    ("GET", f"{NODE}/storage", list[nodes.StorageRow], rows(lambda row: nodes.storage_of("pve1", row))),
    ("GET", f"{NODE}/network", list[nodes.InterfaceRow], rows(lambda row: nodes.bridge_of("pve1", row))),
    ("GET", f"{NODE}/certificates/info", list[nodes.CertificateRow], rows(lambda row: nodes.certificate_of("pve1", row))),
    ("GET", f"{NODE}/qemu", list[guests.CurrentRow], rows(lambda row: guests.listed_guest("lab", "pve1", GuestType.QEMU, row))),
    ("GET", f"{NODE}/lxc", list[guests.CurrentRow], rows(lambda row: guests.listed_guest("lab", "pve1", GuestType.LXC, row))),
    ("GET", f"{NODE}/(qemu|lxc)/{VMID}/status/current", guests.CurrentRow, guests.state_of),
    ("GET", f"{NODE}/(qemu|lxc)/{VMID}/config", dict[str, Any], lambda found: guests.config_of(texts(found))),
    ("GET", f"{NODE}/(qemu|lxc)/{VMID}/pending", list[guests.PendingRow], str),
    ("GET", f"{NODE}/qemu/{VMID}/agent/network-get-interfaces", agent.Result[list[agent.InterfaceRow]], result(agent.addresses_of)),
    ("GET", f"{NODE}/qemu/{VMID}/agent/get-osinfo", agent.Result[agent.OsRow], str),
    ("GET", f"{NODE}/qemu/{VMID}/agent/get-host-name", agent.Result[agent.HostRow], str),
    ("GET", "/storage", list[storage.StorageConfigRow], rows(storage.config_of)),
    ("POST", f"{NODE}/qemu/{VMID}/(clone|config|status/[a-z]+)", str, lambda found: parse_upid("lab", found)),
    ("PUT", f"{NODE}/qemu/{VMID}/resize", str, lambda found: parse_upid("lab", found)),
    ("DELETE", f"{NODE}/(qemu|lxc)/{VMID}", str, lambda found: parse_upid("lab", found)),
)  # fmt: skip
NEVER_RECORDED = {f"{NODE}/certificates/info"}  # the schema and the simulator tell of it
REFUSED = [record for record in records() if record.status >= 400]


def good_replies(method: str, path: str) -> list[Record]:
    asked = [r for r in records() if r.method == method and re.fullmatch(path, r.path) and r.status == 200]
    return [record for record in asked if "download=1" not in record.query and not record.name.startswith("raw.")]


@pytest.mark.parametrize(("method", "path", "of", "convert"), DECODED, ids=[f"{row[0]} {row[1]}" for row in DECODED])
def test_every_recorded_reply_is_decoded(method: str, path: str, of: Any, convert: Convert) -> None:
    good = good_replies(method, path)
    assert good or path in NEVER_RECORDED
    for record in good:
        try:
            convert(decode(record.reply.body, of).data)
        except Exception as error:
            raise AssertionError(f"{record.id}: {record.reply.body[:500]!r}") from error


@pytest.mark.parametrize("record", REFUSED, ids=lambda record: record.id)
def test_every_recorded_refusal_is_translated_and_keeps_proxmoxs_words(record: Record) -> None:
    error = error_of(record.reply, "lab", record.method != "GET")
    kinds = {401: errors.TokenRefused, 403: errors.PermissionMissing, 400: errors.RequestRefused}
    lost = errors.OutcomeUnknown if record.method != "GET" else errors.ServerUnreachable
    kinds |= {595: errors.ServerUnreachable, 596: lost}
    assert error and isinstance(error, kinds.get(record.status, errors.RequestRefused))
    assert error.proxmox and error.proxmox.status == record.status
    assert error.proxmox.message
    assert (
        error.proxmox.message
        in record.reply.body.decode().replace("\\n", "\n").replace('\\"', '"') + record.reply.reason
    )


def test_a_missing_privilege_is_named_with_its_path() -> None:
    error = error_of(named("low.agent").reply, "lab", True)
    assert isinstance(error, errors.PermissionMissing)
    assert error.facts["path"] == "/vms/190"
    assert error.facts["privileges"] == ("VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted")


def test_every_recorded_403_that_names_a_path_is_understood() -> None:
    told = [r.reply.body.decode() for r in REFUSED if r.status == 403 and "failed (/" in r.reply.body.decode()]
    assert len(told) > 30
    assert [text for text in told if not PERMISSION.search(text)] == []


SPECIAL = {
    errors.GuestMissing: {
        "Configuration file 'nodes/N/qemu-server/#.conf' does not exist",
        "Configuration file 'nodes/N/lxc/#.conf' does not exist",
        "unable to find configuration file for VM # on node 'N'",
    },
    errors.VmidTaken: {
        "unable to create VM # - VM # already exists on node 'N'",
        "unable to create VM # - CT # already exists on node 'N'",
        "unable to create VM #: config file already exists",
        "unable to restore VM # - VM # already exists on node 'N'",
    },
    errors.DigestMismatch: {"checksum mismatch (file change by other user?)"},
    errors.GuestLocked: {"VM is locked (backup)", "VM is locked (suspended)"},
    errors.TaskMissing: {"Parameter verification failed."},
}


def test_the_special_kinds_are_these_texts_and_no_others() -> None:
    found: dict[type, set[str]] = {}
    for record in REFUSED:
        error = error_of(record.reply, "lab", True)
        if type(error) in SPECIAL and error and error.proxmox:
            text = re.sub(r"nodes/pve1|'pve1'", lambda m: m[0].replace("pve1", "N"), error.proxmox.message)
            found.setdefault(type(error), set()).add(re.sub(r"\d+", "#", text))
    assert found == SPECIAL


def task(exitstatus: str) -> TaskStatus:
    upid = "UPID:pve1:00000255:0006C4A7:6B05115F:qmstart:101:admin@pve!full:"
    return TaskStatus(parse_upid("lab", upid), False, exitstatus)


@pytest.mark.parametrize(
    ("exitstatus", "kind"),
    [
        ("VM is locked (backup)", errors.GuestLocked),
        ("CT is locked (snapshot)", errors.GuestLocked),
        ("can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout", errors.LockTimeout),
        ("clone failed: cfs-lock 'storage-local' error: got lock request timeout", errors.LockTimeout),
        ("checksum mismatch (file change by other user?)", errors.DigestMismatch),
        ("unable to find configuration file for VM 4242 on node 'pve1'", errors.GuestMissing),
        ("checksum mismatch: got 'b5' != expect 'c6'", errors.RequestRefused),
        ("VM 101 already running", errors.RequestRefused),
        ("VM quit/powerdown failed - got timeout", errors.RequestRefused),
        ("storage 'nostore' does not exist", errors.RequestRefused),
        ("refusing to override existing file '/var/lib/vz/template/iso/mini.iso'", errors.RequestRefused),
    ],
)
def test_a_failed_task_is_the_error_that_its_exit_text_tells(exitstatus: str, kind: type) -> None:
    error = error_of_task(task(exitstatus))
    assert type(error) is kind
    assert error.proxmox and error.proxmox.message == exitstatus


def test_a_lock_is_named() -> None:
    assert error_of_task(task("VM is locked (backup)")).facts["lock"] == "backup"


def test_before_the_message_was_in_the_body_the_reason_tells_it() -> None:
    """libpve-http-server before 5.2 (8.3) has no message in JSON error bodies."""
    reply = named("vm.create.dup-vmid").reply
    old = type(reply)(500, reply.reason, b'{"data":null}', reply.content_type)
    assert isinstance(error_of(old, "lab", True), errors.VmidTaken)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, -1, 1e308, "nan", "1e999", "0"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_whatever_a_server_says_is_decoded_or_refused_and_breaks_nothing(data: st.DataObject) -> None:
    """A recorded reply with one value exchanged for any other: hostile servers are read as safely as good ones."""
    method, path, of, convert = data.draw(st.sampled_from(DECODED))
    record = data.draw(st.sampled_from(good_replies(method, path) or [named("version")]))
    value = json.loads(record.reply.body)
    body = json.dumps(exchanged(value, data, data.draw(JSON))).encode()
    with contextlib.suppress(msgspec.DecodeError, errors.ReplyUnreadable):
        convert(decode(body, of).data)


def exchanged(value: Any, data: st.DataObject, other: Any) -> Any:
    """`value` with one of its parts, at any depth, exchanged for `other`."""
    if not isinstance(value, dict | list) or not value:
        return other
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    place = data.draw(st.sampled_from(places))
    if not isinstance(value[place], dict | list) or data.draw(st.integers(0, 3)) == 0:
        value[place] = other
    else:
        value[place] = exchanged(value[place], data, other)
    return value


# --- what the values mean -------------------------------------------------------------------------------------------


def test_a_paused_vm_is_paused_though_its_status_says_running() -> None:
    paused = [
        guests.state_of(decode(r.reply.body, guests.CurrentRow).data)
        for r in records()
        if r.path.endswith("/status/current") and r.status == 200 and b'"qmpstatus":"paused"' in r.reply.body
    ]
    assert paused and {state.status for state in paused} == {GuestStatus.PAUSED}


def test_a_hibernated_vm_is_suspended_though_its_status_says_stopped() -> None:
    assert guests.guest_status("stopped", "suspended", "stopped") is GuestStatus.SUSPENDED
    assert guests.guest_status("running", "suspending", "running") is GuestStatus.RUNNING
    assert guests.guest_status("unknown") is GuestStatus.UNKNOWN
    assert guests.guest_status("no such word") is GuestStatus.UNKNOWN


def test_a_guest_newer_than_the_last_round_is_known_by_its_number_only() -> None:
    row = decode(b'{"data":[{"id":"qemu/105","node":"pve1","type":"qemu","vmid":105,"lock":"clone","status":"unknown"}]}',
                 list[cluster.Resource]).data[0]  # fmt: skip
    guest = cluster.guest_of("lab", row)
    assert (guest.key.vmid, guest.lock, guest.status, guest.memory, guest.cpu) == (
        105,
        "clone",
        GuestStatus.UNKNOWN,
        None,
        None,
    )


def test_a_configuration_is_text_throughout_with_its_digest_apart() -> None:
    config = guests.config_of(texts(decode(named("config.get.after").reply.body, dict[str, Any]).data))
    assert (config.get("memory"), config.get("cores"), config.get("onboot")) == ("200", "1", "1")
    assert config.digest == "c21ada7a157a63c42a021f1f197b002ee9633043"
    assert "digest" not in config.values


def test_public_keys_are_read_as_they_were_written() -> None:
    keys = [
        guests.config_of(texts(decode(r.reply.body, dict[str, Any]).data)).get("sshkeys")
        for r in records()
        if re.fullmatch(rf"{NODE}/qemu/{VMID}/config", r.path) and r.status == 200 and b'"sshkeys"' in r.reply.body
    ]
    assert keys and all(key.startswith("ssh-") and "%20" not in key for key in keys)


def test_pending_changes_tell_new_values_and_deletions() -> None:
    rows = decode(named("pending.after-revert").reply.body, list[guests.PendingRow]).data
    waiting = {
        change.key: change.pending
        for change in (guests.pending_of(row) for row in rows if row.pending is not None or flag(row.delete))
    }
    assert waiting == {"cores": "2", "net1": None, "scsi1": None}


def test_a_running_row_of_a_list_is_running_whatever_word_stands_there() -> None:
    active = decode(named("tasks.source=active").reply.body, list[tasks.TaskRecord]).data
    assert [(row.running, row.exitstatus) for row in (tasks.task_row("lab", r) for r in active)] == [(True, "")]


def test_the_agents_addresses_have_interface_and_prefix() -> None:
    found = decode(named("agent.network-get-interfaces").reply.body, agent.Result[list[agent.InterfaceRow]]).data
    told = [(a.interface, a.address, a.prefix) for a in agent.addresses_of(found.result) if not a.loopback]
    assert told == [("eth0", "10.99.0.50", 24), ("eth0", "fe80::be24:11ff:fe00:1", 64)]


def test_a_disabled_storage_is_listed_as_such() -> None:
    found = decode(named("GET /nodes/pve1/storage?format=1").reply.body, list[nodes.StorageRow]).data
    enabled = {s.name: (s.enabled, s.active) for s in (nodes.storage_of("pve1", row) for row in found)}
    assert enabled == {"local": (True, True), "store2": (True, True), "offstore": (False, False)}


def test_the_recordings_hold_what_this_file_counts_on() -> None:
    counts = Counter(record.status for record in REFUSED)
    assert counts[400] > 100 and counts[403] > 50 and counts[500] > 150 and counts[401] > 10
