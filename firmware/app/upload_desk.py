"""The door to `app/upload.py` in management: loaded when recordings are sent, or somebody asks (L6; I6).

Most sites keep their recordings; what sends them costs those a task that looks at one setting.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from firmware.control.gate import Gate
from firmware.control.upload_commands import ShowUpload, UploadNow, UploadResult, UploadStop

if TYPE_CHECKING:
    from firmware.app.upload import UploadPart

LOOK_S = 2.0


class UploadDesk:
    """`facts`: what `UploadPart` is made with."""

    def __init__(self, **facts: Any) -> None:
        self._facts = facts
        self._part: UploadPart | None = None

    def attach(self, gate: Gate) -> None:
        """Answer the commands."""
        gate.handle(ShowUpload, lambda _: self._shown())
        gate.handle(UploadNow, lambda _: self._now())
        gate.handle(UploadStop, lambda _: self._stop())

    async def run(self) -> None:
        """The task of manage."""
        while True:
            if self._facts["config"]().recording.upload.url:
                await (await self.part()).run()
            await asyncio.sleep(LOOK_S)

    def alarms(self) -> dict[str, list[str]]:
        """What a person must know, by kind."""
        return self._part.alarms() if self._part is not None else {}

    async def part(self) -> UploadPart:
        """The part itself."""
        if self._part is None:
            module = await asyncio.to_thread(importlib.import_module, "firmware.app.upload")
            if self._part is None:              # nobody else has made it meanwhile
                self._part = module.UploadPart(**self._facts)
        return self._part

    async def _shown(self) -> UploadResult:
        return await (await self.part()).shown()

    async def _now(self) -> UploadResult:
        return await (await self.part()).begin()

    async def _stop(self) -> UploadResult:
        return await (await self.part()).stop()
