"""A whole day at the command line: a server, a VM, its power, a change, its end; against real processes."""

import json
from typing import Any

import pytest

from comserv.cli.exits import Exit
from tests.domain.test_sshkey import ED25519
from tests.processes import PASSWORD, Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def rack(running: Running, estate: dict[str, Any]) -> dict[str, Any]:
    """The simulated server, registered by the command line."""
    added = running.command(
        "server",
        "add",
        "rack",
        "--address",
        estate["url"].removeprefix("https://"),
        "--fingerprint",
        estate["fingerprint"],
        "--token-id",
        estate["tokens"]["full"]["id"],
        "--token-secret-stdin",
        "--json",
        stdin=estate["tokens"]["full"]["secret"] + "\n",
    )
    assert added.code == 0, added.err
    return added.json


@pytest.fixture(scope="module")
def web(running: Running, rack: dict[str, Any], estate: dict[str, Any]) -> dict[str, Any]:
    """front-01, made from a template, as its job tells it."""
    made = running.command(
        *("vm", "create", "front-01", "--server", "rack", "--template", str(estate["templates"][0])),
        *("--cpu", "2", "--memory", "1024", "--ip", "10.20.30.41/24", "--gateway", "10.20.30.1", "--tag", "web"),
        *("--wait", "--json"),
        role="operator",
    )
    assert made.code == 0, made.err
    return made.json


def world(estate: dict[str, Any], vmid: int) -> dict[str, Any] | None:
    """The guest as the simulator itself knows it."""
    import ssl
    import urllib.request

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"{estate['url']}/_sim/world", context=context) as reply:
        guests = json.load(reply)["guests"]
    return next((guest for guest in guests if guest["vmid"] == vmid), None)


def test_a_server_that_is_added_is_up_and_shown(running: Running, rack: dict[str, Any]) -> None:
    assert rack["state"] == "up" and rack["guests"] == 6
    shown = running.command("server", "list")
    assert shown.code == 0 and "rack" in shown.out and "up" in shown.out


def test_a_certificate_is_not_trusted_without_agreement(running: Running, estate: dict[str, Any]) -> None:
    address = estate["url"].removeprefix("https://")
    ended = running.command("server", "add", "other", "--address", address, "--token-id", "a@pve!b", stdin="x\n")
    assert ended.code == Exit.USAGE and f"--fingerprint {estate['fingerprint']}" in ended.err


def test_a_wrong_token_is_refused_stage_by_stage_and_nothing_is_kept(running: Running, estate: dict[str, Any]) -> None:
    ended = running.command(
        *("server", "add", "wrong", "--address", estate["url"], "--fingerprint", estate["fingerprint"]),
        *("--token-id", estate["tokens"]["full"]["id"], "--token-secret-stdin"),
        stdin="11111111-2222-3333-4444-555555555555\n",
    )
    assert ended.code == Exit.CONFLICT and "token: The server refuses the token" in ended.err, ended.err
    assert "pveum user token list" in ended.err, "the cure is a line for each thing that it may be"
    assert running.command("server", "show", "wrong").code == Exit.NOT_FOUND


def test_the_connection_test_tells_its_stages_as_they_come(running: Running, rack: dict[str, Any]) -> None:
    shown = running.command("server", "test", "rack")
    assert (
        shown.code == 0 and [word for word in ("name", "tcp", "tls", "token", "guests") if word not in shown.out] == []
    )
    told = running.command("server", "test", "rack", "--json").json
    assert told["passed"] and told["stages"][0]["stage"] == "name"


def test_guests_are_listed_filtered_and_shown(running: Running, rack: dict[str, Any]) -> None:
    every = running.command("guest", "list", "--json", role="viewer").json["items"]
    assert len(every) == 8
    templates = running.command("guest", "list", "--templates", "--json").json["items"]
    assert len(templates) == 2 and all(guest["template"] for guest in templates)
    one = every[0]
    shown = running.command("guest", "show", f"rack/{one['vmid']}", role="viewer")
    assert shown.code == 0 and one["name"] in shown.out


def test_a_plan_shows_what_would_be_done_and_a_blocker_is_5(
    running: Running, rack: dict[str, Any], estate: dict[str, Any]
) -> None:
    plan = ("vm", "plan", "front-02", "--server", "rack", "--template", str(estate["templates"][0]))
    good = running.command(*plan, "--ip", "10.20.30.77/24", "--gateway", "10.20.30.1")
    assert good.code == 0 and "/clone" in good.out and "blocker" not in good.out
    bad = running.command(*plan, "--ip", "10.20.30.0/24", "--gateway", "10.20.30.1")
    assert bad.code == Exit.CONFLICT and "blocker" in bad.out
    refused = running.command(*("vm", "create", *plan[2:]), "--ip", "10.20.30.0/24", "--gateway", "10.20.30.1")
    assert refused.code == Exit.CONFLICT and "10.20.30.0" in refused.err and "Do:" in refused.err


def test_a_created_vm_is_there_as_it_was_asked_for(web: dict[str, Any], estate: dict[str, Any]) -> None:
    assert web["state"] == "succeeded" and not web["warnings"], web
    guest = world(estate, web["result"]["vmid"])
    assert guest and guest["name"] == "front-01" and guest["status"] == "running"
    assert guest["config"]["cores"] in (2, "2") and "10.20.30.41/24" in guest["config"]["ipconfig0"]


def test_a_key_used_twice_makes_one_job(running: Running, rack: dict[str, Any], web: dict[str, Any]) -> None:
    template = str(web["request"]["template"]["vmid"])
    create = ("vm", "create", "twice-01", "--server", "rack", "--template", template, "--no-start")
    first = running.command(*create, "--idempotency-key", "once", "--json")
    second = running.command(*create, "--idempotency-key", "once", "--json")
    assert first.code == second.code == 0 and first.json["id"] == second.json["id"]
    other = running.command(*create, "--memory", "2048", "--idempotency-key", "once")
    assert other.code == Exit.CONFLICT and "Idempotency-Key" in other.err
    assert running.command("job", "wait", first.json["id"]).code == 0


def test_power_and_change_by_name_and_by_number(running: Running, web: dict[str, Any], estate: dict[str, Any]) -> None:
    vmid = web["result"]["vmid"]
    stopped = running.command("guest", "stop", "front-01", "--wait", role="operator")
    assert stopped.code == 0, stopped.err
    assert (world(estate, vmid) or {})["status"] == "stopped"
    changed = running.command("guest", "change", f"rack/{vmid}", "--memory", "2048", "--wait", role="operator")
    assert changed.code == 0, changed.err
    assert str((world(estate, vmid) or {})["config"]["memory"]) in ("2048", "current=2048")
    senseless = running.command("guest", "start", f"rack/{estate['templates'][0]}")
    assert senseless.code == Exit.CONFLICT and "template" in senseless.err, senseless


def test_jobs_are_listed_and_their_calls_shown(running: Running, web: dict[str, Any]) -> None:
    assert web["id"] in running.command("job", "list", role="viewer").out
    shown = running.command("job", "show", web["id"])
    assert shown.code == 0 and "succeeded" in shown.out
    calls = running.command("job", "log", web["id"], "--json").json["items"]
    assert any(call["path"].endswith("/clone") for call in calls)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("guest", "show", "rack/99999"), Exit.NOT_FOUND),
        (("guest", "show", "nobody-knows"), Exit.NOT_FOUND),
        (("server", "show", "nowhere"), Exit.NOT_FOUND),
        (("job", "show", "nothing"), Exit.NOT_FOUND),
        (("job", "list", "--state", "asleep"), Exit.USAGE),
    ],
)
def test_what_is_not_there_or_not_understood_has_its_code(
    running: Running, rack: dict[str, Any], arguments: tuple[str, ...], code: Exit
) -> None:
    ended = running.command(*arguments)
    assert ended.code == code and ended.err and not ended.out


def test_a_viewer_may_look_but_not_touch(running: Running, web: dict[str, Any]) -> None:
    assert running.command("guest", "list", role="viewer").code == 0
    for refused in (("guest", "start", "front-01"), ("server", "test", "rack"), ("job", "cancel", web["id"])):
        ended = running.command(*refused, role="viewer")
        assert ended.code == Exit.REFUSED and "role" in ended.err, refused
    assert running.command("guest", "list", COMSERV_TOKEN="wrong").code == Exit.REFUSED


def test_a_guest_is_deleted_only_by_its_name(running: Running, web: dict[str, Any], estate: dict[str, Any]) -> None:
    vmid = web["result"]["vmid"]
    assert running.command("guest", "delete", f"rack/{vmid}").code == Exit.USAGE
    assert running.command("guest", "delete", f"rack/{vmid}", "--yes", "front-03").code == Exit.USAGE
    assert world(estate, vmid)
    gone = running.command("guest", "delete", f"rack/{vmid}", "--yes", "front-01", "--wait", role="operator")
    assert gone.code == 0, gone.err
    assert world(estate, vmid) is None


def test_at_a_terminal_it_asks_for_what_it_needs_and_never_shows_a_secret(
    running: Running, estate: dict[str, Any]
) -> None:
    secret = estate["tokens"]["full"]["secret"]
    answers = [
        ("Address", estate["url"].removeprefix("https://")),
        (estate["fingerprint"], "y"),
        ("Token id", estate["tokens"]["full"]["id"]),
        ("Token value: ", secret),
    ]
    added = running.typed("server", "add", "typed", answers=answers)
    assert added.code == 0 and "typed" in added.out and secret not in added.out, added.out
    assert running.typed("server", "remove", "typed", answers=[("Type typed", "typed")]).code == 0
    refused = running.typed("server", "add", "typed", answers=[*answers[:1], (estate["fingerprint"], "n")])
    assert refused.code == Exit.REFUSED and "not accepted" in refused.out


def test_a_guest_is_deleted_at_a_terminal_by_typing_its_name(running: Running, rack: dict[str, Any]) -> None:
    template = str(next(g["vmid"] for g in running.command("guest", "list", "--templates", "--json").json["items"]))
    made = running.command(
        "vm", "create", "gone-01", "--server", "rack", "--template", template, "--no-start", "--wait"
    )
    assert made.code == 0, made.err
    wrong = running.typed("guest", "delete", "gone-01", answers=[("Type gone-01", "gone-02")])
    assert wrong.code == Exit.USAGE, wrong.out
    gone = running.typed("guest", "delete", "gone-01", "--wait", answers=[("Type gone-01", "gone-01")])
    assert gone.code == 0 and "succeeded" in gone.out, gone.out


def test_people_and_tokens_are_managed_on_the_data_folder_while_it_serves(running: Running) -> None:
    made = running.command("user", "create", "mara", "--role", "operator", "--password-stdin", stdin=PASSWORD)
    assert made.code == 0, made.err
    assert running.command("user", "create", "mara", "--role", "viewer", "--password-stdin", stdin=PASSWORD).code == 5
    token = running.command("token", "create", "--user", "mara", "--name", "ci", "--days", "30", "--json").json["token"]
    assert running.command("guest", "list", COMSERV_TOKEN=token).code == 0
    assert running.command("user", "role", "mara", "viewer").code == 0
    assert running.command("guest", "start", "rack/100", COMSERV_TOKEN=token).code == Exit.REFUSED
    listed = running.command("token", "list", "--user", "mara", "--json").json["items"]
    assert [one["name"] for one in listed] == ["ci"] and "token" not in listed[0]
    assert running.command("token", "revoke", str(listed[0]["id"]), "--user", "mara").code == 0
    assert running.command("guest", "list", COMSERV_TOKEN=token).code == Exit.REFUSED
    assert running.command("user", "disable", "mara").code == 0
    assert "disabled" in running.command("user", "list").out
    assert running.command("user", "create", "x", "--role", "viewer", "--password-stdin", stdin="short\n").code == 2


def test_the_last_admin_stays_one(running: Running) -> None:
    assert running.command("user", "role", "admin", "viewer").code == Exit.CONFLICT


def test_another_like_one_is_planned_and_made(running: Running, rack: dict[str, Any], estate: dict[str, Any]) -> None:
    first = running.command(
        *("vm", "create", "like-01", "--server", "rack", "--template", str(estate["templates"][0]), "--cpu", "2"),
        *("--ip", "10.20.30.141/24", "--gateway", "10.20.30.1", "--no-start", "--wait", "--json"),
        role="operator",
    )
    assert first.code == 0, first.err
    vmid, own = first.json["result"]["vmid"], running.data_dir / "own.pub"
    own.write_text(ED25519 + "\n")
    assert running.command("ssh-key", "add", str(own), role="operator").code == 0
    twice = running.command("ssh-key", "add", str(own), role="operator")
    assert twice.code == Exit.CONFLICT and "there already" in twice.err
    like = ("--like", f"rack/{vmid}", "--my-keys")
    planned = running.command("vm", "plan", *like, "--json", role="operator")
    assert planned.code == 0, planned.err
    parameters = {name: value for call in planned.json["calls"] for name, value in call["parameters"].items()}
    assert parameters["name"] == "like-02" and "10.20.30.142/24" in parameters["ipconfig0"]
    dhcp = running.command("vm", "plan", "other-01", *like, "--ip", "dhcp", "--json", role="operator")
    assert dhcp.code == 0, dhcp.err
    made = running.command("vm", "create", *like, "--memory", "512", "--no-start", "--wait", "--json", role="operator")
    assert made.code == 0, made.err
    request = made.json["request"]
    assert (request["hostname"], request["memory_mb"], request["cpu_cores"]) == ("like-02", 512, 2)
    assert request["cloud_init"]["ssh_keys"] == [ED25519]
    assert running.command("vm", "plan", "--like", "like-01", role="operator").code == Exit.USAGE


def test_a_private_key_is_not_even_sent(running: Running) -> None:
    secret = running.data_dir / "id_ed25519"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n")
    ended = running.command("ssh-key", "add", str(secret), role="viewer")
    assert ended.code == Exit.USAGE and "private key" in ended.err and "b3Blbn" not in ended.err
    sent = running.command("ssh-key", "list", "--json", role="viewer")
    assert sent.json["items"] == []


def test_ones_account_and_sessions_are_told_and_ended(running: Running) -> None:
    assert running.command("account", "show", "--json", role="viewer").json["role"] == "viewer"
    link = running.command("user", "sign-in-link", "viewer").out.strip()
    shown = running.command("session", "list", "--user", "viewer").out
    assert link and "A sign-in link" in shown
    assert running.command("session", "list", "--user", "admin", role="viewer").code == Exit.REFUSED
    assert running.command("session", "end", role="viewer").code == Exit.USAGE
    ended = running.command("session", "end", "--all", "--json", role="viewer")
    assert ended.json["ended"] >= 1
    assert running.command("session", "list", "--json", role="viewer").json["items"] == []


def test_a_set_up_link_is_refused_once_somebody_is_there(running: Running) -> None:
    ended = running.command("setup-link")
    assert ended.code == Exit.CONFLICT and not ended.out


def test_the_doctor_finds_a_running_installation_well(running: Running, rack: dict[str, Any]) -> None:
    told = running.command("doctor", "--json")
    assert told.code == 0, told.out + told.err
    states = {check["name"]: check["state"] for check in told.json["checks"]}
    assert states["serve"] == states["key"] == states["database"] == states["data folder"] == "ok", told.json
    assert states["server rack"] == "ok"


def test_the_doctor_says_what_to_do_about_a_key_that_others_can_read(running: Running) -> None:
    key = running.data_dir / "key"
    key.chmod(0o644)
    try:
        ended = running.command("doctor")
    finally:
        key.chmod(0o600)
    assert ended.code == Exit.ERROR and f"chmod 0600 {key}" in ended.out


def test_a_server_is_disabled_enabled_and_removed(running: Running, rack: dict[str, Any]) -> None:
    assert running.command("server", "disable", "rack", "--json").json["state"] == "maintenance"
    assert running.command("server", "enable", "rack", "--json").json["enabled"]
    assert running.command("server", "remove", "rack").code == Exit.USAGE
    assert running.command("server", "remove", "rack", "--yes", "rack").code == 0
    assert running.command("server", "show", "rack").code == Exit.NOT_FOUND
