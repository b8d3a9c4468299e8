"""Quality of a call as a real phone reports it: RTCP both ways, `show quality`, and what the record of the call keeps."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from firmware.call.quality import Quality
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


def test_both_ends_report_and_the_record_keeps_the_grades(appliance: Callable[..., Appliance], phone: Callable[..., Baresip]) -> None:
    box = appliance()
    anna, bo = phone(box, "201", hz=440), phone(box, "202", hz=880, answer="auto")
    anna.dial("202")
    anna.wait("CALL_ESTABLISHED")

    def reported() -> object:
        rows = box.ctl("show quality")
        # One report may have waited for a busy processor: a later one tells the way itself.
        told = all(row["far_mos"] is not None and row["round_trip_ms"] is not None and row["round_trip_ms"] < 100 for row in rows)
        return len(rows) == 2 and told and rows

    rows = wait_until(reported, "both phones reported on our sound with a round trip below 100 ms", 30)
    for row in rows:
        assert row["mos"] >= 4.0
        assert row["far_mos"] >= 4.0
        assert (row["codec"], row["suite"]) == ("pcma", "")
        assert row["refused"] <= 1                             # baresip opens a NAT with an APP packet that no report precedes
        assert row["received"] > 100
    (call,) = box.ctl("show calls")
    assert sorted(text.split("=")[0] for text in call["quality"]) == ["201", "202"]
    assert all(text.split("=")[1].startswith("4.") for text in call["quality"])
    anna.hang_up()
    bo.wait("CALL_CLOSED")

    def recorded() -> object:
        detail = box.ctl("show contact", contact=call["contact"])
        return detail["contact"]["ended_ms"] and detail

    for leg in wait_until(recorded, "the record is closed")["legs"]:
        figures = msgspec.json.decode(leg["quality"], type=Quality)
        assert leg["codec"] == figures.codec == "pcma"
        assert leg["mos"] == figures.mos
        assert leg["far_mos"] == figures.far_mos
        assert figures.mos is not None
        assert figures.mos >= 4.0
        assert figures.received > 100
        assert figures.reports_received >= 1
