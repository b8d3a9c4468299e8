"""Voice messages, greetings and takes as files that survive a power cut (L3).

Theory of operation
-------------------
A *take* is a recording in the making: `takes/KEY.wav` (written by the engine, two channels, correct after every write) beside
`takes/KEY.json` (what it is for, on disk before the first sample). What is kept becomes `messages/BOX/ID.wav` with one channel and
`ID.json`, greetings `greetings/BOX.wav`: written to a temporary file, synced, renamed, then the take goes. A message counts from the
moment its JSON stands, which is written last; so after a power cut there is either the message or the take, and `load` finds both.
Prompts of the site, and with them the greetings of agents in their own voice (`agent.own.NUMBER`), are written likewise into its folder.
Everything here blocks and runs beside the event loop. Names of boxes and keys are checked: they become file names.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import wave
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

from firmware.call.levels import RATE, levelled
from firmware.call.mailroom import OWN, Message
from firmware.call.voicemail_actions import Take
from firmware.errors import StoreError
from firmware.store.files import sync_folder, write_atomic

log = logging.getLogger("branchpbx.voicemail")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
CHUNK = 4 * RATE                # frames
HEADER = 44


class TakeNote(msgspec.Struct):
    """What stands beside a take: what it is for, its token, when it began (Unix ms)."""

    take: Take
    token: int
    at: int


def checked(name: str) -> str:
    """`name`, if it can be the name of a file here. Raises StoreError."""
    if NAME.fullmatch(name) is None:
        raise StoreError(f"{name!r} cannot be the name of a file of voice mail; allowed: letters, digits, _ . and -")
    return name


class MessageFiles:
    """See the theory of operation. `prompts`: where recordings of the site's prompts go."""

    def __init__(self, folder: Path, prompts: Path) -> None:
        self.folder = folder
        self.prompts = prompts
        self.takes = folder / "takes"

    # --- paths --------------------------------------------------------------------------------------------------------

    def path(self, file: str) -> Path:
        """Where "message/BOX/ID", "greeting/BOX", "agent/LANGUAGE/AGENT" or "take/KEY" lies. Raises StoreError."""
        kind, *names = file.split("/")
        names = [checked(name) for name in names]
        if kind == "message" and len(names) == 2:
            return self.folder / "messages" / names[0] / f"{names[1]}.wav"
        if kind == "greeting" and len(names) == 1:
            return self.folder / "greetings" / f"{names[0]}.wav"
        if kind == "agent" and len(names) == 2:
            return self.prompts / names[0] / f"{OWN}{names[1]}.wav"
        if kind == "take" and len(names) == 1:
            return self.takes / f"{names[0]}.wav"
        raise StoreError(f"{file!r} is no file of voice mail")

    # --- takes --------------------------------------------------------------------------------------------------------

    def open_take(self, take: Take, token: int, at: int) -> int:
        """Descriptor that the engine writes to. Raises OSError, StoreError."""
        path = self.path(f"take/{take.key}")
        self._folder(self.takes)
        write_atomic(path.with_suffix(".json"), msgspec.json.encode(TakeNote(take, token, at)), mode=0o600)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def drop(self, key: str) -> None:
        """Forget a take."""
        path = self.path(f"take/{key}")
        for one in (path, path.with_suffix(".json")):
            with contextlib.suppress(FileNotFoundError):
                one.unlink()

    def left(self) -> list[TakeNote]:
        """Takes that nobody finished."""
        found = []
        for path in sorted(self.takes.glob("*.json")) if self.takes.is_dir() else []:
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=TakeNote))
            except (OSError, msgspec.MsgspecError) as error:
                log.warning("%s: not readable (%s), removed", path, error)
                self.drop(path.stem)
        return found

    def take_ms(self, key: str) -> int:
        """Length of a take in ms."""
        try:
            return max(0, self.path(f"take/{key}").stat().st_size - HEADER) // (4 * RATE // 1000)
        except FileNotFoundError:
            return 0

    # --- keeping ------------------------------------------------------------------------------------------------------

    def keep_message(self, message: Message, key: str, trim_ms: int = 0) -> Message:
        """Make a take a message; the message with its length and size."""
        target = self.path(f"message/{message.box}/{message.id}")
        self._folder(target.parent)
        samples = self._one_channel(key, trim_ms)
        message.length = len(samples) // (RATE // 1000)
        message.size = self._write(target, samples)
        self.save(message)
        self.drop(key)
        return message

    def keep_greeting(self, box: str, key: str, trim_ms: int = 0) -> None:
        """Make a take the greeting of a box."""
        self._levelled(self.path(f"greeting/{box}"), key, trim_ms)

    def keep_prompt(self, name: str, key: str, trim_ms: int = 0) -> Path:
        """Make a take a prompt of the site: "<language>/<prompt>"; its file."""
        language, _, prompt = name.partition("/")
        target = self.prompts / checked(language) / f"{checked(prompt)}.wav"
        self._levelled(target, key, trim_ms)
        return target

    def _levelled(self, target: Path, key: str, trim_ms: int) -> None:
        self._folder(target.parent)
        self._write(target, levelled(self._one_channel(key, trim_ms)))
        self.drop(key)

    def _one_channel(self, key: str, trim_ms: int) -> array[int]:
        """What the telephone said, without the last `trim_ms`."""
        samples = array("h")
        with wave.open(str(self.path(f"take/{key}")), "rb") as file:
            left = max(0, file.getnframes() - trim_ms * RATE // 1000)
            while left > 0 and (data := file.readframes(min(CHUNK, left))):
                samples.extend(array("h", data)[0::2])
                left -= CHUNK
        return samples

    def _write(self, target: Path, samples: array[int]) -> int:
        """Write a WAV in one step, durable; its size."""
        part = target.with_suffix(".part")
        try:
            with part.open("wb") as raw:
                with wave.open(raw, "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(RATE)
                    file.writeframes(samples.tobytes())
                raw.flush()
                os.fsync(raw.fileno())
                size = raw.tell()
            part.replace(target)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()               # of a full disk nothing is taken for good
            raise
        sync_folder(target.parent)
        return size

    def _folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(folder.parent)

    # --- messages -----------------------------------------------------------------------------------------------------

    def load(self) -> Iterator[Message]:
        """Every message; one whose file is damaged is set aside."""
        root = self.folder / "messages"
        for path in sorted(root.glob("*/*.json")) if root.is_dir() else []:
            try:
                message = msgspec.json.decode(path.read_bytes(), type=Message)
                if message.id != path.stem or message.box != path.parent.name or not path.with_suffix(".wav").is_file():
                    raise ValueError("it names another message, or its sound is gone")
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                log.error("%s: not usable (%s), kept as .bad", path, error)
                with contextlib.suppress(OSError):
                    path.replace(path.with_suffix(".bad"))
                continue
            yield message

    def greetings(self) -> set[str]:
        """Boxes with a greeting of their own."""
        folder = self.folder / "greetings"
        return {path.stem for path in folder.glob("*.wav")} if folder.is_dir() else set()

    def own_greetings(self) -> Iterator[tuple[str, str]]:
        """Greetings of agents in their own voice as "<language>/<agent>", each with what is wrong with its file, "" for nothing."""
        for path in sorted(self.prompts.glob(f"*/{OWN}*.wav")) if self.prompts.is_dir() else []:
            name = f"{path.parent.name}/{path.stem.removeprefix(OWN)}"
            try:
                self.own_samples(name)
            except (OSError, StoreError) as error:
                yield name, str(error)
            else:
                yield name, ""

    def own_samples(self, name: str) -> int:
        """Samples of an agent's greeting, "<language>/<agent>". Raises OSError, StoreError for a file that cannot be played."""
        path = self.path(f"agent/{name}")
        try:
            with wave.open(str(path), "rb") as file:
                form, frames = (file.getframerate(), file.getnchannels(), file.getsampwidth()), file.getnframes()
                whole = len(file.readframes(frames)) == 2 * frames
        except (wave.Error, EOFError) as error:
            raise StoreError(f"{path}: is no WAV file ({error}); record it again, or use `branchpbx prompt add`") from error
        if form != (RATE, 1, 2) or not whole or not frames:
            raise StoreError(f"{path}: is cut short, or not 8 kHz, one channel, 16 bit; record it again, or use `branchpbx prompt add`")
        return frames

    def remove_prompt(self, name: str) -> None:
        """A prompt of the site ("<language>/<prompt>") goes; nothing happens where there is none."""
        language, _, prompt = name.partition("/")
        with contextlib.suppress(FileNotFoundError):
            (self.prompts / checked(language) / f"{checked(prompt)}.wav").unlink()
            sync_folder(self.prompts / language)

    def save(self, message: Message) -> None:
        """Write what is known of a message."""
        write_atomic(self.path(f"message/{message.box}/{message.id}").with_suffix(".json"), msgspec.json.encode(message), mode=0o600)

    def remove(self, box: str, ident: str) -> None:
        """Delete a message: first what makes it one."""
        path = self.path(f"message/{box}/{ident}")
        for one in (path.with_suffix(".json"), path):
            with contextlib.suppress(FileNotFoundError):
                one.unlink()

    def copy(self, message: Message, copy: Message) -> None:
        """Put a copy of a message into another box."""
        target = self.path(f"message/{copy.box}/{copy.id}")
        self._folder(target.parent)
        part = target.with_suffix(".part")
        shutil.copyfile(self.path(f"message/{message.box}/{message.id}"), part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
        sync_folder(target.parent)
        self.save(copy)

    def remove_greeting(self, box: str) -> None:
        """The standard greeting again."""
        with contextlib.suppress(FileNotFoundError):
            self.path(f"greeting/{box}").unlink()

    def free_mb(self) -> int:
        """Free space of the disk."""
        disk = os.statvfs(self.folder if self.folder.is_dir() else self.folder.parent)
        return disk.f_bavail * disk.f_frsize // 1_000_000
