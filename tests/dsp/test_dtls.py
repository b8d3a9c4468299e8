"""DTLS handshakes: between two of ours over a bad wire, with openssl as a stranger, and what hostile bytes do."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware.dsp.dtls import DtlsCertificate, DtlsSession
from firmware.dsp.srtp import Srtp
from tests.ports import free_port

CERTIFICATE = DtlsCertificate()
OTHER = DtlsCertificate()
SUITE = "AES_CM_128_HMAC_SHA1_80"


def pair(proof: bytes = b"") -> tuple[DtlsSession, DtlsSession]:
    return DtlsSession("active", CERTIFICATE, proof or OTHER.digest), DtlsSession("passive", OTHER, CERTIFICATE.digest)


def carry(a: DtlsSession, b: DtlsSession, through: Callable[[bytes], list[bytes]] = lambda data: [data], limit_s: float = 20) -> None:
    """Exchange datagrams until both sides are quiet or done; time passes as OpenSSL's own clock has it."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        moved = False
        for one, other in ((a, b), (b, a)):
            for datagram in one.output():
                moved = True
                for arrived in through(datagram):
                    other.receive(arrived)
        if moved:
            continue
        if {a.state, b.state} != {"handshake"} and "handshake" not in (a.state, b.state):
            return
        waits = [wait for one in (a, b) if (wait := one.wait()) is not None]
        if not waits:
            return
        time.sleep(min(waits))  # OpenSSL's timer runs on the machine's clock
        a.expire()
        b.expire()


def fits(a: DtlsSession, b: DtlsSession) -> None:
    ours, theirs = a.keys(), b.keys()
    assert ours is not None
    assert theirs is not None
    assert ours == (theirs[0], theirs[2], theirs[1])
    sealer, opener = Srtp(ours[0], ours[1], False), Srtp(theirs[0], theirs[2], True)
    packet = bytes([0x80, 8, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]) + bytes(160)
    assert opener.unprotect(sealer.protect(packet)) == packet


def test_two_sides_agree_on_keys_that_open_each_others_packets() -> None:
    a, b = pair()
    assert (a.keys(), b.keys()) == (None, None)
    carry(a, b)
    assert (a.state, b.state) == ("connected", "connected")
    fits(a, b)
    assert a.keys()[0] == SUITE  # type: ignore[index]
    again, there = pair()
    carry(again, there)
    assert again.keys() != a.keys()


def test_every_datagram_is_a_dtls_one_that_fits_any_path() -> None:
    a, b = pair()
    seen: list[bytes] = []
    carry(a, b, lambda data: [seen.append(data) or data])  # type: ignore[func-returns-value]
    assert seen
    assert all(20 <= data[0] <= 63 and len(data) <= 1200 for data in seen)


@pytest.mark.parametrize("wrong", ["passive", "active"])
def test_a_certificate_that_the_signalling_did_not_name_gets_no_keys(wrong: str) -> None:
    a = DtlsSession("active", CERTIFICATE, CERTIFICATE.digest if wrong == "passive" else OTHER.digest)
    b = DtlsSession("passive", OTHER, OTHER.digest if wrong == "active" else CERTIFICATE.digest)
    carry(a, b, limit_s=2)
    refuses, told = (a, b) if wrong == "passive" else (b, a)
    assert refuses.state == "failed"
    assert "certificate" in refuses.reason
    assert told.state in ("failed", "closed")
    assert (a.keys(), b.keys()) == (None, None)


@pytest.mark.parametrize("seed", range(8))
def test_loss_repetition_and_disorder_only_cost_time(seed: int) -> None:
    noise = random.Random(seed)
    held: list[bytes] = []

    def wire(data: bytes) -> list[bytes]:
        fate = noise.random()
        if fate < 0.25:
            return []
        if fate < 0.4:
            held.append(data)
            return []
        out = [data, *([data] if fate < 0.5 else []), *held]
        held.clear()
        return out

    a, b = pair()
    carry(a, b, wire)
    assert (a.state, b.state) == ("connected", "connected")
    fits(a, b)


def test_a_last_flight_that_is_lost_is_repeated_when_the_far_end_asks_again() -> None:
    a, b = pair()
    lost: list[bytes] = []
    for _ in range(6):
        for datagram in a.output():
            b.receive(datagram)
        if b.state == "connected":
            lost += b.output()                     # its Finished
            break
        for datagram in b.output():
            a.receive(datagram)
    assert lost
    assert a.keys() is None
    carry(a, b)
    fits(a, b)


def test_what_arrives_when_a_flight_is_due_to_be_repeated_is_read_all_the_same() -> None:
    a, b = pair()
    for datagram in a.output():
        b.receive(datagram)
    first = b.output()
    for datagram in first:
        a.receive(datagram)
    time.sleep(0.06)  # past the first repetition, by OpenSSL's own clock
    for datagram in a.output():
        b.receive(datagram)
    assert b.state == "connected"


def test_what_follows_an_old_record_in_a_datagram_is_read() -> None:
    a, b = pair()
    hello = a.output()
    for datagram in hello:
        b.receive(datagram)
    for datagram in b.output():
        a.receive(datagram)
    (flight,) = a.output()
    b.receive(hello[0] + flight)
    assert b.state == "connected"
    for datagram in b.output():
        a.receive(datagram)
    fits(a, b)


def test_silence_fails_after_some_repetitions() -> None:
    a, _ = pair()
    first = a.output()
    assert len(first) == 1
    sizes = [len(data) for data in first]
    times = []
    for _ in range(3):
        wait = a.wait()
        assert wait is not None
        times.append(wait)
        time.sleep(wait)
        a.expire()
        sizes += [len(data) for data in a.output()]
    assert len(set(sizes)) == 1
    assert times[0] <= 0.05 < times[1] <= 0.1 < times[2] <= 0.2


def test_hostile_bytes_change_nothing() -> None:
    noise = random.Random(5)
    a, b = pair()
    hello = a.output()[0]
    for _ in range(300):
        junk = bytearray(hello)
        for _ in range(noise.randrange(1, 6)):
            junk[noise.randrange(len(junk))] = noise.randrange(256)
        stranger = DtlsSession("passive", OTHER, CERTIFICATE.digest)
        stranger.receive(bytes(junk[: noise.randrange(len(junk) + 1)]))
        stranger.receive(noise.randbytes(noise.randrange(1, 2500)))
        assert stranger.keys() is None
    b.receive(b"")
    b.receive(bytes(5000))
    b.receive(bytes([22, 254, 253]) + noise.randbytes(60))
    b.receive(hello)
    carry(a, b)
    fits(a, b)
    for _ in range(300):                           # and within the session
        b.receive(bytes([noise.choice([20, 21, 22, 23]), 254, 253]) + noise.randbytes(noise.randrange(10, 400)))
    assert b.state == "connected"
    fits(a, b)


def test_the_end_is_told_and_keys_go_with_it() -> None:
    a, b = pair()
    carry(a, b)
    a.close()
    for datagram in a.output():
        b.receive(datagram)
    assert (a.state, b.state) == ("closed", "closed")
    assert (a.keys(), b.keys()) == (None, None)
    a.receive(bytes(100))
    assert a.output() == []


def test_nonsense_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="role"):
        DtlsSession("actpass", CERTIFICATE, OTHER.digest)
    with pytest.raises(ValueError, match="fingerprint"):
        DtlsSession("active", CERTIFICATE, b"short")


# --- openssl as a stranger ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["ec", "rsa"])
def stranger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    folder = tmp_path_factory.mktemp("dtls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if request.param == "ec" else ["-newkey", "rsa:2048"]
    command = ["openssl", "req", "-x509", *kind, "-nodes", "-subj", "/CN=far", "-keyout", key, "-out", certificate]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    shown = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"], check=True, capture_output=True, text=True
    ).stdout
    return key, certificate, bytes.fromhex(shown.partition("=")[2].strip().replace(":", ""))


@pytest.fixture
def wire() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.settimeout(0.05)
        yield one


def run(session: DtlsSession, wire: socket.socket, peer: tuple[str, int] | None) -> None:
    end = time.monotonic() + 10
    while session.state == "handshake" and time.monotonic() < end:
        for datagram in session.output():
            assert peer is not None
            wire.sendto(datagram, peer)
        try:
            data, peer = wire.recvfrom(4096)
            session.receive(data)
        except OSError:
            session.expire()
    for datagram in session.output():
        assert peer is not None
        wire.sendto(datagram, peer)


def exported(text: str) -> bytes:
    """What s_client or s_server prints as keying material."""
    found = re.search(r"Keying material: ([0-9A-F]+)\n", text)
    assert found is not None, text[-2000:]
    return bytes.fromhex(found[1])


@pytest.mark.parametrize("role", ["active", "passive"])
def test_openssl_as_far_end_has_the_same_keys(role: str, stranger: tuple[Path, Path, bytes], wire: socket.socket) -> None:
    key, certificate, digest = stranger
    session = DtlsSession(role, CERTIFICATE, digest)
    srtp = ["-use_srtp", "SRTP_AES128_CM_SHA1_80", "-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", "60"]
    files = ["-cert", str(certificate), "-key", str(key), "-dtls1_2", *srtp]
    if role == "active":
        port = free_port()
        command = ["openssl", "s_server", *files, "-accept", f"127.0.0.1:{port}", "-verify", "1", "-mtu", "1200"]
        peer: tuple[str, int] | None = ("127.0.0.1", port)
    else:
        command = ["openssl", "s_client", *files, "-connect", f"127.0.0.1:{wire.getsockname()[1]}", "-mtu", "1200"]
        peer = None
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as far:
        assert far.stdin is not None
        assert far.stdout is not None
        run(session, wire, peer)
        assert session.state == "connected", session.reason
        keys = session.keys()
        said = ""
        while "Keying material: " not in said:     # it prints when its side is complete, too
            line = far.stdout.readline()
            assert line, said
            said += line
        far.stdin.close()
        far.terminate()
    material = exported(said)
    client, server = material[:16] + material[32:46], material[16:32] + material[46:]
    assert keys == ((SUITE, client, server) if role == "active" else (SUITE, server, client))
