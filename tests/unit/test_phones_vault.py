"""Keys in memory that outlives a process of call control: found by the leg they belong to, by nobody else, and wiped."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.core.phones_vault import SLOT, SLOTS, KeyVault, make_vault
from firmware.sip.offer import MediaKeys

KEYS = MediaKeys("AES_256_CM_HMAC_SHA1_80", b"s" * 46, b"r" * 46)


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = make_vault()
    yield descriptor
    os.close(descriptor)


def test_a_successor_finds_the_keys_of_the_same_leg_only(memory: int) -> None:
    KeyVault(memory).keep(17, "L10001", KEYS)
    successor = KeyVault(memory)
    assert successor.recall(17, "L10001") == KEYS
    assert successor.recall(17, "L10002") is None
    assert successor.recall(18, "L10001") is None
    successor.keep(17, "L10002", MediaKeys("AEAD_AES_128_GCM", b"a" * 28, b"b" * 28))
    assert successor.recall(17, "L10001") is None


def test_what_is_wiped_is_gone_from_memory(memory: int) -> None:
    vault = KeyVault(memory)
    vault.keep(SLOTS - 1, "L1", KEYS)
    assert KEYS.send in os.pread(memory, SLOT * SLOTS, 0)
    vault.wipe(SLOTS - 1)
    assert os.pread(memory, SLOT * SLOTS, 0) == bytes(SLOT * SLOTS)
    assert vault.recall(SLOTS - 1, "L1") is None


@pytest.mark.parametrize("port", [-1, SLOTS, 10**6])
def test_ports_that_do_not_exist_are_nobodys(memory: int, port: int) -> None:
    vault = KeyVault(memory)
    vault.keep(port, "L1", KEYS)
    vault.wipe(port)
    assert vault.recall(port, "L1") is None
    assert os.pread(memory, SLOT * SLOTS, 0) == bytes(SLOT * SLOTS)


def test_what_does_not_fit_is_not_kept(memory: int) -> None:
    vault = KeyVault(memory)
    vault.keep(3, "L" * 300, KEYS)
    assert vault.recall(3, "L" * 300) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=SLOT, max_size=SLOT), cut=st.integers(0, SLOT))
def test_a_slot_that_is_not_whole_is_empty(memory: int, noise: bytes, cut: int) -> None:
    vault = KeyVault(memory)
    vault.keep(5, "L1", KEYS)
    whole = os.pread(memory, SLOT, 5 * SLOT)
    os.pwrite(memory, noise[:cut] + whole[cut:], 5 * SLOT)
    assert vault.recall(5, "L1") in (None, KEYS)
    os.pwrite(memory, noise, 5 * SLOT)
    assert vault.recall(5, "L1") is None
