"""One file on its way, without a network: every place at which it can break; the night, the pace, the pauses."""

from __future__ import annotations

import base64
import itertools
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from firmware.fleet import transfer
from firmware.fleet.transfer import (
    Abilities,
    Answer,
    Confirmed,
    Done,
    Ended,
    Event,
    Fault,
    Lost,
    Nights,
    Opened,
    Pace,
    Pauses,
    Request,
    Transfer,
    abilities,
    piece_of,
)
from firmware.update.nightly import open_window, shown_at

HOME = "https://centre.example/files/"
CONTENT = bytes(range(250)) * 5
PIECE = 500
BREAKS = ("before", "after", "half", "503", "409", "404")


class Server:
    """What keeps files, in memory; `sent` counts how often each byte came."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.sent = [0] * len(CONTENT)
        self.confirmed = 0

    def take(self, request: Request, part: int | None = None) -> Answer:
        """Carry a request out; of a body only `part` bytes arrive where that is given."""
        if request.method == "POST":
            name = f"{HOME}{len(self.files) + 1}"
            self.files[name] = bytearray()
            assert request.headers["Upload-Length"] == str(len(CONTENT))
            return Answer(201, {"location": name.removeprefix("https://centre.example")})
        kept = self.files.get(request.url)
        if kept is None:
            return Answer(404, {})
        if request.method == "DELETE":
            del self.files[request.url]
            return Answer(204, {})
        if request.method == "PATCH":
            if int(request.headers["Upload-Offset"]) != len(kept):
                return Answer(409, {})
            assert request.begin >= self.confirmed, "a byte that was confirmed is sent again"
            body = CONTENT[request.begin : request.end][:part]
            for at in range(request.begin, request.begin + len(body)):
                self.sent[at] += 1
            kept += body
        self.confirmed = len(kept)
        return Answer(204, {"upload-offset": str(len(kept)), "upload-length": str(len(CONTENT))})


def carry(server: Server, breaks: dict[int, str], restart: bool) -> tuple[Server, list[Event]]:
    """Send the file; `breaks`: what happens at a step; `restart`: each break also ends the process, of which the address is kept."""
    way, url, seen = Transfer(HOME, len(CONTENT), {"filename": "a"}, piece=PIECE), "", list[Event]()
    for step in itertools.count():
        assert step < 60, "it never ends"
        request = way.request()
        if request is None:
            return server, seen
        kind = breaks.get(step, "")
        if kind == "":
            events = way.answered(server.take(request))
        elif kind in ("503", "409"):
            events = way.answered(Answer(int(kind), {}))
        elif kind == "404":
            server.files.clear()
            server.confirmed = 0
            events = way.answered(server.take(request))
        else:
            if kind != "before":
                server.take(request, None if kind == "after" else 123)
                server.confirmed = 0 if request.method == "POST" else server.confirmed
            events = way.broken("cut")
        for event in events:
            url = event.url if isinstance(event, Opened) else "" if isinstance(event, Lost) else url
        seen += events
        if kind and restart:
            way = Transfer(HOME, len(CONTENT), {"filename": "a"}, url=url, piece=PIECE)
    raise AssertionError


@pytest.mark.parametrize("restart", [False, True], ids=["goes-on", "restarted"])
def test_a_break_at_every_step_and_at_every_two_leads_to_one_whole_file(restart: bool) -> None:
    steps = range(9)
    for pair in [(one, other) for one in steps for other in steps if one < other]:
        for kinds in itertools.product(BREAKS, repeat=2):
            server, seen = carry(Server(), dict(zip(pair, kinds, strict=True)), restart)
            wholes = [kept for kept in server.files.values() if len(kept) == len(CONTENT)]
            assert [bytes(one) for one in wholes] == [CONTENT], (pair, kinds)
            assert isinstance(seen[-1], Done)
            if "404" not in kinds:
                assert max(server.sent) == 1 == min(server.sent), (pair, kinds)


def test_without_breaks_it_is_one_creation_and_a_request_for_each_piece() -> None:
    server, seen = carry(Server(), {}, False)
    assert [type(one) for one in seen] == [Opened, Confirmed, Confirmed, Confirmed, Confirmed, Done]
    assert [one.offset for one in seen if isinstance(one, Confirmed)] == [0, 500, 1000, 1250]
    assert max(server.sent) == 1


def test_a_server_that_forgets_everything_is_a_fault_and_no_endless_loop() -> None:
    way = Transfer(HOME, 10, {})
    faults = 0
    for number in range(12):
        request = way.request()
        assert request is not None
        events = way.answered(Answer(201, {"location": f"{HOME}{number}"}) if request.method == "POST" else Answer(404, {}))
        faults += sum(isinstance(one, Fault) for one in events)
    assert faults == 2


@pytest.mark.parametrize("place", ["", "https://other.example/files/1", "http://centre.example/files/1", HOME, "https://centre.example:444/1"])
def test_a_file_goes_nowhere_but_to_the_machine_that_was_configured(place: str) -> None:
    way = Transfer(HOME, 10, {})
    way.request()
    event, = way.answered(Answer(201, {"location": place}))
    assert isinstance(event, Fault)
    assert way.url == ""


@pytest.mark.parametrize("headers", [{}, {"upload-offset": "x"}, {"upload-offset": "-1"}, {"upload-offset": "0"}, {"upload-offset": "11"},
                                     {"upload-offset": "9" * 40}])  # fmt: skip
def test_a_confirmation_that_cannot_be_is_asked_again(headers: dict[str, str]) -> None:
    way = Transfer(HOME, 10, {}, url=HOME + "1")
    way.request()
    way.answered(Answer(200, {"upload-offset": "0", "upload-length": "10"}))
    way.request()
    event, = way.answered(Answer(204, headers))
    assert isinstance(event, Fault)
    assert way.request() == Request("HEAD", HOME + "1", {})


def test_after_a_break_it_is_asked_before_another_byte_is_sent() -> None:
    way = Transfer(HOME, 10, {})
    way.request()
    way.answered(Answer(201, {"location": "1"}))
    asked = way.request()
    assert asked is not None and (asked.method, asked.begin, asked.end) == ("PATCH", 0, 10)
    way.broken("cut")
    assert way.request() == Request("HEAD", HOME + "1", {})


def test_another_file_at_the_address_is_not_added_to() -> None:
    for headers in ({"upload-offset": "5", "upload-length": "11"}, {"upload-offset": "12"}, {}):
        way = Transfer(HOME, 10, {}, url=HOME + "1")
        way.request()
        assert way.answered(Answer(200, headers)) == [Lost()]
        again = way.request()
        assert again is not None and again.method == "POST"


def test_each_refusal_has_words_in_both_languages() -> None:
    for status in (401, 403, 404, 405, 409, 412, 413, 423, 500, 507):
        way = Transfer(HOME, 10, {})
        way.request()
        event, = way.answered(Answer(status, {}))
        assert isinstance(event, Fault)
        assert event.text.isascii() and not event.text_zh.isascii()


def test_what_was_removed_is_taken_back_also_where_it_is_gone_already() -> None:
    for status, wanted in ((204, Ended()), (404, Ended()), (410, Ended())):
        way = Transfer(HOME, 10, {}, url=HOME + "1")
        way.end()
        assert way.request() == Request("DELETE", HOME + "1", {})
        assert way.answered(Answer(status, {})) == [wanted]
        assert way.request() is None
    nowhere = Transfer(HOME, 10, {})
    nowhere.end()
    assert nowhere.request() is None


def test_what_a_server_can() -> None:
    head = {"tus-version": "1.0.0,0.2.2", "tus-extension": "creation,termination, checksum", "tus-checksum-algorithm": "md5,sha1,sha256",
            "tus-max-size": "1000"}  # fmt: skip
    assert abilities(Answer(204, head)) == Abilities(True, "sha256", 1000)
    assert abilities(Answer(200, {"tus-resumable": "1.0.0", "tus-extension": "creation"})) == Abilities()
    for wrong in (Answer(204, {}), Answer(204, {"tus-version": "1.0.0"}), Answer(204, {"tus-version": "0.2", "tus-extension": "creation"})):
        assert isinstance(abilities(wrong), Fault)
    assert abilities(Answer(404, {})) == Fault(
        "there is no upload service at recording.upload.url", "recording.upload.url 处没有上传服务"
    )


def test_metadata_is_written_as_the_protocol_says() -> None:
    told = dict(one.split(" ") for one in transfer.metadata({"filename": "录音.rec", "kind": "recording", "empty": ""}).split(","))
    assert {name: base64.b64decode(value).decode() for name, value in told.items()} == {"filename": "录音.rec", "kind": "recording"}


def test_no_block_goes_out_before_the_rate_allows_it() -> None:
    pace, now, sent = Pace(512), 0, 0
    for _ in range(500):
        now += pace.wait_us(4096, now)
        assert sent * 8000 <= 512 * now, "more than the rate"
        sent += 4096
    assert sent * 8000 == pytest.approx(512 * now, rel=0.01)
    assert pace.wait_us(4096, now + 10_000_000) == 0        # time that passed is no credit for a burst
    assert pace.wait_us(4096, now + 10_000_000) == 64_000


def test_pieces_are_whole_blocks_within_bounds() -> None:
    for rate in (16, 17, 100, 512, 999, 10_000, 1_000_000):
        piece = piece_of(rate)
        assert piece % transfer.BLOCK == 0
        assert transfer.LEAST_PIECE <= piece <= transfer.MOST_PIECE


def test_pauses_grow_and_are_bounded() -> None:
    pauses = Pauses()
    assert [pauses.next_s() for _ in range(7)] == [30, 60, 120, 240, 480, 900, 900]
    pauses.failed = 0
    assert pauses.next_s() == 30


def test_nights_are_counted_once_and_only_when_something_waited() -> None:
    nights = Nights()
    for day in ("2026-03-01", "2026-03-02"):
        assert nights.at(day, True)
        assert not nights.at(day, True)
        nights.at("", True)
        nights.at("", True)
    assert nights.bad == 2
    nights.at("2026-03-03", False)
    nights.at("", False)
    assert nights.bad == 0                      # nothing waited: nothing is missing
    nights.at("2026-03-04", True)
    nights.at("2026-03-05", True)               # windows without time between them
    assert nights.bad == 1
    nights.well()
    nights.at("", True)
    assert nights.bad == 0
    nights.at("2026-03-05", True)               # the same night again, as after a change of the window
    nights.at("", True)
    assert nights.bad == 0


BERLIN, SHANGHAI, HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai"), ZoneInfo("Australia/Lord_Howe")


@pytest.mark.parametrize(
    ("zone", "day", "begin", "end", "first", "last"),
    [
        (SHANGHAI, date(2026, 3, 1), "01:00", "05:00", "2026-02-28T17:00Z", "2026-02-28T21:00Z"),
        (SHANGHAI, date(2026, 3, 1), "22:30", "05:00", "2026-03-01T14:30Z", "2026-03-01T21:00Z"),
        (BERLIN, date(2026, 3, 29), "01:00", "05:00", "2026-03-29T00:00Z", "2026-03-29T03:00Z"),        # an hour less
        (BERLIN, date(2026, 3, 29), "02:30", "05:00", "2026-03-29T01:00Z", "2026-03-29T03:00Z"),        # begins when the clock is put on
        (BERLIN, date(2026, 3, 29), "01:00", "02:30", "2026-03-29T00:00Z", "2026-03-29T01:00Z"),
        (BERLIN, date(2026, 3, 28), "23:00", "02:30", "2026-03-28T22:00Z", "2026-03-29T01:00Z"),
        (BERLIN, date(2026, 10, 25), "01:00", "05:00", "2026-10-24T23:00Z", "2026-10-25T04:00Z"),       # an hour more
        (BERLIN, date(2026, 10, 25), "02:30", "05:00", "2026-10-25T00:30Z", "2026-10-25T04:00Z"),       # from the first 02:30 on
        (BERLIN, date(2026, 10, 25), "01:30", "02:30", "2026-10-24T23:30Z", "2026-10-25T01:30Z"),       # to the second one
        (HOWE, date(2026, 10, 4), "02:10", "03:00", "2026-10-03T15:30Z", "2026-10-03T16:00Z"),          # half an hour is left out
    ],
)  # fmt: skip
def test_the_window_is_one_stretch_of_time_however_the_clock_is_changed(
    zone: ZoneInfo, day: date, begin: str, end: str, first: str, last: str
) -> None:
    start, over = (int(datetime.fromisoformat(one.replace("Z", "+00:00")).timestamp()) for one in (first, last))
    inside = [at for at in range(start - 7200, over + 7200, 60) if open_window(at, begin, end, zone) == day]
    assert (inside[0], inside[-1] + 60, len(inside)) == (start, over, (over - start) // 60)
    assert open_window(start - 1, begin, end, zone) is None and open_window(over, begin, end, zone) is None
    assert open_window(over - 1, begin, end, zone) == day


def test_a_window_that_the_clock_leaves_out_whole_is_no_night() -> None:
    day = datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp()
    assert all(open_window(day + 60 * step, "02:10", "02:50", BERLIN) is None for step in range(24 * 60))
    assert shown_at(date(2026, 3, 29), 130, BERLIN) == shown_at(date(2026, 3, 29), 170, BERLIN, last=True)
