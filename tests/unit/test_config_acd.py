"""Mistakes in what queues, agents, callbacks and emergency staffing refer to."""

from __future__ import annotations

import pytest

from tests.unit.test_config_check import BASE, paths


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[agents.8801]\nqueues = []\n[agents.8801.penalties]\nnosuch = 2', "agents.8801.penalties.nosuch"),
        ("[queues.qz]\n[queues.qz.needs]\npump = 3\n[agents.8801]\nqueues = ['qz']", "queues.qz.needs.pump"),
        ("[queues.qz]\n[queues.qz.callback]\nenabled = true\naccess = '77'", "queues.qz.callback.access"),
        ('[acd]\nquiet = ["24:10-07:30"]', "acd.quiet[0]"),
        ("[acd.staffing]\ncallers = 5", "acd.staffing.callers"),
        ("[agents.8801]\n[acd.staffing]\ncallers = 5\n[[acd.staffing.steps]]\nagents = ['8801']", "acd.staffing.steps[0].agents"),
    ],
)
def test_a_mistake_is_named_once(text: str, path: str) -> None:
    assert paths(BASE + text) == [path]


def test_a_call_centre_that_is_right_has_no_problem() -> None:
    assert paths(BASE + """
[[outbound]]
[queues.qz]
strategy = "skill"
widen_s = 30
[queues.qz.needs]
pump = 2
[queues.qz.callback]
enabled = true
[agents.8801]
queues = ["qz"]
skills = { pump = 3 }
penalties = { qz = 1 }
[agents.8802]
queues = []
[acd.staffing]
callers = 5
[[acd.staffing.steps]]
agents = ["8802"]
queues = ["qz"]
""") == []
