"""On one processor media lets call control go first, and never for ever."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from firmware.app import handover as module
from firmware.app.handover import Handover


class Ring:
    """Core's heartbeat."""

    beat = 0

    def heartbeat_ns(self, process: str) -> int:
        assert process == "core"
        return self.beat


def waited(ring: Ring, starts: int = 1, what: str = "media") -> float:
    held: Any = SimpleNamespace(ring=ring, starts={"media": starts})
    began = time.monotonic()
    Handover.let_core_pass(held, what)
    return time.monotonic() - began


def test_the_first_media_process_waits_for_a_sign_of_life_on_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PASS_S", 0.3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    ring = Ring()
    assert waited(ring) >= 0.3                           # nobody comes: it goes on alone
    assert waited(ring, what="manage") >= 0.3            # which is not forked yet
    assert waited(ring, starts=2) < 0.3                  # a later one has calls to take up
    monkeypatch.setattr(module, "PASS_S", 30.0)
    threading.Timer(0.1, lambda: setattr(ring, "beat", 1)).start()
    assert waited(ring) < 20
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    ring.beat = 0
    assert waited(ring) < 20
