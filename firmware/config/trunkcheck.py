"""Checks of SIP trunks and of the routes that use them (L1, pure); see `crosscheck.py` for how."""

from __future__ import annotations

from ipaddress import ip_network

from firmware.config.carriers import NAMES
from firmware.config.passage import PASSINGS, breaks_out, laws, switch
from firmware.config.problems import Findings, suggest
from firmware.config.schema.tree import Config
from firmware.config.schema.trunks import Trunk


def trunk_check(config: Config, findings: Findings) -> None:
    """Add every problem of trunks to `findings`."""
    for name, trunk in config.trunks.items():
        _one(f"trunks.{name}", trunk, config, findings)
    _twins(config, findings)
    catch_all = [route for route in config.inbound if not (route.caller or route.did or route.callers)]
    for name, trunk in config.trunks.items():
        reached = any(name in route.trunks or not (route.lines or route.trunks) for route in catch_all)
        if trunk.enabled and trunk.break_out == "none" and not reached:
            remedy = f'add an [[inbound]] entry with trunks = ["{name}"] and no caller or did'
            findings.add(f"trunks.{name}", None, "has no inbound route for every call", remedy)
    _passing(config, findings)
    toll = config.toll
    if toll.office_start >= toll.office_end:
        findings.add("toll.office_end", toll.office_end, f"is not after office_start ({toll.office_start})", "give a later time")


def _one(path: str, trunk: Trunk, config: Config, findings: Findings) -> None:
    if trunk.template:
        findings.add(f"{path}.template", trunk.template, "is no carrier template", suggest(trunk.template, NAMES))
    if trunk.kind == "registering" and not trunk.user:
        findings.add(f"{path}.user", None, "is missing", "a registering trunk has a user; a peer with a fixed address is kind static")
    if trunk.kind == "registering" and not trunk.secret:
        findings.add(f"{path}.secret", None, "is missing", "give the password of the carrier, or set kind to static")
    if trunk.transport == "tls" and not config.sip.tls:
        findings.add(f"{path}.transport", "tls", "needs SIP over TLS", "set sip.tls to true")
    if trunk.srtp == "required" and trunk.transport != "tls" and not config.lab.open:
        findings.add(f"{path}.srtp", "required", "can never be met: its keys travel over TLS only", "set transport to tls, or srtp to no")
    for index, network in enumerate(trunk.accept_from):
        try:
            wide = ip_network(network, strict=False)
        except ValueError:
            findings.add(f"{path}.accept_from[{index}]", network, "is no address or network", "allowed: 203.0.113.7 or 203.0.113.0/24")
            continue
        if wide.prefixlen < (8 if wide.version == 4 else 24):
            findings.add(f"{path}.accept_from[{index}]", network, "lets half the world in", "name the networks of the carrier only")
    if trunk.send_as in ("+e164", "e164") and not trunk.country_code:
        findings.add(f"{path}.country_code", None, f"is missing, and send_as is {trunk.send_as}", "give the country code, such as 86")
    if trunk.caller_shown == "extension" and trunk.kind == "registering" and not trunk.number:
        remedy = "give the main number that extensions are added to, or set caller_shown to trunk"
        findings.add(f"{path}.number", None, "is missing, and caller_shown is extension", remedy)


def _passing(config: Config, findings: Findings) -> None:
    """What passes through the branch needs the switch of its country, and the switch the leave that the country asks for."""
    country, known = config.site.country, laws()
    for name, said in config.passage.items():
        if name not in known:
            findings.add(f"passage.{name}", None, "is no country", suggest(name, known))
        elif not said.permit and any(getattr(said, passing) and getattr(known[name], passing) == "permit" for passing in PASSINGS):
            remedy = "name the licence, or the carrier's or owner's leave; `show passage` says which rule asks for it"
            findings.add(f"passage.{name}.permit", None, "is missing, and the country asks for somebody's leave", remedy)
    said = switch(config)
    for name, trunk in config.trunks.items():
        if trunk.enabled and breaks_out(trunk) and not said.break_out:
            remedy = f"set passage.{country}.break_out to true where this is allowed, or take internal"
            findings.add(f"trunks.{name}.break_out", trunk.break_out, f"is off in {country}", remedy)
        if trunk.enabled and trunk.caller_shown == "caller" and not said.foreign_numbers:
            remedy = f"set passage.{country}.foreign_numbers to true where this is allowed, or take trunk"
            findings.add(f"trunks.{name}.caller_shown", "caller", f"is off in {country}", remedy)


def _twins(config: Config, findings: Findings) -> None:
    """Two static trunks to one place could not be told apart when they call."""
    seen: dict[tuple[str, str], str] = {}
    for name, trunk in config.trunks.items():
        if not trunk.enabled or trunk.kind != "static":
            continue
        place = ((trunk.proxy or trunk.domain).lower(), trunk.transport)
        if place in seen:
            findings.add(f"trunks.{name}.domain", trunk.domain, f"is also that of trunk {seen[place]}", "use one trunk for one peer")
        else:
            seen[place] = name
