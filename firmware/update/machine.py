"""An update from the request to the verdict, as a machine without I/O.

Theory of operation
-------------------
A request leads through checking, installing (into the slot that does not run, while calls go on), waiting (until no call is up for a
while, or nobody wants to wait longer) and restarting. A box with exchange lines has its self-test listen for dial tone before it restarts,
unless one heard it lately: the new version is measured by it. Before the restart a `Record` is written: from now on its slot is on trial.
After a start `booted` compares the record with the slot that came up: the other one means that the boot loader fell back, and the trial is
over. In the slot on trial `look` collects what `rules.complaints` says; healthy for `settle_s` makes the slot good, unhealthy at the end of
`trial_s` restarts the box without making it good, so that the boot loader counts the try and falls back. Where dial tone was heard before,
a self-test listens for it again. A start without a trial is made good by the same rule without a "before".
Times are seconds of a clock that only goes forward. Invariants: the slot is made good once for each start and only after a healthy look;
no restart happens during a call unless waiting was ended by `patience_s` or by the person who asked.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from firmware.update.rules import Before, Offer, Seen, Words, complaints

Phase = Literal["starting", "idle", "checking", "installing", "waiting", "restarting"]


class Settings(msgspec.Struct, frozen=True):
    """Times in seconds."""

    quiet_s: float = 10.0
    """No call for so long, then the box restarts."""
    patience_s: float = 6 * 3600.0
    """Waited for idle lines at most so long; then the update is put off until somebody asks again."""
    settle_s: float = 15.0
    """Healthy for so long, then the slot is good."""
    trial_s: float = 3900.0
    """Healthy by then, or the box goes back: longer than telephones wait between registrations (`sip.registration_max_s`)."""
    listen_s: float = 60.0
    """A self-test has heard dial tone by then, or there is none; on trial it is begun again so often."""
    start_s: float = 600.0
    """An ordinary start is healthy by then, or the box starts again."""


class Record(msgspec.Struct, frozen=True):
    """A trial, kept on disk over the restart."""

    slot: str
    old_slot: str
    old_version: str
    version: str
    before: Before = Before()


class Request(msgspec.Struct, frozen=True):
    """Install `source` (a path on the box or a URL). `now`: do not wait for idle lines; `older`: an older version is meant."""

    source: str
    now: bool = False
    older: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """How the last update ended."""

    outcome: Literal["good", "rolled back", "refused", "failed", "put off", "cancelled"]
    version: str
    words: Words | None = None


class Check(msgspec.Struct, frozen=True, tag=True):
    """Ask what the bundle at `source` is."""

    source: str


class Install(msgspec.Struct, frozen=True, tag=True):
    """Write the bundle into the slot that does not run; it is then the next to start."""

    source: str


class Keep(msgspec.Struct, frozen=True, tag=True):
    """Write the record to disk; None removes it."""

    record: Record | None


class MarkGood(msgspec.Struct, frozen=True, tag=True):
    """Tell the boot loader that this slot works."""


class StayHere(msgspec.Struct, frozen=True, tag=True):
    """Tell the boot loader to start this slot next time: the installed one is not wanted."""


class Listen(msgspec.Struct, frozen=True, tag=True):
    """Let the idle lines test themselves: is there dial tone?"""


class Restart(msgspec.Struct, frozen=True, tag=True):
    """Start the box anew."""

    why: str


Action = Check | Install | Keep | MarkGood | StayHere | Listen | Restart


class Updates:
    """See the theory of operation above."""

    def __init__(self, slot: str, version: str, record: Record | None, now: float, settings: Settings = Settings()) -> None:
        self.slot, self.version, self.settings = slot, version, settings
        self.phase: Phase = "starting"
        self.request: Request | None = None
        self.offer: Offer | None = None
        self.trial: Record | None = None
        self.verdict: Verdict | None = None
        self.complaints: list[Words] = []
        self._began = now
        self._healthy_since: float | None = None
        self._quiet_since: float | None = None
        self._waiting_since = now
        self._listened_at: float | None = None
        self._coming: Record | None = None
        self._earlier: Seen | None = None
        self._latest = Seen()
        self._stale: Record | None = None
        if record is not None and record.slot == slot:
            self.trial = record
        elif record is not None:
            self._stale = record

    def booted(self) -> list[Action]:
        """What the slot that came up means."""
        if self._stale is None:
            return []
        record, self._stale = self._stale, None
        self.verdict = Verdict(
            "rolled back", record.version,
            Words("fell_back", f"version {record.version} did not become healthy; {self.version} runs again",
                  f"版本 {record.version} 未能正常运行，已恢复版本 {self.version}"),
        )  # fmt: skip
        return [Keep(None)]

    def ask(self, request: Request) -> list[Action] | Words:
        """Somebody wants an update; words say why not now."""
        if self.phase == "starting":
            return Words("starting", "this start is not known to be healthy yet; try again in a minute", "本次启动尚未确认正常，请稍后再试")
        if self.phase != "idle":
            return Words("busy", f"an update is {self.phase}", "升级正在进行")
        self.request, self.offer, self.phase, self.verdict = request, None, "checking", None
        return [Check(request.source)]

    def checked(self, offer: Offer | None, wrong: Words | None) -> list[Action]:
        """What the check found; `wrong` refuses the bundle."""
        assert self.request is not None
        self.offer = offer
        if wrong is not None:
            self._end("refused", wrong)
            return []
        self.phase = "installing"
        return [Install(self.request.source)]

    def installed(self, slot: str, failure: Words | None, now: float) -> list[Action]:
        """The bundle is in `slot`, or was not written."""
        assert self.request is not None
        if failure is not None:
            self._end("failed", failure)
            return []
        assert self.offer is not None
        self.phase, self._waiting_since, self._quiet_since, self._listened_at = "waiting", now, None, None
        seen = self._latest
        self._coming = Record(slot, self.slot, self.version, self.offer.version, Before(seen.lines, seen.phones, seen.tones))
        return [Keep(self._coming), *self._wait(now)]

    @property
    def listens(self) -> bool:
        """Whether it matters now what the self-tests heard."""
        return self.phase == "waiting" or (self.trial is not None and self.trial.before.tones > 0)

    def cancel(self) -> list[Action]:
        """Nobody wants it any more; possible until the restart."""
        if self.phase != "waiting":
            return []
        self._end("cancelled", None)
        return [StayHere(), Keep(None)]

    def look(self, seen: Seen, now: float) -> list[Action]:
        """A look at the appliance, taken every few seconds."""
        earlier, self._earlier, self._latest = self._earlier, seen, seen
        if self.phase == "waiting":
            return self._wait(now)
        if self.phase != "starting":
            return []
        self.complaints = complaints(seen, earlier, self.trial.before if self.trial is not None else None)
        if self.complaints:
            self._healthy_since = None
            limit = self.settings.trial_s if self.trial is not None else self.settings.start_s
            if now - self._began >= limit:
                self.phase = "restarting"
                return [Restart("; ".join(words.en for words in self.complaints))]
            return self._listen(now) if seen.calls == 0 and any(words.code == "dial_tone" for words in self.complaints) else []
        if self._healthy_since is None:
            self._healthy_since = now
        if now - self._healthy_since < self.settings.settle_s:
            return []
        self.phase = "idle"
        actions: list[Action] = [MarkGood()]
        if self.trial is not None:
            self.verdict = Verdict("good", self.trial.version)
            self.trial = None
            actions.append(Keep(None))
        return actions

    def _wait(self, now: float) -> list[Action]:
        assert self.request is not None
        if self._latest.calls != 0:  # also while nobody can say
            self._quiet_since = self._listened_at = None
        elif self._quiet_since is None:
            self._quiet_since = now
        if self.request.now or (self._quiet_since is not None and now - self._quiet_since >= self.settings.quiet_s):
            seen, restart = self._latest, Restart(f"update to {self.offer.version if self.offer else ''}")
            if not self.request.now and seen.lines and not seen.tones:
                listened = self._listened_at
                if listened is None:
                    return self._listen(now)
                if now - listened < self.settings.listen_s:
                    return []
            self.phase = "restarting"
            assert self._coming is not None
            before = self._coming.before
            if seen.tones == before.tones:
                return [restart]
            self._coming = msgspec.structs.replace(self._coming, before=msgspec.structs.replace(before, tones=seen.tones))
            return [Keep(self._coming), restart]
        if now - self._waiting_since >= self.settings.patience_s:
            self._end("put off", Words("busy_lines", "the lines were never idle; ask again", "线路一直占用，请稍后再次发起升级"))
            return [StayHere(), Keep(None)]
        return []

    def _listen(self, now: float) -> list[Action]:
        """Begin a self-test, not oftener than one takes."""
        if self._listened_at is not None and now - self._listened_at < self.settings.listen_s:
            return []
        self._listened_at = now
        return [Listen()]

    def _end(self, outcome: Literal["refused", "failed", "put off", "cancelled"], words: Words | None) -> None:
        self.verdict = Verdict(outcome, self.offer.version if self.offer is not None else "", words)
        self.phase, self.request = "idle", None
