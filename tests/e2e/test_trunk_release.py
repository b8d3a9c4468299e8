"""Calls that a real Asterisk carries on without the box: two of them that a transfer has joined, and one that is sent on to a number."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.baresip import Baresip
from tests.e2e.test_trunks import CARRIER, EXTENSIONS, PJSIP, site, until_usable
from tests.far.programs import Asterisk, NotFetchedError
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

# A caller in the carrier's network reaches 202 of the branch, and hears who answers.
CALLER = """exten => 5561,1,Dial(PJSIP/88202@02112345)
"""


@pytest.mark.parametrize("setting", ["release", "take_back", ""])
def test_the_carrier_takes_back_two_calls_where_it_may(
    appliance: Callable[..., Appliance], phone: Callable[..., Baresip], network: str, tmp_path: Path, setting: str
) -> None:
    """`take_back`: there is no second call, the number is reached by the carrier from the beginning (blind REFER)."""
    port = free_port(network)
    try:
        far = Asterisk(tmp_path / "asterisk", address=(network, port), pjsip=PJSIP, extensions=EXTENSIONS + CALLER).start()
    except NotFetchedError as reason:
        pytest.skip(f"not run: {reason}")
    try:
        trunk = CARRIER.format(host=network, port=port)
        if setting:
            trunk = trunk.replace("qualify_s = 2\n", f"qualify_s = 2\n{setting} = true\n")
        box = appliance(config=site(tmp_path, trunk))
        until_usable(box, "carrier")
        bo = phone(box, "202", hz=880, answer="auto")
        far.ask("channel originate Local/5561@branch application Milliwatt")  # who speaks: Asterisk tells of an answer by its audio
        bo.wait("CALL_ESTABLISHED")
        time.sleep(1)  # real time: a call goes on for a moment
        bo.command("transfer", f"sip:95554@{box.sip}")
        bo.wait("CALL_CLOSED")
        if setting:
            wait_until(lambda: not box.ctl("show calls"), "the box has no call any more", 20)
            # The caller is where the far end was, and no channel of the carrier leads to the branch.
            wait_until(lambda: "!5554!" in far.ask("core show channels concise"), "the carrier has joined them")
            wait_until(lambda: "PJSIP/" not in far.ask("core show channels concise"), "the channels to the branch are gone")
        else:
            time.sleep(3)  # real time: nothing happens
            assert len(box.ctl("show calls")) == 1
        far.ask("channel request hangup all")
        wait_until(lambda: not box.ctl("show calls"), "nothing is left", 20)
    finally:
        far.stop()
