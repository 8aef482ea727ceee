"""One call and its answer over a real socket: what is sent, how often, and what is made of what comes back."""

import asyncio
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from comserv.domain.errors import (
    OutcomeUnknown,
    ProxmoxError,
    ReplyUnreadable,
    ServerUnreachable,
    TokenRefused,
)
from comserv.domain.job import CallRecord
from comserv.domain.plan import PlannedCall
from comserv.domain.server import TokenId
from comserv.proxmox import connections
from comserv.proxmox.client import Client
from tests.proxmox.conftest import SECRET, TOKEN
from tests.proxmox.scripted import Answer, Scripted, after, close, raw, reply, reset, silence

pytestmark = pytest.mark.anyio

MakeServer = Callable[..., Scripted]
MakeClient = Callable[..., Client]
UPID = "UPID:pve1:000000D9:0006B3D1:6B05113A:qmclone:105:comserv@pve!manager:"
VERSION = reply({"version": "9.1.6", "release": "9.1", "repoid": "x"})


class Watcher:
    """An observer that keeps what it is told, and may refuse."""

    def __init__(self, refusal: BaseException | None = None) -> None:
        self.records: list[CallRecord] = []
        self.before = 0
        self._refusal = refusal

    async def before_write(self) -> None:
        self.before += 1
        if self._refusal:
            raise self._refusal

    async def called(self, record: CallRecord) -> None:
        self.records.append(record)


async def clone(client: Client) -> str:
    return str(await client.node("pve1").qemu(9000).clone(105, name="web-01"))


async def delete(client: Client) -> str:
    return str(await client.node("pve1").qemu(105).delete(purge=True))


async def resize(client: Client) -> str:
    return str(await client.node("pve1").qemu(105).resize("scsi0", "32G"))


async def test_every_call_carries_the_token_and_asks_for_json(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(VERSION) as server, client_at(server.address) as client:
        assert (await client.version()).numbers == (9, 1)
    (asked,) = server.asked
    assert asked.headers["authorization"] == f"PVEAPIToken={TOKEN}={SECRET}"
    assert asked.target == "/api2/json/version"
    assert asked.headers["accept"] == "application/json"


async def test_a_change_goes_as_a_form_and_a_delete_as_a_query(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(reply(UPID)) as server, client_at(server.address) as client:
        assert await clone(client) == UPID
        await delete(client)
    cloned, deleted = server.asked
    assert (cloned.method, cloned.path, cloned.form) == (
        "POST",
        "/nodes/pve1/qemu/9000/clone",
        {"newid": "105", "name": "web-01"},
    )
    assert (deleted.method, deleted.body, deleted.query) == ("DELETE", "", {"purge": "1"})


async def test_public_keys_are_encoded_twice_on_the_wire(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(reply(UPID)) as server, client_at(server.address) as client:
        await client.node("pve1").qemu(105).configure({"sshkeys": "ssh-ed25519 AA+= me"}, delete=("onboot", "tags"))
    assert server.asked[0].body == "sshkeys=ssh-ed25519%2520AA%252B%253D%2520me&delete=onboot%2Ctags"


async def test_reads_share_a_connection(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(VERSION) as server, client_at(server.address) as client:
        for _ in range(3):
            await client.version()
    assert server.connections == 1


async def test_every_change_opens_a_connection_of_its_own(scripted: MakeServer, client_at: MakeClient) -> None:
    """A kept connection may be closing just now, and nobody could tell whether the change was carried out."""
    async with scripted(VERSION, reply(UPID)) as server, client_at(server.address) as client:
        await client.version()
        await clone(client)
        await clone(client)
    assert [asked.connection for asked in server.asked] == [1, 2, 3]


@pytest.mark.parametrize("end", [close, reset], ids=["closed", "reset"])
async def test_a_read_on_a_dropped_connection_is_tried_once_more(
    scripted: MakeServer, client_at: MakeClient, end: Answer
) -> None:
    async with scripted(end, VERSION) as server, client_at(server.address) as client:
        assert (await client.version()).text == "9.1.6"
    assert len(server.asked) == 2


async def test_a_read_is_not_tried_a_third_time(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(close) as server, client_at(server.address) as client:
        with pytest.raises(ServerUnreachable):
            await client.version()
    assert len(server.asked) == 2


@pytest.mark.parametrize("end", [close, reset], ids=["closed", "reset"])
@pytest.mark.parametrize("change", [clone, delete, resize], ids=["POST", "DELETE", "PUT"])
async def test_a_change_whose_reply_is_lost_is_never_sent_again(
    scripted: MakeServer, client_at: MakeClient, change: Any, end: Answer
) -> None:
    """The library would repeat PUT and DELETE by itself."""
    async with scripted(end, reply(UPID)) as server, client_at(server.address) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await change(client)
    assert len(server.asked) == 1
    assert "was sent, then" in caught.value.detail


@pytest.mark.parametrize("change", [clone, delete, resize], ids=["POST", "DELETE", "PUT"])
async def test_a_change_that_is_never_answered_has_an_unknown_outcome(
    scripted: MakeServer, client_at: MakeClient, change: Any
) -> None:
    async with scripted(silence) as server, client_at(server.address) as client:
        with pytest.raises(OutcomeUnknown):
            await change(client)
    assert len(server.asked) == 1


async def test_a_read_that_is_never_answered_ends_in_time_and_is_not_repeated(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(silence) as server, client_at(server.address) as client:
        with pytest.raises(ServerUnreachable, match="no answer in time"):
            await client.version()
    assert len(server.asked) == 1


async def test_an_answer_that_trickles_for_ever_ends_in_time(scripted: MakeServer, client_at: MakeClient) -> None:
    async def trickle(_asked: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.05)

    async with scripted(trickle) as server, client_at(server.address) as client:
        with pytest.raises(ServerUnreachable, match="no answer in time"):
            await client.version()


@pytest.mark.parametrize("change", [clone, delete, resize], ids=["POST", "DELETE", "PUT"])
async def test_a_change_that_reaches_nobody_was_surely_not_carried_out(client_at: MakeClient, change: Any) -> None:
    async with Scripted() as gone:
        address = gone.address
    async with client_at(address) as client:
        with pytest.raises(ServerUnreachable, match="connection refused"):
            await change(client)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raw(b"<html>login</html>", content_type="text/html"), "text/html"),
        (raw(b'{"data":', content_type="application/json"), "truncated"),
        (raw(b'{"data":{"release":7}}', content_type="application/json"), "version"),
        (raw(b"[]", content_type="application/json"), "Expected `object`"),
        (raw(b"\xff\xfe", content_type="application/json"), "malformed"),
        (raw(b"<html>bad gateway</html>", 502, "Bad Gateway", "text/html"), "text/html"),
        (raw(b"", 503, "Service Unavailable"), "gateway"),
        (raw(b"", 301, "Moved Permanently", "", "Location: https://elsewhere.example/"), "redirects"),
        (raw(b"", 401, "Unauthorized", "", 'WWW-Authenticate: Basic realm="proxy"'), "password of its own"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n", "HTTP"),
    ],
)
async def test_what_proxmox_would_not_say_is_unreadable(
    scripted: MakeServer, client_at: MakeClient, answer: bytes, words: str
) -> None:
    async with scripted(answer) as server, client_at(server.address) as client:
        with pytest.raises(ReplyUnreadable) as caught:
            await client.version()
    assert words in caught.value.detail


async def test_a_redirect_is_not_followed_since_it_would_carry_the_token_away(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(VERSION) as elsewhere:
        away = raw(b"", 302, "Found", "", f"Location: {elsewhere.address}/api2/json/version")
        async with scripted(away) as server, client_at(server.address) as client:
            with pytest.raises(ReplyUnreadable):
                await client.version()
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"<html>bad gateway</html>", 502, "Bad Gateway", "text/html"),
        raw(b"", 504, "Gateway Time-out"),
        raw(b"what?", content_type="application/json"),
        reply(None),
        reply("not a task"),
        b"garbage\r\n\r\n",
    ],
)
async def test_a_change_whose_answer_cannot_be_read_has_an_unknown_outcome(
    scripted: MakeServer, client_at: MakeClient, answer: bytes
) -> None:
    async with scripted(answer) as server, client_at(server.address) as client:
        with pytest.raises(OutcomeUnknown):
            await clone(client)
    assert len(server.asked) == 1


async def test_a_change_that_is_redirected_was_not_carried_out(scripted: MakeServer, client_at: MakeClient) -> None:
    away = raw(b"", 308, "Permanent Redirect", "", "Location: https://elsewhere.example/")
    async with scripted(away) as server, client_at(server.address) as client:
        with pytest.raises(ReplyUnreadable):
            await clone(client)


async def test_a_reply_without_end_is_not_taken_in(
    scripted: MakeServer, client_at: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LARGEST_REPLY", 1024)
    bomb = raw(gzip.compress(json.dumps({"data": "x" * 100_000}).encode()), 200, "OK", "", "Content-Encoding: gzip")
    async with scripted(bomb) as server, client_at(server.address) as client:
        with pytest.raises(ReplyUnreadable, match="more than"):
            await client.version()


async def test_a_packed_reply_is_unpacked(scripted: MakeServer, client_at: MakeClient) -> None:
    packed = raw(
        gzip.compress(b'{"data":{"version":"9.1.6"}}'), 200, "OK", "application/json", "Content-Encoding: gzip"
    )
    async with scripted(packed) as server, client_at(server.address) as client:
        assert (await client.version()).text == "9.1.6"


async def test_595_means_that_nothing_reached_the_node(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(raw(b"", 595, "No route to host")) as server, client_at(server.address) as client:
        with pytest.raises(ServerUnreachable, match="No route to host") as caught:
            await clone(client)
    assert caught.value.proxmox and caught.value.proxmox.status == 595


async def test_after_a_595_a_read_asks_one_other_address(scripted: MakeServer, client_at: MakeClient) -> None:
    lost = raw(b"", 595, "No route to host")
    async with (
        scripted(lost) as first,
        scripted(VERSION) as second,
        scripted(VERSION) as third,
        client_at(first.address, second.address, third.address) as client,
    ):
        assert (await client.version()).text == "9.1.6"
        assert client.failing_addresses == {}  # the address is good: it is the node behind it that is not
        assert (len(first.asked), len(second.asked), len(third.asked)) == (1, 1, 0)


async def test_after_a_595_from_two_addresses_the_node_is_unreachable(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    lost = raw(b"", 595, "No route to host")
    async with (
        scripted(lost) as first,
        scripted(lost) as second,
        scripted(VERSION) as third,
        client_at(first.address, second.address, third.address) as client,
    ):
        with pytest.raises(ServerUnreachable, match="No route to host"):
            await client.version()
        assert third.asked == []


async def test_after_a_595_a_change_goes_to_another_address_since_nothing_was_carried_out(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    async with (
        scripted(raw(b"", 595, "Connection refused")) as first,
        scripted(reply(UPID)) as second,
        client_at(first.address, second.address) as client,
    ):
        await client.begin(PlannedCall("POST", "/nodes/pve1/qemu/105/status/start", {}))
        assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.parametrize("answer", [silence, close, raw(b"", 596, "Broken pipe"), raw(b"no", 502, "Bad Gateway")])
async def test_a_change_that_may_have_been_carried_out_goes_to_no_other_address(
    answer: Answer, scripted: MakeServer, client_at: MakeClient
) -> None:
    async with (
        scripted(answer) as first,
        scripted(reply(None)) as second,
        client_at(first.address, second.address) as client,
    ):
        with pytest.raises(OutcomeUnknown):
            await client.begin(PlannedCall("POST", "/nodes/pve1/qemu/105/status/start", {}))
        assert second.asked == [] and len(first.asked) == 1


@pytest.mark.parametrize("answer", [silence, close, raw(b"<html>", 503, "Unavailable", "text/html")])
async def test_a_read_that_one_address_does_not_answer_is_answered_by_the_next(
    answer: Answer, scripted: MakeServer, client_at: MakeClient
) -> None:
    async with (
        scripted(answer) as first,
        scripted(VERSION) as second,
        client_at(first.address, second.address) as client,
    ):
        assert (await client.version()).text == "9.1.6"
        assert client.address_in_use == second.address


async def test_a_new_token_counts_from_the_next_call_on_in_every_view(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    """A job holds its view of the client for hours; nothing that is under way is interrupted."""
    new = "99999999-2222-3333-4444-555555555555"
    async with scripted(after(0.2, VERSION), VERSION) as server, client_at(server.address) as client:
        view = client.observed(Watcher())
        under_way = asyncio.create_task(view.version())
        await asyncio.sleep(0.1)
        client.update(replace(client.server, token_id=TokenId("comserv", "pve", "second")), new)
        await under_way
        await view.version()
        told = [asked.headers["authorization"] for asked in server.asked]
        assert told == [f"PVEAPIToken=comserv@pve!manager={SECRET}", f"PVEAPIToken=comserv@pve!second={new}"]
        assert str(view.server.token_id) == "comserv@pve!second"


@pytest.mark.parametrize("status", [596, 597, 598, 599])
async def test_596_and_above_tell_nothing_about_a_change(
    scripted: MakeServer, client_at: MakeClient, status: int
) -> None:
    async with scripted(raw(b"", status, "Broken pipe")) as server, client_at(server.address) as client:
        with pytest.raises(OutcomeUnknown):
            await clone(client)
        with pytest.raises(ServerUnreachable):
            await client.version()


async def test_a_401_is_the_token(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(raw(b"", 401, "Authentication failed!")) as server, client_at(server.address) as client:
        with pytest.raises(TokenRefused, match="Authentication failed!"):
            await client.version()


# --- the observer ---------------------------------------------------------------------------------------------------


async def test_the_observer_is_asked_right_before_the_bytes_and_told_after_the_reply(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    watcher = Watcher()
    async with scripted(reply(UPID)) as server, client_at(server.address) as client:
        await (
            client.observed(watcher, ["hunter22"])
            .node("pve1")
            .qemu(105)
            .configure({"cipassword": "hunter22", "ciuser": "ops", "description": "hunter22!"})
        )
    (record,) = watcher.records
    assert watcher.before == 1
    assert (record.method, record.path, record.status, record.upid) == (
        "POST",
        "/nodes/pve1/qemu/105/config",
        200,
        UPID,
    )
    assert record.parameters == {"cipassword": "•••", "ciuser": "ops", "description": "•••!"}
    assert record.reply == ""
    assert 0 < record.ms < 5000


async def test_what_the_observer_refuses_is_not_sent(scripted: MakeServer, client_at: MakeClient) -> None:
    """Also an OSError, which the library would wrap into one of its own."""
    for refusal in (ConnectionResetError("the lease is lost"), LookupError("x"), asyncio.CancelledError()):
        async with scripted(reply(UPID)) as server, client_at(server.address) as client:
            with pytest.raises(type(refusal)) as caught:
                await clone(client.observed(Watcher(refusal)))
        assert caught.value is refusal
        assert server.asked == []


async def test_the_observer_is_not_asked_before_a_connection_is_there(client_at: MakeClient) -> None:
    async with Scripted() as gone:
        address = gone.address
    watcher = Watcher()
    async with client_at(address) as client:
        with pytest.raises(ServerUnreachable):
            await clone(client.observed(watcher))
    assert watcher.before == 0
    assert [record.status for record in watcher.records] == [None]


async def test_reads_and_pings_are_told_but_need_no_leave(scripted: MakeServer, client_at: MakeClient) -> None:
    watcher = Watcher(LookupError("no write is allowed"))
    routes = {"GET /version": VERSION, "POST /nodes/pve1/qemu/105/agent/ping": reply({"result": {}})}
    async with scripted(routes=routes) as server, client_at(server.address) as client:
        view = client.observed(watcher)
        await view.version()
        assert await view.node("pve1").qemu(105).agent.answers()
    assert [record.method for record in watcher.records] == ["GET", "POST"]


async def test_a_failed_reply_is_recorded_with_its_first_4_kb_and_without_secrets(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    refusal = reply(None, 500, "x", message=f"no {SECRET} " + "y" * 9000)
    watcher = Watcher()
    async with scripted(refusal) as server, client_at(server.address) as client:
        with pytest.raises(ProxmoxError) as refused:
            await clone(client.observed(watcher))
    assert refused.value.proxmox and SECRET not in refused.value.proxmox.message + str(refused.value)
    (record,) = watcher.records
    assert record.status == 500
    assert len(record.reply) == 4096
    assert SECRET not in record.reply and "no ••• yyy" in record.reply


async def test_only_the_call_that_began_a_task_is_recorded_with_it(scripted: MakeServer, client_at: MakeClient) -> None:
    """Else one job's look at the list would claim the tasks of all the others."""
    watcher = Watcher()
    listed = reply([{"upid": UPID, "status": "OK", "endtime": 1764000000}])
    routes = {"GET /nodes/pve1/tasks": listed, "POST /nodes/pve1/qemu/9000/clone": reply(UPID)}
    async with scripted(routes=routes) as server, client_at(server.address) as client:
        view = client.observed(watcher)
        assert len(await view.node("pve1").tasks.list()) == 1
        await clone(view)
    assert [(record.method, record.upid) for record in watcher.records] == [("GET", ""), ("POST", UPID)]


async def test_each_try_is_recorded(scripted: MakeServer, client_at: MakeClient) -> None:
    watcher = Watcher()
    async with scripted(close, VERSION) as server, client_at(server.address) as client:
        await client.observed(watcher).version()
    assert [record.status for record in watcher.records] == [None, 200]


async def test_a_lost_change_is_recorded_too(scripted: MakeServer, client_at: MakeClient) -> None:
    watcher = Watcher()
    async with scripted(reset) as server, client_at(server.address) as client:
        with pytest.raises(OutcomeUnknown):
            await clone(client.observed(watcher))
    assert [(record.status, watcher.before) for record in watcher.records] == [(None, 1)]


# --- gentle with servers --------------------------------------------------------------------------------------------


async def test_at_most_four_calls_are_in_flight_and_all_get_through(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    async with scripted(after(0.05, VERSION)) as server, client_at(server.address) as client:
        await asyncio.gather(*(client.observed(Watcher()).version() for _ in range(12)))
    assert server.most_at_once == 4
    assert len(server.asked) == 12


async def test_at_most_two_heavy_calls_per_node_run_and_a_light_one_gets_past_them(
    scripted: MakeServer, client_at: MakeClient
) -> None:
    routes: dict[str, Answer] = {"GET /version": VERSION}
    routes |= {f"GET /nodes/pve{n}/storage": after(0.2, reply([])) for n in (1, 2, 3)}
    async with scripted(routes=routes) as server, client_at(server.address) as client:
        heavy = [asyncio.create_task(client.node("pve1").storages()) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert server.at_once == 2
        heavy += [asyncio.create_task(client.node(f"pve{n}").storages()) for n in (2, 3)]
        await asyncio.sleep(0.02)
        await asyncio.wait_for(client.version(), 0.1)
        await asyncio.gather(*heavy)


async def test_the_rate_counts_what_was_sent(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(VERSION) as server, client_at(server.address) as client:
        for _ in range(5):
            await client.version()
        assert client.requests_last_minute == 5


async def test_a_cancelled_call_gives_its_place_back(scripted: MakeServer, client_at: MakeClient) -> None:
    async with scripted(*[silence] * 8, VERSION) as server, client_at(server.address) as client:
        for _ in range(8):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.version(), 0.05)
        assert (await client.version()).text == "9.1.6"
