"""What is done for the actions that concern legs and their sound (L5).

Theory of operation. `Calls` looks each action up by its type in a table of executors, functions of the contact's id and the action. The
tables made here are for drivers (answer, ring, hang up) and for `CallAudio` (players, bridges). An area with actions of its own makes such
a table beside its own part and adds it to `Calls.executors`. An action whose leg is gone does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from firmware.call import actions as do
from firmware.call.model import PACKETS, LegDriver, LegKind
from firmware.call.state import Leg

if TYPE_CHECKING:
    from firmware.core.calls import Calls

#: Carries out one action of a contact.
Executor = Callable[[str, Any], None]
#: Told, before a leg is answered or rung, which other legs are in its contact: SIP legs choose their codec by it.
Partners = Callable[[str, Sequence[str]], None]


def nobody(leg: str, others: Sequence[str]) -> None:
    """The `Partners` of drivers that need not know."""


def leg_executors(calls: Calls, partners: Partners) -> dict[type[do.Action], Executor]:
    """Actions for which the driver of a leg is asked."""

    def driver(contact: str, action: Any) -> LegDriver | None:
        leg = calls.leg(contact, action.leg)
        return calls.drivers.get(leg.kind) if leg is not None else None

    def with_driver(fn: Callable[[LegDriver, Any], None], *, codec: bool = False) -> Executor:
        """`codec`: one is chosen by it, so that the driver first has to know who else is in this contact."""

        def execute(contact: str, action: Any) -> None:
            found = driver(contact, action)
            if found is None:
                return
            state = calls.state(contact)
            if codec and state is not None:
                partners(action.leg, [other.id for other in state.live_legs if other.id != action.leg])
            fn(found, action)

        return execute

    def originate(driver: LegDriver, action: do.OriginateLeg) -> None:
        driver.originate(
            action.leg, action.endpoint, number=action.number, caller=action.caller, alert=action.alert, ring_ms=action.ring_ms
        )

    return {
        do.AnswerLeg: with_driver(lambda driver, action: driver.answer(action.leg), codec=True),
        do.EarlyLeg: with_driver(lambda driver, action: driver.early(action.leg), codec=True),
        do.OriginateLeg: with_driver(originate, codec=True),
        do.RingBack: with_driver(lambda driver, action: driver.progress(action.leg)),
        do.HangUpLeg: with_driver(lambda driver, action: driver.hang_up(action.leg, action.cause)),
        do.HideKeys: with_driver(lambda driver, action: driver.hide_keys(action.leg, action.on)),
        do.SendDigits: with_driver(lambda driver, action: driver.send_digits(action.leg, action.digits)),
    }


def sound_executors(calls: Calls) -> dict[type[do.Action], Executor]:
    """Players, bridges and relays."""

    def sound(contact: str, action: Any) -> None:
        leg = calls.leg(contact, action.leg)
        if leg is not None:
            calls.audio.sound(action, sip=leg.kind in PACKETS)

    def both(contact: str, action: do.Bridge | do.Unbridge) -> list[Leg]:
        return [leg for leg in (calls.leg(contact, action.a), calls.leg(contact, action.b)) if leg is not None]

    def beside(legs: Sequence[Leg], on: bool) -> None:
        """Tell outside lines that another one is heard behind them, or no longer."""
        for leg in legs:
            if leg.kind is LegKind.FXO:
                calls.beside(leg.id, on)

    def quiet(leg: Leg) -> bool:
        """Is the person on this leg raised (SIL-08)?"""
        extension = calls.ruled_by.extensions.get(leg.endpoint)
        return extension is not None and extension.raise_quiet

    def bridge(contact: str, action: do.Bridge) -> None:
        legs = both(contact, action)
        calls.audio.bridge(contact, action, [leg.id for leg in legs if leg.kind in PACKETS])
        for leg in legs:
            calls.audio.raise_quiet(leg.id, quiet(leg))
        if all(leg.kind is LegKind.FXO for leg in legs):
            beside(legs, True)

    def unbridge(contact: str, action: do.Unbridge) -> None:
        calls.audio.unbridge(contact, action)
        beside(both(contact, action), False)

    def tap(contact: str, action: do.Tap) -> None:
        leg = calls.leg(contact, action.leg)
        if leg is not None:
            calls.audio.tap(contact, action, sip=leg.kind in PACKETS)

    return {
        do.PlayPrompt: sound, do.PlayMusic: sound, do.PlayTone: sound, do.StopPlay: sound, do.Loop: sound,
        do.Bridge: bridge, do.Unbridge: unbridge, do.Tap: tap, do.Untap: lambda contact, action: calls.audio.untap(contact),
    }
