"""A demanding SIPp calls a real phone through the box: reliable 180, session timer, UPDATE, hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import sipp, sipp_dialog
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_a_demanding_caller_gets_all_it_asks_for(
    appliance: Callable[..., Appliance], phone: Callable[..., Baresip], network: str, tmp_path: Path, transport: str
) -> None:
    box = appliance()
    bo = phone(box, "202", hz=880)
    who = {"user": "203", "secret": box.accounts()["203"], "to": "202"}
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            sipp.run_sipp, tmp_path / "call", sipp_dialog.CALL, box.sip, host=network, transport=transport, **who
        )
        bo.wait("CALL_INCOMING")
        # a 2xx need not wait for the PRACK of a 180 without description (RFC 3262 section 3), but SIPp takes answers in one order only
        wait_until(lambda: (tmp_path / "call" / sipp_dialog.ACKNOWLEDGED).exists(), "the caller has acknowledged the ringing")
        bo.answer()
        call.result()
    bo.wait("CALL_CLOSED")
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
