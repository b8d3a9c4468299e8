"""What processes are spared: modules they have no use of, memory nobody has used yet."""

from __future__ import annotations

import json
import subprocess
import sys

from firmware.app.image import IMAGE

ROOTS = ("asyncio", "sqlite3", "firmware.core.calls", "firmware.media.client", "firmware.app.manage")
MODULES = "import json, sys; import {module}; print(json.dumps([name for name in {names} if name in sys.modules]))"
ENGINE = """
import os, re
from firmware.dsp.engine import Engine
from firmware.dsp.ring import RingSegment

def anonymous():
    return int(re.search(r"Anonymous: +([0-9]+)", open("/proc/self/smaps_rollup").read())[1])

ring, event = RingSegment.create(), os.eventfd(0)
before = anonymous()
engine = Engine(ring, event, None, [], lines=True, slots=set(range({lines})))
print(anonymous() - before)
"""


def loaded(module: str) -> set[str]:
    """Which of ROOTS a fresh interpreter has after an import."""
    code = MODULES.format(module=module, names=ROOTS)
    return set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))


def grown_kb(lines: int) -> int:
    """Memory that an engine with so many lines takes at once."""
    return int(subprocess.run([sys.executable, "-c", ENGINE.format(lines=lines)], capture_output=True, check=True).stdout)


def test_media_and_the_parent_that_forks_it_have_neither_asyncio_nor_the_parts_of_core() -> None:
    assert loaded("firmware.app.media") == set()
    assert loaded("firmware.app.parent") == set()


def test_core_is_forked_from_an_image_without_management() -> None:
    assert "firmware.app.manage" not in loaded(", ".join(IMAGE["core"]))
    assert loaded(", ".join(IMAGE["manage"])) >= {"firmware.app.manage"}


def test_an_engine_takes_memory_for_its_lines_and_none_for_recordings_to_come() -> None:
    assert grown_kb(0) < 1500                    # 128 recorders alone have 8 MB
    assert grown_kb(8) < 5000
