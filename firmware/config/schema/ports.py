"""FXO lines and FXS phones: what is plugged into which jack, which lines belong together, and how the country's network differs here."""

from typing import Annotated, Literal

from firmware.config.schema.base import Entry, about

DialString = about("Number dialled for the phone", pattern=r"^[0-9*#]{0,24}$")


class FxoLine(Entry, frozen=True):
    """A PSTN line on an FXO jack; the table key is the jack number printed on the box."""

    enabled: Annotated[bool, about("Take this line into service", apply="restart-port")] = True
    number: Annotated[str, about("Telephone number of the line, for screens and outgoing identity", pattern=r"^[0-9+]{0,20}$")] = ""
    group: Annotated[str, about("Line group used by outbound routes", min_length=1, max_length=20)] = "pstn"
    answer_after_rings: Annotated[int, about("Answer after this many ring bursts (caller id needs 2)", ge=1, le=10)] = 2
    caller_id: Annotated[Literal["auto", "bell202", "v23", "dtmf", "none"], about("Caller id scheme", apply="restart-port")] = "auto"
    message_waiting: Annotated[
        Literal["none", "tone", "fsk", "both"],
        about("How the exchange tells that messages wait: a stuttering dial tone, a message by FSK on the idle line", apply="restart-port"),
    ] = "tone"
    dialling: Annotated[Literal["tone", "pulse"], about("How numbers are sent to the exchange")] = "tone"
    no_dial_tone: Annotated[Literal["fault", "dial"], about("Without dial tone: give the line up, or dial all the same")] = "fault"
    dial_tone_wait_s: Annotated[int, about("Wait for dial tone; 0 takes the country's", unit="s", ge=0, le=30)] = 0
    flash_ms: Annotated[int, about("Hook flash towards the exchange; 0 takes the country's", unit="ms", ge=0, le=1000)] = 0
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
    terminal: Annotated[
        Literal["phone", "fax"], about("fax: fax or card terminal; its calls get an untouched channel and are never interrupted")
    ] = "phone"
    caller_id: Annotated[bool, about("Send caller id, before ringing or between the first two rings as the country does")] = True
    caller_id_scheme: Annotated[
        Literal["country", "bell202", "v23", "dtmf"], about("Caller id scheme of this phone; dtmf comes before ringing")
    ] = "country"
    call_waiting: Annotated[
        bool, about("A second call waits for a telephone that talks: its caller hears ringing, the phone a tone, a flash switches")
    ] = False
    call_waiting_id: Annotated[bool, about("Send the caller id of a waiting call into the conversation")] = True
    message_waiting: Annotated[
        Literal["tone", "fsk", "fsk-single"],
        about("How the phone learns of messages: stuttering dial tone, and a message by FSK in the multiple or the single data form"),
    ] = "fsk"
    diverted_tone: Annotated[
        bool, about("The dial tone stutters while the phone forwards every call or is not to be disturbed, so that its owner notices")
    ] = True
    lamp: Annotated[
        Literal["none", "polarity"], about("Message lamp of the phone: lit by reversed polarity of the idle line")
    ] = "none"
    reversal: Annotated[bool, about("Reverse polarity while an outgoing call is answered (payphones, meters)")] = False
    open_switch_ms: Annotated[
        int, about("Open the loop for this long when the far end hung up; 0 takes the country's", unit="ms", ge=0, le=900)
    ] = 0
    hotline: Annotated[str, DialString] = ""
    hotline_s: Annotated[int, about("Dial the hotline number after this long without a key; 0 at once", unit="s", ge=0, le=30)] = 0
    pulse: Annotated[bool, about("Read dial pulses")] = True
    flash: Annotated[bool, about("Read hook flashes; without them a hang-up is known sooner")] = True
    flash_min_ms: Annotated[int, about("Shortest hook flash", unit="ms", ge=40, le=1000)] = 80
    flash_max_ms: Annotated[int, about("Longest hook flash; a longer break hangs up", unit="ms", ge=100, le=1500)] = 800
    first_digit_s: Annotated[int, about("Wait for the first digit", unit="s", ge=3, le=60)] = 15
    inter_digit_s: Annotated[int, about("Wait for the next digit", unit="s", ge=1, le=30)] = 4
    echo_tail_ms: Annotated[int, about("Echo canceller tail", unit="ms", ge=16, le=128, apply="restart-port")] = 32
    rx_gain_db: Annotated[float, about("Gain from the phone", unit="dB", ge=-12, le=12)] = 0.0
    tx_gain_db: Annotated[float, about("Gain towards the phone", unit="dB", ge=-12, le=12)] = 0.0


class LineGroup(Entry, frozen=True):
    """How a line is chosen for an outgoing call; the table key is the group that lines name."""

    order: Annotated[
        Literal["last-first", "first-last", "round-robin", "longest-idle"],
        about("Which free line is taken, by jack; last-first keeps away from the lines that callers meet first"),
    ] = "first-last"
    reserve: Annotated[int, about("Lines kept free for incoming and emergency calls", ge=0, le=16)] = 0
    tariff: Annotated[str, about("Tariff of calls by these lines whose route names none; empty: not known", ref="tariffs")] = ""


class CustomProfile(Entry, frozen=True):
    """Where this site's telephone network differs from the country's profile. Such a profile is not approved and is shown as that."""

    base: Annotated[
        Literal["", "CN", "US", "UK", "DE", "FR", "AU"], about("Start from another country", apply="calls-drain", role="admin")
    ] = ""
    values: Annotated[
        dict[str, str],
        about(
            'Path of a profile value to its new value as TOML text: flash_ms = "300", "tones/busy/cadence_ms" = "[300, 300]"',
            apply="calls-drain", role="admin",
        ),
    ] = {}


class Ports(Entry, frozen=True):
    """The jacks of the box."""

    fxo: Annotated[dict[str, FxoLine], about("FXO jacks by number")] = {}
    fxs: Annotated[dict[str, FxsPhone], about("FXS jacks by number")] = {}
    groups: Annotated[dict[str, LineGroup], about("Line groups by name")] = {}
    custom: CustomProfile = CustomProfile()
