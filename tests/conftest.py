"""What every test may use: repeatable randomness.

`seed` is an integer that depends on the run's seed and on the test's name only, so a test repeats alone exactly as it ran in
the crowd. The run's seed is fresh each time, printed in the header, and set with BRANCHPBX_SEED.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SEED_VARIABLE = "BRANCHPBX_SEED"
SOAK_VARIABLE = "BRANCHPBX_SOAK"  # how many times the usual number of examples a property test tries


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Fix the run's seed before parallel workers start (they inherit the environment), and hypothesis' with it."""
    os.environ.setdefault(SEED_VARIABLE, str(secrets.randbits(32)))
    # No deadline for one example: several test processes share few cores. Tests with a number of their own derive it from this one.
    settings.register_profile("branchpbx", max_examples=100 * soak(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("branchpbx")
    if getattr(config.option, "hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(run_seed())


def run_seed() -> int:
    """The seed of this run."""
    text = os.environ[SEED_VARIABLE]
    try:
        return int(text)
    except ValueError:
        raise pytest.UsageError(f"{SEED_VARIABLE}={text!r} is not an integer; set it to the seed a test header printed") from None


def soak() -> int:
    """Factor of `make soak-unit`, 1 elsewhere."""
    text = os.environ.get(SOAK_VARIABLE, "1")
    if not text.isdigit() or int(text) < 1:
        raise pytest.UsageError(f"{SOAK_VARIABLE}={text!r} is not a whole number from 1 on; it multiplies the examples of property tests")
    return int(text)


def pytest_report_header(config: pytest.Config) -> str:
    """Say the seed and how to repeat the run."""
    return f"seed: {run_seed()} (repeat with {SEED_VARIABLE}={run_seed()})"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """A failing test says the seed again, for logs without a header (-q)."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        report.sections.append(("seed", f"{SEED_VARIABLE}={run_seed()}"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A 64-bit number of this test's own, from the run's seed and the test's name."""
    name = request.node.nodeid
    digest = hashlib.sha256(f"{run_seed()}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


@pytest.fixture
def rng(seed: int) -> random.Random:
    """A random generator of this test's own."""
    return random.Random(seed)


WATCHED = (signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM)


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """A test leaves its process as it found it: a handler or a folder left behind fails another test, sometimes, far away."""
    before = [signal.getsignal(number) for number in WATCHED], Path.cwd()
    yield
    after = [signal.getsignal(number) for number in WATCHED], Path.cwd()
    assert after == before, f"the test changed {[(number.name, now) for number, now in zip(WATCHED, after[0], strict=True)]} in {after[1]}"
