"""What `show trunks` and `show passage` answer."""

from __future__ import annotations

from collections.abc import Callable

from firmware.config.schema.tree import Config
from firmware.control.gate import Gate
from firmware.control.trunk_commands import ShowTrunks, TrunkRow
from firmware.core.passage import PassageAudit
from firmware.core.trunks import TrunkInfo, Trunks
from firmware.core.trunks_texts import STATES
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock


def attach(gate: Gate, trunks: Trunks, clock: Clock, bus: Bus, config: Callable[[], Config]) -> None:
    """Register the handlers; what passes through the branch is told to the audit trail from now on."""
    PassageAudit(bus, clock, config).attach(gate)
    gate.handle(ShowTrunks, lambda _: [_row(one, trunks.state_of(one.name), clock.now()) for one in trunks.list()])


def _row(info: TrunkInfo, available: str, now: int) -> TrunkRow:
    status = info.status
    state = ("switched off", "已停用") if status is None else STATES[status.state]
    registered = (status.until - now) // 1000 if status is not None and status.until >= 0 else -1
    retry = max(0, (status.retry_at - now) // 1000) if status is not None and status.retry_at >= 0 else info.aside_s
    answer = f"{status.status or ''} {status.reason}".strip() if status is not None else ""
    return TrunkRow(
        trunk=info.name, kind=info.trunk.kind, state_en=state[0], state_zh=state[1], available=available, registered_s=registered,
        retry_s=retry, calls=info.calls, most_calls=info.trunk.calls, round_trip_ms=status.round_trip_ms if status is not None else -1,
        address=info.address, server=status.server if status is not None else "", answer=answer,
        remedy_en=info.remedy.en if info.remedy is not None else "", remedy_zh=info.remedy.zh if info.remedy is not None else "",
    )  # fmt: skip
