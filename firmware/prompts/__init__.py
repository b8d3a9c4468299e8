"""The spoken texts and where their recordings are.

`en.toml` and `zh.toml` hold what is said, `site.toml` the names of a site (company, queues, departments). `make prompts`
speaks them into `build/prompts/<language>/<clip>.wav`. A site replaces any clip by putting a file of the same name below a
folder of its own: see `clip_files`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from firmware.call.speech import LANGUAGES, Catalogue, PromptText, parse_catalogue
from firmware.errors import ConfigError

FOLDER = Path(__file__).resolve().parent
PROMPTS_VARIABLE = "BRANCHPBX_PROMPTS"


def _table(path: Path) -> Mapping[str, object]:
    """The `[prompts]` or `[clips]` table of one file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); restore the file from the release") from error


@cache
def load_catalogue() -> Catalogue:
    """Every prompt of every language. Raises ConfigError naming file and prompt."""
    texts: dict[str, dict[str, PromptText]] = {}
    for language in LANGUAGES:
        path = FOLDER / f"{language}.toml"
        try:
            texts[language] = msgspec.convert(_table(path), dict[str, PromptText])
        except msgspec.ValidationError as error:
            raise ConfigError(f"{path}: {error}; each prompt is [\"id\"] with text and optional plain and one") from error
    try:
        return parse_catalogue(texts)
    except ValueError as error:
        raise ConfigError(f"{FOLDER}: {error}") from error


def site_clips(path: Path = FOLDER / "site.toml") -> dict[str, dict[str, str]]:
    """Named clips of the demonstration site: clip -> language -> words."""
    try:
        return msgspec.convert(_table(path), dict[str, dict[str, str]])
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}; each clip is [\"name\"] with one line per language") from error


def default_root() -> Path:
    """Folder of the built clips: the environment variable BRANCHPBX_PROMPTS, else `build/prompts` beside the package."""
    chosen = os.environ.get(PROMPTS_VARIABLE)
    return Path(chosen) if chosen else FOLDER.parent.parent / "build" / "prompts"


def clip_files(root: Path | None = None, site: Path | None = None) -> dict[str, Path]:
    """Clip name ("zh/q.pos.1", "beep") -> WAV file below `root`; files below `site` (the site's own recordings) win."""
    found: dict[str, Path] = {}
    for folder in (root if root is not None else default_root(), site):
        if folder is not None and folder.is_dir():
            for where, _, names in os.walk(folder):        # three processes ask at each start: five times as fast as a glob
                below = os.path.relpath(where, folder)
                for name in names:
                    if name.endswith(".wav"):
                        found[name[:-4] if below == "." else f"{below}/{name[:-4]}"] = Path(where, name)
    return found


def site_root(state: Path) -> Path:
    """Folder of the site's own recordings: below the state folder, so that they outlive updates."""
    return state / "prompts"


def site_whole(site: Path) -> set[str]:
    """Prompts that the site recorded as one sentence, as "<language>/<prompt>"."""
    found = (path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.wav")) if site.is_dir() else ()
    return {name for name in found if name.partition("/")[2] in load_catalogue().ids}
