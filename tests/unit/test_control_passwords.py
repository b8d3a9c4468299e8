"""Stored passwords: one form for the console and the C library of the SSH daemon."""

from __future__ import annotations

import ctypes
import ctypes.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.config.model import check
from firmware.control.passwords import make, parse, verify, weakness


def crypt(password: str, stored: str) -> str:
    """What the C library makes of it (as dropbear asks it)."""
    library = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    found = library.crypt(password.encode(), stored.encode())
    return found.decode() if found else ""


def test_a_password_is_known_again_and_another_is_not() -> None:
    stored = make("correct horse")
    assert verify("correct horse", stored) and not verify("correct horsf", stored) and not verify("", stored)
    assert stored != make("correct horse"), "each has a salt of its own"


def test_the_c_library_reads_the_same_form() -> None:
    stored = make("电话 box 7")
    assert crypt("电话 box 7", stored) == stored
    assert crypt("something else", stored) != stored


def test_the_schema_takes_what_is_made() -> None:
    config, problems = check(f'[users.anna]\nrole = "admin"\npassword = "{make("correct horse")}"'.encode(), file="x")
    assert config is not None, problems


@pytest.mark.parametrize("stored", ["", "x", "$7$", "$6$salt$hash", "$7$C6..../....$" + "a" * 43, "$7$z6..../....saltsalt$" + "a" * 43])
def test_what_is_no_stored_password_lets_nobody_in(stored: str) -> None:
    assert not verify("correct horse", stored)


@pytest.mark.hypothesis
@given(st.text(max_size=120))
def test_reading_a_stored_form_never_fails(text: str) -> None:
    assert parse(text) is None and parse("$7$" + text + "$" + "a" * 43) is not False


@pytest.mark.parametrize(
    ("password", "why"), [("short", "short"), ("x" * 200, "long"), ("anna12345", "name"), ("11111111", "plain"), ("tea at 4 pm", "")]
)
def test_weak_passwords_are_named(password: str, why: str) -> None:
    assert weakness(password, "anna") == why
