"""The stream of a tab: what changed comes, once, for all who look; and it ends when Comserv does."""

import http.client
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from msgspec import structs

from comserv.domain.job import JobState
from comserv.domain.person import Role
from comserv.web import events, live
from tests.web import estate
from tests.web.browsing import Client
from tests.web.conftest import Site
from tests.web.services import TOKEN, Told


class Stream:
    """Reads `/events` as a browser does."""

    def __init__(self, site: Site, *seen: tuple[str, str], after: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
        query = urlencode([("see", f"{name}~{mark}") for name, mark in seen])
        headers = {"cookie": f"comserv-{site.port}={TOKEN}", **({"last-event-id": after} if after else {})}
        self.connection.request("GET", f"/events?{query}", headers=headers)
        self.response = self.connection.getresponse()

    def message(self) -> dict[str, str]:
        """The next one as its fields; empty at the end of the stream."""
        fields: dict[str, str] = {}
        while True:
            line = self.response.readline().decode().rstrip("\n")
            if not line:
                return fields
            name, _, value = line.partition(": ")
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value

    def part(self) -> dict[str, str]:
        """The next one that carries a part; it has to come before the third sign of life."""
        ticks = 0
        while ticks < 3:
            message = self.message()
            if not message or "hx-partial" in message.get("data", ""):
                return message
            ticks += message.get("event") == "tick"
        raise AssertionError("no part came")

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def closing() -> Iterator[list[Stream]]:
    streams: list[Stream] = []
    yield streams
    for stream in streams:
        stream.close()


def test_a_stream_begins_with_a_sign_of_life_and_what_the_tab_has_not(site: Site, closing: list[Stream]) -> None:
    stream = Stream(site, ("nav:Guests", "old"))
    closing.append(stream)
    assert stream.response.getheader("content-type", "").startswith("text/event-stream")
    assert stream.message() == {"event": "tick", "data": ""}
    told = stream.part()["data"]
    assert told.startswith('<hx-partial hx-target="#p-nav" hx-swap="innerMorph">') and "1 down" in told


def test_a_change_comes_and_what_did_not_change_does_not(site: Site, told: Told, closing: list[Stream]) -> None:
    first = Stream(site, ("nav:Guests", "old"))
    first.part()
    stream = Stream(site, ("nav:Guests", "old"), (f"job-head:{estate.RUNNING.id}", "old"))
    closing += [first, stream]
    assert {re.search(r"#p-([a-z-]+)", stream.part()["data"])[1] for _ in range(2)} == {"nav", "job-head"}  # pyright: ignore[reportOptionalSubscript]
    told.jobs = (replace(estate.RUNNING, state=JobState.SUCCEEDED, ended=estate.NOW), *estate.JOBS[1:])
    site.tell("job", estate.RUNNING.id)
    message = stream.part()
    assert "#p-job-head" in message["data"] and "Succeeded" in message["data"] and message["id"] == "1"


def test_a_part_is_drawn_once_for_all_who_look(site: Site, told: Told, closing: list[Stream]) -> None:
    streams = [Stream(site, ("bottom:Guests", f"old{n}")) for n in range(8)]
    closing += streams
    for stream in streams:
        stream.part()
    before, told.counts = told.reads, replace(estate.COUNTS, servers_down=0)
    site.tell("server", "branch")
    for stream in streams:
        assert 'class="dot"' not in stream.part()["data"]
    assert told.reads - before == 1


def test_who_comes_back_catches_up(site: Site, told: Told, closing: list[Stream]) -> None:
    for _ in range(3):
        site.tell("guests", "lab")
    stream = Stream(site, ("nav:Guests", "old"), after="1")
    closing.append(stream)
    assert stream.part()["data"].count("hx-partial") == 2
    told.counts = replace(estate.COUNTS, guests=99)
    site.tell("guests", "lab")
    assert ">99<" in stream.part()["data"]


def test_what_is_drawn_after_a_notice_was_read_after_it() -> None:
    assert live.TOGETHER < events.GATHER


def test_of_a_list_only_the_rows_that_changed_are_sent(site: Site, told: Told, closing: list[Stream]) -> None:
    stream = Stream(site, ("guests:", "old"))
    closing.append(stream)
    whole = stream.part()["data"]
    assert 'hx-swap="rows"' in whole and whole.count("<tr") > 10
    busier = replace(estate.GUESTS[0], guest=structs.replace(estate.WEB, cpu=0.77))
    told.guests = (busier, *estate.GUESTS[1:])
    site.tell("guests", "lab")
    changed = stream.part()["data"]
    assert 'hx-swap="changed-rows"' in changed and changed.count("<tr") == 1 and "77 %" in changed
    told.guests = told.guests[1:]
    site.tell("guests", "lab")
    assert 'hx-swap="rows"' in stream.part()["data"]


def test_who_comes_back_gets_whole_lists_since_nobody_knows_what_it_had(
    site: Site, told: Told, closing: list[Stream]
) -> None:
    page = Client(site.port).get("/guests").text
    mark = re.findall(r"guests(?:%3A|:)[^~]*~([0-9a-f]{12})", page)[0]
    stream = Stream(site, ("guests:", mark), after="0")
    closing.append(stream)
    assert 'hx-swap="rows"' in stream.part()["data"]


def test_an_end_of_a_job_is_told_by_name(site: Site, closing: list[Stream]) -> None:
    stream = Stream(site)
    closing.append(stream)
    stream.message()
    site.tell("job", "x")
    assert stream.message()["event"] == "job"


def test_nobody_gets_a_stream_before_signing_in_or_of_parts_that_are_none(
    site: Site, told: Told, closing: list[Stream]
) -> None:
    wrong = Stream(site, ("no-such-part", ""))
    closing.append(wrong)
    assert wrong.response.status == 404
    told.signed_in = False
    nobody = Stream(site, ("nav:Guests", ""))
    closing.append(nobody)
    assert nobody.response.status == 303


def test_another_role_and_an_ended_session_count_at_once_in_a_stream(
    site: Site, told: Told, closing: list[Stream]
) -> None:
    stream = Stream(site, ("nav:Guests", ""))
    closing.append(stream)
    assert 'href="/people"' in stream.part()["data"]
    told.role = Role.VIEWER
    site.tell("people", "1")
    assert 'href="/people"' not in stream.part()["data"]
    told.signed_in = False
    site.tell("people", "1")
    while (message := stream.message()).get("event") == "tick":
        pass
    assert message["event"] == "signed-out"


def test_an_id_of_a_last_event_that_is_none_is_passed_over(site: Site) -> None:
    for text in ("\u00b2", "9" * 5000, "x", "-1"):
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
        cookie = "; ".join(f"{name}={value}" for name, value in site.cookie.items())
        connection.request(
            "GET", "/events?see=nav:~", headers={"cookie": cookie, "last-event-id": text.encode("latin-1")}
        )
        assert connection.getresponse().status == 200, text
        connection.close()


def test_a_part_that_fails_is_told_in_its_place(site: Site, closing: list[Stream]) -> None:
    stream = Stream(site, ("guest-live:branch/101", ""))
    closing.append(stream)
    assert "does not answer" in stream.part()["data"]


def test_every_stream_ends_at_once_when_comserv_does(told: Told) -> None:
    site = Site(told)
    streams = [Stream(site, ("nav:Guests", "old")) for _ in range(5)]
    for stream in streams:
        stream.part()
    ends: list[bytes] = []
    readers = [threading.Thread(target=lambda stream=stream: ends.append(stream.response.read())) for stream in streams]
    for reader in readers:
        reader.start()
    took = site.stop()
    for reader in readers:
        reader.join(5)
    assert took < 2 and len(ends) == 5
    for stream in streams:
        stream.close()


def test_the_pulse_of_a_hidden_tab_tells_my_jobs_that_ended(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    connection.request("GET", "/pulse", headers={"cookie": f"comserv-{site.port}={TOKEN}"})
    text = connection.getresponse().read().decode()
    connection.close()
    assert f"{estate.DONE.id}/1" in text and estate.RUNNING.id not in text
