"""A telephone that knows nothing but its own MAC address: its file, fetched over HTTPS, is all that baresip is set up from."""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import SITE, Appliance, wait_until
from tests.e2e.baresip import Baresip

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
Phone = Callable[..., Baresip]
MACS = {"yealink": "805ec0000001", "grandstream": "000b82000002", "snom": "000413000003", "fanvil": "0c383e000004"}
FILES = {"yealink": "{mac}.cfg", "grandstream": "cfg{mac}.xml", "snom": "snomD735-{MAC}.htm", "fanvil": "{mac}.cfg"}


def provisioned(folder: Path, transport: str = "tls") -> Path:
    """The demonstration site with the service and a telephone of each make for extension 201."""
    phones = "".join(f'[phones.{mac}]\nvendor = "{vendor}"\nextensions = ["201"]\n' for vendor, mac in MACS.items())
    service = f'[provisioning]\nenabled = true\nport = 0\npnp = false\ntransport = "{transport}"\n[extensions.293]\nkind = "sip"\n'
    written = folder / "provisioned.toml"
    written.write_text(f"{SITE.read_text()}\n{service}{phones}")
    return written


def port(box: Appliance) -> int:
    path = box.state / "run" / "provisioning.json"
    wait_until(path.is_file, "the service listens", 40)
    return int(json.loads(path.read_bytes())["https"])


def fetch(box: Appliance, name: str, agent: str = "") -> str:
    """A file over HTTPS, the box's CA being all that is trusted."""
    where = f"https://{box.bind}:{port(box)}/{name}"
    context = ssl.create_default_context(cafile=str(box.state / "tls" / "ca.crt"))
    request = urllib.request.Request(where, headers={"User-Agent": agent})
    with urllib.request.urlopen(request, context=context, timeout=30) as reply:
        return str(reply.read().decode())


def account(vendor: str, text: str) -> dict[str, str]:
    """Server, port, user, password and transport as a telephone of the make reads its file."""
    if vendor == "yealink":
        found = dict(re.findall(r"^account\.1\.(\S+) = (.*)$", text, re.MULTILINE))
        return {
            "host": found["sip_server.1.address"], "port": found["sip_server.1.port"], "user": found["user_name"],
            "password": found.get("password", ""), "transport": ("udp", "tcp", "tls")[int(found["sip_server.1.transport_type"])],
        }  # fmt: skip
    if vendor == "fanvil":
        found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.split("\r\n"))}
        return {
            "host": found["SIP1 Register Addr"], "port": found["SIP1 Register Port"], "user": found["SIP1 Register User"],
            "password": found.get("SIP1 Register Pswd", ""), "transport": {"0": "udp", "1": "tcp", "3": "tls"}[found["SIP1 Transport"]],
        }  # fmt: skip
    values = {one.tag + one.get("idx", ""): one.text or "" for one in ElementTree.fromstring(text).iter()}
    if vendor == "grandstream":
        host, _, number = values["P47"].partition(":")
        return {"host": host, "port": number, "user": values["P35"], "password": values.get("P34", ""),
                "transport": ("udp", "tcp", "tls")[int(values["P130"])]}  # fmt: skip
    way = re.fullmatch(r"sip:(\S+):(\d+);transport=(\w+)", values["user_outbound1"])
    assert way is not None
    return {"host": way[1], "port": way[2], "user": values["user_name1"], "password": values.get("user_pass1", ""), "transport": way[3]}


def test_each_make_registers_with_its_file_alone(appliance: Start, phone: Phone, tmp_path: Path) -> None:
    box = appliance(config=provisioned(tmp_path))
    for vendor, mac in MACS.items():
        name = FILES[vendor].format(mac=mac, MAC=mac.upper())
        told = account(vendor, fetch(box, name, f"{vendor} test"))
        assert told["password"], vendor
        one = phone(
            box, told["user"], secret=told["password"], server=f"{told['host']}:{told['port']}", transport=told["transport"],
            trusted=box.state / "tls" / "ca.crt",
        )  # fmt: skip
        assert [row["transport"] for row in box.ctl("show phones") if row["extension"] == "201" and row["where"]][:1] == ["tls"]
        one.stop()
        assert account(vendor, fetch(box, name))["password"] == "", "passwords are served once"
    listed: list[dict[str, Any]] = box.manage("phone list")
    assert {row["state"] for row in listed} == {"set up"}


def test_a_telephone_is_added_armed_and_asked_again(appliance: Start, phone: Phone, tmp_path: Path) -> None:
    box = appliance(config=provisioned(tmp_path, "udp"))
    port(box)
    added = box.manage("phone add", phone="80:5E:C0:00:00:09", vendor="yealink", extension="202")
    assert added["link"].startswith(f"https://{box.bind}:")
    name = "805ec0000009.cfg"
    told = account("yealink", fetch(box, name))
    assert told["password"]
    assert account("yealink", fetch(box, name))["password"] == ""
    phone(box, told["user"], secret=told["password"], server=f"{told['host']}:{told['port']}")
    assert box.manage("show phone-changes", phone=name[:12]) == []
    box.manage("set", setting="extensions.202.name", value='"Front desk"')
    changes = box.manage("show phone-changes", phone=name[:12])
    assert any(line.startswith("+") and line.endswith("= Front desk") for line in changes), changes
    assert told["password"] not in "".join(changes)
    box.manage("discard")
    asked = box.manage("phone reboot", phone="805ec0000009")
    assert [(row["extension"], row["contact"].startswith("sip:202-")) for row in asked] == [("202", True)]
    box.manage("phone re-arm", phone="805ec0000009")
    assert account("yealink", fetch(box, name))["password"] == told["password"]
    with pytest.raises(urllib.error.HTTPError):
        fetch(box, "805ec0000077.cfg", "Yealink SIP-T46U 108.86.0.20")
    assert [row["model"] for row in box.manage("phone list") if row["state"].startswith("unknown")] == ["T46U"]
    approved = box.manage("phone approve", phone="805ec0000077", extension="293")
    assert approved["link"]
    assert account("yealink", fetch(box, "805ec0000077.cfg"))["user"] == "293"
    box.manage("phone window", minutes=5)
    told = account("yealink", fetch(box, "805ec0000088.cfg", "Yealink SIP-T31P 124.86.0.1"))
    assert (told["user"], bool(told["password"])) == ("203", True)

    def audited() -> bool:
        return ("provisioning", "commit") in [(row["peer"], row["command"]) for row in box.manage("show audit")]

    wait_until(audited, "who committed is on record", 20)
