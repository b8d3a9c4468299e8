"""`branchpbx prompt`: bring a prompt of the site as a WAV file, list and remove those that are there.

A file is brought to 8 kHz, one channel, at the level of the built prompts, and put into the state folder in one step; a running appliance
speaks with it from the next sentence on, one that rests from its next start on. What the site brought outlives updates.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firmware.call.levels import RATE, levelled
from firmware.call.mailroom import OWN
from firmware.call.rules import rule
from firmware.call.speech import LANGUAGES, clip_words
from firmware.control.client import Client, NotRunning
from firmware.errors import ConfigError
from firmware.prompts import load_catalogue, site_root
from firmware.prompts.upload import read_wav
from firmware.store.files import write_atomic

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,60}")
_OWN = re.compile(re.escape(OWN) + "[0-9]{1,8}")
USED = {"en": "{name}: {seconds:.1f} s, in use now.", "zh": "{name}：{seconds:.1f} 秒，已启用。"}
NEXT = {"en": "{name}: {seconds:.1f} s, in use from the next start on.", "zh": "{name}：{seconds:.1f} 秒，下次启动时启用。"}
NUMBER = {"en": "{name} is removed; the agent's number is said instead.", "zh": "{name}已删除，改报工号。"}
GONE = {"en": "{name} is removed; the built-in one is used from the next start on.", "zh": "{name}已删除，下次启动时恢复内置语音。"}


def add_parser(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add `prompt` to the command line of `branchpbx`."""
    parser = commands.add_parser("prompt", parents=list(parents), help="prompts of the site: add FILE --as zh/ID, list, remove")
    parser.add_argument("what", choices=("add", "list", "remove"))
    parser.add_argument("file", nargs="?", default="", metavar="FILE", help="WAV file; for remove: LANGUAGE/ID")
    parser.add_argument("--as", dest="name", default="", metavar="LANGUAGE/ID", help="which prompt it is, for example zh/greet.morning")
    parser.add_argument("--lang", choices=("en", "zh"), default=None)


def prompts(options: argparse.Namespace, language: str) -> int:
    """Do it. Raises ConfigError for a name or file that cannot be used."""
    site = site_root(options.state)
    if options.what == "list":
        for path in sorted(site.rglob("*.wav")) if site.is_dir() else []:
            sys.stdout.write(path.relative_to(site).with_suffix("").as_posix() + "\n")
        return 0
    name = checked(options.file if options.what == "remove" else options.name)
    if options.what == "remove":
        path = site / f"{name}.wav"
        if not path.is_file():
            raise ConfigError(f"{name} is no prompt of the site; `branchpbx prompt list` names them")
        path.unlink()
        sys.stdout.write((NUMBER if OWN in name else GONE)[language].format(name=name) + "\n")
        return 0
    seconds = add(site, name, options.file)
    try:
        with Client(options.state / "run" / "control.sock") as client:
            client.call("prompt load", prompt=name)
        text = USED[language]
    except NotRunning:
        text = NEXT[language]
    sys.stdout.write(text.format(name=name, seconds=seconds) + "\n")
    return 0


def checked(name: str) -> str:
    """`name`, if it is "LANGUAGE/ID" of a prompt, of a clip, or of a name of the site. Raises ConfigError."""
    language, _, ident = name.partition("/")
    if language not in LANGUAGES or NAME.fullmatch(ident) is None:
        raise ConfigError(f"{name!r} names no prompt; write --as LANGUAGE/ID, for example zh/greet.morning")
    catalogue = load_catalogue()
    site = ident.startswith(("company.", "queue.", "dept.", "music.")) or _OWN.fullmatch(ident) is not None
    if ident not in catalogue.ids and ident not in clip_words(catalogue, language) and not site:
        raise ConfigError(f"{ident} is no prompt of this version; docs/ivr.md says how they are named")
    return name


def add(site: Path, name: str, file: str) -> float:
    """Convert a file and put it into the site's folder; its length in s. Raises ConfigError, OSError."""
    try:
        samples = levelled(read_wav(file, longest_s=rule("greeting.own") // 1000) if OWN in name else read_wav(file))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    target = site / f"{name}.wav"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, buffer.getvalue())
    return len(samples) / RATE
