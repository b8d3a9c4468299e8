"""Files that come and go in pieces: what a power cut, a hostile tool and a full disk leave."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from firmware.errors import StoreError
from firmware.store.spool import MOST_FILES, Spool

CONTENT = random.Random(1).randbytes(10_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_goes_on_after_a_power_cut_at_any_byte(tmp_path: Path) -> None:
    for cut in (0, 1, 4095, 4096, 9_999, 10_000):
        spool = Spool(tmp_path / str(cut))
        ident = spool.begin("bundle", "b", len(CONTENT), DIGEST).ident
        spool.write(ident, 0, CONTENT[:cut])
        again = Spool(tmp_path / str(cut))
        piece = again.begin("bundle", "b", len(CONTENT), DIGEST)
        assert (piece.ident, piece.there) == (ident, cut)
        assert again.digest(ident, cut) == hashlib.sha256(CONTENT[:cut]).hexdigest()
        again.write(ident, cut, CONTENT[cut:])
        assert again.finish(ident)[1].read_bytes() == CONTENT


def test_a_file_whose_data_vanished_begins_anew(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ident = spool.begin("bundle", "b", len(CONTENT), DIGEST).ident
    spool.write(ident, 0, CONTENT[:5000])
    (tmp_path / f"{ident}.part").unlink()
    assert Spool(tmp_path).begin("bundle", "b", len(CONTENT), DIGEST).there == 0


def test_pieces_come_once_and_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ident = spool.begin("bundle", "b", len(CONTENT), DIGEST).ident
    spool.write(ident, 0, CONTENT[:100])
    assert spool.write(ident, 0, CONTENT[:100]).there == 100
    with pytest.raises(StoreError, match="goes on at 100"):
        spool.write(ident, 200, b"x")
    with pytest.raises(StoreError, match="only 10000"):
        spool.write(ident, 100, bytes(10_000))
    assert spool.cut(ident, 50).there == 50
    with pytest.raises(StoreError):
        spool.cut(ident, 51)
    with pytest.raises(StoreError, match="send the rest"):
        spool.finish(ident)


def test_another_content_than_announced_is_thrown_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ident = spool.begin("bundle", "b", 3, DIGEST).ident
    spool.write(ident, 0, b"abc")
    with pytest.raises(StoreError, match="another SHA-256"):
        spool.finish(ident)
    assert spool.files() == []


@pytest.mark.parametrize("ident", ["", "../../etc/passwd", "0123456789abcdef", "0123456789ABCDEF"])
def test_a_transfer_that_nobody_began_is_refused(tmp_path: Path, ident: str) -> None:
    with pytest.raises(StoreError, match="begin it again"):
        Spool(tmp_path).write(ident, 0, b"x")


def test_the_oldest_unfinished_file_makes_room_and_a_complete_one_never_does(tmp_path: Path) -> None:
    spool = Spool(tmp_path, quota=1000)
    with pytest.raises(StoreError, match="does not fit"):
        spool.begin("bundle", "big", 1001, DIGEST)
    done = spool.begin("bundle", "done", 600, hashlib.sha256(bytes(600)).hexdigest()).ident
    spool.write(done, 0, bytes(600))
    half = spool.begin("bundle", "half", 300, DIGEST).ident
    spool.begin("bundle", "next", 350, DIGEST)
    assert {piece.name for piece in spool.files()} == {"done", "next"}
    assert half not in {piece.ident for piece in spool.files()}
    with pytest.raises(StoreError, match="full of complete files"):
        spool.begin("bundle", "more", 500, DIGEST)
    for number in range(3 * MOST_FILES):
        spool.begin("bundle", f"small{number}", 1, DIGEST)
    assert len(spool.files()) <= MOST_FILES


def test_what_goes_out_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    first = spool.offer("logs", b"one")
    second = spool.offer("logs", b"two, longer")
    assert [piece.ident for piece in spool.files()] == [second.ident]
    assert first.ident != second.ident
    assert spool.read(second.ident, 5, 100) == b"longer"
