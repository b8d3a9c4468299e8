"""The appliance's image on an emulated ARM board, from the boot loader to an update; those tests go on where the one before ended.

Images are made first (what cannot be fetched makes all of it "not run"), then everything happens in a network namespace. A second board
lives beside the first: its update does not start.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import HOST
from tools.vm import powercut
from tools.vm.settings import BUILD

from .conftest import Images
from .story import Story

STATES, STARTS = 40, 1


@pytest.fixture(scope="session")
def folder() -> Path:
    """What the boards leave stays here until the next run."""
    path = BUILD / "story"
    shutil.rmtree(path, ignore_errors=True)
    (path / "board").mkdir(parents=True)
    (path / "second" / "board").mkdir(parents=True)
    return path


@pytest.fixture(scope="session")
def rolled_back(images: Images, folder: Path, network: str) -> Iterator[Future[None]]:
    """The second board's life, which goes on beside that of the first."""
    told = Story(images.board, images.loader, images.disk, folder / "second", HOST, calls=0)

    def life() -> None:
        told.install_by_hand(images.broken)
        told.roll_back()
        told.refused(images.refused)
        told.stand_still()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(life)
        yield future
        told.board.machine.kill()                    # ends a life that still waits
    told.close()


@pytest.fixture(scope="session")
def story(images: Images, folder: Path, rolled_back: Future[None]) -> Iterator[Story]:
    """One board for all tests."""
    told = Story(images.board, images.loader, images.disk, folder, HOST)
    (folder / "slots.json").write_text(json.dumps([str(root) for root in images.roots]))
    (folder / "loader").write_text(str(images.loader))
    yield told
    told.close()
    told.table["root in a slot"] = f"{images.roots[0].stat().st_size / 1e6:.1f} MB"
    (folder / "table.json").write_text(json.dumps(told.table, indent=1))


def test_the_board_starts_to_the_log_in_and_is_marked_good(story: Story) -> None:
    story.start()


def test_it_is_set_up_by_the_host_tool_over_its_serial_line(story: Story) -> None:
    story.provision()


def test_a_real_telephone_registers_and_takes_a_call_from_the_exchange(story: Story) -> None:
    story.register()
    story.ended(story.call(6))
    story.recorded()
    story.sound()


def test_it_is_updated_while_a_call_is_up_and_the_second_version_is_good(story: Story, images: Images) -> None:
    story.update(images.bundle)


def test_another_board_rolls_back_refuses_bad_bundles_and_restarts_when_call_control_stands(rolled_back: Future[None]) -> None:
    rolled_back.result(1200)


def test_after_power_cuts_at_random_moments_of_all_this_the_board_starts_and_nothing_acknowledged_is_lost(
    story: Story, images: Images, rolled_back: Future[None]
) -> None:
    story.board.machine.kill()
    assert story.board.machine.writes is not None and rolled_back.done()
    seed = random.SystemRandom().randrange(1 << 31)
    arguments = [str(story.board.before), str(story.board.machine.writes), "--states", str(STATES), "--seed", str(seed)]
    known = ["--slots", str(story.folder / "slots.json"), "--marks", str(story.folder / "marks.json")]
    assert powercut.main([*arguments, *known, "--boot", str(STARTS), "--loader", str(images.loader)]) == 0
