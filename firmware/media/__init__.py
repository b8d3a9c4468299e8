"""The asyncio façade of the media engine: `Media`, its events and `PortState`; see `client.py`."""

from firmware.media.client import Codec, Media, MediaClock
from firmware.media.events import (
    Activity,
    AlertTone,
    Battery,
    Digit,
    DtmfSent,
    EchoFilter,
    FaxTone,
    FskMessage,
    FskSent,
    LearnedFilter,
    LearnedTone,
    Loop,
    LoopCurrent,
    MediaEvent,
    MediaLost,
    Played,
    Polarity,
    PortMeters,
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
    "Activity", "AlertTone", "Battery", "Codec", "Digit", "DtmfSent", "EchoFilter", "FaxTone", "FskMessage", "FskSent", "LearnedFilter",
    "LearnedTone", "Loop", "LoopCurrent", "Media", "MediaClock", "MediaEvent", "MediaLost", "Played", "Polarity", "PortMeters",
    "PortState", "Recorded", "RingBurst", "RingTrip", "RtpPort", "RtpSilent", "RtpStarted", "ToneHeard", "ToneStopped", "Voice",
]  # fmt: skip
