"""Write `docs/states`: the diagrams and tables of the line machines and of the configuration, from the tables that run."""

from __future__ import annotations

from pathlib import Path

from firmware.config import states
from firmware.line.tables import page

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "states"

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in ("fxo", "fxs"):
        (FOLDER / f"{name}.md").write_text(page(name), encoding="utf-8")
        print(FOLDER / f"{name}.md")
    (FOLDER / "configuration.md").write_text(states.page(), encoding="utf-8")
    print(FOLDER / "configuration.md")
