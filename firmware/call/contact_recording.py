"""Recording of a contact: begun only where it is wanted and who must know was told, masked, closed with the leg (L1, pure; I1, I3)."""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import Recorded, RecordingRefused, RecordingStarted
from firmware.call.contact_sound import ContactSound
from firmware.call.recording import refuse, unheard, wish
from firmware.call.state import Recording


class ContactRecording(ContactSound):
    """See the module docstring; which calls and who must know is `recording.py`."""

    def recording_live(self) -> bool:
        """Whether this call is, or is to be, recorded."""
        return any(one.stopped < 0 for one in self.s.recordings) or (self._wanted() and not unheard(self))

    def _wanted(self) -> bool:
        wanted = wish(self).record
        return wanted == "always" or (wanted == "on-demand" and self.s.told is not None and self.s.told.demanded)

    def start_recording(self) -> None:
        """Record the caller's leg, if a rule asks for it and everybody who must know has heard the notice."""
        leg = self.s.legs.get(self.s.a)
        if leg is None or not leg.audible or any(one.stopped < 0 for one in self.s.recordings) or not self._wanted():
            return
        if unheard(self):
            refuse(self, "notice-not-heard")
            return
        wanted = wish(self)
        token = self.desk.token()
        self.s.recordings.append(Recording(token, leg.id, keep=wanted.keep, rule=wanted.rule))
        self.do(do.StartRecording(leg.id, token, wanted.keep, wanted.rule))

    def joined_by(self, *legs: str) -> None:
        """These legs hear each other from now on: what is recorded of one of them ends where another one was not told (it fails closed)."""
        running = [one for one in self.s.recordings if one.stopped < 0 and one.leg in legs]
        if running and unheard(self, legs):
            for one in running:
                self.stop_one(one, self.now)
            refuse(self, "notice-not-heard")

    def stop_recording(self) -> None:
        """Close whatever is being recorded."""
        for one in self.s.recordings:
            if one.stopped < 0:
                self.stop_one(one, self.now)

    def stop_one(self, one: Recording, at: int) -> None:
        """Close one recording; a mask ends with it."""
        one.stopped = at
        if one.masked and one.masked[-1][1] < 0:
            one.masked[-1][1] = at
        self.do(do.StopRecording(one.leg, one.token))

    def masked(self) -> bool:
        """Whether what is recorded now is silence."""
        return any(one.stopped < 0 and one.masked and one.masked[-1][1] < 0 for one in self.s.recordings)

    def mask(self, on: bool) -> bool:
        """Let the recording hold silence from here on, or no longer; False when nothing is recorded or it is so already."""
        changed = False
        for one in self.s.recordings:
            if one.stopped >= 0 or (bool(one.masked) and one.masked[-1][1] < 0) is on:
                continue
            if on:
                one.masked.append([self.now, -1])
            else:
                one.masked[-1][1] = self.now
            self.do(do.MaskRecording(one.leg, on))
            self.record("masked" if on else "unmasked", one.leg)
            changed = True
        return changed

    def secret(self, on: bool) -> None:
        """What the caller keys from here on is in no recording and no trace; or no longer. A mask that somebody asked for stays."""
        node = self.s.node
        if node is None or node.secret is on:
            return
        node.secret = on
        self.hide_keys(on)
        if on:
            node.masked = self.mask(True)
        elif node.masked:
            node.masked = False
            self.mask(False)

    def recording_told(self, event: RecordingStarted | RecordingRefused | Recorded) -> None:
        """Book what the recorder says."""
        one = next((one for one in self.s.recordings if one.token == event.token), None)
        if one is None:
            return
        if isinstance(event, RecordingStarted):
            one.path, one.started = event.path, event.at
            if one.masked and one.masked[-1][1] < 0:
                self.do(do.MaskRecording(one.leg, True))       # masked while the file was being opened
            self.record("recording", event.leg, path=event.path)
        elif isinstance(event, RecordingRefused):
            self.s.recordings.remove(one)
            self.record("recording-refused", event.leg, reason=event.reason)
        else:
            one.samples, one.lost = event.samples, event.lost
            one.stopped = one.stopped if one.stopped >= 0 else event.at
            if one.masked and one.masked[-1][1] < 0:
                one.masked[-1][1] = one.stopped
            self.record("recorded", event.leg, path=one.path, samples=event.samples, lost=event.lost)
            if one.path:
                spans = tuple((begin - one.started, end - one.started) for begin, end in one.masked)
                self.do(do.FinishRecording(one.path, event.lost, spans))
