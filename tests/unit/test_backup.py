"""Backup and restore: sealed, proved, shown before it is written, onto the same box and onto another one."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import sqlite3
from pathlib import Path

import msgspec
import pytest

from firmware.app import backup as command
from firmware.errors import StoreError
from firmware.store import sealing
from firmware.store.certificates import ensure
from firmware.store.configuration import ConfigurationStore, in_force
from firmware.store.files import write_atomic
from firmware.update import backup

PHRASE = "correct horse battery"
SITE = '[site]\nname = "Branch 12"\n[extensions.201]\nkind = "sip"\nname = "Anna"\nsecret = "s3cret-of-anna"\n'
NEWER = '[site]\nname = "Branch 13"\n[extensions.202]\nkind = "sip"\n'


def box(folder: Path, text: str = SITE) -> Path:
    """A state folder as an appliance leaves it."""
    folder.mkdir()
    ConfigurationStore(folder / "config").commit(text, "test", "")
    (folder / "secrets.json").write_text('{"extensions": {"202": "generated-secret-x"}, "agents": {}}')
    (folder / "phones.json").write_text('{"phones": {}}')
    ensure(folder / "tls", ["192.168.1.2"], "box")
    (folder / "keys").mkdir()
    (folder / "keys" / "recordings.key").write_bytes(b"R" * 32)
    (folder / "prompts" / "zh").mkdir(parents=True)
    for name in ("greet.day", "agent.own.8001"):
        (folder / "prompts" / "zh" / f"{name}.wav").write_bytes(b"RIFF" * 100)
    for name in ("state.db", "calls.db"):
        database = sqlite3.connect(folder / name)
        database.executescript("PRAGMA journal_mode=WAL; CREATE TABLE store (key TEXT, value TEXT); CREATE TABLE contacts (id TEXT);"
                               f"INSERT INTO store VALUES ('generation', 'g-{folder.name}');"
                               "INSERT INTO contacts VALUES ('C1');")  # fmt: skip
        database.close()
    return folder


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument("--state", type=Path)
    command.add_parsers(parser.add_subparsers(dest="do"), [state])
    return parser.parse_args(words)


def run(*words: str, language: str = "en") -> int:
    options = parsed(*words)
    return command.make(options, language) if options.do == "backup" else command.restore(options, language)


@pytest.fixture(autouse=True)
def phrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(command.ENVIRONMENT, PHRASE)


def test_a_backup_restores_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, file = box(tmp_path / "a"), tmp_path / "a.bak"
    assert run("backup", str(file), "--state", str(state)) == 0
    assert "proved by a trial restore" in capsys.readouterr().out
    prompts = ("prompts/zh/greet.day.wav", "prompts/zh/agent.own.8001.wav")
    before = {name: (state / name).read_bytes() for name in ("secrets.json", "phones.json", "tls/ca.key", *prompts)}
    ConfigurationStore(state / "config").commit(NEWER, "test", "later")
    (state / "secrets.json").write_text("{}")
    for name in prompts:
        (state / name).unlink()
    assert run("restore", str(file), "--state", str(state), "--yes") == 0
    shown = capsys.readouterr().out
    assert "+ extensions.201.name Anna" in shown
    assert "- extensions.202.kind sip" in shown
    assert "~ site.name Branch 13 -> Branch 12" in shown
    kept = in_force(state / "config")
    assert kept is not None
    assert kept.text == SITE
    assert kept.revision.author == "restore"
    assert {name: (state / name).read_bytes() for name in before} == before
    assert (state / "secrets.json").stat().st_mode & 0o077 == 0


def test_a_trial_that_the_last_run_left_does_not_stand_in_the_way(tmp_path: Path) -> None:
    state, file = box(tmp_path / "a"), tmp_path / "a.bak"
    run("backup", str(file), "--state", str(state))
    ConfigurationStore(state / "config").attempt(NEWER, "test", "", seconds=600, start="s")
    assert run("restore", str(file), "--state", str(state), "--yes") == 0
    kept = in_force(state / "config")
    assert kept is not None
    assert kept.text == SITE


def test_nothing_secret_is_in_the_file_in_clear_nor_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, file = box(tmp_path / "a"), tmp_path / "a.bak"
    run("backup", str(file), "--state", str(state))
    run("restore", str(file), "--state", str(box(tmp_path / "b", NEWER)), "--replace", "--dry-run")
    shown, data = capsys.readouterr().out, file.read_bytes()
    for secret in ("s3cret-of-anna", "generated-secret-x", "BEGIN", "Anna"):
        assert secret.encode() not in data
    assert "s3cret-of-anna" not in shown
    assert "(hidden)" in shown
    assert file.stat().st_mode & 0o077 == 0


def test_keys_that_never_leave_are_not_in_it(tmp_path: Path) -> None:
    state = box(tmp_path / "a")
    sealing.Device(state / "device")
    content = backup.collect(state, "d", "s", "v", 0)
    plain = b"".join(content.files.values())
    for path in ("keys/recordings.key", "device/sealing.key", "device/identity.key", "tls/server.key"):
        assert (state / path).read_bytes() not in plain
        assert path not in content.files


def test_another_box_takes_the_place_of_a_dead_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, file = box(tmp_path / "old"), tmp_path / "x.bak"
    run("backup", str(file), "--state", str(old))
    authority = (old / "tls" / "ca.crt").read_bytes()
    name = sealing.Device(old / "device").public.device
    for path in sorted(old.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()                # the old box is dead
    new = box(tmp_path / "new", NEWER)
    server, own = (new / "tls" / "server.crt").read_bytes(), (new / "keys" / "recordings.key").read_bytes()
    with pytest.raises(StoreError, match="--replace"):
        run("restore", str(file), "--state", str(new), "--yes")
    kept = in_force(new / "config")
    assert kept is not None
    assert kept.text == NEWER
    assert run("restore", str(file), "--state", str(new), "--replace", "--yes", language="zh") == 0
    assert "还需处理" in capsys.readouterr().out
    kept = in_force(new / "config")
    assert kept is not None
    assert kept.text == SITE
    assert (new / "tls" / "ca.crt").read_bytes() == authority
    assert not (new / "tls" / "server.key").exists()
    assert ensure(new / "tls", ["192.168.1.3"], "new")                    # a server key of its own, under the old authority
    assert (new / "tls" / "ca.crt").read_bytes() == authority
    assert (new / "tls" / "server.crt").read_bytes() != server
    assert (new / "keys" / "recordings.key").read_bytes() == own
    assert sealing.Device(new / "device").public.device != name
    replaced = json.loads((new / "replaced.json").read_bytes())
    assert (replaced["device"], replaced["generation"], replaced["counters"]) == (name, "g-old", {"contacts": 1})
    calls = sqlite3.connect(new / "calls.db")
    assert calls.execute("SELECT value FROM store").fetchone()[0] == "g-new"      # its records are of another generation
    calls.close()


def test_a_wrong_passphrase_and_every_changed_byte_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, file = box(tmp_path / "a"), tmp_path / "a.bak"
    run("backup", str(file), "--state", str(state))
    data = file.read_bytes()
    with pytest.raises(sealing.SealError):
        backup.unpack(data, passphrase=PHRASE + "x")
    head = data.index(b"\n", len(sealing.MAGIC)) + 1
    for at in [*range(0, head, 7), head, head + 11, len(data) // 2, len(data) - 1]:
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(StoreError):
            backup.unpack(bytes(changed), passphrase=PHRASE)
    for end in (0, 5, head, len(data) - 1):
        with pytest.raises(StoreError):
            backup.unpack(data[:end], passphrase=PHRASE)
    monkeypatch.setenv(command.ENVIRONMENT, "short")
    with pytest.raises(StoreError, match="at least"):
        run("backup", str(tmp_path / "b.bak"), "--state", str(state))
    assert not (tmp_path / "b.bak").exists()


def test_sealed_to_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, file, key = box(tmp_path / "a"), tmp_path / "a.bak", tmp_path / "centre.key"
    assert run("backup", str(key), "--new-key", "--state", str(state)) == 0
    public = capsys.readouterr().out.rpartition(": ")[2].strip()
    assert run("backup", str(file), "--state", str(state), "--recipient", public) == 0
    with pytest.raises(sealing.SealError, match="private"):
        backup.unpack(file.read_bytes(), passphrase=PHRASE)
    assert run("restore", str(file), "--state", str(state), "--key", str(key), "--yes") == 0
    with pytest.raises(StoreError, match="never written over"):
        run("backup", str(key), "--new-key", "--state", str(state))


def test_a_backup_that_cannot_be_restored_is_no_backup(tmp_path: Path) -> None:
    state, file = box(tmp_path / "a"), tmp_path / "a.bak"
    ConfigurationStore(state / "config").commit("[site]\nnmae = 1\n", "test", "")
    with pytest.raises(StoreError, match="would be refused"):
        run("backup", str(file), "--state", str(state))
    assert not file.exists()
    assert not list(state.glob("trial-*"))


def test_a_restore_waits_for_the_appliance_to_stop_and_for_a_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, file = box(tmp_path / "a"), tmp_path / "a.bak"
    run("backup", str(file), "--state", str(state))
    (state / "run").mkdir(exist_ok=True)
    held = os.open(state / "run" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(StoreError, match="stop it"):
        run("restore", str(file), "--state", str(state), "--yes")
    os.close(held)
    answer = tmp_path / "no"
    answer.write_text("no\n")
    ConfigurationStore(state / "config").commit(NEWER, "test", "")
    with answer.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert run("restore", str(file), "--state", str(state)) == 1
    kept = in_force(state / "config")
    assert kept is not None
    assert kept.text == NEWER


def test_a_hostile_backup_writes_nowhere_else(tmp_path: Path) -> None:
    content = backup.collect(box(tmp_path / "a"), "d", "s", "v", 0)
    for name in ("../evil", "/etc/passwd", "prompts/../../evil", "keys/recordings.key", "prompts/zh/../x.wav"):
        files = {**content.files, name: b"x"}
        meta = msgspec.structs.replace(content.meta, files={**content.meta.files, name: hashlib.sha256(b"x").hexdigest()})
        data = backup.pack(backup.Content(meta, files), passphrase=PHRASE)
        with pytest.raises(StoreError, match="belongs in none"):
            backup.unpack(data, passphrase=PHRASE)


def test_a_restore_that_is_cut_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, file = box(tmp_path / "a"), tmp_path / "a.bak"
    run("backup", str(file), "--state", str(state))
    ConfigurationStore(state / "config").commit(NEWER, "test", "")
    real = write_atomic
    written: list[str] = []

    def cut(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        written.append(path.name)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(path, data, mode=mode)

    with monkeypatch.context() as patched:
        patched.setattr("firmware.update.backup.write_atomic", cut)
        with pytest.raises(StoreError, match="again"):
            run("restore", str(file), "--state", str(state), "--yes")
    kept = in_force(state / "config")
    assert kept is not None
    assert kept.text == NEWER                                           # the configuration goes in last
    assert run("restore", str(file), "--state", str(state), "--yes") == 0
