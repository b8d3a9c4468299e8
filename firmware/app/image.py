"""What the parent imports before it forks a child: the image is shared, and later starts are fast, too (L6).

Core is not kept waiting for what only management runs, and media is spared pages it has no use of: it is forked before both.
"""

from __future__ import annotations

import gc
import importlib

# Never dsp.engine, never sim.
IMAGE = {"core": ("asyncio", "sqlite3", "firmware.app.core"), "manage": ("firmware.app.manage",)}


def load_image(name: str) -> None:
    """Import what a child runs.

    Nothing is collected: modules leave next to no garbage behind, and looking for it takes as long as a tenth of the start.
    """
    gc.disable()
    for module in IMAGE.get(name, ()):
        importlib.import_module(module)
    gc.freeze()
    gc.enable()
