"""Registrations on record before they are answered: what a successor finds when call control is killed at any instant."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.core.phones_ledger import Ledger
from firmware.core.phones_vault import LEDGER_HALF, LEDGER_HEAD, make_ledger
from firmware.sip.flow import Flow, Outgoing
from firmware.sip.registrar import Binding
from tests.unit.phones_stage import Desk, House
from tests.unit.sip_stage import PBX


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = make_ledger()
    yield descriptor
    os.close(descriptor)


def binding(number: str, port: int = 5060, agent: str = "") -> Binding:
    flow = Flow("udp", ("192.0.2.20", port), PBX)
    return Binding(f"sip:{number}@192.0.2.20:{port}", f"c{number}", port, 1000, 601_000, flow, user_agent=agent)


def test_a_successor_finds_the_last_word_on_each_account(memory: int) -> None:
    ledger = Ledger(memory, lambda: 5000)
    assert ledger.recall() is None
    ledger.rewrite({"200": [binding("200")], "201": [binding("201")]})
    assert ledger.note({"200": [binding("200", 5070), binding("200")]}) and ledger.note({"201": []})
    known = Ledger(memory, lambda: 5000).recall()
    assert known is not None and known.whole
    assert known.accounts == {"200": [binding("200", 5070), binding("200")]}
    # The clock of the engine began anew 300 ms later in wall time.
    later = Ledger(memory, lambda: 5300)
    moved = later.recall()
    assert moved is not None and moved.accounts["200"][1].expires_at == 600_700 and later.recall() is None


def test_what_was_noted_before_all_was_known_is_not_taken_for_the_whole(memory: int) -> None:
    Ledger(memory, lambda: 0).note({"200": [binding("200")]})
    known = Ledger(memory, lambda: 0).recall()
    assert known is not None and not known.whole and list(known.accounts) == ["200"]


def test_the_halves_change_places_as_the_row_grows(memory: int) -> None:
    ledger = Ledger(memory, lambda: 0)
    accounts = {str(number): [binding(str(number))] for number in range(200, 400)}
    ledger.rewrite(accounts)
    written = 0
    for turn in range(4000):
        number = str(200 + turn % 200)
        accounts[number] = [binding(number, 5060 + turn)]
        if not ledger.note({number: accounts[number]}):
            ledger.rewrite(accounts)
            written += 1
        if turn % 500 == 0 or turn == 3999:
            known = Ledger(memory, lambda: 0).recall()
            assert known is not None and known.whole and known.accounts == accounts
    assert 5 < written < 20 and len(os.pread(memory, 1, 0)) == 1


def test_too_much_leaves_nothing_and_never_something_old(memory: int) -> None:
    ledger = Ledger(memory, lambda: 0)
    ledger.rewrite({"200": [binding("200")]})
    big = {str(number): [binding(str(number), agent="x" * 4000)] for number in range(1000, 1600)}
    assert not ledger.note({"201": [binding("201", agent="x" * LEDGER_HALF)]})
    ledger.rewrite(big)
    assert Ledger(memory, lambda: 0).recall() is None and not ledger.note({"200": []})
    ledger.rewrite({"200": [binding("200")]})
    known = Ledger(memory, lambda: 0).recall()
    assert known is not None and list(known.accounts) == ["200"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 700), noise=st.binary(min_size=1, max_size=40))
def test_an_entry_that_was_not_finished_ends_the_row(memory: int, cut: int, noise: bytes) -> None:
    ledger = Ledger(memory, lambda: 0)
    ledger.rewrite({"200": [binding("200")]})
    ledger.note({"201": [binding("201")]})
    half = os.pread(memory, 1, 0)[0]
    os.pwrite(memory, noise, LEDGER_HEAD + half * LEDGER_HALF + cut)
    known = Ledger(memory, lambda: 0).recall()
    for number, bindings in (known.accounts if known is not None else {}).items():
        assert bindings == [binding(number)]


def test_what_was_answered_is_on_record_at_every_instant(seed: int) -> None:
    house = House(seed)
    house.phones.registrations_complete()
    desks = {number: Desk(house, number, ("192.0.2.50", 5000 + int(number))) for number in ("200", "201", "202")}
    checked = 0

    def transmit(outgoing: Outgoing) -> None:
        """At the instant of each answer a successor looks."""
        nonlocal checked
        if outgoing.data.startswith(b"SIP/2.0 200") and b" REGISTER\r\n" in outgoing.data:
            known = Ledger(house.ledger, lambda: 0).recall()
            assert known is not None and known.whole
            (number,) = [number for number, desk in desks.items() if outgoing.destination == desk.address]
            assert (number in known.accounts) == (b"Contact:" in outgoing.data)
            checked += 1
        house.wire.append((PBX, outgoing))

    house.phones._transmit = transmit
    cseq = 1
    for expires in (600, 600, 0, 300):
        for desk in desks.values():
            assert desk.register(expires, cseq) == 200
        cseq += 2
    assert checked == 12
    # Killed at once, before anything went to the disk: the next one rings all three.
    house._kept = b""
    successor = house.start(seed + 1)
    known = Ledger(house.ledger, lambda: house.base - house.clock.now()).recall()
    assert known is not None
    successor.restore_registrations(msgspec.msgpack.encode(known.accounts))
    assert all(len(successor.contacts(number)) == 1 for number in desks)
