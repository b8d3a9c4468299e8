"""The lifeline relay as the parent keeps it: current while core and media live, none when nobody serves the jacks.

The rule is `hal/lifeline.py`; here it meets the relay, whose contacts are looked at, and which may not be reached for a while.
"""

from __future__ import annotations

import logging

from firmware.app.handover import Handover
from firmware.hal.lifeline import LifelineRule, RelayState, Seen

log = logging.getLogger("branchpbx.parent")


class LifelineRelay:
    """See the module docstring."""

    def __init__(self) -> None:
        self._rule = LifelineRule()
        self.state: RelayState = "none"

    def keep(self, handover: Handover, now: int, core: bool, media: bool, stopping: bool) -> None:
        """Give the relay current, or take it away, and see that its contacts follow."""
        if handover.lifeline is None or handover.lines is None:
            return
        seen = Seen(handover.lifeline.pair_ready, core, media, stopping)
        wanted: RelayState = "energised" if self._rule.judge(now, seen) else "released"
        try:
            if self.state in ("none", "released") and wanted == "energised":
                handover.lines.energise()
                log.info("lifeline: the jacks are apart, the appliance serves them")
            elif self.state in ("energised", "stuck") and wanted == "released":
                handover.lines.drop()
                log.error("lifeline: the jacks are joined, nobody serves them")
            elif wanted == "energised":
                apart = handover.lines.sensed()
                if apart is False and self.state != "stuck":
                    log.error("lifeline: the relay has current, but its contacts do not follow; check relay and sense line")
                wanted = "stuck" if apart is False else "energised"
        except OSError as error:
            log.warning("lifeline: the relay cannot be reached (%s); tried again", error)
            return
        self.state = handover.lifeline.relay = wanted

    def release(self, handover: Handover | None) -> None:
        """Relay without current, chips in RESET."""
        if handover is None or handover.lines is None:
            return
        lines, handover.lines = handover.lines, None
        try:
            lines.release()
        except OSError as error:
            log.warning("lines of the board cannot be put at rest (%s)", error)
