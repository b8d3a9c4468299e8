"""Another configuration for a call process that runs: what is taken at once, what waits for a new process, what is run really.

Theory of operation
-------------------
Management puts the configuration in force, with secrets, into `run/configuration.msgpack` and says so. Every part that reads settings while
it works is given the new ones in one go, between two inputs of the loop; no call notices. What only a start of the process takes is told by
comparing the configuration that this process was built with (`config/plan.py`). The proof of what runs asks the parts themselves: each must
hold the very object that was given, and the fingerprint is made of that object.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from firmware.app.handover import Handover
from firmware.call.consent import consent
from firmware.call.spoken import spoken
from firmware.config import plan
from firmware.config.diff import content_hash
from firmware.config.render import to_toml
from firmware.config.schema.tree import Config
from firmware.control.configuration_commands import ConfigurationNow, ConfigurationTake, NowResult, WaitRow
from firmware.control.gate import Gate
from firmware.errors import StoreError

if TYPE_CHECKING:
    from firmware.app.core import Core

FILE = "configuration.msgpack"
log = logging.getLogger("branchpbx.core")


def fingerprint(config: Config) -> str:
    """SHA-256 of the whole effective configuration, order included."""
    return hashlib.sha256(to_toml(config).encode()).hexdigest()


def packed(config: Config) -> bytes:
    """As it is handed to core."""
    return msgspec.msgpack.encode(config)


class Reconfigure:
    """See the theory of operation. `core` is the composition root whose parts are given the configuration."""

    def __init__(self, core: Core, handover: Handover) -> None:
        self._core = core
        self._path = handover.run_folder / FILE
        self._built = handover.config
        self._digest = ""                # of what runs; made when it is asked for: a start is in a hurry
        self._rows: list[plan.Row] = []
        self._alarms: set[str] = set()

    def attach(self, gate: Gate) -> None:
        """Register the handlers."""
        gate.handle(ConfigurationTake, self._take)
        gate.handle(ConfigurationNow, lambda _: self.now())

    def _take(self, command: ConfigurationTake) -> NowResult:
        try:
            data = self._path.read_bytes()
            config = msgspec.msgpack.decode(data, type=Config)
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(f"{self._path}: the configuration cannot be read ({error}); commit it again") from error
        digest = fingerprint(config)
        if digest != command.digest:
            raise StoreError(f"{self._path}: another configuration than the one that was announced; commit it again")
        if digest != self.digest:
            self.take(config)
            self._digest = digest
        self._note(command.alarms)
        return self.now()

    @property
    def digest(self) -> str:
        """Fingerprint of what runs."""
        self._digest = self._digest or fingerprint(self._core.config)
        return self._digest

    def take(self, config: Config) -> None:
        """Give it to every part."""
        core = self._core
        core.config = config
        core.media.speak(spoken(config))        # first: what is asked for from here on waits for its clips
        core.phones.configure(config, {number: entry.secret for number, entry in config.extensions.items()})
        core.lines.configure(config)
        core.calls.configure(config, {number: entry.pin for number, entry in config.agents.items()})
        core.calls.recorder.recordings.most_days = consent(config).keep_days
        core.calls.recorder.notices(core.clips)
        core.doctor.configure(config)
        core.mail.configure(config)
        core.reports.configure(config)
        core.watchers.configure(config)
        core.facts.config, core.facts.config_hash = config, content_hash(config)
        self._rows = plan.rows(self._built, config)
        log.info("another configuration is in force: %s, %d settings differ from this start's", content_hash(config)[:12], len(self._rows))

    def _note(self, alarms: dict[str, list[str]]) -> None:
        for kind in self._alarms - alarms.keys():
            self._core.alarms.clear(kind)
        for kind, texts in alarms.items():
            self._core.alarms.raise_(kind, texts[0], texts[1])
        self._alarms = set(alarms)

    def now(self) -> NowResult:
        """What runs, what it was built with, and which ports must be without a call before a new start."""
        core, config = self._core, self._core.config
        wanted = plan.ports_of(self._rows, self._built, config)
        live = {leg.endpoint for state in core.calls.board.contacts.values() for leg in state.legs.values() if leg.live}
        needs = any(one.apply in plan.BUILT["core"] for one in self._rows)
        return NowResult(
            digest=self.digest,
            differs=[name for name, held in self._held() if held is not config],
            calls=len(core.calls.board.contacts),
            control=needs,
            ports=sorted(wanted & live),
            waits=[WaitRow(one.path, one.apply) for one in self._rows if one.apply != "live"],
            alarms=sorted(self._alarms),
        )

    def _held(self) -> list[tuple[str, Any]]:
        """What each part works with."""
        core = self._core
        return [
            ("call rules", core.calls.ruled_by),
            ("routing", core.calls.board.routing.config),
            ("phones", core.phones.config),
            ("trunks", core.phones.trunks.config),
            ("lines", core.lines.config),
            ("lamps", core.watchers.config),
            ("voice mail", core.mail.part.config),
            ("reports", core.reports.config),
            ("console", core.facts.config),
        ]
