"""Facts of one telephone for its template: accounts, keys, lamps, language, time (pure).

What a template sees is built here once for all makes; only names and numbers of settings differ between templates.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from firmware.config.schema.phones import LineKey, Phone
from firmware.config.schema.tree import Config
from firmware.surfaces.phones.templating import render
from firmware.surfaces.phones.vendors import MAKES
from firmware.surfaces.phones.zones import Told


class Service(Struct, frozen=True):
    """Where the box is for telephones. `url`: of HTTPS, ending in "/"; `ca`: address of the box's CA certificate."""

    host: str
    sip_port: int
    tls_port: int
    url: str
    ca: str


class Key(Struct, frozen=True):
    """One key as a template wants it: `line` counts from 1."""

    number: int
    kind: str
    value: str
    label: str
    line: int


def own_url(service: Service, token: str) -> str:
    """Where the telephone of this token fetches its file from."""
    return f"{service.url}{token}/" if token else service.url


def _label(config: Config, value: str) -> str:
    extension = config.extensions.get(value)
    return (extension.name if extension is not None else "") or value


def keys_of(config: Config, phone: Phone) -> list[Key]:
    """All keys: what is configured, else a line key for each extension; then the members of its list of lamps."""
    wanted = list(phone.keys) or [LineKey(kind="line", value=number) for number in phone.extensions]
    if phone.lamps in config.lists:
        wanted += [LineKey(kind="lamp", value=member) for member in config.lists[phone.lamps].members if member not in phone.extensions]
    found = []
    for number, key in enumerate(wanted, 1):
        value = key.value or phone.extensions[0]
        line = phone.extensions.index(value) + 1 if key.kind == "line" else 1
        found.append(Key(number, key.kind, value, key.label or _label(config, value), line))
    return found


def facts_of(
    config: Config, mac: str, service: Service, zone: Told, *,
    token: str = "", web_password: str = "", secrets: bool, bootstrap: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Everything a template may use. Without `secrets` there is no password in it; `bootstrap`: only how to reach and trust the box."""
    phone = config.phones[mac]
    provisioning = config.provisioning
    accounts: list[dict[str, Any]] = []
    for number, extension in enumerate(phone.extensions, 1):
        entry = config.extensions[extension]
        account: dict[str, Any] = {"number": number, "user": extension, "name": entry.name or extension, "srtp": entry.srtp}
        if secrets:
            account["password"] = entry.secret
        accounts.append(account)
    transport = provisioning.transport
    facts: dict[str, Any] = {
        "mac": mac, "model": phone.model, "accounts": accounts, "keys": keys_of(config, phone)[: MAKES[phone.vendor].keys],
        "lines": MAKES[phone.vendor].lines, "language": phone.language or config.site.languages[0], "zone": zone, "host": service.host,
        "port": service.tls_port if transport == "tls" else service.sip_port, "transport": transport, "realm": config.sip.realm,
        "expires": config.sip.registration_max_s, "pickup": config.features.pickup,
        "lamps": phone.lamps if phone.lamps in config.lists else "",
        "url": own_url(service, token), "ca": service.ca, "time_server": provisioning.time_server, "refresh_h": provisioning.refresh_h,
        "secrets": secrets, "bootstrap": bootstrap, "voicemail": config.features.voicemail,
    }  # fmt: skip
    if secrets:
        facts["web_password"] = web_password
    return facts


def file_of(config: Config, mac: str, service: Service, zone: Told, **how: Any) -> tuple[bytes, str]:
    """A telephone's file and its content type; `how` as for `facts_of`."""
    make = MAKES[config.phones[mac].vendor]
    return render(make.template, facts_of(config, mac, service, zone, **how), markup=make.markup, line_end=make.line_end), make.content
