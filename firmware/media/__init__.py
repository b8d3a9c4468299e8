"""The asyncio façade of the media engine: `Media`, its events and `PortState`; see `client.py`."""

from firmware.media.client import Codec, Media, MediaClock
from firmware.media.events import (
    Battery,
    Digit,
    DtmfSent,
    FskMessage,
    FskSent,
    Loop,
    LoopCurrent,
    MediaEvent,
    MediaLost,
    Played,
    Polarity,
    PortState,
    Recorded,
    RingBurst,
    RingTrip,
    RtpPort,
    RtpSilent,
    RtpStarted,
    ToneHeard,
    ToneStopped,
    Voice,
)

__all__ = [
    "Battery", "Codec", "Digit", "DtmfSent", "FskMessage", "FskSent", "Loop", "LoopCurrent", "Media", "MediaClock", "MediaEvent",
    "MediaLost", "Played", "Polarity", "PortState", "Recorded", "RingBurst", "RingTrip", "RtpPort", "RtpSilent", "RtpStarted",
    "ToneHeard", "ToneStopped", "Voice",
]  # fmt: skip
