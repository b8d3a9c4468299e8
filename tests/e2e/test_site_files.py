"""The files of a site through the product's own entry points: tables in and out, backup onto another box, a signed document."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firmware.config.render import toml_of
from firmware.fleet.parts import lines
from tests.e2e.appliance import DIE_WITH_TEST, ROOT, Appliance, wait_until
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
REPLACED_S = 300.0


class Restored(Appliance):
    """A box that starts from what is stored, without a site file on its command line."""

    def start(self) -> Appliance:
        self.output = (self.state / "output.log").open("ab")
        command = [sys.executable, "-m", "firmware", "run", "--state", str(self.state), "--bind", self.bind]
        self.process = subprocess.Popen(
            [*DIE_WITH_TEST, *command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT
        )
        wait_until(self._ready, f"appliance answers its control socket; it said:\n{self.said()}", 45)
        return self


def branchpbx(*words: str, passphrase: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BRANCHPBX_PASSPHRASE": passphrase}
    command = [sys.executable, "-m", "firmware", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=environment)


def test_a_table_of_extensions_goes_in_and_out(appliance: Start, phone: Phone, tmp_path: Path) -> None:
    box, file = appliance(), tmp_path / "extensions.csv"
    file.write_bytes("extension,name,tech,secret\n281,张伟,pjsip,kq8-ZMw2-pp1\n282,Bad,dahdi,\n".encode("gb18030"))
    dry = branchpbx("import", "extensions", str(file), "--dry-run", "--state", str(box.state), "--lang", "zh")
    assert dry.returncode == 1
    assert "新增" in dry.stdout
    assert "拒绝" in dry.stdout
    assert "张伟" in dry.stdout
    assert box.manage("show diff") == []
    done = branchpbx("import", "extensions", str(file), "--state", str(box.state))
    assert "1 added" in done.stdout, done.stdout + done.stderr
    assert "extensions.281.name" in [row["path"] for row in box.manage("show diff")]
    box.manage("commit", note="from the old exchange")
    phone(box, "281", secret="kq8-ZMw2-pp1")
    out = tmp_path / "out.csv"
    assert branchpbx("export", "extensions", str(out), "--state", str(box.state)).returncode == 0
    assert "281,张伟" in out.read_text(encoding="utf-8-sig")
    assert "kq8" not in out.read_text()
    again = branchpbx("import", "extensions", str(out), "--dry-run", "--state", str(box.state))
    assert again.returncode == 0, again.stdout
    assert "0 added, 0 changed" in again.stdout
    whole = branchpbx("export", "configuration", "--state", str(box.state))
    assert "[extensions.281]" in whole.stdout
    assert "kq8" not in whole.stdout


def test_a_box_that_died_is_replaced(appliance: Start, phone: Phone, tmp_path: Path) -> None:
    old, file = appliance(), tmp_path / "site.bak"
    wait_until(lambda: old.ctl("show certificates"), "the certificate is made", 30)
    secret, authority = old.accounts()["201"], (old.state / "tls" / "ca.crt").read_bytes()
    old.manage("set", setting="site.name", value='"Branch that moved"')
    old.manage("commit", note="")
    made = branchpbx("backup", str(file), "--state", str(old.state), passphrase="correct horse battery")
    assert made.returncode == 0, made.stderr
    assert secret.encode() not in file.read_bytes()
    refused = branchpbx("restore", str(file), "--state", str(old.state), "--yes", passphrase="correct horse battery")
    assert refused.returncode == 1
    assert "stop it" in refused.stderr
    assert old.stop() == 0
    for folder in ("config", "device", "keys", "tls"):          # the old box is dead, and what was sealed to it with it
        shutil.rmtree(old.state / folder)
    started = time.monotonic()
    new = Restored(tmp_path / "new", bind=old.bind)
    done = branchpbx("restore", str(file), "--replace", "--yes", "--state", str(new.state), passphrase="correct horse battery")
    assert done.returncode == 0, done.stderr
    assert "still to be done" in done.stdout
    assert secret not in done.stdout
    new.start()
    try:
        assert new.ctl("show status")["name"] == "Branch that moved"
        assert (new.state / "tls" / "ca.crt").read_bytes() == authority
        phone(new, "201", secret=secret)
        took = time.monotonic() - started
        assert took < REPLACED_S
        report = ROOT / "build" / "test" / "replacement.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps({"seconds_from_restore_to_a_registered_telephone": round(took, 1)}) + "\n")
        wait_until(lambda: new.manage("verify configuration")["right"], "running equals stored", 20)
        assert new.manage("show device")["device"] != json.loads((new.state / "replaced.json").read_bytes())["device"]
    finally:
        assert new.stop() == 0


def test_a_signed_document_runs_on_trial(appliance: Start, tmp_path: Path) -> None:
    box, key = appliance(), tmp_path / "centre.key"
    tool = [sys.executable, "-m", "tools.sign_config"]
    public = subprocess.run([*tool, "new-key", str(key)], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    box.manage("set", setting="central.keys", value=f'["{public}"]')
    box.manage("set", setting="central.tenant", value='"acme"')
    box.manage("commit", note="")
    (tmp_path / "device.json").write_text(json.dumps(box.manage("show device")))
    site = tmp_path / "next.toml"
    tree = tomllib.loads(box.manage("export configuration", secrets=True))
    tree["site"]["name"] = "From the centre"
    site.write_text(toml_of(tree))
    words = ["sign", str(site), "--key", str(key), "--device", str(tmp_path / "device.json"), "--tenant", "acme", "--confirm", "60"]
    document = tmp_path / "x.bpx"
    subprocess.run([*tool, *words, "--revision", "1", "--out", str(document)], cwd=ROOT, capture_output=True, check=True)
    told: dict[str, Any] = {}
    for line in reversed(lines(document.read_bytes())):         # as a scanner types the sheet, in any order
        part, name, data = line.removeprefix("central part ").split()
        told = box.manage("central part", part=part, name=name, data=data)
    assert told["state"] == "trial", told
    assert box.ctl("show status")["name"] == "From the centre"
    box.manage("confirm")
    wait_until(lambda: box.manage("show central")["state"] == "confirmed", "the document is confirmed", 30)
    again = box.manage("central offer", document=document.read_text())
    assert (again["state"], again["taken"]) == ("confirmed", 1)
    forged = json.loads(document.read_text())
    forged["signature"] = forged["signature"][:-6] + "AAAA=="
    assert box.manage("central offer", document=json.dumps(forged))["reason"] in ("bad-signature", "unreadable")


def test_a_backup_by_console_goes_to_a_stick_and_comes_back(appliance: Start, phone: Phone, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    box, phrase = appliance(), "correct horse battery"
    wait_until(lambda: box.ctl("show certificates"), "the certificate is made", 30)
    box.manage("set", setting="central.folder", value=f'"{stick}"')
    box.manage("commit", note="")
    secret, revision = box.accounts()["201"], box.manage("show revisions")[0]["revision"]
    made = box.manage("backup make", name="branch", passphrase=phrase)
    assert Path(made["file"]).is_file()
    box.manage("set", setting="site.name", value='"Wrong turn"')
    box.manage("commit", note="")
    (box.state / "secrets.json").write_text('{"extensions": {"201": "not-what-it-was-1"}, "agents": {}}')
    rows = box.manage("backup preview", name="branch", passphrase=phrase)
    assert [row["new"] != "Wrong turn" for row in rows if row["what"] == "site.name"] == [True]
    old = box.ctl("show status")["boot"]
    box.manage("backup restore", name="branch", passphrase=phrase)

    def begun_anew() -> bool:
        try:
            return bool(box.ctl("show status")["boot"] != old)
        except (OSError, ConnectionError):
            return False

    wait_until(begun_anew, "the appliance started anew", 60)
    assert box.ctl("show status")["name"] != "Wrong turn"
    assert box.accounts()["201"] == secret
    assert not (box.state / "restore").exists()
    phone(box, "201")
    shown = box.manage("show revisions")
    assert shown[0]["author"] == "restore"
    assert shown[0]["revision"] == revision + 2
    wait_until(lambda: box.manage("verify configuration")["right"], "running equals stored", 20)
    spoken = json.dumps(box.manage("show audit"))
    assert "backup restore" in spoken
    assert phrase not in spoken
