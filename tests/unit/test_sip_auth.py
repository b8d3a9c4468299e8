"""Digest authentication: published examples, nonces, replay, and that unknown users look like wrong passwords."""

from __future__ import annotations

import pytest

from firmware.sip import auth
from firmware.sip.auth import ALGORITHMS, NONCE_LIFE_MS, DigestServer, Outcome, digest_response, parse_digest, user_hash
from firmware.sip.message import Response, respond
from firmware.sip.parse import parse_datagram
from tests.unit.sip_stage import PBX, PHONE, authorize, make_endpoint, request

HOST = "192.0.2.20"


@pytest.fixture
def server() -> DigestServer:
    return DigestServer("branchpbx", {"200": "pw200", "201": ""}, b"k" * 32)


def challenge(server: DigestServer, now: int = 0, source: str = HOST) -> Response:
    return respond(request("REGISTER"), 401, headers=[("WWW-Authenticate", value) for value in server.challenges(source, now)])


def test_example_of_rfc_2617() -> None:
    a1 = user_hash("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
    assert a1 == "939e7578ed9e3c518a452acee763bce9"
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    assert (
        digest_response("MD5", a1, "GET", "/dir/index.html", nonce, nc="00000001", cnonce="0a4f113b", qop="auth")
        == "6629fae49393a05397450978507c4ef1"
    )


def test_examples_of_rfc_7616() -> None:
    nonce, cnonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    wanted = {"MD5": "8ca523f5e9506fed4657c9700eebdbec", "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"}
    for algorithm, response in wanted.items():
        a1 = user_hash(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
        assert digest_response(algorithm, a1, "GET", "/dir/index.html", nonce, nc="00000001", cnonce=cnonce, qop="auth") == response


def test_example_of_rfc_8760_hash() -> None:
    # FIPS 180-4: SHA-512/256 has initial values of its own, it is not SHA-512 cut off
    assert ALGORITHMS["SHA-512-256"](b"abc") == "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"


def test_md5_is_challenged_first_beside_the_others(server: DigestServer) -> None:
    offered = [fields["algorithm"] for value in server.challenges(HOST, 0) if (fields := parse_digest(value))]
    assert offered == ["MD5", "SHA-256", "SHA-512-256"]


def test_agents_that_break_on_a_second_challenge_get_md5_alone(server: DigestServer) -> None:
    (alone,) = server.challenges(HOST, 0, single=True)
    assert "algorithm=MD5," in alone
    offered = [server.challenges(HOST, 0, agent=agent) for agent in ("baresip v1.0.0 (x86_64/linux)", "baresip v3.9.0", "Yealink SIP-T46U")]
    assert [len(values) for values in offered] == [1, 3, 3] and "algorithm=MD5" in offered[0][0]


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_right_password_is_let_in_once_per_nonce_count(server: DigestServer, algorithm: str) -> None:
    asked = challenge(server)
    right = authorize(request("REGISTER"), asked, "200", "pw200", algorithm=algorithm)
    assert server.check(right, HOST, 10) == (Outcome.RIGHT, "200")
    assert server.check(right, HOST, 11) == (Outcome.STALE, "")  # replay
    again = authorize(request("REGISTER"), asked, "200", "pw200", algorithm=algorithm, nc=2)
    assert server.check(again, HOST, 12) == (Outcome.RIGHT, "200")


def test_reordered_nonce_counts_are_let_in(server: DigestServer) -> None:
    asked = challenge(server)
    outcomes = [server.check(authorize(request("REGISTER"), asked, "200", "pw200", nc=nc), HOST, 5)[0] for nc in (1, 4, 2, 3, 2, 200, 4)]
    assert outcomes == [Outcome.RIGHT] * 4 + [Outcome.STALE, Outcome.RIGHT, Outcome.STALE]


def test_old_or_foreign_nonce_with_right_password_is_stale(server: DigestServer) -> None:
    old = authorize(request("REGISTER"), challenge(server), "200", "pw200")
    assert server.check(old, HOST, NONCE_LIFE_MS + 1)[0] is Outcome.STALE
    assert server.check(authorize(request("REGISTER"), challenge(server), "200", "pw200"), "203.0.113.1", 5)[0] is Outcome.STALE
    other = DigestServer("branchpbx", {"200": "pw200"}, b"x" * 32)
    assert server.check(authorize(request("REGISTER"), challenge(other), "200", "pw200"), HOST, 5)[0] is Outcome.STALE
    assert "stale=true" in server.challenges(HOST, 0, stale=True)[0]


def test_unknown_user_empty_password_and_wrong_password_are_alike(server: DigestServer) -> None:
    for user, password in (("200", "wrong"), ("999", "pw200"), ("201", ""), ("", "")):
        assert server.check(authorize(request("REGISTER"), challenge(server), user, password), HOST, 5) == (Outcome.WRONG, "")


@pytest.mark.parametrize(
    "value", ["NoOneKnowsThis x=y", "Digest", 'Digest username="200', "Digest realm=other", 'Digest realm="branchpbx", qop=auth, nc=zz']
)
def test_unusable_credentials_are_as_good_as_none(server: DigestServer, value: str) -> None:
    assert server.check(request("REGISTER", extra=(("Authorization", value),)), HOST, 5) == (Outcome.ABSENT, "")


def test_nonces_are_unique_and_never_accepted_for_another_host(server: DigestServer) -> None:
    nonces = {(parse_digest(value) or {})["nonce"] for _ in range(1000) for value in server.challenges(HOST, 0)}
    assert len(nonces) == 1000


def test_a_nonce_forgotten_for_room_cannot_be_replayed(server: DigestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "NONCES_KEPT", 8)
    captured = authorize(request("REGISTER"), challenge(server, 100), "200", "pw200")
    assert server.check(captured, HOST, 101)[0] is Outcome.RIGHT
    kept = challenge(server, 110)
    assert server.check(authorize(request("REGISTER"), kept, "200", "pw200"), HOST, 111)[0] is Outcome.RIGHT
    for number in range(7):
        other = authorize(request("REGISTER"), challenge(server, 120 + number), "200", "pw200")
        assert server.check(other, HOST, 130)[0] is Outcome.RIGHT
    assert server.check(captured, HOST, 140) == (Outcome.STALE, "")
    assert server.check(authorize(request("REGISTER"), kept, "200", "pw200", nc=2), HOST, 141)[0] is Outcome.RIGHT
    fresh = authorize(request("REGISTER"), challenge(server, 150), "200", "pw200")
    assert server.check(fresh, HOST, 151)[0] is Outcome.RIGHT


@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_unknown_user_and_wrong_password_get_the_same_answer_for_the_same_work(
    method: str, algorithm: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations: list[int] = []

    def counted(name: str) -> object:
        plain = ALGORITHMS[name]

        def hashed(data: bytes) -> str:
            operations.append(1)
            return plain(data)

        return hashed

    for name in list(ALGORITHMS):
        monkeypatch.setitem(ALGORITHMS, name, counted(name))
    answers = []
    for user, password in (("200", "wrong"), ("999", "pw200"), ("201", ""), ("200", "pw201"), ("x" * 60, "pw")):
        endpoint = make_endpoint(seed, secrets={"200": "pw200", "201": ""})
        endpoint.receive(request(method, user="200").render(), PHONE, "udp", 1000, PBX)
        (first,) = [parse_datagram(outgoing.data) for outgoing in endpoint.output()]
        assert isinstance(first, Response)
        attempt = authorize(request(method, user="200", branch="b2"), first, user, password, algorithm=algorithm)
        operations.clear()
        work = endpoint.digest.work
        endpoint.receive(attempt.render(), PHONE, "udp", 1001, PBX)
        answers.append(([outgoing.data for outgoing in endpoint.output()], len(operations), endpoint.digest.work - work))
    assert all(answer == answers[0] for answer in answers) and answers[0][1:] == (2, 3)
