"""FXO lines and FXS phones: what is plugged into which jack."""

from __future__ import annotations

from typing import Annotated, Literal

from firmware.config.schema.base import Entry, about


class FxoLine(Entry, frozen=True):
    """A PSTN line on an FXO jack; the table key is the jack number printed on the box."""

    enabled: Annotated[bool, about("Take this line into service", apply="restart-port")] = True
    number: Annotated[str, about("Telephone number of the line, for screens and outgoing identity", pattern=r"^[0-9+]{0,20}$")] = ""
    group: Annotated[str, about("Line group used by outbound routes", min_length=1, max_length=20)] = "pstn"
    answer_after_rings: Annotated[int, about("Answer after this many ring bursts (caller id needs 2)", ge=1, le=10)] = 2
    caller_id: Annotated[Literal["auto", "bell202", "v23", "dtmf", "none"], about("Caller id scheme", apply="restart-port")] = "auto"
    polarity_answer: Annotated[bool, about("The exchange reverses polarity when the called party answers")] = False
    polarity_release: Annotated[bool, about("The exchange reverses polarity when the far end hangs up")] = True
    loop_drop_release_ms: Annotated[int, about("Loop current loss that means hang-up", unit="ms", ge=50, le=1500)] = 200
    busy_cycles: Annotated[int, about("Equal busy-tone cycles that mean hang-up", ge=2, le=8)] = 3
    echo_tail_ms: Annotated[int, about("Echo canceller tail", unit="ms", ge=16, le=128, apply="restart-port")] = 64
    rx_gain_db: Annotated[float, about("Gain from the line", unit="dB", ge=-12, le=12)] = 0.0
    tx_gain_db: Annotated[float, about("Gain towards the line", unit="dB", ge=-12, le=12)] = 0.0


class FxsPhone(Entry, frozen=True):
    """An analog phone on an FXS jack; the table key is the jack number."""

    enabled: Annotated[bool, about("Feed this jack", apply="restart-port")] = True
    caller_id: Annotated[bool, about("Send caller id between the first two rings")] = True
    flash_min_ms: Annotated[int, about("Shortest hook flash", unit="ms", ge=40, le=1000)] = 80
    flash_max_ms: Annotated[int, about("Longest hook flash; a longer break hangs up", unit="ms", ge=100, le=1500)] = 800
    first_digit_s: Annotated[int, about("Wait for the first digit", unit="s", ge=3, le=60)] = 15
    inter_digit_s: Annotated[int, about("Wait for the next digit", unit="s", ge=1, le=30)] = 4
    echo_tail_ms: Annotated[int, about("Echo canceller tail", unit="ms", ge=16, le=128, apply="restart-port")] = 32
    rx_gain_db: Annotated[float, about("Gain from the phone", unit="dB", ge=-12, le=12)] = 0.0
    tx_gain_db: Annotated[float, about("Gain towards the phone", unit="dB", ge=-12, le=12)] = 0.0


class Ports(Entry, frozen=True):
    """The jacks of the box."""

    fxo: Annotated[dict[str, FxoLine], about("FXO jacks by number")] = {}
    fxs: Annotated[dict[str, FxsPhone], about("FXS jacks by number")] = {}
