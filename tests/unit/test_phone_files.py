"""Files of desk telephones against golden files, and against what people and attackers put into names.

`REGOLD=1 pytest tests/unit/test_phone_files.py` writes the golden files anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from firmware.config.model import check, load
from firmware.config.schema.tree import Config
from firmware.surfaces.phones import templating
from firmware.surfaces.phones.settings import Service, file_of
from firmware.surfaces.phones.vendors import MAKES, asked, file_name, recognise
from firmware.surfaces.phones.zones import Told, parse, tell

GOLDEN = Path(__file__).resolve().parent.parent / "vectors" / "phones"
SERVICE = Service("192.168.1.2", 5060, 5061, "https://192.168.1.2:8443/", "https://192.168.1.2:8443/ca.crt")
BERLIN = tell(parse("CET-1CEST,M3.5.0,M10.5.0/3"), 3600)
MACS = {vendor: f"00156500000{index}" for index, vendor in enumerate(MAKES)}
SECRET, WEB = "s3cret-201-abcdefgh", "web-pass-0123456789"


def site(name: str = "Anna", label: str = "Desk") -> Config:
    phones = "".join(
        f'[phones.{MACS[vendor]}]\nvendor = "{vendor}"\nmodel = "M1"\nextensions = ["201", "202"]\nlamps = "team"\n'
        f'keys = [{{kind = "line"}}, {{kind = "lamp", value = "203", label = {_toml(label)}}}, {{kind = "dial", value = "90123"}}]\n'
        for vendor in MAKES
    )
    text = (
        '[site]\nlanguages = ["zh", "en"]\n[provisioning]\ntime_server = "ntp.example.net"\n'
        f'[extensions.201]\nkind = "sip"\nname = {_toml(name)}\nsecret = "{SECRET}"\n[extensions.202]\nkind = "sip"\nsecret = "{SECRET}2"\n'
        f'srtp = "required"\n[extensions.203]\nkind = "sip"\nname = "Bob"\n[lists.team]\nmembers = ["203"]\n{phones}'
    )
    return load(text.encode(), file="test")


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def made(vendor: str, config: Config, zone: Told = BERLIN, *, secrets: bool, bootstrap: bool = False) -> str:
    token = "" if bootstrap else "T" * 22
    body, _ = file_of(config, MACS[vendor], SERVICE, zone, token=token, web_password=WEB, secrets=secrets, bootstrap=bootstrap)
    return body.decode()


@pytest.mark.parametrize("vendor", MAKES)
@pytest.mark.parametrize("kind", ["full", "later", "bootstrap"])
def test_files_are_the_golden_ones(vendor: str, kind: str) -> None:
    text = made(vendor, site(), secrets=kind == "full", bootstrap=kind == "bootstrap")
    golden = GOLDEN / f"{vendor}-{kind}.txt"
    if os.environ.get("REGOLD"):
        golden.write_bytes(text.encode())
    assert text.encode() == golden.read_bytes()


@pytest.mark.parametrize("vendor", MAKES)
def test_only_the_first_file_holds_passwords(vendor: str) -> None:
    full, later, bootstrap = (made(vendor, site(), secrets=s, bootstrap=b) for s, b in ((True, False), (False, False), (False, True)))
    assert SECRET in full
    assert f"{SECRET}2" in full
    assert WEB in full
    for text in (later, bootstrap):
        assert SECRET not in text
        assert WEB not in text
    assert "201" in later
    assert "ca.crt" in bootstrap or vendor in ("grandstream", "fanvil")
    assert "192.168.1.2:8443" in bootstrap


@pytest.mark.parametrize("vendor", MAKES)
def test_names_end_no_line_and_open_no_element(vendor: str) -> None:
    evil = "x</P270><P2>owned</P2>{{ 7*7 }}&\"'"
    text = made(vendor, site(name=evil, label="<b>{% x %}"), secrets=True)
    assert "49" not in text.replace("14149", "")
    if MAKES[vendor].markup:
        root = ElementTree.fromstring(text)
        assert not [one for one in root.iter() if one.text == "owned"]
        assert [one for one in root.iter() if one.text == evil]
    lines = text.replace("\r\n", "\n").split("\n")
    plain = made(vendor, site(), secrets=True).replace("\r\n", "\n").split("\n")
    assert len(lines) == len(plain)


def test_control_characters_never_reach_a_file() -> None:
    _, problems = check(b'[extensions.201]\nkind = "sip"\nname = "a\\naccount.1.password = x"\n', file="test")
    assert [problem.path for problem in problems] == ["extensions.201.name"]
    assert templating._one_line("a\r\nb\x00\x7f") == "ab"


def test_templates_run_in_a_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert issubclass(type(templating._environment(True)), ImmutableSandboxedEnvironment)
    monkeypatch.setattr(templating, "FOLDER", tmp_path)
    templating._environment.cache_clear()
    try:
        bad = (("{{ ''.__class__.__mro__ }}", SecurityError), ("{{ nothing }}", UndefinedError), ("{{ l.append(1) }}", SecurityError))
        for text, error in bad:
            (tmp_path / "t.j2").write_text(text)
            templating._environment.cache_clear()
            with pytest.raises(error):
                templating.render("t.j2", {"l": []}, markup=False)
    finally:
        templating._environment.cache_clear()


def test_a_changed_fanvil_file_has_another_version() -> None:
    versions = {made("fanvil", site(name), secrets=False).split("\r\n")[0] for name in ("Anna", "Bea", "Anna")}
    assert len(versions) == 2


def test_file_names_tell_the_telephone() -> None:
    assert asked("805ec0123456.cfg") == ("805ec0123456", ("yealink", "fanvil"))
    assert asked("cfg000b82ABCDEF.xml") is None
    assert asked("cfg000b82abcdef.xml") == ("000b82abcdef", ("grandstream",))
    assert asked("snomD735-000413ABCDEF.htm") == ("000413abcdef", ("snom",))
    assert asked("000413ABCDEF.xml") == ("000413abcdef", ("snom",))
    for name in ("", "y000000000108.cfg", "../805ec0123456.cfg", "805ec0123456.cfg\n", "805ec012345.cfg", "805ec01234567.cfg", "cfg.xml"):
        assert asked(name) is None, name
    for vendor, mac in MACS.items():
        found = asked(file_name(vendor, mac, "D735"))
        assert found is not None
        assert found[0] == mac
        assert vendor in found[1]


def test_telephones_are_recognised_by_what_they_say() -> None:
    assert recognise("Yealink SIP-T46U 108.86.0.20 80:5e:c0:12:34:56", "") == ("yealink", "T46U")
    assert recognise("Grandstream Model HW GXP2170 SW 1.0.11.6 DevId 000b82abcdef", "") == ("grandstream", "GXP2170")
    assert recognise("Mozilla/4.0 (compatible; snomD735-SIP 10.1.54.13 1.1.3-s)", "") == ("snom", "D735")
    assert recognise("Fanvil X6U 2.4.10 0c383e123456", "") == ("fanvil", "X6U")
    assert recognise("curl/8", "000413abcdef") == ("snom", "")
    assert recognise("curl/8", "020000000000") == ("", "")
