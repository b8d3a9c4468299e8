"""The asyncio façade of the media engine: `Media`, its events and `PortState`; see `client.py`.

Its names are fetched when they are used: the media process, which needs `side.py` alone, is spared asyncio and the façade.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware.media.client import Media, MediaClock
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
        PortHealth,
        PortMeters,
        PortState,
        PulseSent,
        Recorded,
        RingBurst,
        RingTrip,
        RtpPort,
        RtpSilent,
        RtpStarted,
        SideNews,
        ToneHeard,
        ToneStopped,
        Voice,
    )
    from firmware.media.rtp import Codec
else:
    _MODULES = {"Media": "client", "MediaClock": "client", "Codec": "rtp"}

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'events')}"), name)
        globals()[name] = found
        return found


__all__ = [
    "Activity", "AlertTone", "Battery", "Codec", "Digit", "DtmfSent", "EchoFilter", "FaxTone", "FskMessage", "FskSent", "LearnedFilter",
    "LearnedTone", "Loop", "LoopCurrent", "Media", "MediaClock", "MediaEvent", "MediaLost", "Played", "Polarity", "PortHealth",
    "PortMeters", "PortState", "PulseSent", "Recorded", "RingBurst", "RingTrip", "RtpPort", "RtpSilent", "RtpStarted",
    "SideNews", "ToneHeard", "ToneStopped", "Voice",
]  # fmt: skip
