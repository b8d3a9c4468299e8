"""Digest as a client: which challenge is answered, with what, and when it is not."""

from __future__ import annotations

import pytest

from firmware.sip.auth import DigestServer, Outcome
from firmware.sip.client_auth import DigestClient, challenges
from firmware.sip.headers import Headers
from firmware.sip.message import Request, Response
from tests.unit.sip_stage import request, token_source

AUTH = "WWW-Authenticate"


def answer(status: int, *values: str, header: str = AUTH) -> Response:
    return Response(status, "", Headers([(header, value) for value in values]))


def client(secret: str = "secret") -> DigestClient:
    return DigestClient("private@ims.example", secret, token_source(3))


def with_proof(proof: tuple[tuple[str, str], ...], method: str = "REGISTER", cseq: int = 2) -> Request:
    return request(method, "sip:ims.example", cseq=cseq, extra=proof)


@pytest.mark.parametrize("algorithms", [("MD5",), ("MD5", "SHA-256"), ("SHA-256", "SHA-512-256", "MD5")])
def test_the_strongest_offered_algorithm_convinces_a_server(algorithms: tuple[str, ...]) -> None:
    server = DigestServer("ims.example", {"private@ims.example": "secret"}, b"k" * 32)
    offered = [value for value in server.challenges("192.0.2.9", 1000) if any(f"algorithm={one}," in value for one in algorithms)]
    proof = client().answer(with_proof(()), answer(401, *offered), 0)
    assert [name for name, _ in proof] == ["Authorization"]
    best = next(one for one in ("SHA-512-256", "SHA-256", "MD5") if one in algorithms)
    assert f"algorithm={best}" in proof[0][1] and "secret" not in proof[0][1]
    assert server.check(with_proof(proof), "192.0.2.9", 1000) == (Outcome.RIGHT, "private@ims.example")


def test_later_requests_carry_credentials_with_the_next_count_at_once() -> None:
    server = DigestServer("ims.example", {"private@ims.example": "secret"}, b"k" * 32)
    ours = client()
    assert ours.credentials("REGISTER", "sip:ims.example") == ()
    first = ours.answer(with_proof(()), answer(401, *server.challenges("192.0.2.9", 1000)), 0)
    assert server.check(with_proof(first), "192.0.2.9", 1000)[0] is Outcome.RIGHT
    for _ in range(3):
        again = ours.credentials("REGISTER", "sip:ims.example")
        assert server.check(with_proof(again), "192.0.2.9", 2000)[0] is Outcome.RIGHT


def test_a_wrong_password_is_tried_once_and_a_stale_nonce_again() -> None:
    ours = client()
    asked = 'Digest realm="r", nonce="n1", qop="auth"'
    assert ours.answer(with_proof(()), answer(401, asked), 0)
    assert ours.answer(with_proof(()), answer(401, asked.replace("n1", "n2")), 1) == ()
    assert ours.answer(with_proof(()), answer(401, asked.replace("n1", "n3") + ", stale=TRUE"), 1)
    assert ours.answer(with_proof(()), answer(401, asked + ", stale=true"), 3) == ()
    assert client("").answer(with_proof(()), answer(401, asked), 0) == ()


def test_each_realm_is_answered_and_a_proxy_in_its_own_header() -> None:
    two = answer(407, 'Digest realm="a", nonce="1"', 'Digest realm="b", nonce="2", algorithm=SHA-256, qop="auth-int,auth"',
                 header="Proxy-Authenticate")  # fmt: skip
    proof = client().answer(with_proof(()), two, 0)
    assert [name for name, _ in proof] == ["Proxy-Authorization", "Proxy-Authorization"]
    assert 'realm="a"' in proof[0][1] and "qop" not in proof[0][1] and "algorithm" not in proof[0][1]
    assert 'realm="b"' in proof[1][1] and "qop=auth" in proof[1][1] and "nc=00000001" in proof[1][1]


@pytest.mark.parametrize(
    "value",
    ["Basic realm=x", "Digest", 'Digest realm="x"', 'Digest realm="x", nonce="n", algorithm=AKAv1-MD5', 'Digest realm="x", nonce="n',
     'Digest realm="x", nonce="n", qop="auth-int"', "", "Digest ,,,=,"],
)  # fmt: skip
def test_what_cannot_be_answered_is_no_challenge(value: str) -> None:
    assert challenges(answer(401, value)) == []
    assert client().answer(with_proof(()), answer(401, value), 0) == ()


def test_a_realm_with_quotes_and_an_opaque_value_come_back_as_they_were() -> None:
    ((_, value),) = client().answer(with_proof(()), answer(401, 'Digest realm="a \\"b\\"", nonce="n", opaque=""'), 0)
    assert 'realm="a \\"b\\""' in value and 'opaque=""' in value


def test_many_realms_do_not_grow_the_table() -> None:
    ours = client()
    for number in range(50):
        ours.answer(with_proof(()), answer(401, *(f'Digest realm="r{number}{one}", nonce="n"' for one in range(9))), 0)
    assert len(ours.credentials("REGISTER", "sip:x")) == 4
