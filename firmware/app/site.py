"""Reads what a start needs from disk: the site file, its board, the prompts, the secrets."""

from __future__ import annotations

import secrets as random_source
import string
import zoneinfo
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

import firmware
from firmware.call.speech import Catalogue, missing
from firmware.config.board import Board
from firmware.config.model import board_name, board_of, check, check_tree
from firmware.config.problems import Problem, shown, suggest
from firmware.config.schema.tree import Config
from firmware.errors import ConfigError, StoreError
from firmware.hal.board import board_folders, load_board
from firmware.prompts import clip_files, load_catalogue
from firmware.store.files import write_atomic

ROOT = Path(firmware.__file__).resolve().parent.parent
SECRET_LETTERS = "".join(c for c in string.ascii_letters + string.digits if c not in "0O1lI")
SECRET_LENGTH = 20
PIN_LENGTH = 6


class Zones(Collection[str]):
    """The time zones that this box knows: asked for one of them it looks for its file, and lists all of them only to suggest another."""

    def __bool__(self) -> bool:
        return True

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(zoneinfo.ZoneInfo(name))
        except (KeyError, ValueError, OSError):       # no such zone, or no name at all
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(zoneinfo.available_timezones()))

    def __len__(self) -> int:
        return len(zoneinfo.available_timezones())


class Site(Struct, frozen=True):
    """A site file that was read; `config` and `board` are None unless `problems` is empty."""

    file: str
    config: Config | None
    board: Board | None
    problems: list[Problem]
    missing_clips: list[str]


def read_site(path: Path) -> Site:
    """Read and check a site file. Nothing is raised for a wrong file: `problems` says what is wrong with it."""
    file = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = Problem(file, "file", "", f"cannot be read ({error.strerror})", "name a readable file with --config FILE")
        return Site(file, None, None, [problem], [])
    return site_of(data, file)


def site_of(data: bytes, file: str, *, clips: bool = True) -> Site:
    """The same of a site file's bytes. `clips`: also look which clips are missing."""
    return _site(board_name(data), partial(check, data), file, clips)


def site_of_tree(tree: dict[str, Any], file: str) -> Site:
    """The same of the tree that a site file gives, without a look at clips."""
    return _site(board_of(tree), partial(check_tree, tree), file, clips=False)


def _site(name: str, check_it: Callable[..., tuple[Config | None, list[Problem]]], file: str, clips: bool) -> Site:
    problems: list[Problem] = []
    board: Board | None = None
    try:
        board = load_board(name)
    except ConfigError as error:
        known = [
            folder.name for where in board_folders() if where.is_dir() for folder in where.iterdir() if (folder / "board.toml").is_file()
        ]
        problems.append(Problem(file, "board", shown(name), f"is not a board that can be used ({error})", suggest(name, known)))
    texts = load_catalogue()
    config, found = check_it(file=file, board=board, zones=Zones(), prompts=texts.ids)
    problems += found
    if problems:
        return Site(file, None, None, problems, [])
    return Site(file, config, board, [], missing_clips(config, texts) if clips and config is not None else [])


def with_port(config: Config, port: int | None) -> Config:
    """The configuration with another SIP port; as it is for None."""
    if port is None:
        return config
    sip = msgspec.structs.replace(config.sip, port=port, tls_port=0, wss_port=0)  # TLS and WebSocket go along
    return msgspec.structs.replace(config, sip=sip)


def effective(config: Config, state: Path, sip_port: int | None) -> Config:
    """What the processes run: the stored configuration with generated secrets and the port of the command line. Raises StoreError."""
    return with_port(with_secrets(config, load_secrets(state / "secrets.json", config)), sip_port)


def missing_clips(config: Config, texts: Catalogue) -> list[str]:
    """Clips that this configuration would play and that are not there; prompts then use their variant without it, or a tone."""
    have = clip_files()
    named = [config.site.company_clip] if config.site.company_clip else []
    music = {queue.music for queue in config.queues.values()} - set(have)
    return sorted({*missing(texts, config.site.languages, have, named), *music})


def start_of_world(text: str | None, config: Config) -> int | str | None:
    """Unix ms of `--start-date`, None where none was given (now), or a message when it cannot be read."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return f"--start-date {text!r} is not a date; write it as 2026-03-02 or 2026-03-02T08:55:00"
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(config.site.time_zone))
    return int(moment.timestamp() * 1000)


class Secrets(Struct):
    """`DIR/secrets.json`: what was generated for accounts that name no secret of their own."""

    extensions: dict[str, str] = {}
    agents: dict[str, str] = {}


def load_secrets(path: Path, config: Config) -> Secrets:
    """Read the file, generate what is missing, write it back with mode 0600. Raises StoreError."""
    kept = Secrets()
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Secrets)
    except FileNotFoundError:
        pass
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); restore it, or remove it and new secrets are made for every phone") from error
    before = msgspec.json.encode(kept)
    for number, extension in config.extensions.items():
        if extension.kind == "sip" and not extension.secret and not kept.extensions.get(number):
            kept.extensions[number] = "".join(random_source.choice(SECRET_LETTERS) for _ in range(SECRET_LENGTH))
    for number, agent in config.agents.items():
        if not agent.pin and not kept.agents.get(number):
            kept.agents[number] = "".join(random_source.choice(string.digits) for _ in range(PIN_LENGTH))
    if msgspec.json.encode(kept) != before or not path.exists() or path.stat().st_mode & 0o077:
        try:
            write_atomic(path, msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n", mode=0o600)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written ({error.strerror}); give --state DIR a folder with space that you may write"
            ) from error
    return kept


def with_secrets(config: Config, kept: Secrets) -> Config:
    """The configuration with every account's secret filled in."""
    extensions = {
        number: extension
        if extension.secret or extension.kind != "sip"
        else msgspec.structs.replace(extension, secret=kept.extensions.get(number, ""))
        for number, extension in config.extensions.items()
    }
    agents = {
        number: agent if agent.pin else msgspec.structs.replace(agent, pin=kept.agents.get(number, ""))
        for number, agent in config.agents.items()
    }
    return msgspec.structs.replace(config, extensions=extensions, agents=agents)
