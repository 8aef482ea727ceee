"""Every page answers in its moods, without script, and does what its forms say."""

import re
from dataclasses import replace

import pytest

from comserv.domain.errors import Conflict, FewerRights, Invalid
from comserv.domain.guest import GuestKey
from comserv.domain.person import Role
from comserv.domain.power import PowerAction
from comserv.domain.server import TlsMode
from comserv.domain.vmrequest import Network, TemplateRef
from tests.web import estate
from tests.web.browsing import Client
from tests.web.conftest import Site
from tests.web.services import CSRF, GOOD, TOKEN, Told

GUEST, JOB = "/guests/lab/131", f"/jobs/{estate.RUNNING.id}"
PAGES = (
    "/", "/guests", "/guests?server=lab&tag=prod", "/guests?q=nobody", "/guests?state=template", "/guests.csv", GUEST, f"{GUEST}?whole=yes",
    "/guests/branch/101?whole=yes", "/guests/rack/500?whole=yes", "/guests/lab/9012", f"{GUEST}/change", f"{GUEST}/delete",
    f"{GUEST}/power/stop", "/guests/new", "/guests/new?server=branch", "/guests/new?like=lab/131", "/guests/new?fresh=yes",
    "/jobs", "/jobs?state=failed",
    *(f"/jobs/{job.id}" for job in estate.JOBS), f"{JOB}/cancel", "/servers", "/servers/lab", "/servers/rack", "/servers/branch",
    "/servers/new-one", "/servers/lab/edit", "/servers/lab/certificate",
    "/servers/rack/addresses", "/servers/lab/token", "/servers/lab/remove", "/servers/new", "/people", "/people/mara",
    "/audit", "/audit?who=mara", "/account", "/find", "/find?q=shop", "/find?q=nothing",
)  # fmt: skip
FOR_ADMINS = (
    "/servers/new",
    "/servers/lab/edit",
    "/servers/lab/certificate",
    "/servers/lab/addresses",
    "/servers/lab/token",
    "/people",
    "/people/mara",
    "/audit",
)
FOR_OPERATORS = (f"{GUEST}/change", f"{GUEST}/delete", "/guests/new", f"{JOB}/cancel")
SECRET = "5f0c9d2e-1111-2222-3333-444455556666"


@pytest.fixture
def client(site: Site) -> Client:
    return Client(site.port)


def test_every_page_answers(client: Client) -> None:
    for path in PAGES:
        reply = client.get(path)
        assert reply.status == 200, path
        assert "Undefined" not in reply.text


def test_every_page_answers_when_there_is_nothing(client: Client, told: Told) -> None:
    told.guests = told.jobs = told.servers = told.pending = ()
    told.summary, told.counts = replace(estate.CALM, servers=()), estate.NO_COUNTS
    for path in ("/", "/guests", "/jobs", "/servers", "/guests/new", "/audit?who=x"):
        assert client.get(path).status == 200, path
    assert "Add your first Proxmox server" in client.get("/guests").text


def test_a_calm_estate_needs_nobody(client: Client, told: Told) -> None:
    told.summary = estate.CALM
    assert "Nothing needs you." in client.get("/").words


def test_nobody_sees_a_page_before_signing_in(site: Site) -> None:
    nobody = Client(site.port, cookie="")
    for path in PAGES:
        reply = nobody.get(path)
        assert (reply.status, reply.location.partition("?")[0]) == (303, "/sign-in"), path


@pytest.mark.parametrize("role", list(Role))
def test_pages_are_kept_from_roles_that_may_not_see_them(client: Client, told: Told, role: Role) -> None:
    told.role = role
    for path in FOR_ADMINS:
        assert client.get(path).status == (200 if role is Role.ADMIN else 403), path
    for path in FOR_OPERATORS:
        assert client.get(path).status == (403 if role is Role.VIEWER else 200), path


def test_a_viewer_is_offered_nothing_that_changes(client: Client, told: Told) -> None:
    told.role = Role.VIEWER
    for path in ("/", "/guests", f"{GUEST}?whole=yes", JOB, f"/jobs/{estate.FAILED.id}", "/servers", "/servers/lab"):
        text = client.get(path).text
        doings = re.findall(
            r'formaction="|name="guest"|href="[^"]*/(?:new|change|delete|cancel|edit|remove|power/[a-z]+)"', text
        )
        assert not doings, path


def test_an_admin_is_offered_it(client: Client) -> None:
    assert 'formaction="' in client.get(GUEST).text and f'href="{GUEST}/delete"' in client.get(GUEST).text


def test_signing_in_gives_a_cookie_that_scripts_cannot_read(site: Site) -> None:
    nobody = Client(site.port, cookie="")
    reply = nobody.post("/sign-in", {"user": "admin", "password": GOOD, "then": "/guests"})
    assert (reply.status, reply.location) == (303, "/guests")
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith(f"comserv-{site.port}={TOKEN};") and "HttpOnly" in cookie and "SameSite=lax" in cookie


def test_a_wrong_password_says_neither_which_nor_more(site: Site) -> None:
    reply = Client(site.port, cookie="").post("/sign-in", {"user": "admin", "password": "x"})
    assert reply.status == 401 and "do not belong together" in reply.words and "set-cookie" not in reply.headers


def test_too_many_attempts_say_how_long_to_wait(site: Site) -> None:
    reply = Client(site.port, cookie="").post("/sign-in", {"user": "slow", "password": "x"})
    assert (reply.status, reply.headers["retry-after"]) == (429, "30") and "30 s" in reply.words


def test_a_sign_in_link_works_and_a_bad_one_says_so(site: Site) -> None:
    nobody = Client(site.port, cookie="")
    assert "set-cookie" in nobody.get("/sign-in/link/good").headers
    bad = nobody.get("/sign-in/link/bad")
    assert bad.status == 401 and "not good any more" in bad.words


def test_the_set_up_form_uses_its_link_only_when_it_is_sent(site: Site, told: Told) -> None:
    told.set_up = told.signed_in = False
    nobody = Client(site.port, cookie="")
    assert nobody.get("/set-up/good").status == 200 and not told.set_up
    differ = nobody.post("/set-up/good", {"user": "admin", "password": "a" * 14, "again": "b" * 14})
    assert differ.status == 422 and "differ" in differ.words and not told.set_up
    done = nobody.post("/set-up/good", {"user": "admin", "password": GOOD, "again": GOOD})
    assert done.status == 303 and "set-cookie" in done.headers
    assert nobody.get("/set-up/good").location == "/sign-in"


def test_a_void_set_up_link_names_the_command(site: Site, told: Told) -> None:
    told.set_up = False
    reply = Client(site.port, cookie="").get("/set-up/bad")
    assert reply.status == 404 and "comserv setup-link" in reply.words


def test_before_set_up_the_sign_in_page_says_that_there_is_nobody(site: Site, told: Told) -> None:
    told.set_up = told.signed_in = False
    assert "nobody to sign in as" in Client(site.port, cookie="").get("/sign-in").words


def test_signing_out_takes_the_cookie(client: Client, told: Told) -> None:
    reply = client.post("/sign-out")
    assert reply.location == "/sign-in" and not told.signed_in and "Max-Age=0" in reply.headers["set-cookie"]


def test_a_typed_filter_moves_into_the_address(client: Client) -> None:
    assert client.get("/guests?server=lab&add=tag%3Aprod+web").location == "/guests?server=lab&tag=prod&q=web"


def test_a_filter_that_nothing_matches_offers_the_way_out(client: Client) -> None:
    words = client.get("/guests?server=lab&q=wbe").words
    assert "No guest is named “wbe” with these filters." in words and "4 would match" in words


def test_an_easy_verb_is_done_at_once_and_a_hard_one_asks_first(client: Client, told: Told) -> None:
    assert client.post(f"{GUEST}/power", {"action": "shutdown"}).location == GUEST
    asked = client.post(f"{GUEST}/power", {"action": "stop"})
    assert asked.status == 200 and "pulling the plug" in asked.words and len(told.asked) == 1
    client.post(f"{GUEST}/power", {"action": "stop", "sure": "yes"})
    key = GuestKey("lab", 131)
    assert told.asked == [("power", key, PowerAction.SHUTDOWN), ("power", key, PowerAction.STOP)]


def test_power_over_a_selection_makes_a_job_each(client: Client, told: Told) -> None:
    reply = client.post("/guests/power", {"action": "start", "guest": ["lab/131", "lab/135"]})
    assert "1 job made, 1 refused" in reply.words and "It is stopped." in reply.words
    assert told.asked == [("power_many", (GuestKey("lab", 131), GuestKey("lab", 135)), PowerAction.START)]


def test_a_hard_verb_over_a_selection_lists_the_guests_first(client: Client, told: Told) -> None:
    reply = client.post("/guests/power", {"action": "reset", "guest": ["lab/131", "rack/203"]})
    assert "shop-01" in reply.words and "db-01" in reply.words and not told.asked
    assert client.post("/guests/power", {"action": "start"}).status == 422


def test_a_change_sends_only_what_differs(client: Client, told: Told) -> None:
    fields = {
        "name": "shop-01",
        "memory_gib": "4",
        "was.name": "shop-01",
        "was.memory_gib": "8",
        "tags": "",
        "was.tags": "",
    }
    assert client.post(f"{GUEST}/change", fields).location == f"/jobs/{estate.DONE.id}"
    assert told.asked[0][2].memory_mb == 4096 and told.asked[0][2].name is None


def test_a_faulty_change_keeps_what_was_typed(client: Client) -> None:
    reply = client.post(f"{GUEST}/change", {"name": "not a name!", "was.name": "shop-01"})
    assert reply.status == 422 and 'value="not a name!"' in reply.text and 'aria-invalid="true"' in reply.text


def test_deleting_needs_the_name(client: Client, told: Told) -> None:
    wrong = client.post(f"{GUEST}/delete", {"name": "shop-02"})
    assert wrong.status == 422 and "nothing was deleted" in wrong.words and not told.asked
    assert client.post(f"{GUEST}/delete", {"name": "shop-01"}).status == 303
    assert told.asked == [("delete", GuestKey("lab", 131))]


def test_a_deletion_that_cannot_be_offers_no_button(client: Client, told: Told) -> None:
    told.deletion = estate.REFUSED_DELETION
    reply = client.get(f"{GUEST}/delete")
    assert "It is protected." in reply.words and 'class="btn btn-danger"' not in reply.text


FORM = {
    "server": "lab",
    "template": "9012",
    "hostname": "web-01",
    "memory_gib": "8",
    "type": "dhcp",
    "ipv6": "none",
    "request_key": "k",
}


def test_the_plan_is_made_without_script(client: Client) -> None:
    words = client.post("/guests/new", {**FORM, "do": "plan"}).words
    assert "/nodes/pve1/qemu/9012/clone" in words and "Create web-01 on lab / pve1" in words


def test_creating_asks_once_with_the_forms_own_key(client: Client, told: Told) -> None:
    assert client.post("/guests/new", FORM).location == JOB
    kind, request, key = told.asked[-1]
    assert (kind, request.memory_mb, key) == ("create", 8192, "k")


def test_a_blocked_creation_shows_its_blockers_and_keeps_the_form(client: Client, told: Told) -> None:
    told.plan = estate.BLOCKED
    reply = client.post(
        "/guests/new", {**FORM, "type": "static", "ip_address": "10.20.0.31/24", "password": "hunter2-hunter2"}
    )
    assert reply.status == 422 and "in use by shop-01" in reply.words and 'value="10.20.0.31/24"' in reply.text
    assert "hunter2" not in reply.text


def test_a_form_that_cannot_be_read_says_where(client: Client, told: Told) -> None:
    reply = client.post("/guests/new", {**FORM, "vlan": "9999", "memory_gib": "lots"})
    assert reply.status == 422 and reply.text.count('aria-invalid="true"') == 2
    assert all(one[0] != "create" for one in told.asked)


def test_another_template_brings_its_sizes_and_another_server_keeps_the_name(client: Client) -> None:
    fresh = client.post("/guests/new", {**FORM, "cpu_cores": "64", "do": "template"})
    assert 'value="64"' not in fresh.text and 'value="web-01"' in fresh.text
    assert 'value="web-01"' in client.post("/guests/new", {**FORM, "server": "rack", "do": "server"}).text


def test_another_like_this_fills_the_form_and_says_what_is_new_and_what_is_gone(client: Client) -> None:
    for address in ("/guests/new?like=lab/131", f"/guests/new?like_job={estate.DONE.id}"):
        reply = client.get(address)
        for value in ("shop-02", "10.20.0.32/24", "10.20.0.1", "10.20.0.2", "prod web", "40", "debian", "20"):
            assert f'value="{value}"' in reply.text, value
        assert "Another one like shop-01." in reply.words and "its password has to be given anew" in reply.words
        assert "Not there any more: the storage gone-nfs." in reply.words and "Proposed" in reply.words
        assert re.search(r'name="ssh_key_1" value="1" checked', reply.text)
        assert not re.search(r'name="ssh_key_2" value="1" checked', reply.text)
    assert client.get("/guests/new?like=nonsense").status == 422


def test_a_guest_and_the_job_that_made_it_offer_another_like_it(client: Client, told: Told) -> None:
    assert f'href="/guests/new?like_job={estate.DONE.id}"' in client.get(f"/jobs/{estate.DONE.id}").text
    assert 'href="/guests/new?like=lab/131"' in client.get(GUEST).text
    assert "like=" not in client.get("/guests/rack/500").text  # a container
    told.role = Role.VIEWER
    assert "like" not in client.get(f"/jobs/{estate.DONE.id}").text


def test_the_form_begins_with_what_was_used_last_and_can_begin_afresh(client: Client, told: Told) -> None:
    assert "Filled in as you did it" not in client.get("/guests/new").words
    told.last = estate.LAST
    reply = client.get("/guests/new")
    assert "Filled in as you did it 3 h ago" in reply.words and 'href="/guests/new?fresh=yes"' in reply.text
    assert 'value="10.20.0.32/24"' in reply.text and 'value="8"' in reply.text and 'value="shop-02"' not in reply.text
    for other in ("/guests/new?fresh=yes", "/guests/new?server=rack"):
        words = client.get(other)
        assert "Filled in as you did it" not in words.words and 'value="10.20.0.32/24"' not in words.text
    gone = replace(estate.LAST.request, template=TemplateRef("lab", 4711), disk_gb=1, network=Network(bridge="gone0"))
    told.last = replace(estate.LAST, request=gone)
    text = client.get("/guests/new").text
    assert 'value="9012" selected' in text and 'name="disk_gb" value="4"' in text and "gone0" not in text
    told.last = replace(estate.LAST, request=replace(estate.LAST.request, server="removed"))
    assert "Filled in as you did it" not in client.get("/guests/new").words


def test_ticked_keys_and_typed_ones_go_with_the_request_and_no_key_is_lost_in_silence(
    client: Client, told: Told
) -> None:
    typed = f"{estate.KEYS[0].key.text} again\n{estate.KEYS[1].key.text}"
    client.post("/guests/new", {**FORM, "ssh_key_1": "1", "ssh_keys": typed})
    assert told.asked[-1][1].cloud_init.ssh_keys == (estate.KEYS[0].key.text, estate.KEYS[1].key.text)
    told.asked.clear()
    reply = client.post("/guests/new", {**FORM, "ssh_key_77": "1"})
    assert reply.status == 422 and "not among yours any more" in reply.words and not told.asked
    kept = client.post("/guests/new", {**FORM, "ssh_key_2": "1", "do": "template"}).text
    assert re.search(r'name="ssh_key_2" value="1" checked', kept) and not re.search(
        r'ssh_key_1" value="1" checked', kept
    )


def test_a_private_key_that_was_pasted_is_not_shown_again(client: Client, told: Told) -> None:
    secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
    for path, fields in (
        ("/account/ssh-keys", {"key": secret}),
        ("/guests/new", {**FORM, "ssh_keys": secret}),
        ("/guests/new", {**FORM, "ssh_keys": secret, "do": "template"}),
    ):
        reply = client.post(path, fields)
        assert "b3Blbn" not in reply.text
        assert "private key" in reply.words or "do" in fields
    assert all(one[0] not in ("create", "add key") for one in told.asked)


def test_a_job_is_cancelled_retried_and_cleared_away(client: Client, told: Told) -> None:
    client.post(f"{JOB}/cancel", {"running_task": "stop"})
    told.retry_needs = ("cloud_init.password",)
    again = client.post(f"{JOB}/retry")
    assert again.status == 422 and 'name="secret.cloud_init.password"' in again.text
    assert client.post(f"{JOB}/retry", {"secret.cloud_init.password": "s"}).location == JOB
    client.post(f"{JOB}/remove")
    assert [one[0] for one in told.asked] == ["cancel", "retry", "remove"]
    assert str(told.asked[0][2]) == "stop" and told.asked[1][2] == {"cloud_init.password": "s"}


def test_adding_a_server_goes_in_three_steps_without_script(client: Client, told: Told) -> None:
    look = client.post("/servers/new/look", {"address": "edge-brn.example.net"})
    assert estate.PIN in look.text and "openssl x509" in look.words
    carried = {
        "address": "https://edge-brn.example.net:8006",
        "tls_mode": "fingerprint",
        "fingerprint": estate.PIN,
        "ca_pem": "",
    }
    step = client.post("/servers/new/token", carried)
    assert "pveum role add" in step.words and 'value="edge-brn"' in step.text
    token = {**carried, "id": "edge-brn", "name": "", "token_id": "comserv@pve!manager", "token_secret": SECRET}
    assert client.post("/servers/new/test", token).location == "/servers/edge-brn"
    new = told.asked[-1][1]
    assert (new.id, new.tls.mode, new.token_secret) == ("edge-brn", TlsMode.FINGERPRINT, SECRET)


def test_what_pveum_printed_fills_both_fields_and_says_so(client: Client, told: Told) -> None:
    printed = f"│ full-tokenid │ comserv@pve!second │\n│ value │ {SECRET} │"
    filled = client.post("/servers/new/read", {"pasted": printed, "token_id": "comserv@pve!manager"}, hx_request="true")
    assert 'value="comserv@pve!second"' in filled.text and SECRET not in filled.text
    assert "from the table that pveum printed" in filled.words
    wrong = client.post("/servers/new/read", {"pasted": "root@pam"}, hx_request="true")
    assert "pveum user token add root@pam manager" in wrong.words
    fields = {
        "address": "https://x.example:8006",
        "tls_mode": "system",
        "id": "x",
        "pasted": printed,
        "token_id": "a@b!cc",
    }
    assert client.post("/servers/new/test", fields).location == "/servers/x"
    new = told.asked[-1][1]
    assert (str(new.token_id), new.token_secret) == ("comserv@pve!second", SECRET)


def test_a_server_that_fails_its_test_is_not_kept_and_its_secret_is_not_shown(client: Client, told: Told) -> None:
    told.stages = (replace(estate.STAGES[6], stage=estate.STAGES[0].stage),)
    fields = {
        "address": "https://x.example:8006", "tls_mode": "system", "id": "x", "token_id": "comserv@pve!manager", "token_secret": SECRET
    }  # fmt: skip
    reply = client.post("/servers/new/test", fields)
    assert reply.status == 422 and "Nothing was kept." in reply.words and not told.asked
    assert SECRET not in reply.text


def test_every_slip_of_a_new_server_is_told_at_once(client: Client) -> None:
    reply = client.post(
        "/servers/new/test",
        {"address": "https://x", "tls_mode": "system", "id": "new", "token_id": "x", "token_secret": "x"},
    )
    assert reply.status == 422 and reply.text.count('aria-invalid="true"') == 3


def test_a_servers_address_that_does_not_answer_says_so(client: Client) -> None:
    reply = client.post("/servers/new/look", {"address": "gone.example.net"})
    assert reply.status == 502 and "does not answer" in reply.words


def test_a_server_is_edited_tested_and_removed(client: Client, told: Told) -> None:
    view = estate.LAB.server
    fields = {
        "name": "The lab", "addresses": "\n".join(view.addresses), "default_node": "",
        "tls_mode": "fingerprint", "fingerprints": f"{view.addresses[0]} {estate.PIN}", "ca_pem": "",
    }  # fmt: skip
    assert client.post("/servers/lab/edit", fields).location == "/servers/lab"
    client.post("/servers/lab/test")
    client.post("/servers/lab/remove")
    edit = told.asked[0][2]
    assert (edit.name, edit.addresses, edit.tls) == ("The lab", None, None)
    assert [one[0] for one in told.asked] == ["edit", "test", "remove server"]


def test_a_changed_certificate_stands_beside_the_old_one_and_is_decided_once(client: Client, told: Told) -> None:
    page = client.get("/servers/rack/certificate")
    for word in (
        estate.BEFORE.fingerprint,
        estate.AFTER.fingerprint,
        "2028-11-20",
        "looks like a renewal",
        "no answer in time",
    ):
        assert word in page.words
    assert "/etc/pve/nodes/rack-a/pve-ssl.pem" in page.words and page.text.count("btn-primary") == 1
    accepted = [f"{address} {estate.AFTER.fingerprint}" for address in estate.RACK_AT[:2]]
    assert client.post("/servers/rack/certificate", {"accept": accepted}).location == "/servers/rack"
    assert told.asked[-1] == ("accept", "rack", dict.fromkeys(estate.RACK_AT[:2], estate.AFTER.fingerprint))
    told.refusal = Conflict("It shows another one now.")
    again = client.post("/servers/rack/certificate", {"accept": accepted})
    assert (
        again.status == 409 and "It shows another one now." in again.words and estate.AFTER.fingerprint in again.words
    )


def test_a_clusters_nodes_and_its_ca_are_offered_and_taken_by_tick(client: Client, told: Told) -> None:
    page = client.get("/servers/rack/addresses")
    assert (
        "is rack.example.net:8006" in page.words
        and "It is offline" in page.words
        and page.text.count('name="take"') == 1
    )
    pin = estate.PIN.replace("7C", "EF")
    client.post("/servers/rack/addresses", {"take": f"https://10.10.0.3:8006 {pin}"})
    client.post("/servers/rack/ca", {"fingerprint": estate.PIN})
    assert told.asked == [("take", "rack", {"https://10.10.0.3:8006": pin}), ("trust ca", "rack", estate.PIN)]
    told.refusal = Invalid("No address was chosen.")
    assert client.post("/servers/rack/addresses").status == 422


def test_a_token_is_replaced_and_the_line_that_removes_the_old_one_is_told(client: Client, told: Told) -> None:
    assert "manager-2" in client.get("/servers/lab/token").words
    fields = {"token_id": "comserv@pve!manager-2", "token_secret": SECRET}
    told.refusal = FewerRights("The new token may do less at /: VM.Clone.", cure="Give it more.\npveum acl modify /")
    asked = client.post("/servers/lab/token", fields)
    assert asked.status == 409 and 'name="fewer"' in asked.text and SECRET not in asked.text
    done = client.post("/servers/lab/token", {**fields, "fewer": "1"})
    assert done.status == 200 and "pveum user token remove comserv@pve manager" in done.words
    assert "pveum user token add root@pam" in client.post("/servers/lab/token", {"pasted": "root@pam"}).words


def test_people_are_made_changed_and_disabled(client: Client, told: Told) -> None:
    short = client.post("/people", {"name": "ina", "role": "viewer", "password": "x"})
    assert short.status == 422 and "12 to 1024" in short.words and 'value="ina"' in short.text
    client.post("/people", {"name": "ina", "role": "viewer", "password": "x" * 12})
    client.post("/people/mara", {"role": "admin"})
    client.post("/people/mara", {"disabled": "yes"})
    client.post("/people/mara", {"password": "y" * 12})
    assert [one[0] for one in told.asked] == ["create person", "change person", "change person", "password"]
    client.post("/people/mara/tokens/7/revoke")
    assert told.asked[-1] == ("revoke token", 7, "mara")
    last = client.post("/people/admin", {"disabled": "yes"})
    assert last.status == 409 and "last admin" in last.words


def test_ones_own_account_is_kept_by_oneself(client: Client, told: Told) -> None:
    made = client.post("/account/tokens", {"token_name": "ci", "role": "operator", "days": "30"})
    assert "comserv_0123456789abcdef" in made.text and made.headers["cache-control"] == "no-store"
    assert client.post("/account/password", {"current": "x", "password": "a", "again": "b"}).status == 422
    assert client.post("/account/password", {"current": GOOD, "password": "a" * 12, "again": "a" * 12}).status == 303
    assert told.asked[-1] == ("own password", TOKEN), "the session that asks goes on"
    for slip in ("30d", "-1", "1.5", "9" * 5000, "²"):
        assert client.post("/account/tokens", {"token_name": "ci", "role": "viewer", "days": slip}).status == 422, slip
    assert client.post(f"/account/tokens/{2**70}/revoke").status == 404
    client.post("/account/theme", {"theme": "dark"})
    client.post("/account/tokens/1/revoke")
    client.post("/account/sessions/2/revoke")
    client.post("/account/sessions/others/revoke")
    assert 'data-bs-theme="dark"' in client.get("/").text
    kinds = ["token", "own password", "revoke token", "revoke session", "revoke sessions"]
    assert [one[0] for one in told.asked] == kinds
    words = client.get("/account").words
    assert "Chromium 140 on Linux" in words and "End all others" in words and "It ends your other sessions" in words


def test_ones_ssh_keys_are_kept_ticked_and_given_up(client: Client, told: Told) -> None:
    page = client.get("/account")
    assert "mara@desk" in page.words and estate.KEYS[0].key.fingerprint in page.words and "256 bits" in page.words
    refused = client.post("/account/ssh-keys", {"key": "no key"})
    assert refused.status == 422 and "begins with its type" in refused.words and ">no key</textarea>" in refused.text
    client.post("/account/ssh-keys", {"key": estate.KEYS[0].key.text})
    client.post("/account/ssh-keys/2", {"offered": "yes"})
    client.post("/account/ssh-keys/2/remove")
    assert [one[:2] for one in told.asked] == [
        ("add key", estate.KEYS[0].key.text),
        ("change key", 2),
        ("remove key", 2),
    ]
    assert told.asked[1][2] is True
    told.keys = ()
    assert "None yet." in client.get("/account").words
    words = client.get("/guests/new").words
    assert "Keep yours on your account" in words and "Other SSH keys" not in words


def test_an_admin_ends_somebodys_sessions(client: Client, told: Told) -> None:
    assert "A browser on iPhone" in client.get("/people/mara").words
    assert client.post("/people/mara/sessions/2/revoke").location == "/people/mara"
    client.post("/people/mara/sessions/all/revoke")
    assert told.asked == [("revoke session", 2, "mara"), ("revoke sessions", TOKEN, "mara")]


def test_what_is_not_there_is_told_with_a_way_on(client: Client) -> None:
    reply = client.get("/guests/lab/4711")
    assert reply.status == 404 and "There is no guest lab/4711." in reply.words and "What to do" in reply.words
    assert client.get("/no/such/page").status == 404 and "no such page" in client.get("/no/such/page").words
    assert client.get("/sign-out").status == 405


def test_proxmoxs_own_words_are_kept_on_pages(client: Client) -> None:
    assert "500 QEMU guest agent is not running" in client.get("/guests/rack/203?whole=yes").words
    assert "Volume group &#34;pve&#34; has insufficient free space" in client.get(f"/jobs/{estate.FAILED.id}").text


def test_what_servers_tell_cannot_become_markup(client: Client, told: Told) -> None:
    sly = estate.guest("lab", 666, '"><script>alert(1)</script>', "pve1", tags=("<b>",), pool="<i>")
    told.guests = (estate.view(sly, "<u>10.0.0.1</u>"),)
    for path in ("/guests", "/guests/lab/666?whole=yes", "/guests/lab/666/delete"):
        text = client.get(path).text
        assert ("<script>alert" not in text and "<b>" not in text.replace("<b>Delete", "")) or "&lt;" in text
        assert '"><script' not in text and "<u>" not in text and "<i>" not in text
    assert CSRF in client.get("/guests").text
