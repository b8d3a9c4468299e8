"""Codes that are keyed on any telephone, SIP and analog alike. Every field but `note` is one code.

An area that brings a code adds its field here, in `WITHIN_CALL` too where it is keyed during a conversation, and registers what it
does in call control (`call/registry.py`); that no code begins with another one is then checked by itself.
"""

from typing import Annotated

from firmware.config.schema.base import Entry, about

_CODE = r"^\*[0-9*]{1,4}$"


class Features(Entry, frozen=True):
    """Feature codes, dialled from any phone."""

    login: Annotated[str, about("Agent log-in: code, then agent number # PIN #", pattern=_CODE)] = "*11"
    logout: Annotated[str, about("Agent log-out", pattern=_CODE)] = "*12"
    pause: Annotated[str, about("Pause: code, then a reason digit 1-9", pattern=_CODE)] = "*13"
    ready: Annotated[str, about("Ready again, also ends wrap-up", pattern=_CODE)] = "*14"
    hold: Annotated[str, about("Hold or resume, keyed within a call", pattern=_CODE)] = "*2"
    transfer: Annotated[str, about("Transfer, keyed within a call: code, then the number; hang up to complete", pattern=_CODE)] = "*3"
    park: Annotated[str, about("Park the other party, keyed within a call; how to take it back is said", pattern=_CODE)] = "*70"
    unpark: Annotated[str, about("Take a parked call back: code, then the place", pattern=_CODE)] = "*71"
    join: Annotated[str, about("Join all three, keyed while consulting somebody during a transfer", pattern=_CODE)] = "*72"
    forward_always: Annotated[
        str, about("Forward every call: code, then the number and #; # alone switches it off, * says what is set", pattern=_CODE)
    ] = "*61"
    forward_busy: Annotated[str, about("Forward calls while the telephone is busy, likewise", pattern=_CODE)] = "*62"
    forward_no_answer: Annotated[str, about("Forward calls that nobody answers, likewise", pattern=_CODE)] = "*63"
    forward_clear: Annotated[str, about("Switch all forwards off", pattern=_CODE)] = "*60"
    dnd: Annotated[str, about("Do not disturb: on, or off again", pattern=_CODE)] = "*65"
    speed_dial: Annotated[str, about("Speed dial: code, then its two digits", pattern=_CODE)] = "*50"
    intercom: Annotated[
        str, about("Intercom: code, then an extension, whose SIP telephone answers by itself; an analogue one rings", pattern=_CODE)
    ] = "*52"
    page: Annotated[
        str, about("Paging: code, then the number of a page or nothing for the first one; what is said is heard at once", pattern=_CODE)
    ] = "*53"
    directory: Annotated[str, about("Directory: code, then the letters of a name as they stand on the keys, and #", pattern=_CODE)] = "*51"
    redial: Annotated[str, about("Dial a call with the outside again that was cut off", pattern=_CODE)] = "*54"
    night: Annotated[str, about("Night key: night service on, or off again; not from locked telephones", pattern=_CODE)] = "*56"
    block: Annotated[
        str, about("Black list: put the last caller from outside on it whom this telephone has spoken with", pattern=_CODE)
    ] = "*57"
    unblock: Annotated[str, about("Black list: each number is read, 1 takes it off, 2 goes on", pattern=_CODE)] = "*58"
    account: Annotated[
        str, about("Call on an account of one's own: code, then the PIN and #, then the number and #", pattern=_CODE)
    ] = "*59"
    echo_test: Annotated[str, about("Echo test: you hear yourself", pattern=_CODE)] = "*43"
    pickup: Annotated[
        str, about("Pick-up: code, then the number of a telephone that rings, to answer its call", pattern=_CODE)
    ] = "**"
    pickup_group: Annotated[str, about("Pick-up of what has rung longest in one's own groups", pattern=_CODE)] = "*8"

    record: Annotated[
        str, about("Record this call from here on, or end it, where a rule allows it; keyed within a call", pattern=_CODE)
    ] = "*91"
    mask: Annotated[
        str, about("Silence the recording while a secret is said or keyed; again: go on; keyed within a call", pattern=_CODE)
    ] = "*92"
    listen: Annotated[
        str,
        about("Listen to a call: code, then extension or agent; then 1 listen, 2 whisper, 3 barge in, 4 take over", pattern=_CODE),
    ] = "*93"
    replay: Annotated[
        str, about("Hear recorded calls again: an agent his own; telephones that `supervises`: those of an agent", pattern=_CODE)
    ] = "*94"
    nuisance: Annotated[
        str, about("End a call with an abusive party: tagged, told the shift leader; keyed within a call", pattern=_CODE)
    ] = "*19"
    result: Annotated[str, about("Result of the call that is over: code, then 0 to 9; ends wrap-up", pattern=_CODE)] = "*15"
    missed: Annotated[str, about("Lost callers: each is read, 1 calls it, 2 goes on", pattern=_CODE)] = "*16"
    agents: Annotated[
        str, about("Shift leader: agent number #, then 1 makes him ready, 2 pauses, 3 logs him out; needs `supervises`", pattern=_CODE)
    ] = "*17"
    queue_status: Annotated[str, about("How many wait, and the longest wait", pattern=_CODE)] = "*18"
    voicemail: Annotated[str, about("Hear messages: code, behind it the number of a box or nothing", pattern=_CODE)] = "*97"
    greeting: Annotated[
        str,
        about("An agent's greeting in his own voice: 1 records, 2 plays, 3 removes it; telephones that `supervises` hear and remove those "
              "of an agent", pattern=_CODE),
    ] = "*76"  # fmt: skip
    studio: Annotated[str, about("Record prompts of the site, with the PIN of `studio`", pattern=_CODE)] = "*77"


#: Fields of `Features` whose code is keyed within a conversation.
WITHIN_CALL = ("park", "join", "hold", "transfer", "record", "mask", "nuisance")
#: Every code, and those that are dialled from an idle telephone.
CODES = tuple(name for name in Features.__struct_fields__ if name != "note")
DIALLED = tuple(name for name in CODES if name not in WITHIN_CALL)
