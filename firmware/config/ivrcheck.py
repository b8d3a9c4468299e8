"""Checks of the call graph and of voice mail: dead ends, loops without input, what nobody reaches, settings that do nothing (L1, pure).

The graph's nodes are menus, `[ivr]` nodes and queues' overflows; an edge is *silent* where a caller takes it without pressing a key. A
caller who does nothing must come to somebody, to a message, or to an end: silent edges may not form a circle. What no route, key, queue
or telephone leads to is told, as it is most often a misspelt name elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from msgspec import inspect

from firmware.config.problems import Findings, suggest
from firmware.config.schema.ivr import Node
from firmware.config.schema.tree import Config
from firmware.config.schema.voicemail import Studio

NAME = re.compile(r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,39}$")
GRAPH = ("menu", "ivr")
KNOWN = ("caller", "called", "line", "language", "time", "date")
#: Settings that only some kinds of node use.
USED: dict[str, frozenset[str]] = {
    "say": frozenset({"kind", "to", "language", "prompts", "variables", "barge_in"}),
    "input": frozenset({
        "kind", "to", "otherwise", "prompts", "variables", "least", "most", "end_key", "secret", "barge_in", "timeout_s", "between_s",
        "tries",
    }),
    "choose": frozenset({"kind", "otherwise", "by", "cases"}),
    "silent": frozenset({"kind", "to", "protocol", "wait_ms", "voice_ms"}),
    "callback": frozenset({"kind", "otherwise", "prompts", "variables", "queue"}),
    "lookup": frozenset({"kind", "to", "otherwise", "prompts", "variables", "url", "ask", "wait_s"}),
    "callback-state": frozenset({"kind", "to", "otherwise", "prompts", "variables"}),
}  # fmt: skip


def ivr_check(config: Config, findings: Findings, prompts: Collection[str]) -> None:
    """Add every problem of the call graph and of the boxes."""
    for name, node in config.ivr.items():
        _node(config, findings, name, node, prompts)
    _circles(config, findings)
    _reached(config, findings)
    _boxes(config, findings)
    _mail(config, findings)
    for number, prompt in config.studio.numbers.items():
        path = f"studio.numbers.{number}"
        if re.fullmatch(r"[0-9]{1,4}", number) is None:
            findings.add(path, number, "cannot be keyed", "allowed: 1 to 4 digits")
        if prompts and prompt not in prompts and prompt != Studio().numbers.get(number):
            findings.add(path, prompt, "is not a prompt", suggest(prompt, prompts))


def _node(config: Config, findings: Findings, name: str, node: Node, prompts: Collection[str]) -> None:
    path = f"ivr.{name}"
    if NAME.search(name) is None:
        findings.add(path, None, "has a name that cannot be used", "allowed: letters, digits, _ . and -")
    for field in inspect.type_info(Node).fields:  # type: ignore[attr-defined]
        setting = field.name
        if setting != "note" and setting not in USED[node.kind] and getattr(node, setting) != _default(field):
            findings.add(f"{path}.{setting}", getattr(node, setting), f"does nothing in a node of kind {node.kind}", "remove it")
    for index, prompt in enumerate(node.prompts):
        if prompts and prompt not in prompts:
            findings.add(f"{path}.prompts[{index}]", prompt, "is not a prompt", suggest(prompt, prompts))
    if node.kind == "input" and not node.prompts:
        findings.add(f"{path}.prompts", None, "is empty: the caller would not know what to key", "name the question")
    if node.kind == "input" and node.least > node.most:
        findings.add(f"{path}.least", node.least, f"is above most ({node.most})", f"allowed: at most {node.most}, or raise most")
    if node.kind == "say" and not node.prompts and not node.language:
        findings.add(f"{path}.prompts", None, "is empty: the node does nothing", "name a prompt or a language")
    if node.kind == "choose" and (not node.by or not node.cases):
        findings.add(f"{path}.{'by' if not node.by else 'cases'}", None, "is missing", "say by what the node chooses, and its cases")
    if node.language and node.language not in config.site.languages:
        findings.add(f"{path}.language", node.language, "is not offered by the site", suggest(node.language, config.site.languages))
    if node.kind == "callback" and not (node.queue in config.queues and config.queues[node.queue].callback.enabled):
        findings.add(f"{path}.queue", node.queue, "is no queue that calls back", "name a queue with callback.enabled = true")
    if node.kind == "callback-state" and not any(queue.callback.enabled for queue in config.queues.values()):
        remedy = "set callback.enabled = true in a queue, or remove the node"
        findings.add(f"{path}.kind", node.kind, "has no queue that calls back", remedy)
    if node.kind == "lookup" and not node.url:
        findings.add(f"{path}.url", None, "is missing", "say which address is asked")
    named = [(f"variables.{name}", text) for name, text in node.variables.items()]
    named += [(f"ask.{name}", text) for name, text in node.ask.items()]
    for where, text in [*named, *([("by", node.by)] if node.by.startswith("$") else [])]:
        source = text.removeprefix("$")
        if text.startswith("$") and source not in KNOWN and not _gives(config, source):
            inputs = [other for other, one in config.ivr.items() if one.kind in ("input", "lookup")]
            findings.add(f"{path}.{where}", text, "names no node that takes digits", suggest(source, [*inputs, *KNOWN]))


def _gives(config: Config, source: str) -> bool:
    """Whether a node gives this value: digits, what a service said ("NODE"), or another member of its answer ("NODE.name")."""
    node = config.ivr.get(source)
    if node is not None:
        return node.kind in ("input", "lookup")
    owner = config.ivr.get(source.rpartition(".")[0])
    return owner is not None and owner.kind == "lookup"


def _default(field: Any) -> object:
    factory = field.default_factory
    return factory() if callable(factory) else field.default


def _edges(config: Config, place: str, *, silent: bool) -> list[str]:
    """Where a caller goes on to from a place; `silent`: without pressing anything."""
    kind, _, name = place.partition("/")
    if kind == "menu" and name in config.menus:
        menu = config.menus[name]
        return [menu.otherwise] if silent else [*(key.to for key in menu.keys.values()), menu.otherwise]
    if kind == "ivr" and name in config.ivr:
        node = config.ivr[name]
        if node.kind == "choose":
            return [*node.cases.values(), node.otherwise]
        if node.kind == "input":
            return [node.otherwise] if silent else [node.to, node.otherwise]
        if node.kind == "callback":
            return [node.otherwise]
        if node.kind in ("lookup", "callback-state"):
            return [node.to, node.otherwise]
        return [] if silent and node.kind == "silent" else [node.to]
    if kind == "queue" and name in config.queues and not silent:
        queue = config.queues[name]
        return [queue.on_timeout, queue.on_no_agent, queue.on_full, *([queue.on_closed] if queue.on_closed else [])]
    return []


def _reaches(start: Iterable[str], edges: Callable[[str], Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(start)
    while todo:
        place = todo.pop()
        if place not in seen:
            seen.add(place)
            todo.extend(edges(place))
    return seen


def _circles(config: Config, findings: Findings) -> None:
    """Circles among nodes of which at least one is no menu; those of menus alone are told by `crosscheck`."""
    for name in config.ivr:
        own = f"ivr/{name}"
        everywhere = _reaches(_edges(config, own, silent=False), lambda place: _edges(config, place, silent=False))
        if own in _reaches(_edges(config, own, silent=True), lambda place: _edges(config, place, silent=True)):
            remedy = "let it end at a queue, an extension, a message box, an announcement or hangup"
            findings.add(f"ivr.{name}", None, "leads back here without a key: a caller who does nothing goes in circles", remedy)
        elif all(place.split("/")[0] in GRAPH for place in everywhere):
            findings.add(f"ivr.{name}", None, "has no way out: a caller can never leave", "let a way lead to a queue, extension or end")


def _all(config: Config) -> Iterable[str]:
    """Every destination that is written anywhere but in menus and nodes, and what telephones reach by themselves."""
    inside = (config.menus, config.ivr, config.queues)
    rest = [getattr(config, name) for name in Config.__struct_fields__ if not any(getattr(config, name) is one for one in inside)]
    return [*_texts(rest), *(f"queue/{name}" for name in config.queues)]


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif hasattr(value, "__struct_fields__"):
        for name in value.__struct_fields__:
            yield from _texts(getattr(value, name))


def _reached(config: Config, findings: Findings) -> None:
    found = _reaches(_all(config), lambda place: _edges(config, place, silent=False))
    for name in config.ivr:
        if f"ivr/{name}" not in found:
            findings.add(f"ivr.{name}", None, "is reached by no route, key or node", f"let something lead to ivr/{name}, or remove it")


def _boxes(config: Config, findings: Findings) -> None:
    used: dict[str, str] = {}
    for name, box in config.mailboxes.items():
        path = f"mailboxes.{name}"
        if NAME.search(name) is None or name == "all":
            findings.add(path, None, "has a name that cannot be used", "allowed: letters, digits, _ . and -, but not all")
        number = box.number or (name if name.isdigit() else "")
        if number and number in used:
            findings.add(f"{path}.number", number, f"is already the number of box {used[number]}", "give each box its own")
        used.setdefault(number, name)
        if box.pin and (box.pin == number or len(set(box.pin)) == 1 or box.pin in "01234567890123456789"):
            findings.add(f"{path}.pin", "(hidden)", "is easy to guess", "give 4 to 12 mixed digits")
        if box.pin_always and not box.pin:
            findings.add(f"{path}.pin_always", True, "asks for a PIN that the box does not have", "give a pin, or remove it")
        if not box.extensions and not (box.pin and number) and not box.mail:
            findings.add(path, None, "can be opened by nobody", "name its extensions, or give number and pin, or a mail address")
        if box.mail and not config.mail.host:
            findings.add(f"{path}.mail", box.mail, "gets nothing, as there is no mail server", "set mail.host")
    if config.studio.pin and (len(set(config.studio.pin)) == 1 or config.studio.pin in "01234567890123456789"):
        findings.add("studio.pin", "(hidden)", "is easy to guess", "give 4 to 12 mixed digits")
    for path, to in ((f"inbound[{index}].to", route.to) for index, route in enumerate(config.inbound)):
        kind, _, name = to.partition("/")
        if kind == "messages" and name != "all" and name not in config.mailboxes:
            findings.add(path, to, "names no box", suggest(name, [*config.mailboxes, "all"]))


def _mail(config: Config, findings: Findings) -> None:
    mail = config.mail
    if mail.password and not mail.user:
        findings.add("mail.password", "(hidden)", "belongs to no account", "set mail.user")
    if config.reports.mail and not mail.host:
        findings.add("reports.mail", ", ".join(config.reports.mail), "gets nothing, as there is no mail server", "set mail.host")
    if mail.user and mail.security == "none" and mail.host not in ("localhost", "127.0.0.1", "::1"):
        findings.add("mail.security", mail.security, "sends the password in clear text", "set starttls or tls, or remove the account")
    if mail.retry_first_s > mail.retry_most_s:
        findings.add("mail.retry_first_s", mail.retry_first_s, f"is above retry_most_s ({mail.retry_most_s})", "raise retry_most_s")
