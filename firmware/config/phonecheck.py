"""Checks of desk telephones and of the service that hands their settings out (L1, pure); see `crosscheck.py` for how."""

from __future__ import annotations

import re
from ipaddress import ip_network

from firmware.config.problems import Findings
from firmware.config.schema.tree import Config

MAC = re.compile(r"^[0-9a-f]{12}$")


def phone_check(config: Config, findings: Findings) -> None:
    """Add every problem of `phones` and `provisioning`."""
    for mac, phone in config.phones.items():
        if MAC.match(mac) is None:
            findings.add(f"phones.{mac}", None, "is not a MAC address", "write 12 hexadecimal digits in lower case, without colons")
        elif int(mac[:2], 16) & 1:
            findings.add(f"phones.{mac}", None, "is the address of a group, not of a telephone", "copy it from the label of the telephone")
        for index, number in enumerate(phone.extensions):
            extension = config.extensions.get(number)
            if extension is not None and extension.kind != "sip":
                findings.add(f"phones.{mac}.extensions[{index}]", number, "is an analogue telephone", "allowed: extensions of kind sip")
        for index, key in enumerate(phone.keys):
            if key.kind == "line" and key.value and key.value not in phone.extensions:
                remedy = f"allowed: {', '.join(phone.extensions)}"
                findings.add(f"phones.{mac}.keys[{index}].value", key.value, "is no extension of this telephone", remedy)
            elif key.kind != "line" and not key.value:
                findings.add(f"phones.{mac}.keys[{index}].value", key.value, "is missing", "give the number of the key")
    service = config.provisioning
    for index, subnet in enumerate(service.networks):
        try:
            ip_network(subnet, strict=False)
        except ValueError:
            findings.add(f"provisioning.networks[{index}]", subnet, "is not a subnet", "write it as 192.168.1.0/24 or fd00:1::/64")
    if service.bootstrap_port and service.bootstrap_port == service.port:
        findings.add("provisioning.bootstrap_port", service.bootstrap_port, "is the port of HTTPS", "give another port, or 0 for none")
    if service.enabled and service.transport == "tls" and not config.sip.tls:
        findings.add("provisioning.transport", "tls", "cannot be used: SIP over TLS is off", "set sip.tls, or another transport")
