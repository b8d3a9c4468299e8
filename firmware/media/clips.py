"""The clips that media has, and those that it is given when somebody asks for them (L3).

Theory of operation
-------------------
Media starts with the groups of clips that the configuration in force can ask for (`call/spoken.py`). Here is known which files there
are and which number each has in media. Another configuration names its groups (`speak`): what lacks is loaded one file after the other,
`AT_ONCE` at a time, by the event loop of the media process, never by its engine. A prompt that needs a clip that is not there yet, whatever
led to it, waits: its clips are loaded before others, and then it is played; the rest of its group follows. A command that would have
stopped the prompt ends one that waits, too, with the same `Played`. A file that cannot be loaded is told once and left out until media is
replaced. While media is asked for its numbers, after it was replaced, every prompt waits: those of its predecessor mean nothing.
Invariants: one prompt waits at each port; nothing waits for ever: each load is answered, or fails when media is replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from firmware.call.spoken import group_of
from firmware.errors import EngineBusy, EngineRefused
from firmware.media.requests import Requests

AT_ONCE = 8
RETRY_S = 0.02

log = logging.getLogger("branchpbx.media")


class Prompt(msgspec.Struct, frozen=True):
    """What `Media.play` was asked for."""

    clips: tuple[str, ...]
    token: int
    loop: bool
    stop_on_digit: bool
    gain_db: float


class Clips:
    """See the theory of operation. `play` plays a prompt at a port, `ended` tells that one which waited was stopped."""

    def __init__(self, requests: Requests, play: Callable[[int, Prompt], object], ended: Callable[[int, int], None]) -> None:
        self.numbers: dict[str, int] = {}
        self._requests, self._play, self._ended = requests, play, ended
        self._meeting = False
        self._files: Mapping[str, Path] = {}
        self._groups: set[str] = {""}
        self._wanted: deque[str] = deque()
        self._flying: set[str] = set()
        self._broken: set[str] = set()
        self._waiting: dict[int, Prompt] = {}
        self._again: asyncio.TimerHandle | None = None

    # --- what there is ------------------------------------------------------------------------------------------------

    def know(self, files: Mapping[str, Path], groups: Collection[str]) -> list[str]:
        """Every clip there is with its file (the mapping may grow), and the groups to have ready; those that lack, which are loaded."""
        self._files = files
        self.speak(groups)
        return sorted({*self._wanted, *self._flying})

    def speak(self, groups: Collection[str]) -> None:
        """Have these groups ready, too. None is taken back: a call may be in the middle of it."""
        self._groups.update(groups)
        if not self._meeting:
            known = {*self.numbers, *self._flying, *self._broken, *self._wanted}
            self._wanted.extend(name for name in self._files if name not in known and group_of(name) in self._groups)
            self._pump()

    def lost(self) -> None:
        """Media was replaced, with it the calls that waited for words."""
        self._meeting, self.numbers = True, {}
        self._wanted.clear()
        self._flying.clear()
        self._broken.clear()
        self._waiting.clear()

    def met(self, numbers: dict[str, int]) -> None:
        """What media has, as it says itself."""
        self.numbers, self._meeting = numbers, False
        self.speak(())
        self._go()

    def close(self) -> None:
        """The façade lets go of its loop."""
        self._files = {}
        self._wanted.clear()
        self._waiting.clear()
        if self._again is not None:
            self._again.cancel()

    # --- prompts that wait --------------------------------------------------------------------------------------------

    def ready(self, clips: Iterable[str]) -> bool:
        """Whether these can be played now, without those that cannot be had at all."""
        return not any(map(self._lacks, clips))

    def _lacks(self, name: str) -> bool:
        return name not in self.numbers and name not in self._broken and name in self._files

    def wait(self, port: int, prompt: Prompt) -> None:
        """Play it when its clips are there."""
        self._waiting[port] = prompt
        self._first(prompt)
        self.speak({group_of(name) for name in prompt.clips})

    def _first(self, prompt: Prompt) -> None:
        """Its clips come before others."""
        self._wanted.extendleft(name for name in reversed(prompt.clips) if self._lacks(name) and name not in self._flying)

    def drop(self, port: int) -> None:
        """Another command for the player of a port: what waits there is not played."""
        prompt = self._waiting.pop(port, None)
        if prompt is not None:
            self._ended(port, prompt.token)

    def _go(self) -> None:
        for port, prompt in list(self._waiting.items()):
            if not self.ready(prompt.clips):
                continue
            del self._waiting[port]
            try:
                self._play(port, prompt)
            except EngineBusy:
                self._waiting[port] = prompt
                self._later()

    # --- loading ------------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        while self._wanted and len(self._flying) < AT_ONCE and not self._meeting:
            name = self._wanted.popleft()
            if name in self._flying or not self._lacks(name):
                continue
            try:
                answer = self._requests.load_clip(name, self._files[name], self.numbers)
            except EngineBusy:
                self._wanted.appendleft(name)
                self._later()
                return
            self._flying.add(name)
            answer.add_done_callback(partial(self._loaded, name))

    def _loaded(self, name: str, answer: asyncio.Future[int]) -> None:
        error = None if answer.cancelled() else answer.exception()
        if answer.cancelled() or isinstance(error, EngineRefused):
            return              # media was replaced: the next one is asked for what it lacks
        self._flying.discard(name)
        if error is not None:
            self._broken.add(name)
            log.error("clip %s cannot be had (%s): it is left out; build the prompts again, or bring that of the site anew", name, error)
        self._pump()
        self._go()

    def _later(self) -> None:
        """The channel or the ring is full: once more in a moment."""
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(RETRY_S, self._once_more)

    def _once_more(self) -> None:
        self._again = None
        self._pump()
        self._go()
