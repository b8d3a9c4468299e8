"""Random digits: as many as asked for, never the same twice, across pages."""

from __future__ import annotations

from firmware.runtime.tokens import PAGE, Tokens


def test_digits_are_hexadecimal_as_many_as_asked_for_and_never_repeat() -> None:
    tokens = Tokens()
    got = [tokens(length) for _ in range(600) for length in (5, 16, 32)]
    assert [len(one) for one in got[:3]] == [5, 16, 32]
    long = [one for one in got if len(one) > 5]  # of 600 numbers of 20 bits two may well be equal
    assert len(set(long)) == len(long) and set("".join(got)) == set("0123456789abcdef")
    assert len(tokens(5 * PAGE)) == 5 * PAGE
    assert Tokens()(32) != Tokens()(32)
