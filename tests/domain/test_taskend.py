"""Every text of Proxmox that was seen is told as what happened, why, and what to do, with its own words beside it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comserv.domain.job import WaitReason
from comserv.domain.taskend import explain

SEEN = [
    ("can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout", "lock_timeout"),
    ("VM is locked (backup)", "guest_locked"),
    ("CT is locked (snapshot)", "guest_locked"),
    ("clone failed: copy failed: command '/usr/bin/qemu-img convert x' failed: interrupted by signal", "task_stopped"),
    ("unexpected status", "task_stopped"),
    ("received interrupt", "task_stopped"),
    ("clone failed: error during write: No space left on device", "storage_full"),
    ("lvcreate: insufficient free space: 3 extents needed", "storage_full"),
    ("unable to create VM 150 - storage 'offstore' is disabled", "storage_disabled"),
    ("storage 'nostore' does not exist", "storage_missing"),
    ("storage: No such storage.", "storage_missing"),
    ("unable to activate storage 'nas' - directory is expected to be a mount point", "storage_offline"),
    ("VM is locked", "guest_locked"),
    ("Permission check failed", "permission_missing"),
    ("storage 'fast' is not available on node 'pve2'", "storage_missing"),
    ("storage 'nas' is not online", "storage_offline"),
    ("content type 'images' is not available on storage 'isos'", "storage_content"),
    ("storage 'store2' does not support 'import' content", "storage_content"),
    ("unable to create VM 140 - VM 140 already exists on node 'pve1'", "vmid_taken"),
    ("unable to create VM 110: config file already exists", "vmid_taken"),
    ("Configuration file 'nodes/pve1/qemu-server/4242.conf' does not exist", "guest_gone"),
    ("unable to find configuration file for VM 4242 on node 'pve1'", "guest_gone"),
    ("VM quit/powerdown failed - got timeout", "shutdown_timeout"),
    ("VM 101 already running", "already_running"),
    ("VM 101 not running", "not_running"),
    ("VM is paused - cannot shutdown", "paused"),
    ("bridge 'nobr9' does not exist", "bridge_missing"),
    ("MAX 8 vcpus allowed per VM on this node", "cpu_limit"),
    ("start failed: cannot allocate memory", "memory_missing"),
    ("you can't start a vm if it's a template", "is_template"),
    ("Linked clone feature is not supported for 'local:102/vm-102-disk-0.qcow2' (scsi0)", "linked_clone_impossible"),
    ("checksum mismatch (file change by other user?)", "digest_mismatch"),
    ("shrinking disks is not supported", "disk_shrink"),
    ("base volume 'local:110/base-110-disk-0.qcow2' is still in use by linked cloned", "base_in_use"),
    ("can't remove VM 101 - protection mode enabled", "protected"),
    ("VM 105 is running - destroy failed", "still_running"),
    ("unable to remove VM 101 - used in HA resources and purge parameter not set.", "ha_managed"),
    ("cluster not ready - no quorum?", "no_quorum"),
    ("No route to host", "node_unreachable"),
    ("hostname lookup 'pve9' failed - failed to get address info", "node_unreachable"),
    ("Permission check failed (/vms/190, VM.Clone)", "permission_missing"),
    ("snapshot name 'snap1' already used", "snapshot_exists"),
    ("volume 'local:iso/none.iso' does not exist", "volume_missing"),
    ("something nobody has ever seen", "task_failed"),
]


@pytest.mark.parametrize(("text", "code"), SEEN)
def test_a_text_has_its_meaning_and_its_cure(text: str, code: str) -> None:
    end = explain(text, "The clone of web-01", "rack")
    assert end.problem.code == code
    assert end.problem.title.startswith("The clone of web-01")
    assert end.problem.title.endswith(".")
    assert end.problem.detail.endswith((".", "?"))
    assert end.problem.cure.endswith(".")
    assert "{" not in end.problem.title + end.problem.detail + end.problem.cure
    assert "  " not in end.problem.title + end.problem.detail
    assert " ." not in end.problem.title + end.problem.detail
    assert "“”" not in end.problem.detail


@given(st.text())
def test_any_text_is_explained_and_kept_word_for_word(text: str) -> None:
    problem = explain(text, "The start of {x}").problem
    assert problem.proxmox
    assert problem.proxmox.message == text
    assert problem.title
    assert problem.cure


@given(
    st.sampled_from(["VM is locked ({0})", "storage '{0}' is disabled", "bridge '{0}' does not exist"]),
    st.text(max_size=9),
)
def test_names_with_braces_do_no_harm(pattern: str, name: str) -> None:
    assert explain(pattern.replace("{0}", name), "It").problem.title


def test_what_passes_by_itself_is_waited_for() -> None:
    assert explain("can't lock file 'x' - got timeout", "It").wait_for == WaitReason.LOCK
    assert explain("VM is locked (backup)", "It").wait_for == WaitReason.LOCK
    assert explain("cluster not ready - no quorum?", "It").wait_for == WaitReason.SERVER_DOWN
    assert explain("No space left on device", "It").wait_for is None


def test_ends_that_a_job_goes_on_from_differently_are_marked() -> None:
    assert explain("unable to create VM 110: config file already exists", "It").vmid_taken
    assert explain("received interrupt", "It").stopped
    assert explain("unable to find configuration file for VM 4242 on node 'pve1'", "It").gone


def test_the_lock_and_the_missing_right_are_named() -> None:
    assert "“backup”" in explain("VM is locked (backup)", "It").problem.detail
    assert (
        explain("Permission check failed (/vms/190, VM.Clone)", "It").problem.detail
        == "Needed is VM.Clone at /vms/190."
    )
