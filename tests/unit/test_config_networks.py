"""What `check` says about networks, the external address and name servers."""

from __future__ import annotations

import pytest

from firmware.config.diff import plain
from tests.unit.test_config_check import BASE, paths, problems

FIXED = "[rtp]\nfirst_port = 30000\n"


def test_networks_and_addresses_that_are_right() -> None:
    text = BASE + """
[sip]
external_address = "pbx.example.com"
name_servers = ["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"]
[rtp]
first_port = 30000
[networks.branch2]
subnets = ["10.8.0.0/24", "fd00:8::/64"]
address = "10.8.0.1"
[networks.lan]
subnets = ["192.168.1.0/24"]
"""
    assert problems(text) == []
    for address in ("203.0.113.7", "2001:db8::7", ""):
        assert problems(text.replace("pbx.example.com", address)) == []


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        (f'{FIXED}[sip]\nexternal_address = "203.0.113.700"', "sip.external_address"),
        (f'{FIXED}[sip]\nexternal_address = "1:2"', "sip.external_address"),
        ('[sip]\nexternal_address = "203.0.113.7"', "sip.external_address"),
        (f'{FIXED}[sip]\nexternal_address = "203.0.113.7"\nport = 0', "sip.external_address"),
        ('[sip]\nname_servers = ["1.2.3"]', "sip.name_servers[0]"), ('[sip]\nname_servers = ["1.2.3.4:0"]', "sip.name_servers[0]"),
        ('[sip]\nname_servers = ["[::1"]', "sip.name_servers[0]"), ('[networks.a]\nsubnets = ["10.8.0.0/33"]', "networks.a.subnets[0]"),
        ('[networks.a]\nsubnets = ["10.0.0.0/8"]\naddress = "10.0"', "networks.a.address"),
        ('[networks.a]\nsubnets = []', "networks.a.subnets"),
        ("[sip]\ndscp = 64", "sip.dscp"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(setting: str, path: str) -> None:
    assert paths(BASE + setting) == [path]


def test_defaults_mark_packets_and_name_no_address() -> None:
    from firmware.config.schema.tree import Config

    assert (Config().sip.dscp, Config().rtp.dscp) == (24, 46) and plain(Config()).get("networks", {}) == {}
