"""Fixtures of the tests with a browser: those of the end-to-end tests, and Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium, NotFetchedError, prepare
from tests.e2e.appliance import Appliance
from tests.e2e.audio import write_tone
from tests.e2e.conftest import appliance, network, phone  # noqa: F401 - fixtures

CAPTURE_HZ = 700.0
CAPTURE_DBM0 = -10.0


@pytest.fixture(scope="session")
def fetched() -> None:
    """Browser and JsSIP are there, or these tests are not run."""
    try:
        prepare()
    except NotFetchedError as reason:
        pytest.skip(f"not run: {reason}")


@pytest.fixture
def browser(fetched: None, network: str, tmp_path: Path) -> Iterator[Callable[[Appliance], Chromium]]:  # noqa: F811
    """Start browsers whose microphone hears a tone of 700 Hz."""
    running: list[Chromium] = []

    def start(box: Appliance) -> Chromium:
        folder = tmp_path / f"browser{len(running)}"
        folder.mkdir()
        microphone = write_tone(folder / "microphone.wav", CAPTURE_HZ, 10, CAPTURE_DBM0, 48000)
        one = Chromium(folder, host=network, tls=box.state / "tls", microphone=microphone)
        running.append(one)
        return one.start()

    yield start
    for one in running:
        one.stop()


def wss_url(box: Appliance) -> str:
    """Where browsers connect."""
    endpoints = json.loads((box.state / "run" / "endpoints.json").read_text())
    return f"wss://{box.bind}:{endpoints['sip_wss_port']}"
