"""Bundles: everything that a report needs, and no secret that the test knows, plain or encoded; names only where they may stay."""

import base64
import io
import json
import zipfile
from urllib.parse import quote

import pytest
import structlog

from comserv import log
from comserv.domain.concealment import MASK, Concealment, spellings, without_secrets
from comserv.domain.errors import Forbidden, NotFound
from comserv.domain.person import Action
from comserv.persistence import audit
from comserv.services.bundles import Bundle
from tests.installed import ADMIN, OPERATOR, Installed, Pve, unique

pytestmark = pytest.mark.anyio
PASSWORD = 'pä$s "w/ö+rd&'


def files(bundle: Bundle) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


async def test_a_jobs_bundle_has_what_a_report_needs_and_no_secret_in_any_spelling(
    comserv: Installed, pve: Pve
) -> None:
    log.configure("INFO", "json")
    token = pve.told["tokens"]["full"]["secret"]
    pve.fault("status", {"path": "/config$", "method": "POST"}, status=500, text=f"no: {PASSWORD} {token}", times=9)
    job = await comserv.create(cloud_init={"user": "ops", "password": PASSWORD}, hostname=unique("leaky"))
    await comserv.until(job, lambda now: now.step("configure").intent or now.state.ended)
    leaks = (
        PASSWORD,
        token,
        base64.b64encode(f"x{token}".encode()).decode(),
        quote(PASSWORD, safe=""),
        token.encode().hex(),
    )
    for leak in leaks:
        structlog.get_logger().warning("leaks", job=job.id, text=leak, header=f"PVEAPIToken=a@pve!b={token}")
    bundle = await comserv.services.bundles.of_job(ADMIN, job.id)
    found = files(bundle)
    assert {
        "README.txt",
        "job.json",
        "calls.json",
        "server.json",
        "health.json",
        "load.json",
        "last-test.json",
    } <= found.keys()
    assert json.loads(found["versions.json"])["comserv"] and json.loads(found["settings.json"])["database"] == "sqlite"
    assert "leaky" in found["job.json"] and "/clone" in found["calls.json"] and job.id in found["log.jsonl"]
    whole = "\n".join(found.values())
    for secret in (PASSWORD, token):
        assert not [one for one in spellings(secret) if one in whole]
    assert MASK in found["log.jsonl"]
    pve.heal()
    await comserv.ended(job, 40)


async def test_a_servers_bundle_without_names_has_none_of_them(comserv: Installed, pve: Pve) -> None:
    guests = {
        view.guest.name
        for view in comserv.installation.estate.views(comserv.database.clock())
        if len(view.guest.name) > 1
    }
    found = files(await comserv.services.bundles.of_server(ADMIN, "lab", anonymous=True))
    whole = "\n".join(found.values())
    host = pve.url.removeprefix("https://")
    for name in {*guests, host, "127.0.0.1", "olaf"}:
        assert name not in whole, name
    assert "server-1" in found["server.json"] and "guest-1" in found["picture.json"]
    named = files(await comserv.services.bundles.of_server(ADMIN, "lab"))
    assert host in named["server.json"] and all(name in named["picture.json"] for name in guests)


async def test_only_an_admin_may_take_one_and_the_audit_says_who_did(comserv: Installed) -> None:
    with pytest.raises(Forbidden):
        await comserv.services.bundles.of_server(OPERATOR, "lab")
    with pytest.raises(NotFound):
        await comserv.services.bundles.of_server(ADMIN, "nowhere")
    with pytest.raises(NotFound):
        await comserv.services.bundles.of_job(ADMIN, "0d7k3v9a1x4q2m7t")
    await comserv.services.bundles.of_server(ADMIN, "lab")
    async with comserv.database.read() as tx:
        row = (await audit.page(tx, audit.AuditFilter(), limit=1)).items[0]
    assert (row.who, row.action, row.object) == ("mara", str(Action.TAKE_BUNDLE), "server lab")


def test_what_is_secret_by_its_name_is_masked_at_any_depth() -> None:
    given = {"cipassword": "x", "name": "web", "a": [{"token_secret": "y", "key": {"server": "lab"}}], "ticket": "z"}
    told = without_secrets(given)
    assert told == {
        "cipassword": MASK,
        "name": "web",
        "a": [{"token_secret": MASK, "key": {"server": "lab"}}],
        "ticket": MASK,
    }


@pytest.mark.parametrize("text", [
    "Authorization: PVEAPIToken=root@pam!x=0123", "authorization: Bearer abcdef", "token cs_0123456789abcdefghijABCDEFGHIJ0123456789_-x",
    "PVE:root@pam:65F0A1B2::c2lnbmF0dXJl", "postgresql://comserv:hunter2@db/comserv",
    "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
])  # fmt: skip
def test_what_looks_like_a_secret_is_masked_although_nobody_knows_it(text: str) -> None:
    cleaned = Concealment(()).clean(text)
    assert MASK in cleaned
    for secret in ("0123", "abcdef", "c2lnbmF0dXJl", "hunter2", "MIIE"):
        assert secret not in cleaned


def test_a_name_stands_as_the_same_word_everywhere_and_times_stay() -> None:
    hidden = Concealment((), {"guest": ["web-01", "web-02"], "host": ["pve1.example.org"]})
    text = "web-01 on pve1.example.org (10.1.2.3, 2001:db8::7) at 12:00:01, WEB-01 again, 10.1.2.3, web-011, BC:24:11:3F:9A:02"
    assert hidden.clean(text) == "guest-1 on host-1 (ip-1, ip-2) at 12:00:01, guest-1 again, ip-1, web-011, mac-1"
