"""Questions of core to the media process over the descriptor channel, each with one answer (L3).

Theory of operation: a question is a JSON message with an id of its own; the answer names the id and carries a result or an error. Line
chips ("do": "chip") and the side of the RTP ports ("do": "side") are asked so. What ends a port's side must not be lost: where the
channel is full it waits here until there is room.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firmware.errors import EngineBusy, EngineRefused, HardwareError


class Requests:
    """See the theory of operation above."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._asked: dict[str, asyncio.Future[Any]] = {}
        self._ends: list[int] = []

    def ask(self, do: str, *, file: int = -1, **fields: Any) -> asyncio.Future[Any]:
        """The future gives the answer, or HardwareError with the refusal; EngineRefused when media is replaced first. Raises EngineBusy.

        `file`: a descriptor that goes with the question; it stays the caller's.
        """
        number = os.urandom(8).hex()
        try:
            socket.send_fds(self._channel, [json.dumps({"do": do, "id": number, **fields}).encode()], [file] if file >= 0 else [])
        except BlockingIOError:
            raise EngineBusy("the media process has too much to do; ask again") from None
        asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        return asked

    def load_clip(self, name: str, source: Path | bytes, clips: dict[str, int]) -> asyncio.Future[int]:
        """Ask media to load a WAV as a clip, from a file or, for what must not lie on a disk, from memory.

        `clips` (name to number) learns of it. The future gives its bytes; errors as of `ask`.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            file = _in_memory(source) if isinstance(source, bytes) else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            done.set_exception(HardwareError(f"{name if isinstance(source, bytes) else source}: {error.strerror}"))
            return done
        try:
            asked = self.ask("clip", file=file, name=name)
        finally:
            os.close(file)

        def answered(future: asyncio.Future[Any]) -> None:
            if done.done():
                return
            error = EngineRefused("the question was dropped") if future.cancelled() else future.exception()
            if error is not None:
                done.set_exception(error)
                return
            number, size = future.result()
            before, clips[name] = clips.get(name), number
            if before is not None and before != number:
                self.ask("forget", number=before)
            done.set_result(size)

        asked.add_done_callback(answered)
        return done

    def end(self, port: int) -> None:
        """The call of an RTP port is over for the side."""
        self._ends.append(port)
        self.flush()

    def flush(self) -> None:
        """Send the ends that found no room."""
        while self._ends:
            try:
                self._channel.send(json.dumps({"do": "side", "id": "", "port": self._ends[0], "what": "end", "args": {}}).encode())
            except OSError:
                return
            del self._ends[0]

    def answered(self, reply: Mapping[str, Any]) -> None:
        """A message of media that is an answer."""
        asked = self._asked.pop(reply["answer"], None)
        if asked is None or asked.done():
            return
        if reply["error"]:
            asked.set_exception(HardwareError(reply["error"]))
        else:
            asked.set_result(reply["result"])

    def replaced(self) -> None:
        """Media was replaced: nobody answers any more."""
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(EngineRefused("the media process was replaced"))
        self._asked.clear()
        self._ends.clear()


def _in_memory(content: bytes) -> int:
    """A descriptor from which this is read."""
    file = os.memfd_create("clip", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(file), "wb") as target:
            target.write(content)
        os.lseek(file, 0, os.SEEK_SET)
    except OSError:
        os.close(file)
        raise
    return file
