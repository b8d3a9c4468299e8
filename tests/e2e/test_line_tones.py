"""Disconnect tones and false hang-ups over the control socket of a running appliance."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.appliance import Appliance

pytestmark = pytest.mark.e2e
Start = Callable[..., Appliance]


def test_commands_about_disconnect_tones_answer_on_a_fresh_box(appliance: Start) -> None:
    box = appliance()
    assert box.ctl("tone show") == []
    assert box.ctl("tone show", line="1") == []
    assert box.ctl("tone forget", line="line/1") == []
    assert box.ctl("tone hangups", days=30) == []
