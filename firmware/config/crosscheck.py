"""Checks that look at more than one entry: references, numbers that shadow each other, menus without exit (L1, pure).

Every check works on the entries that were right by themselves; `tree` (the parsed file) tells a name that is defined but
wrong from one that does not exist, so that one mistake is reported once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise
from typing import Any

from msgspec import inspect

from firmware.config.acdcheck import acd_check
from firmware.config.board import Board
from firmware.config.calendarcheck import calendar_check
from firmware.config.dhcpcheck import dhcp_check
from firmware.config.emergency import emergency_numbers
from firmware.config.hostcheck import host_check
from firmware.config.ivrcheck import ivr_check
from firmware.config.linecheck import line_check
from firmware.config.netcheck import network_check
from firmware.config.pbxcheck import pbx_check
from firmware.config.phonecheck import phone_check
from firmware.config.problems import Findings, shown, suggest
from firmware.config.schema.calls import OutboundRoute
from firmware.config.schema.destinations import KINDS
from firmware.config.schema.features import CODES
from firmware.config.schema.tree import Config
from firmware.config.trunkcheck import trunk_check
from firmware.config.upkeepcheck import upkeep_check
from firmware.config.usercheck import user_check

NAME = re.compile(r"^[A-Za-z0-9_.-]{1,40}$")
MENU_KEYS = tuple("0123456789*#")


def cross_check(
    config: Config,
    findings: Findings,
    tree: dict[str, Any],
    *,
    board: Board | None,
    zones: Collection[str],
    prompts: Collection[str],
) -> None:
    """Add every problem between entries to `findings`."""
    known = _Names(config, tree)
    for entries in (_keys, _ranges, _numbers, _features):
        entries(config, findings)
    _day_parts(config, findings, tree)
    _jacks(config, findings, board)
    line_check(config, findings)
    _references(config, findings, known)
    _destinations(config, findings, known, prompts)
    _menu_exits(config, findings)
    _queue_loops(config, findings)
    trunk_check(config, findings)
    pbx_check(config, findings)
    ivr_check(config, findings, prompts)
    _inbound(config, findings, tree)
    _outbound(config, findings)
    _languages(config, findings)
    _secrets(config, findings)
    _encryption(config, findings)
    _lab(config, findings)
    network_check(config, findings)
    phone_check(config, findings)
    dhcp_check(config, findings)
    host_check(config, findings)
    acd_check(config, findings)
    calendar_check(config, findings, prompts)
    user_check(config, findings)
    upkeep_check(config, findings)
    if zones and config.site.time_zone not in zones:
        findings.add("site.time_zone", config.site.time_zone, "is not a time zone", suggest_zone(config.site.time_zone, zones))


def suggest_zone(zone: str, zones: Collection[str]) -> str:
    """Remedy for an unknown zone; the whole list would be too long."""
    text = suggest(zone, zones)
    return text.split(" allowed:")[0] if text.startswith("did you mean") else "allowed: an IANA name such as Asia/Shanghai or Europe/London"


TREE = inspect.type_info(Config)


class _Names:
    """Names that are defined, also by an entry that is wrong in itself."""

    def __init__(self, config: Config, tree: dict[str, Any]) -> None:
        ports = tree.get("ports")
        ports = ports if isinstance(ports, dict) else {}
        self.tables: dict[str, set[str]] = {}
        tables = {name for name in Config.__struct_fields__ if isinstance(getattr(config, name), dict)}
        for table, where in [*((name, tree) for name in tables), ("fxo", ports), ("fxs", ports)]:
            written = where.get(table)
            name = f"ports.{table}" if where is ports else table
            self.tables[name] = set(written) if isinstance(written, dict) else set()
        self.named = list(_walk(config, TREE, ""))       # every setting that names another entry


def _keys(config: Config, findings: Findings) -> None:
    for table, entries, form, remedy in (
        ("extensions", config.extensions, r"^[0-9]{2,8}$", "allowed: 2 to 8 digits"),
        ("agents", config.agents, r"^[0-9]{1,8}$", "allowed: 1 to 8 digits"),
        ("queues", config.queues, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("menus", config.menus, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("groups", config.groups, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("rooms", config.rooms, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("pages", config.pages, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("lists", config.lists, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("trunks", config.trunks, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("accounts", config.accounts, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("callers", config.callers, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("tariffs", config.tariffs, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("hours", config.hours, NAME.pattern, "allowed: letters, digits, _ . and -"),
        ("holidays", config.holidays, NAME.pattern, "allowed: letters, digits, _ . and -"),
    ):
        for name in entries:
            if re.search(form, name) is None:
                findings.add(f"{table}.{name}", None, "has a name that cannot be used", remedy)
    for name, menu in config.menus.items():
        for key in menu.keys:
            if key not in MENU_KEYS:
                findings.add(f"menus.{name}.keys.{key}", None, "is not a key of a telephone", "allowed: 0 to 9, * and #")


def _ranges(config: Config, findings: Findings) -> None:
    pairs: list[tuple[str, Any, str, str]] = [
        ("sip", config.sip, "registration_min_s", "registration_max_s"),
        ("rtp", config.rtp, "jitter_min_ms", "jitter_max_ms"),
    ]
    pairs += [(f"ports.fxs.{jack}", phone, "flash_min_ms", "flash_max_ms") for jack, phone in config.ports.fxs.items()]
    for path, entry, low, high in pairs:
        least, most = getattr(entry, low), getattr(entry, high)
        if least > most:
            findings.add(f"{path}.{low}", least, f"is above {high} ({most})", f"allowed: at most {most}, or raise {high}")
    if config.sip.tls_port and config.sip.tls_port == config.sip.port:
        findings.add("sip.tls_port", config.sip.tls_port, "is the port of SIP over TCP", "give another port, or 0 for the one after it")
    if config.sip.wss and config.sip.wss_port:
        listening = [config.sip.port, *([config.sip.tls_port or config.sip.port + 1] if config.sip.tls else [])]
        if config.sip.wss_port in listening:
            findings.add("sip.wss_port", config.sip.wss_port, "is a port of SIP over TCP or TLS", "give another port, or 0")
    if config.sip.tls_key and not config.sip.tls_certificate:
        findings.add("sip.tls_key", config.sip.tls_key, "belongs to no certificate", "name its certificate in tls_certificate")
    if config.rtp.first_port % 2:
        findings.add("rtp.first_port", config.rtp.first_port, "is odd", "RTP uses even ports (RFC 3550 section 11); give an even port or 0")
    elif config.rtp.first_port and config.rtp.first_port + 2 * config.rtp.calls > 65536:
        most = 65536 - 2 * config.rtp.calls
        findings.add("rtp.first_port", config.rtp.first_port, f"leaves no room for {config.rtp.calls} ports", f"allowed: at most {most}")
    elif config.rtp.first_port and config.rtp.first_port <= config.sip.port < config.rtp.first_port + 2 * config.rtp.calls:
        findings.add("sip.port", config.sip.port, "lies within the RTP range", "give another SIP port or another rtp.first_port")


def _numbers(config: Config, findings: Findings) -> None:
    emergency = emergency_numbers(config.site.country, config.emergency_numbers)
    for index, number in enumerate(config.emergency_numbers):
        if re.search(r"^[0-9]{2,15}$", number) is None:
            findings.add(f"emergency_numbers[{index}]", number, "is not a telephone number", "allowed: 2 to 15 digits")
    for service, number in config.emergency_services.items():
        if re.search(r"^[a-z0-9-]+(\.[a-z0-9-]+)*$", service) is None:
            allowed = "allowed: sos, police, fire, ambulance ... (RFC 5031)"
            findings.add(f"emergency_services.{service}", None, "is not the name of a service", allowed)
        elif number not in emergency:
            findings.add(f"emergency_services.{service}", number, "is no emergency number here", f"allowed: {', '.join(emergency)}")
    codes = {route.prefix: index for index, route in reversed(list(enumerate(config.outbound))) if route.prefix}
    for extension in config.extensions:
        hit = [number for number in emergency if number.startswith(extension) or extension.startswith(number)]
        if hit:
            remedy = f"give it a number that does not begin with {hit[0][:2]}"
            findings.add(f"extensions.{extension}", None, f"collides with the emergency number {' '.join(hit)}", remedy)
        for code in codes:
            if extension.startswith(code):
                findings.add(
                    f"extensions.{extension}",
                    None,
                    f"begins with the access code {code} of outbound[{codes[code]}]",
                    f"give it a number that does not begin with {code}, or change the access code",
                )
    ordered = sorted(config.extensions)
    for shorter, longer in pairwise(ordered):
        if longer.startswith(shorter):
            findings.add(
                f"extensions.{longer}", None, f"can never be dialled: {shorter} is already an extension", "use numbers of one length"
            )
    for code, index in codes.items():
        for number in emergency:
            if code.startswith(number):
                findings.add(f"outbound[{index}].prefix", code, f"begins with the emergency number {number}", "choose another access code")


def _features(config: Config, findings: Findings) -> None:
    # Codes dialled from an idle phone and codes keyed within a call are told apart by the moment, but people are not: one set.
    codes = [(name, getattr(config.features, name)) for name in CODES]
    for index, (name, code) in enumerate(codes):
        same = [f"features.{other}" for other, earlier in codes[:index] if code == earlier]
        close = [f"features.{other} ({earlier})" for other, earlier in codes[:index] if code != earlier and _begins(code, earlier)]
        if same:
            findings.add(f"features.{name}", code, f"is also the code of {', '.join(same)}", "give each feature its own code")
        if close:
            findings.add(f"features.{name}", code, f"cannot be told from {', '.join(close)}", "no code may begin with another one")


def _begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _day_parts(config: Config, findings: Findings, tree: dict[str, Any]) -> None:
    parts = config.day_parts
    written = tree.get("day_parts")
    if isinstance(written, list) and len(written) != len(parts):
        return  # a part that is wrong in itself is told already
    if not parts:
        findings.add("day_parts", None, "is empty", "give at least one part that starts at 00:00")
        return
    if parts[0].start != "00:00":
        findings.add("day_parts[0].start", parts[0].start, "leaves the time before it without a greeting", "the first part starts at 00:00")
    for index in range(1, len(parts)):
        if parts[index].start <= parts[index - 1].start:
            findings.add(
                f"day_parts[{index}].start", parts[index].start, f"is not after {parts[index - 1].start}", "sort the parts by start"
            )


def _jacks(config: Config, findings: Findings, board: Board | None) -> None:
    for kind, jacks, slots in (
        ("fxo", config.ports.fxo, None if board is None else board.slots_fxo),
        ("fxs", config.ports.fxs, None if board is None else board.slots_fxs),
    ):
        for jack in jacks:
            if re.search(r"^[1-9][0-9]?$", jack) is None:
                findings.add(f"ports.{kind}.{jack}", None, "is not a jack number", "allowed: the number printed on the box, from 1")
            elif board is not None and slots is not None and int(jack) > len(slots):
                remedy = f"allowed: 1 to {len(slots)}" if slots else "remove it"
                findings.add(
                    f"ports.{kind}.{jack}", None, f"is not on board {board.name}, which has {len(slots)} {kind.upper()} jacks", remedy
                )
    used: dict[str, str] = {}
    for number, extension in config.extensions.items():
        path = f"extensions.{number}.jack"
        if extension.kind == "sip":
            if extension.jack:
                findings.add(path, extension.jack, "is given for a SIP phone", "remove it, or set kind to fxs")
            continue
        if not extension.jack:
            findings.add(path, None, "is missing", suggest("", config.ports.fxs))
        elif extension.jack in used:
            findings.add(path, extension.jack, f"is already used by extension {used[extension.jack]}", "one extension for each jack")
        else:
            used[extension.jack] = number
            phone = config.ports.fxs.get(extension.jack)
            if phone is not None and not phone.enabled:
                findings.add(path, extension.jack, "is a jack that is not enabled", f"set ports.fxs.{extension.jack}.enabled to true")


def _walk(value: Any, kind: inspect.Type, path: str, ref: str = "") -> Iterator[tuple[str, Any, str]]:
    """(path, value, ref) of every plain entry whose schema names a table."""
    while isinstance(kind, inspect.Metadata):
        ref = (kind.extra or {}).get("ref") or ref
        kind = kind.type
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield from _walk(getattr(value, field.name), field.type, f"{path}.{field.encode_name}" if path else field.encode_name)
    elif isinstance(kind, inspect.DictType):
        for name, item in value.items():
            yield from _walk(item, kind.value_type, f"{path}.{name}", ref)
    elif isinstance(kind, inspect.ListType):
        for index, item in enumerate(value):
            yield from _walk(item, kind.item_type, f"{path}[{index}]", ref)
    elif ref:
        yield path, value, ref


def _references(config: Config, findings: Findings, known: _Names) -> None:
    for path, value, ref in known.named:
        names = known.tables.get(ref, set())
        if value and value not in names and ref != "destinations":
            findings.add(path, value, f"is not in {ref}", suggest(value, names))


def _destinations(config: Config, findings: Findings, known: _Names, prompts: Collection[str]) -> None:
    for path, to, ref in known.named:
        kind, _, name = to.partition("/") if ref == "destinations" else ("", "", "")
        table = KINDS[kind].table if kind in KINDS else ""
        if table == "prompts" and prompts and name not in prompts:
            findings.add(path, to, "names no prompt", suggest(name, prompts))
        elif table not in ("", "prompts") and name not in known.tables[table]:
            findings.add(path, to, f"names no {kind}", suggest(name, known.tables[table]))
    if not prompts:
        return
    spoken = [(f"menus.{name}.prompt", menu.prompt) for name, menu in config.menus.items()]
    spoken += [(f"day_parts[{index}].greeting", part.greeting) for index, part in enumerate(config.day_parts)]
    spoken += [(f"day_parts[{index}].closing", part.closing) for index, part in enumerate(config.day_parts) if part.closing]
    for path, prompt in spoken:
        if prompt not in prompts:
            findings.add(path, prompt, "is not a prompt", suggest(prompt, prompts))


def _reaches(start: str, edges: Callable[[str], Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(edges(start))
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(edges(node))
    return seen


def _menu_exits(config: Config, findings: Findings) -> None:
    """A caller must be able to leave the menus, and one who presses nothing must not hear them for ever."""

    def everywhere(name: str) -> list[str]:
        menu = config.menus.get(name.removeprefix("menu/"))
        return [] if menu is None or not name.startswith("menu/") else [entry.to for entry in menu.keys.values()] + [menu.otherwise]

    def silent(name: str) -> list[str]:
        menu = config.menus.get(name.removeprefix("menu/"))
        return [] if menu is None or not name.startswith("menu/") else [menu.otherwise]

    for name in config.menus:
        own = f"menu/{name}"
        if all(node.startswith("menu/") and node.removeprefix("menu/") in config.menus for node in _reaches(own, everywhere)):
            findings.add(
                f"menus.{name}",
                None,
                "leads only to menus: a caller can never leave",
                "let a key or `otherwise` lead to a queue or extension",
            )
        elif own in _reaches(own, silent):
            findings.add(
                f"menus.{name}.otherwise",
                config.menus[name].otherwise,
                "leads back here: a caller who presses no key hears menus for ever",
                "let it end at a queue, an extension, an announcement or hangup",
            )


def _queue_loops(config: Config, findings: Findings) -> None:
    """Overflow that takes no time must not come back: the call would run in circles."""

    def at_once(name: str) -> list[str]:
        queue = config.queues.get(name.removeprefix("queue/"))
        return [] if queue is None or not name.startswith("queue/") else [queue.on_no_agent, queue.on_full, queue.on_closed]

    for name, queue in config.queues.items():
        own = f"queue/{name}"
        for field in ("on_no_agent", "on_full", "on_closed"):
            to = getattr(queue, field)
            if to == own or own in _reaches(to, at_once):
                findings.add(
                    f"queues.{name}.{field}", to, "leads back to this queue", "let the last queue end at an announcement or extension"
                )


def _inbound(config: Config, findings: Findings, tree: dict[str, Any]) -> None:
    written = tree.get("inbound")
    if isinstance(written, list) and len(written) != len(config.inbound):
        return  # a route that is wrong in itself may be the one that covers the rest
    catch_all = [route for route in config.inbound if not (route.caller or route.did or route.callers)]
    for jack, line in config.ports.fxo.items():
        if line.enabled and not any(jack in route.lines or not (route.lines or route.trunks) for route in catch_all):
            findings.add(
                f"ports.fxo.{jack}",
                None,
                "has no inbound route for every caller",
                f'add an [[inbound]] entry with lines = ["{jack}"] (or none) and no caller',
            )


def _outbound(config: Config, findings: Findings) -> None:
    groups = {line.group for line in config.ports.fxo.values() if line.enabled}
    for index, route in enumerate(config.outbound):
        if route.group not in groups and not (route.trunks and route.group in ("", OutboundRoute().group)):
            findings.add(f"outbound[{index}].group", route.group, "has no enabled line", suggest(route.group, groups))
        if "." in route.pattern[:-1]:
            findings.add(
                f"outbound[{index}].pattern",
                route.pattern,
                "has a . before its end",
                "the . stands for the rest of the number and comes last",
            )
        if not route.prefix and any(re.search(_regex(route.pattern), number) for number in config.extensions):
            findings.add(f"outbound[{index}].prefix", "", "takes numbers that are extensions", "give an access code or a narrower pattern")


def _regex(pattern: str) -> str:
    return "^" + pattern.replace("X", "[0-9]").replace("N", "[1-9]").replace(".", "[0-9]+") + "$"


def _languages(config: Config, findings: Findings) -> None:
    offered = config.site.languages
    if len(set(offered)) != len(offered):
        findings.add("site.languages", shown(offered), "names a language twice", "name each once")
    for name, menu in config.menus.items():
        for key, entry in menu.keys.items():
            if entry.language and entry.language not in offered:
                findings.add(
                    f"menus.{name}.keys.{key}.language", entry.language, "is not offered by the site", suggest(entry.language, offered)
                )


def _encryption(config: Config, findings: Findings) -> None:
    for number, extension in config.extensions.items():
        secured = config.sip.tls or config.sip.wss
        if extension.kind == "sip" and extension.srtp == "required" and not secured and not config.lab.open:
            path = f"extensions.{number}.srtp"
            remedy = "set sip.tls or sip.wss, or srtp to offer or no"
            findings.add(path, extension.srtp, "can never be met: its keys travel over TLS only", remedy)


def _lab(config: Config, findings: Findings) -> None:
    lab = config.lab
    for name in ("echo", "record_prefix", "guests"):
        value = getattr(lab, name)
        if value and not lab.open:
            findings.add(f"lab.{name}", value, "is for a test bench only", "remove it, or set lab.open where no branch depends on the box")
    if lab.echo in config.extensions:
        findings.add("lab.echo", lab.echo, "is an extension", "give a number of its own")
    if lab.guests and lab.guests not in config.extensions:
        findings.add("lab.guests", lab.guests, "is no extension", suggest(lab.guests, config.extensions))


def _secrets(config: Config, findings: Findings) -> None:
    for number, extension in config.extensions.items():
        path, secret = f"extensions.{number}.secret", extension.secret
        if secret and extension.kind != "sip":
            findings.add(path, "(hidden)", "is given for an analog phone", "remove it")
        elif secret and not config.lab.open and (len(secret) < 8 or secret == number or len(set(secret)) < 4):
            findings.add(path, "(hidden)", "is easy to guess", "give at least 8 mixed characters, or remove it and a random one is made")
    for number, agent in config.agents.items():
        if agent.pin and (len(agent.pin) < 4 or agent.pin == number or len(set(agent.pin)) == 1):
            findings.add(
                f"agents.{number}.pin", "(hidden)", "is easy to guess", "give 4 to 8 mixed digits, or remove it and a random one is made"
            )
