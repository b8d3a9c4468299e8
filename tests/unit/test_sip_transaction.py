"""The four transaction machines in virtual time: every timer, loss, and tables that empty themselves."""

from __future__ import annotations

import pytest

from firmware.sip.errors import SessionProblem
from firmware.sip.flow import Flow
from firmware.sip.message import Request, respond
from firmware.sip.parse import parse_datagram
from firmware.sip.transaction import TABLES, Ended, Kind, State, Transaction, TransactionLayer, build_cancel
from tests.unit.sip_stage import PBX, PHONE, request

UDP = Flow("udp", PHONE, PBX)
TCP = Flow("tcp", PHONE, PBX)


class Bench:
    """A layer whose output is noted with its instant."""

    def __init__(self, limit: int = 20_000) -> None:
        self.layer = TransactionLayer(limit=limit)
        self.now = 0
        self.sent: list[tuple[int, str]] = []

    def note(self) -> None:
        for outgoing in self.layer.output:
            self.sent.append((self.now, outgoing.data.split(b"\r\n", 1)[0].decode()))
        self.layer.output.clear()

    def run(self, until: int) -> None:
        self.note()
        while (at := self.layer.deadline()) is not None and at <= until:
            self.now = at
            self.layer.expire(at)
            self.note()
        self.now = until

    def answer(self, transaction: Transaction, asked: Request, status: int, to_tag: str = "t") -> None:
        response = respond(asked, status, to_tag=to_tag)
        found = self.layer.find_client(response)
        assert found is transaction
        self.layer.receive_response(found, response, self.now)
        self.note()

    def instants(self) -> list[int]:
        return [at for at, _ in self.sent]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_tables_know_every_state_they_lead_to() -> None:
    for kind, table in TABLES.items():
        states = {state for state, _ in table}
        for (state, step), (after, actions) in table.items():
            assert after in states or after is State.TERMINATED, (kind, state, step)
            assert len(set(actions)) == len(actions)
        # every machine can end from each of its states
        for state in states - {State.TRYING if kind is Kind.SERVER else State.CALLING}:
            assert any(source is state for source, _ in table)


def test_unanswered_invite_is_repeated_with_doubling_a_and_ends_with_b(bench: Bench) -> None:
    bench.layer.request(request("INVITE"), UDP, self_owner := object(), 0)
    bench.run(40_000)
    assert bench.instants() == [0, 500, 1500, 3500, 7500, 15500, 31500]
    assert [(event.why, event.transaction.owner) for event in bench.layer.events if isinstance(event, Ended)] == [("timed-out", self_owner)]
    assert len(bench.layer) == 0 and bench.layer.deadline() is None


def test_unanswered_request_is_repeated_with_e_up_to_t2(bench: Bench) -> None:
    bench.layer.request(request("BYE"), UDP, None, 0)
    bench.run(40_000)
    assert bench.instants() == [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]


def test_nothing_is_repeated_over_tcp(bench: Bench) -> None:
    bench.layer.request(request("INVITE"), TCP, None, 0)
    bench.layer.request(request("OPTIONS", branch="b2"), TCP, None, 0)
    bench.run(40_000)
    assert bench.instants() == [0, 0] and len(bench.layer) == 0


def test_provisional_stops_repeats_and_final_is_acknowledged_again_when_repeated(bench: Bench) -> None:
    asked = request("INVITE")
    transaction = bench.layer.request(asked, UDP, None, 0)
    bench.run(100)
    bench.answer(transaction, asked, 180)
    bench.run(60_000)
    assert bench.instants() == [0]
    bench.answer(transaction, asked, 486)
    bench.answer(transaction, asked, 486)
    assert [line for _, line in bench.sent[1:]] == ["ACK sip:600@192.0.2.1 SIP/2.0"] * 2
    bench.run(60_000 + 31_999)
    assert len(bench.layer) == 1
    bench.run(60_000 + 32_000)  # timer D
    assert len(bench.layer) == 0


def test_ack_and_cancel_copy_branch_uri_and_route_of_the_invite(bench: Bench) -> None:
    asked = request("INVITE", cseq=7, extra=(("Route", "<sip:proxy;lr>"),))
    transaction = bench.layer.request(asked, UDP, None, 0)
    bench.layer.output.clear()
    bench.layer.receive_response(transaction, respond(asked, 404, to_tag="zz"), 5)
    ack = parse_datagram(bench.layer.output[0].data)
    cancel = build_cancel(asked)
    assert isinstance(ack, Request)
    for message, method in ((ack, "ACK"), (cancel, "CANCEL")):
        assert message.via.branch == asked.via.branch and message.uri == asked.uri and message.cseq.number == 7
        assert message.cseq.method == method and message.headers.get("route") == "<sip:proxy;lr>"
    assert ack.to.tag == "zz" and cancel.to.tag == ""


def test_accepted_state_gives_every_2xx_to_its_owner_until_m(bench: Bench) -> None:
    asked = request("INVITE")
    transaction = bench.layer.request(asked, UDP, None, 0)
    bench.answer(transaction, asked, 200, "a")
    bench.answer(transaction, asked, 200, "b")
    assert [event.response.to.tag for event in bench.layer.events if not isinstance(event, Ended)] == ["a", "b"]
    assert transaction.state is State.ACCEPTED and bench.instants() == [0]
    bench.run(32_000)
    assert len(bench.layer) == 0


def test_server_repeats_its_refusal_until_ack_and_absorbs_repeats(bench: Bench) -> None:
    asked = request("INVITE")
    transaction = bench.layer.accept(asked, UDP, None)
    bench.layer.respond(transaction, respond(asked, 486, to_tag="t"), 0)
    bench.run(2_000)
    assert bench.instants() == [0, 500, 1500]
    assert bench.layer.absorb(asked, 2_000)
    bench.note()
    assert bench.instants()[-1] == 2_000
    ack = request("ACK")
    assert bench.layer.absorb(ack, 2_100) and transaction.state is State.CONFIRMED
    bench.run(7_000)
    assert len(bench.instants()) == 4
    bench.run(7_100)  # timer I
    assert len(bench.layer) == 0


def test_unacknowledged_refusal_ends_with_h(bench: Bench) -> None:
    asked = request("INVITE")
    bench.layer.respond(bench.layer.accept(asked, UDP, None), respond(asked, 486, to_tag="t"), 0)
    bench.run(32_000)
    assert [event.why for event in bench.layer.events if isinstance(event, Ended)] == ["unacknowledged"] and len(bench.layer) == 0


def test_server_invite_after_2xx_absorbs_repeats_and_leaves_the_ack_to_the_dialog(bench: Bench) -> None:
    asked = request("INVITE")
    bench.layer.respond(bench.layer.accept(asked, UDP, None), respond(asked, 200, to_tag="t"), 0)
    bench.note()
    assert bench.layer.absorb(asked, 10) and bench.layer.output == []
    assert not bench.layer.absorb(request("ACK"), 20)
    bench.run(32_000)  # timer L
    assert len(bench.layer) == 0


def test_completed_server_transaction_keeps_the_answer_only_and_repeats_it(bench: Bench) -> None:
    asked = request("OPTIONS")
    transaction = bench.layer.accept(asked, UDP, None)
    bench.layer.respond(transaction, respond(asked, 200, to_tag="t"), 0)
    assert transaction.request is None and len(transaction.data) < 1000
    assert bench.layer.absorb(asked, 100)
    bench.note()
    assert len(bench.sent) == 2
    bench.run(32_000)  # timer J
    assert len(bench.layer) == 0 and not bench.layer.absorb(asked, 32_001)


def test_cancel_from_another_sent_by_finds_its_invite(bench: Bench) -> None:
    transaction = bench.layer.accept(request("INVITE"), UDP, None)
    assert bench.layer.find_invite(request("CANCEL", via_host="10.0.0.9")) is transaction
    assert bench.layer.find_invite(request("CANCEL", branch="other")) is None
    assert bench.layer.find_invite(request("CANCEL", call_id="other")) is None


def test_requests_without_the_magic_branch_match_by_rfc_2543(bench: Bench) -> None:
    def old(method: str, tag: str = "ft") -> Request:
        asked = request(method, from_tag=tag)
        asked.headers.set("Via", "SIP/2.0/UDP 192.0.2.20:5062")
        return asked

    transaction = bench.layer.accept(old("INVITE"), UDP, None)
    assert bench.layer.absorb(old("INVITE"), 0) and not bench.layer.absorb(old("INVITE", "other"), 0)
    assert bench.layer.find_invite(old("CANCEL")) is transaction


def test_a_second_final_answer_is_our_own_mistake(bench: Bench) -> None:
    asked = request("OPTIONS")
    transaction = bench.layer.accept(asked, UDP, None)
    bench.layer.respond(transaction, respond(asked, 200), 0)
    with pytest.raises(SessionProblem):
        bench.layer.respond(transaction, respond(asked, 500), 1)


def test_transport_error_ends_a_client_transaction(bench: Bench) -> None:
    bench.layer.request(request("INVITE"), TCP, None, 0)
    bench.layer.transport_error("tcp", PHONE, 5)
    assert [event.why for event in bench.layer.events if isinstance(event, Ended)] == ["failed"] and len(bench.layer) == 0


def test_the_table_is_bounded() -> None:
    bench = Bench(limit=3)
    for number in range(3):
        assert bench.layer.room
        bench.layer.accept(request("OPTIONS", branch=str(number)), UDP, None)
    assert not bench.layer.room
