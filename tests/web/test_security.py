"""What keeps a page from being used by another site, and what a browser may keep of it."""

import re

import pytest

from comserv.domain.person import Role
from comserv.web.assets import Assets
from comserv.web.security import MOST_BODY
from comserv.web.session import Cookies
from tests.web.browsing import Client
from tests.web.conftest import Site
from tests.web.services import Told


@pytest.fixture
def client(site: Site) -> Client:
    return Client(site.port)


def test_every_reply_forbids_scripts_of_others_and_frames(client: Client) -> None:
    for path in ("/", "/sign-in", "/no/such/page", "/pulse"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "object-src 'none'" in policy and "form-action 'self'" in policy
        assert (
            "unsafe-inline" not in policy.replace("style-src 'self' 'unsafe-inline'", "")
            and "unsafe-eval" not in policy
        )
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"


def test_a_nonce_is_used_once(client: Client) -> None:
    nonces = {re.search(r"'nonce-([^']+)'", client.get("/").headers["content-security-policy"])[1] for _ in range(3)}  # pyright: ignore[reportOptionalSubscript]
    assert len(nonces) == 3 and all(len(nonce) >= 16 for nonce in nonces)


def test_pages_are_not_kept_by_browsers_but_files_are_kept_for_a_year(client: Client) -> None:
    assert client.get("/guests").headers["cache-control"] == "no-store"
    page = client.get("/guests").text
    files = re.findall(r'(?:href|src)="(/static/[^"#]+)"', page)
    assert len(files) >= 7
    for file in set(files):
        reply = client.get(file)
        assert reply.status == 200 and "immutable" in reply.headers["cache-control"], file


def test_the_address_of_files_changes_with_their_content(tmp_path) -> None:
    (tmp_path / "a.css").write_text("a")
    before = Assets(tmp_path).url("a.css")
    (tmp_path / "a.css").write_text("b")
    assert Assets(tmp_path).url("a.css") != before and before.endswith("/a.css")


def test_files_outside_are_not_served(client: Client) -> None:
    base = re.search(r"/static/[0-9a-f]+", client.get("/sign-in", cookie="").text)[0]  # pyright: ignore[reportOptionalSubscript]
    for path in ("/../router.py", "/%2e%2e/router.py", "/..%2frouter.py", "//etc/passwd"):
        assert client.get(base + path).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "http://127.0.0.1:1"},
    ],
)
def test_a_form_from_another_site_is_refused_even_with_the_right_token(
    client: Client, told: Told, headers: dict[str, str]
) -> None:
    assert client.post("/guests/lab/131/power", {"action": "shutdown"}, **headers).status == 403
    assert client.post("/sign-in", {"user": "a", "password": "b"}, **headers).status == 403
    assert not told.asked


def test_a_form_of_our_own_is_taken(client: Client, site: Site, told: Told) -> None:
    client.post("/guests/lab/131/power", {"action": "shutdown"}, origin=site.address, sec_fetch_site="same-origin")
    assert len(told.asked) == 1


@pytest.mark.parametrize("csrf", ["", "another", "ü"])
def test_a_form_without_this_sessions_token_changes_nothing(client: Client, told: Told, csrf: str) -> None:
    paths = (
        "/guests/power", "/guests/lab/131/power", "/guests/lab/131/change", "/guests/lab/131/delete", "/guests/new", "/guests/new/plan",
        "/jobs/x/cancel", "/jobs/x/retry", "/jobs/x/remove", "/servers/lab/test", "/servers/lab/edit", "/servers/lab/maintenance",
        "/servers/lab/maintenance/end", "/servers/lab/gentleness",
        "/servers/lab/certificate", "/servers/lab/remove", "/servers/new/look", "/servers/new/token", "/servers/new/test", "/people",
        "/people/mara", "/people/mara/tokens/1/revoke", "/account/password", "/account/theme", "/account/tokens",
        "/account/tokens/1/revoke", "/account/sessions/1/revoke", "/account/sessions/others/revoke", "/account/ssh-keys",
        "/account/ssh-keys/1",
        "/account/ssh-keys/1/remove", "/people/mara/sessions/1/revoke", "/people/mara/sessions/all/revoke", "/sign-out",
    )  # fmt: skip
    for path in paths:
        reply = client.post(path, {"action": "shutdown"}, csrf=csrf)
        assert reply.status == 403 and "another session" in reply.words, path
    assert not told.asked and told.signed_in


def test_over_https_the_cookie_belongs_to_this_host_alone() -> None:
    assert Cookies(secure=True, port=443).name == "__Host-comserv"
    assert Cookies(secure=False, port=8080).name == "comserv-8080"


def test_who_may_not_do_a_thing_is_not_asked_whether_it_is_meant(client: Client, told: Told) -> None:
    """A hard act without its second click, and forms that cannot be understood: the role comes first."""
    told.role = Role.VIEWER
    for path, fields in (
        ("/guests/lab/131/power", {"action": "stop"}),
        ("/guests/power", {"action": "stop", "guest": "lab/131"}),
        ("/servers/lab/edit", {"addresses": "?"}),
        ("/servers/lab/certificate", {"fingerprint.https://127.0.0.1:8006": "?"}),
        ("/guests/new", {}),
        ("/guests/new/plan", {}),
    ):
        assert client.post(path, fields).status == 403, path
    assert not told.asked


def test_what_is_too_long_is_not_read_also_where_nobody_is_signed_in(site: Site) -> None:
    """A file in a form is not measured by the framework: it would go to memory, then to disk."""
    client = Client(site.port, cookie="")
    head = '--cut\r\nContent-Disposition: form-data; name="user"; filename="x"\r\n\r\n'
    kind = "multipart/form-data; boundary=cut"
    long = client.ask("POST", "/sign-in", head + "a" * (MOST_BODY + 1) + "\r\n--cut--\r\n", content_type=kind)
    assert long.status == 413 and "too long" in long.words
    assert client.ask("POST", "/sign-in", "no form", content_type="multipart/form-data").status == 400
