"""The registrar: order, granted times, several contacts, removal."""

from __future__ import annotations

import msgspec
import pytest

from firmware.sip.flow import Flow
from firmware.sip.registrar import MAX_CONTACTS, Binding, Registrar, Registration
from firmware.sip.validate import Refusal
from tests.unit.sip_stage import PBX, request

FLOW = Flow("udp", ("192.0.2.20", 5062), PBX)


def flow(port: int, transport: str = "udp") -> Flow:
    return Flow(transport, ("192.0.2.20", port), PBX)


def contact(value: str, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (("Contact", value), *more)


@pytest.fixture
def registrar() -> Registrar:
    return Registrar(60, 3600)


def register(registrar: Registrar, value: str = "<sip:200@192.0.2.20:5062>", *more: tuple[str, str], now: int = 0, cseq: int = 1,
             call_id: str = "r1", over: Flow = FLOW) -> Registration | Refusal:  # fmt: skip
    extra = contact(value, *more) if value else (("Contact", ""), *more)
    asked = request("REGISTER", cseq=cseq, call_id=call_id, extra=extra)
    return registrar.register("200", asked, over, now)


def test_the_granted_time_is_answered_exactly(registrar: Registrar) -> None:
    for wanted, granted in ((("Expires", "300"), 300), (("Expires", "90000"), 3600), (("X", "-"), 3600), (("Expires", "nonsense"), 3600)):
        result = register(registrar, "<sip:200@192.0.2.20:5062>", wanted, call_id=wanted[1])
        assert isinstance(result, Registration)
        assert result.headers == (("Contact", f"<sip:200@192.0.2.20:5062>;expires={granted}"),)


def test_expires_of_a_contact_wins_over_the_header_and_belongs_to_it_alone(registrar: Registrar) -> None:
    asked = request("REGISTER", extra=(("Contact", "<sip:a@192.0.2.20:1>;expires=100, <sip:b@192.0.2.20:2>"), ("Expires", "200")))
    result = registrar.register("200", asked, FLOW, 0)
    assert isinstance(result, Registration)
    assert [value.rpartition("=")[2] for _, value in result.headers] == ["100", "200"]


def test_too_brief_is_423_with_the_minimum(registrar: Registrar) -> None:
    result = register(registrar, "<sip:a@x>", ("Expires", "59"))
    assert isinstance(result, Refusal) and result.status == 423 and result.headers == (("Min-Expires", "60"),)
    assert registrar.users() == []


def test_lower_cseq_of_the_same_call_id_is_refused(registrar: Registrar) -> None:
    register(registrar, cseq=5)
    result = register(registrar, cseq=5)
    assert isinstance(result, Refusal) and result.status == 500
    assert isinstance(register(registrar, cseq=6), Registration) and isinstance(register(registrar, cseq=1, call_id="r2"), Registration)
    assert len(registrar.bindings("200", 0)) == 1


def test_several_contacts_and_removal_of_one(registrar: Registrar) -> None:
    register(registrar, "<sip:200@192.0.2.20:1>", call_id="a", over=flow(1))
    register(registrar, "<sip:200@192.0.2.20:2>", call_id="b", over=flow(2), now=10)
    assert [binding.uri for binding in registrar.bindings("200", 20)] == ["sip:200@192.0.2.20:2", "sip:200@192.0.2.20:1"]
    result = register(registrar, "<sip:200@192.0.2.20:1>;expires=0", call_id="a", cseq=2, over=flow(1), now=30)
    assert (
        isinstance(result, Registration)
        and len(result.removed) == 1
        and result.headers[0][1].startswith("<sip:200@192.0.2.20:2>;expires=3600")
    )


def test_star_removes_all_and_needs_expires_0(registrar: Registrar) -> None:
    register(registrar)
    refused = register(registrar, "*", ("Expires", "10"), cseq=2)
    assert isinstance(refused, Refusal) and refused.status == 400
    result = register(registrar, "*", ("Expires", "0"), cseq=3)
    assert isinstance(result, Registration) and len(result.removed) == 1 and registrar.users() == []


def test_query_without_contact_changes_nothing(registrar: Registrar) -> None:
    register(registrar)
    result = registrar.register("200", request("REGISTER", cseq=2, extra=(("Contact", ""),)), FLOW, 1000)
    assert (
        isinstance(result, Registration)
        and result.added == ()
        and result.headers == (("Contact", "<sip:200@192.0.2.20:5062>;expires=3599"),)
    )


def test_bindings_run_out(registrar: Registrar) -> None:
    register(registrar, "<sip:a@192.0.2.20>", ("Expires", "60"))
    assert registrar.deadline() == 60_000 and registrar.expire(59_999) == []
    assert [user for user, _ in registrar.expire(60_000)] == ["200"] and registrar.deadline() is None


def test_a_phone_with_an_instance_replaces_its_old_contact(registrar: Registrar) -> None:
    register(registrar, '<sip:a@192.0.2.20:1>;+sip.instance="<urn:uuid:1>"', call_id="a", over=flow(1))
    register(registrar, '<sip:a@192.0.2.20:2>;+sip.instance="<urn:uuid:1>"', call_id="b", over=flow(2))
    register(registrar, '<sip:a@192.0.2.20:3>;+sip.instance="<urn:uuid:2>"', call_id="c", over=flow(3))
    assert [binding.uri for binding in registrar.bindings("200", 1)] == ["sip:a@192.0.2.20:2", "sip:a@192.0.2.20:3"]


def test_contacts_are_bounded_and_the_oldest_goes(registrar: Registrar) -> None:
    for number in range(MAX_CONTACTS + 3):
        register(registrar, f"<sip:a@192.0.2.20:{number + 1}>", call_id=str(number), over=flow(number + 1), now=number)
    bindings = registrar.bindings("200", 20)
    assert len(bindings) == MAX_CONTACTS and bindings[-1].uri == "sip:a@192.0.2.20:4"


def test_connection_loss_unregisters_what_lived_on_it(registrar: Registrar) -> None:
    register(registrar, "<sip:a@192.0.2.20:1;transport=tcp>", call_id="a", over=flow(40000, "tcp"))
    register(registrar, "<sip:a@192.0.2.20:2>", call_id="b", over=flow(2))
    assert len(registrar.connection_lost("tcp", ("192.0.2.20", 40000))) == 1 and len(registrar.bindings("200", 0)) == 1


def test_snapshot_round_trip(registrar: Registrar) -> None:
    register(registrar, '<sip:a@192.0.2.20:1>;q=0.5;+sip.instance="<urn:uuid:1>"')
    data = msgspec.msgpack.encode(registrar.snapshot())
    other = Registrar()
    other.restore(msgspec.msgpack.decode(data, type=dict[str, list[Binding]]), 5)
    assert other.snapshot() == registrar.snapshot()


def test_what_was_stored_joins_what_registered_before_it_was_read(registrar: Registrar) -> None:
    register(registrar, "<sip:a@192.0.2.20:1>", ("Expires", "600"))
    register(registrar, "<sip:b@192.0.2.20:2>", ("Expires", "600"), call_id="r2")
    stored = {user: list(bindings) for user, bindings in registrar.snapshot().items()}
    again = Registrar(60, 3600)
    register(again, "<sip:a@192.0.2.20:1>", ("Expires", "900"), now=1000, call_id="r3")
    again.restore(stored, 1000)
    assert sorted((one.uri, one.expires_at) for one in again.bindings("200", 1000)) == [
        ("sip:a@192.0.2.20:1", 901_000), ("sip:b@192.0.2.20:2", 600_000),
    ]  # fmt: skip
