"""SIP trunks: registration, calls out and in, identity, fail-over classes, limits, what leaks and what not."""

from __future__ import annotations

import re

import pytest

from firmware.call.model import (
    Alert,
    Cause,
    EndpointState,
    LegAnswered,
    LegEnded,
    LegKind,
    LegOffered,
    LegProgress,
    LegReferred,
    LegRinging,
    Party,
)
from firmware.config.schema.trunks import NumberRule, Passage, Trunk
from firmware.sip.headers import Headers
from firmware.sip.message import Request
from tests.unit.sip_stage import PBX
from tests.unit.trunk_stage import ANSWER, CARRIER, SPARE, TrunkStage

CALM = {"qualify_s": 0}
CARRIER_TRUNK = Trunk(domain="carrier.example", user="02112345", auth_user="private@c", secret="geheim!", **CALM)
PEER = Trunk(kind="static", domain="peer.example", **CALM)


def stage(trunk: Trunk = CARRIER_TRUNK, **config: object) -> TrunkStage:
    return TrunkStage({"c": trunk}, **config)


def ready(trunk: Trunk = CARRIER_TRUNK) -> TrunkStage:
    made = stage(trunk)
    if trunk.kind == "registering":
        made.register()
    made.sent.clear()
    made.seen.clear()
    return made


def invite(*, to: str = "sip:02112345@192.0.2.1", caller: str = "<sip:0815@carrier.example>", extra: tuple[tuple[str, str], ...] = (),
           body: bytes = ANSWER, call_id: str = "in1", source: tuple[str, int] = CARRIER, transport: str = "UDP") -> Request:  # fmt: skip
    headers = Headers([("Via", f"SIP/2.0/{transport} {source[0]}:{source[1]};branch=z9hG4bK{call_id};rport"), ("Max-Forwards", "70"),
                       ("From", f"{caller};tag=ct"), ("To", f"<{to}>"), ("Call-ID", call_id), ("CSeq", "1 INVITE"),
                       ("Contact", f"<sip:c@{source[0]}:{source[1]}>"), *extra])  # fmt: skip
    if body:
        headers.add("Content-Type", "application/sdp")
    return Request("INVITE", to, headers, body)


# --- registration -------------------------------------------------------------------------------------------------------


def test_a_trunk_registers_with_its_public_identity_and_proves_the_private_user() -> None:
    house = stage()
    first = house.take("REGISTER", CARRIER)
    assert first.uri == "sip:carrier.example" and "<sip:02112345@carrier.example>" in first.headers.get("from")
    assert house.reach.asked == [("carrier.example", 0, ("udp",))]
    house.challenge(first)
    proven = house.take("REGISTER")
    assert 'username="private@c"' in proven.headers.get("authorization") and b"geheim" not in b"".join(house.raw)
    assert proven.cseq.number == first.cseq.number + 1 and proven.call_id == first.call_id
    house.reply(proven, 200, headers=[("Contact", proven.headers.get("contact") + ";expires=600")])
    assert house.state() == "idle" and house.phones.trunks.list()[0].status.until == 601_000


def test_a_registration_is_refreshed_with_credentials_before_half_is_over_and_unregistered_when_removed() -> None:
    house = stage()
    first = house.register()
    house.sent.clear()
    house.run(260_000)
    house.none("REGISTER")
    house.run(40_000)
    again = house.take("REGISTER")
    assert "nc=00000002" in again.headers.get("authorization") and again.headers.get("contact") == first.headers.get("contact")
    house.reply(again, 200, headers=[("Contact", again.headers.get("contact") + ";expires=600")])
    house.phones.trunks.configure(house.config.__class__(extensions=house.config.extensions))
    assert house.take("REGISTER").headers.get("expires") == "0"
    assert house.phones.trunks.list() == []


def test_the_granted_time_is_that_of_our_contact_not_of_others() -> None:
    house = stage()
    house.challenge(house.take("REGISTER"))
    proven = house.take("REGISTER")
    ours = proven.headers.get("contact") + ";expires=120"
    house.reply(proven, 200, headers=[("Contact", "<sip:02112345@203.0.113.9>;expires=3600"), ("Contact", ours), ("Expires", "3600")])
    assert house.phones.trunks.list()[0].status.until == 121_000
    house.run(60_000)
    house.take("REGISTER")


def test_too_brief_an_interval_is_asked_again_as_the_carrier_wants() -> None:
    house = stage()
    house.reply(house.take("REGISTER"), 423, headers=[("Min-Expires", "1800")])
    assert house.take("REGISTER").headers.get("expires") == "1800"


def test_a_refused_password_is_an_alarm_and_is_not_hammered() -> None:
    house = stage()
    house.challenge(house.take("REGISTER"))
    house.challenge(house.take("REGISTER"), nonce="n2")
    house.none("REGISTER")
    house.run(11_000)
    (alarm,) = house.alarms.list()
    assert alarm[0] == "trunk:c:down" and "auth_user" in alarm[1] and "密码" in house.alarms.chinese("trunk:c:down")
    house.run(45_000)
    house.none("REGISTER")
    house.wait("REGISTER", 75_000)
    house.register()
    assert house.alarms.list() == [] and house.state() == "idle"


def test_a_silent_or_broken_server_gives_way_to_the_next_and_then_to_growing_pauses() -> None:
    house = stage()
    house.reply(house.take("REGISTER", CARRIER), 500)
    house.reply(house.take("REGISTER", SPARE), 503, source=SPARE)
    times = []
    for _ in range(6):
        times.append(house.wait("REGISTER", 301_000))
        house.reply(house.take("REGISTER", CARRIER), 500)
        house.reply(house.take("REGISTER", SPARE), 500, source=SPARE)
    assert times[0] <= 5_500 and all(after > before for before, after in zip(times[::2], times[1::2], strict=True)) and times[-1] <= 300_500


def test_retry_after_is_obeyed() -> None:
    house = stage()
    house.reply(house.take("REGISTER"), 503, headers=[("Retry-After", "90 (busy);duration=5")])
    house.run(89_000)
    house.none("REGISTER")
    house.run(3_000)
    house.take("REGISTER")


def test_a_registration_outlives_a_refused_refresh_until_its_time_is_over() -> None:
    house = stage()
    house.register()
    house.sent.clear()
    house.run(300_000)
    house.reply(house.take("REGISTER"), 403)
    assert house.state() == "idle"
    for _ in range(12):
        house.run(30_000)
        for where, message in list(house.sent):
            if isinstance(message, Request) and message.method == "REGISTER":
                house.reply(message, 403, source=where)
        house.sent.clear()
    assert house.state() == "fault"


def test_a_domain_without_address_is_told_and_looked_up_again() -> None:
    house = stage(Trunk(domain="nowhere.example", user="1", secret="x", **CALM))
    house.run(12_000)
    assert "name servers" in house.alarms.list()[0][1] and len(house.reach.asked) >= 2
    house.reach.places["nowhere.example"] = [CARRIER]
    house.run(30_000)
    house.take("REGISTER", CARRIER)


def test_options_tell_life_and_death_and_the_round_trip() -> None:
    house = stage(Trunk(kind="static", domain="carrier.example", qualify_s=30))
    house.run(1_500)
    asked = house.take("OPTIONS", CARRIER)
    house.clock.advance(40)
    house.reply(asked, 404)
    assert house.state() == "idle" and house.phones.trunks.list()[0].status.round_trip_ms >= 40
    house.run(31_000)
    house.run(75_000)
    assert house.state() == "fault"
    house.run(12_000)
    assert house.alarms.list()[0][0] == "trunk:c:down"
    for _ in range(40):
        if house.state() == "idle":
            break
        house.run(2_000)
        for where, message in list(house.sent):
            if isinstance(message, Request) and message.method == "OPTIONS":
                house.reply(message, 200, source=where)
        house.sent.clear()
    assert house.state() == "idle" and house.alarms.list() == []


# --- out ----------------------------------------------------------------------------------------------------------------


def test_a_call_keeps_the_domain_of_the_carrier_and_answers_its_challenge() -> None:
    house = ready()
    asked = house.call("013800138000")
    assert asked.uri == "sip:013800138000@carrier.example" and "<sip:02112345@carrier.example>" in asked.headers.get("from")
    house.challenge(asked)
    house.take("ACK")
    proven = house.take("INVITE", CARRIER)
    assert proven.cseq.number == 2 and 'username="private@c"' in proven.headers.get("proxy-authorization")
    house.reply(proven, 180)
    house.reply(proven, 200, body=ANSWER)
    house.take("ACK")
    assert len(house.of(LegRinging)) == 1 and len(house.of(LegAnswered)) == 1
    house.phones.hang_up("L1", Cause.NORMAL)
    bye = house.take("BYE")
    house.challenge(bye, nonce="n9")
    assert "Proxy-Authorization" in house.take("BYE").render().decode()


def test_nothing_of_the_inside_leaks() -> None:
    house = ready()
    inner = Request("INVITE", "sip:013800138000@192.0.2.1", Headers([
        ("Via", "SIP/2.0/UDP 10.1.1.50:5060;branch=z9hG4bKinner;rport"), ("Max-Forwards", "70"), ("To", "<sip:013800138000@192.0.2.1>"),
        ("From", '"Anna S." <sip:201@10.1.1.50>;tag=i'), ("Call-ID", "inner-call@10.1.1.50"), ("CSeq", "1 INVITE"),
        ("User-Agent", "Yealink T46"), ("Contact", "<sip:201@10.1.1.50>"), ("Content-Type", "application/sdp"),
    ]), ANSWER.replace(b"198.51.100.7", b"10.1.1.50"))  # fmt: skip
    house.give(inner, ("10.1.1.50", 5060))
    asked = house.call("013800138000", caller=Party("201", "Anna S."))
    text = asked.render().decode()
    for secret in ("10.1.1.50", "inner", "Yealink", "Anna", "201", "geheim", "private"):
        assert secret not in text, secret
    assert "line=" not in text, "only the registrar is told how it calls us"
    assert "o=- " in text and "198.51" not in text and text.count("Via:") == 1


@pytest.mark.parametrize(
    ("status", "cause"),
    [(486, Cause.BUSY), (603, Cause.REJECTED), (404, Cause.UNREACHABLE), (403, Cause.REFUSED), (480, Cause.NO_ANSWER),
     (500, Cause.CONGESTION), (408, Cause.CONGESTION), (302, Cause.REJECTED), (484, Cause.UNREACHABLE), (600, Cause.BUSY)],
)  # fmt: skip
def test_causes_of_refusals(status: int, cause: Cause) -> None:
    house = ready()
    house.reply(house.call("0138"), status)
    (ended,) = house.of(LegEnded)
    assert (ended.cause, ended.evidence.kind) == (cause, f"sip-{status}")
    assert house.media.allocated == set() and house.state() == "idle"


def test_503_goes_to_the_next_server_and_then_leaves_the_trunk_alone() -> None:
    house = ready()
    house.reply(house.call("0138"), 503, headers=[("Retry-After", "60")])
    second = house.take("INVITE", SPARE)
    assert second.uri == "sip:0138@carrier.example"
    house.reply(second, 503, source=SPARE)
    assert house.of(LegEnded)[0].cause is Cause.CONGESTION
    assert [where.host for where, _ in house.reach.failures] == [CARRIER[0], SPARE[0]]


def test_a_silent_carrier_is_given_up_and_set_aside() -> None:
    house = ready()
    house.call("0138")
    house.run(4_900)
    assert not house.of(LegEnded)
    house.run(5_300)
    (ended,) = house.of(LegEnded)
    assert ended.cause is Cause.LINE_FAULT
    assert house.state() == "busy"
    house.run(31_000)
    assert house.state() == "idle"


def test_a_call_that_never_rings_is_given_up_but_one_that_rings_is_not() -> None:
    house = ready()
    asked = house.call("0138")
    house.reply(asked, 100)
    house.run(36_000)
    assert house.of(LegEnded)[0].cause is Cause.CONGESTION
    house.take("CANCEL")
    asked = house.call("0139", leg="L2")
    house.reply(asked, 180, tag="b")
    house.run(40_000)
    assert not house.of(LegEnded)


def test_early_audio_opens_the_port_and_the_answer_goes_on_with_it() -> None:
    house = ready()
    asked = house.call("0138")
    house.reply(asked, 183, body=ANSWER)
    (progress,) = house.of(LegProgress)
    assert house.media.open[progress.port]["remote"] == ("198.51.100.7", 6000)
    house.reply(asked, 200, body=ANSWER)
    (answered,) = house.of(LegAnswered)
    assert answered.port == progress.port


def test_numbers_and_rules_but_not_for_emergency_numbers() -> None:
    rules = [NumberRule(begins="+8610", strip=5, prepend="010")]
    house = ready(Trunk(kind="static", domain="peer.example", country_code="86", area_code="10", send_as="+e164", send_rules=rules,
                        number="+8610", **CALM))  # fmt: skip
    assert house.call("0015551234567").uri == "sip:+15551234567@peer.example"
    assert house.call("62345678", leg="L2").uri == "sip:01062345678@peer.example"
    assert house.call("120", leg="L3", alert=Alert.EMERGENCY).uri == "sip:120@peer.example"


@pytest.mark.parametrize(
    ("shown", "caller", "number"),
    [("trunk", Party("202"), "0755"), ("extension", Party("201", "Anna"), "0755201"),
     ("extension", Party("202"), "+8621999"), ("caller", Party("0815"), "0815"),
     ("trunk", Party("0815"), "0755"), ("extension", Party("0815"), "0755"), ("trunk", Party("", "", "private"), "0755")],
)  # fmt: skip
def test_which_number_is_shown(shown: str, caller: Party, number: str) -> None:
    house = stage(
        Trunk(kind="static", domain="peer.example", number="0755", caller_shown=shown, diversion="diversion", **CALM),  # type: ignore[arg-type]
        passage={"CN": Passage(foreign_numbers=True, permit="the owner")},
    )
    house.sent.clear()
    asked = house.call("1", caller=caller)
    assert asked.from_.uri.user == number
    assert asked.headers.get("diversion").startswith("<sip:0755@") == (caller.number == "0815")


def test_a_caller_who_hides_is_hidden_and_asserted_only_where_the_carrier_reads_it() -> None:
    house = ready(Trunk(kind="static", domain="peer.example", number="0755", caller_id="pai", **CALM))
    asked = house.call("1", caller=Party("201", "Anna", "private"))
    assert asked.from_.uri.host == "anonymous.invalid" and asked.headers.get("privacy") == "id"
    assert "<sip:0755@peer.example>" in asked.headers.get("p-asserted-identity") and "Anna" not in asked.render().decode()


def test_an_outbound_proxy_gets_everything_while_the_domain_stays() -> None:
    house = stage(Trunk(domain="ims.example", proxy="carrier.example:5070", proxy_route=True, user="+86", secret="x", **CALM))
    first = house.take("REGISTER", CARRIER)
    assert house.reach.asked[0][:2] == ("carrier.example", 5070)
    assert first.uri == "sip:ims.example" and first.headers.get("route") == "<sip:carrier.example:5070;lr>"
    house.reply(first, 200, headers=[("Service-Route", "<sip:orig@scscf.ims.example;lr>"), ("Contact", first.headers.get("contact"))])
    assert house.call("1").headers.get_all("route") == ["<sip:carrier.example:5070;lr>", "<sip:orig@scscf.ims.example;lr>"]


def test_one_registration_for_all_numbers() -> None:
    house = stage(Trunk(domain="carrier.example", user="pbx", secret="x", bulk=True, **CALM))
    first = house.take("REGISTER")
    assert first.headers.get("contact") == "<sip:192.0.2.1:5060;bnc>"
    assert (first.headers.get("require"), first.headers.get("proxy-require")) == ("gin", "gin")
    other = "<sip:203.0.113.9;bnc>;expires=3600"
    house.reply(first, 200, headers=[("Contact", other), ("Contact", first.headers.get("contact") + ";expires=240")])
    assert house.phones.trunks.list()[0].status.until == 241_000
    house.give(invite(to="sip:+862112399@192.0.2.1"))
    assert (offered := house.of(LegOffered)[0]).endpoint == "trunk/c" and offered.called == "+862112399"
    assert "line=" not in house.call("1").headers.get("contact")


def test_limits_make_a_trunk_busy_and_time_frees_it() -> None:
    house = ready(Trunk(kind="static", domain="peer.example", calls=2, calls_minute=3, **CALM))
    house.call("1", leg="L1")
    house.call("2", leg="L2")
    assert house.of(EndpointState)[-1].state == "busy"
    house.originate("3", leg="L3")
    assert house.of(LegEnded)[0].cause is Cause.CONGESTION
    house.call("120", leg="L4", alert=Alert.EMERGENCY)
    for leg in ("L1", "L2", "L4"):
        house.phones.hang_up(leg, Cause.NORMAL)
    assert house.state() == "busy"
    house.run(60_100)
    assert house.state() == "idle" and house.of(EndpointState)[-1].state == "idle"


# --- in -----------------------------------------------------------------------------------------------------------------


def test_a_call_from_the_carrier_is_offered_with_its_number_and_answered_without_our_name() -> None:
    house = ready(Trunk(domain="carrier.example", user="02112345", secret="x", did_from="to", **CALM))
    house.give(invite(to="sip:88021@carrier.example"))
    (offered,) = house.of(LegOffered)
    assert (offered.kind, offered.endpoint, offered.caller.number, offered.called) == (LegKind.TRUNK, "trunk/c", "0815", "88021")
    house.phones.answer(offered.leg)
    answer = house.take(200)
    assert "trunk" not in answer.headers.get("contact")
    house.phones.hang_up(offered.leg, Cause.NORMAL)


def test_a_late_offer_is_answered_with_ours() -> None:
    house = ready(PEER)
    house.give(invite(source=("198.51.100.20", 5060), body=b""), ("198.51.100.20", 5060))
    (offered,) = house.of(LegOffered)
    house.phones.answer(offered.leg)
    answer = house.take(200)
    assert b"m=audio" in answer.body
    headers = Headers([("Via", "SIP/2.0/UDP 198.51.100.20:5060;branch=z9hG4bKack"), ("From", answer.headers.get("from")),
                       ("To", answer.headers.get("to")), ("Call-ID", answer.call_id), ("CSeq", "1 ACK"),
                       ("Content-Type", "application/sdp")])  # fmt: skip
    ack = Request("ACK", "sip:x@192.0.2.1", headers, ANSWER)
    house.give(ack, ("198.51.100.20", 5060))
    assert len(house.of(LegAnswered)) == 1


def test_the_line_parameter_of_our_contact_tells_the_trunk_wherever_the_call_comes_from() -> None:
    house = stage()
    line = re.search(r"line=(\w+)", house.register().headers.get("contact"))
    assert line is not None
    house.give(invite(to=f"sip:02112345@192.0.2.1;line={line[1]}", source=("203.0.113.77", 5060)), ("203.0.113.77", 5060))
    assert house.of(LegOffered)[0].endpoint == "trunk/c"


@pytest.mark.parametrize("source", [("198.51.100.7", 5099), ("203.0.113.77", 5060)])
def test_a_stranger_is_no_carrier(source: tuple[str, int]) -> None:
    house = ready()
    house.give(invite(source=source), source)
    assert not house.of(LegOffered)
    house.take(407)
    house.give(invite(to="sip:02112345@192.0.2.1;line=00", source=source, call_id="in2"), source)
    assert not house.of(LegOffered)


def test_named_networks_belong_to_the_trunk() -> None:
    house = ready(Trunk(kind="static", domain="peer.example", accept_from=["203.0.113.0/24"], **CALM))
    house.give(invite(source=("203.0.113.77", 6000)), ("203.0.113.77", 6000))
    assert house.of(LegOffered)[0].endpoint == "trunk/c"


@pytest.mark.parametrize(("trusted", "number", "reason"), [(True, "0900", ""), (False, "0815", "")])
def test_an_asserted_number_counts_where_the_trunk_is_trusted(trusted: bool, number: str, reason: str) -> None:
    house = ready(Trunk(kind="static", domain="carrier.example", trusted=trusted, **CALM))
    house.give(invite(extra=(("P-Asserted-Identity", '"Boss" <sip:0900@carrier.example>'),)))
    caller = house.of(LegOffered)[0].caller
    assert (caller.number, caller.reason, caller.name) == (number, reason, "Boss" if trusted else "")


def test_an_anonymous_caller_stays_anonymous() -> None:
    house = ready()
    house.give(invite(caller='"Anonymous" <sip:anonymous@anonymous.invalid>', extra=(("Privacy", "id"),)))
    assert house.of(LegOffered)[0].caller == Party("", "", "private")


def test_a_full_trunk_refuses_calls_in() -> None:
    house = ready(Trunk(kind="static", domain="carrier.example", calls=1, **CALM))
    house.give(invite())
    assert len(house.of(LegOffered)) == 1
    house.give(invite(call_id="in2"))
    house.take(503)
    assert not house.of(LegOffered)


def test_calls_in_both_directions_leave_nothing_behind() -> None:
    house = ready()
    for number in range(5):
        leg = f"N{number}"
        house.reply(house.call("1", leg=leg), 200, body=ANSWER)
        house.phones.hang_up(leg, Cause.NORMAL)
        house.reply(house.take("BYE"), 200)
    house.run(80_000)
    assert house.media.allocated == set() and house.phones.snapshot() == {}
    assert house.phones.endpoint.statistics()["sessions"] == 0
    assert PBX[0] not in str(house.phones.trunks.list()[0].remedy)


def test_a_far_end_connects_nobody_by_refer_and_replaces_nothing() -> None:
    house = ready(PEER)
    there = ("198.51.100.20", 5060)
    house.give(invite(source=there, extra=(("Replaces", "x;to-tag=a;from-tag=b"),)), there)
    (offered,) = house.of(LegOffered)
    assert offered.replaces == ""
    house.phones.answer(offered.leg)
    answer = house.take(200)

    def within(method: str, number: int, *extra: tuple[str, str]) -> Request:
        return Request(method, "sip:x@192.0.2.1", Headers([
            ("Via", f"SIP/2.0/UDP 198.51.100.20:5060;branch=z9hG4bKw{number}{method}"), ("Max-Forwards", "70"),
            ("From", answer.headers.get("from")), ("To", answer.headers.get("to")), ("Call-ID", answer.call_id),
            ("CSeq", f"{number} {method}"), ("Contact", "<sip:c@198.51.100.20:5060>"), *extra]))  # fmt: skip

    house.give(within("ACK", 1), there)
    house.give(within("REFER", 2, ("Refer-To", "<sip:00900123@192.0.2.1>")), there)
    house.take(202)
    house.reply(house.take("NOTIFY"), 200, source=there)
    assert b"603" in house.take("NOTIFY").body
    assert not house.of(LegReferred)


def test_a_telephone_that_hides_its_number_is_private() -> None:
    house = ready()
    house.phones.endpoint._identify = lambda request, flow: "201"
    house.give(invite(to="sip:9123@192.0.2.1", caller="<sip:201@192.0.2.1>", extra=(("Privacy", "id"),)), ("10.0.0.9", 5060))
    assert house.of(LegOffered)[0].caller == Party("201", "Anna", "private")


def test_a_lost_connection_is_registered_anew_within_seconds() -> None:
    house = stage(Trunk(domain="carrier.example", user="1", secret="x", transport="tcp", **CALM))
    house.phones.connection_made("tcp", CARRIER)
    first = house.take("REGISTER")
    house.reply_over("tcp", first, 200, headers=[("Contact", first.headers.get("contact") + ";expires=3600")])
    assert house.state() == "idle"
    house.sent.clear()
    house.phones.connection_lost("tcp", CARRIER)
    assert house.wait("REGISTER", 5_000) >= 1_000 and house.state() == "idle"


def test_a_router_is_kept_from_forgetting_a_registration_over_udp() -> None:
    house = stage()
    house.register()
    house.run(101_000)
    pings = [outgoing for outgoing in house.pings if outgoing.destination == CARRIER]
    assert len(pings) == 4 and not any(outgoing.destination == SPARE for outgoing in house.pings)
    quiet = ready(PEER)
    quiet.run(101_000)
    assert not quiet.pings


@pytest.mark.parametrize("done", [True, False])
def test_two_calls_are_given_back_to_the_carrier_or_go_on_here(done: bool) -> None:
    house = ready()
    first = house.call("1", leg="N1")
    house.reply(first, 200, body=ANSWER)
    house.reply(house.call("2", leg="N2"), 200, body=ANSWER)
    house.phones.give_back("N1", "N2")
    refer = house.take("REFER")
    assert refer.call_id == first.call_id and "?Replaces=" in refer.headers.get("refer-to")
    house.reply(refer, 202)
    told = Headers([
        ("Via", "SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKn1"), ("Max-Forwards", "70"), ("From", refer.headers.get("to")),
        ("To", refer.headers.get("from")), ("Call-ID", refer.call_id), ("CSeq", "1 NOTIFY"), ("Event", "refer"),
        ("Subscription-State", "terminated;reason=noresource"), ("Content-Type", "message/sipfrag;version=2.0"),
    ])  # fmt: skip
    body = b"SIP/2.0 200 OK\r\n" if done else b"SIP/2.0 486 Busy Here\r\n"
    house.give(Request("NOTIFY", "sip:x@192.0.2.1", told, body), CARRIER)
    ended = {one.leg: one.cause for one in house.of(LegEnded)}
    assert ended == ({"N1": Cause.TRANSFERRED, "N2": Cause.TRANSFERRED} if done else {})
    assert len(house.media.allocated) == (0 if done else 2)


def test_a_registrar_that_never_answers_options_is_no_dead_one() -> None:
    house = stage(Trunk(domain="carrier.example", user="1", secret="x", qualify_s=10))
    house.register(expires=3600)
    house.run(200_000)
    assert house.state() == "idle" and house.alarms.list() == []


def test_a_day_of_registrations_and_calls_leaves_nothing_behind() -> None:
    house = stage(Trunk(domain="carrier.example", user="02112345", secret="x", qualify_s=60, expires_s=300, reply_s=20))
    registered = calls = 0
    for second in range(0, 24 * 3600, 5):
        house.clock.advance(5_000)
        house.raw.clear()
        for where, message in list(house.sent):
            if not isinstance(message, Request) or message.method == "ACK":
                continue
            if message.method == "REGISTER" and message.headers.get("expires") != "0":
                registered += 1
                house.reply(message, 200, source=where, headers=[("Contact", message.headers.get("contact") + ";expires=300")])
            elif message.method == "INVITE":
                calls += 1
                house.reply(message, 200, source=where, body=ANSWER, tag=f"t{calls}")
            else:
                house.reply(message, 200, source=where)
        house.sent.clear()
        house.pings.clear()
        if second % 600 == 300:
            house.originate("0138", leg=f"D{second}")
        if second % 600 == 420:
            house.phones.hang_up(f"D{second - 120}", Cause.NORMAL)
    for _ in range(20):
        house.clock.advance(5_000)
        for where, message in list(house.sent):
            if isinstance(message, Request) and message.method in ("BYE", "OPTIONS"):
                house.reply(message, 200, source=where)
        house.sent.clear()
    assert 24 * 12 <= registered <= 24 * 30 and calls == 24 * 6
    left = house.phones.endpoint.statistics()
    assert left["sessions"] == 0 and left["transactions"] <= 4 and house.media.allocated == set() and house.state() == "idle"
    assert house.alarms.list() == []
