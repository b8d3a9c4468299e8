"""What the screen of `sim run` shows: the product's answers as lines of text, laid out for the size of the terminal.

Theory of operation. Pure: `Facts` (answers of the product and of the world) and a size give a frame. A terminal that holds everything
gets everything; a smaller one gets pages: the live one, the accounts, what to try. Alarms and emergency notices are on every page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from firmware.config.schema.features import CODES, Features
from firmware.sim.screen import Line, Span, beside, cells, clean, crop, pad, rule, shell_lines, table
from firmware.sim.texts import TEXTS, word

Row = dict[str, Any]
TWO_COLUMNS = 116
RIGHT_COLUMN = 62  # holds a SIP account with its secret
MOST_CALLS = 8
GOOD = {"talking", "ready", "connecting"}
BAD = {"no line", "fault", "lockout", "howler", "in use"}
QUIET = {"idle", "unregistered", "logged-out", "registered", "guard", "releasing"}


@dataclass
class Facts:
    """What is known now. `tables` are the product's answers by name; `staffed` the telephones where somebody sits."""

    endpoints: Row = field(default_factory=dict)
    status: Row = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    outside: str = ""
    commands: list[tuple[str, str]] = field(default_factory=list)
    state: str = ""
    reach: str = ""
    lan: str = ""
    staffed: frozenset[str] = frozenset()
    staff_on: bool = False
    staff_note: str = ""
    note: str = ""
    trouble: str = ""

    def rows(self, name: str) -> list[Row]:
        return self.tables.get(name, [])


def default_codes() -> dict[str, str]:
    """Feature codes of a configuration that names none."""
    codes = Features()
    return {name: getattr(codes, name) for name in CODES}


def minutes(seconds: object) -> str:
    """m:ss, or h:mm:ss."""
    whole = int(seconds) if isinstance(seconds, (int, float)) else 0
    hours, rest = divmod(max(0, whole), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def mood(state: str) -> str:
    """Style of a state."""
    return "good" if state in GOOD else "bad" if state in BAD else "dim" if state in QUIET else "busy"


def reach_text(facts: Facts, language: str) -> str:
    """Who can reach the SIP port, and how to change that."""
    bind = str(facts.endpoints.get("bind", ""))
    local = bind.startswith("127.") or bind in ("::1", "localhost")
    return TEXTS[language]["local_only"].format(address=facts.lan or "0.0.0.0") if local else TEXTS[language]["open"]


def frame(facts: Facts, language: str, columns: int, rows: int, page: int = 0) -> tuple[list[Line], int]:
    """The lines of page `page` (of as many as the second value says) for a terminal of this size."""
    head = _head(facts, language, columns)
    live, people, hints = _live(facts, language, columns), _accounts(facts, language, columns), _hints(facts, language, columns)
    footer = 1
    if columns >= TWO_COLUMNS:
        half = columns - 3 - RIGHT_COLUMN if columns < 2 * RIGHT_COLUMN + 3 else (columns - 3) // 2
        left = _lines(facts, language, half) + _queues(facts, language, half) + _agents(facts, language, half)
        right = _phones(facts, language, columns - 3 - half) + _codes(facts, language, columns - 3 - half)
        middle = beside(left, right, half, columns - 3 - half)
        everything = [*_calls(facts, language, columns), *middle, *_contacts(facts, language, columns, 3), *hints]
        spare = rows - len(head) - len(everything) - footer
        if spare >= 0:
            body = [*_calls(facts, language, columns)]
            airy = spare >= 3
            body += [[]] * airy + middle + [[]] * airy
            body += _contacts(facts, language, columns, 3 + max(0, min(6, spare - 3))) + [[]] * airy + hints
            return _whole(head, body, _footer(facts, language, columns, 0, 1), rows), 1
    pages = [live, people, hints]
    page %= len(pages)
    return _whole(head, pages[page], _footer(facts, language, columns, page, len(pages)), rows), len(pages)


def _whole(head: list[Line], body: list[Line], footer: Line, rows: int) -> list[Line]:
    room = max(0, rows - len(head) - 1)
    body = body[:room] + [[]] * (room - len(body))
    return [*head, *body, footer][:rows]


def tls_text(endpoints: Mapping[str, Any]) -> str:
    """", TLS 5061, WSS 5062" where these listen."""
    ports = (("TLS", endpoints.get("sip_tls_port")), ("WSS", endpoints.get("sip_wss_port")))
    return "".join(f", {name} {port}" for name, port in ports if port)


def _head(facts: Facts, language: str, columns: int) -> list[Line]:
    text, status, ends = TEXTS[language], facts.status, facts.endpoints
    name = f" {clean(status.get('name', 'BranchPBX'))} "
    right = f"{status.get('clock', '')}  {text['up']} {minutes(status.get('uptime_s', 0))} "
    product = f"BranchPBX {status.get('version', '')}"
    gap = max(1, columns - cells(name) - cells(product) - cells(right) - 2)
    lines: list[Line] = [pad([(name, "bar"), (f" {product}{' ' * gap} {right}", "bar")], columns)]
    lines.append([
        (f" {text['listens']} ", ""), (f"{facts.reach or ends.get('bind', '?')}:{ends.get('sip_port', '?')}", "bold"),
        (f" UDP, TCP{tls_text(ends)}", ""),
        (f" · {text['rtp']} {ends.get('rtp_first', '?')}-{ends.get('rtp_last', '?')}", "dim"),
        (f" · {text['folder']} {facts.state}", "dim"),
    ])  # fmt: skip
    lines.append([(f" {reach_text(facts, language)}", "dim")])
    for row in facts.rows("emergencies"):
        notice = clean(row.get("zh" if language == "zh" else "en"))
        lines.append(pad([(f" {text['emergency']}  {notice}  {minutes(row.get('seconds', 0))} ", "emergency")], columns))
    told = {row.get("en") for row in facts.rows("emergencies")}
    lines += [pad([(f" {clean(alarm)} ", "alarm")], columns) for alarm in status.get("alarms", []) if alarm not in told]
    if facts.trouble:
        lines.append(pad([(f" {text['lost'].format(why=clean(facts.trouble))} ", "alarm")], columns))
    return lines


def _footer(facts: Facts, language: str, columns: int, page: int, pages: int) -> Line:
    text = TEXTS[language]
    keys = [("c", text["key_call"]), ("s", text["key_staff_off" if facts.staff_on else "key_staff_on"])]
    if pages > 1:
        keys.append(("Tab", f"{text['key_page']} {page + 1}/{pages}"))
    keys += [("l", text["key_language"]), ("q", text["key_quit"])]
    line: Line = [(" ", "")]
    for key, what in keys:
        line += [(key, "key"), (f" {what}   ", "")]
    return [*line, (facts.note or facts.staff_note, "dim")]


def _live(facts: Facts, language: str, columns: int) -> list[Line]:
    return [
        *_calls(facts, language, columns), *_lines(facts, language, columns), *_queues(facts, language, columns),
        *_agents(facts, language, columns), *_contacts(facts, language, columns, 12),
    ]  # fmt: skip


def _accounts(facts: Facts, language: str, columns: int) -> list[Line]:
    return [*_phones(facts, language, columns), *_codes(facts, language, columns)]


def _calls(facts: Facts, language: str, columns: int) -> list[Line]:
    text, rows = TEXTS[language], facts.rows("calls")
    lines = [rule(text["calls"], columns)]
    if not rows:
        return [*lines, [(f"  {text['no_calls']} ", "dim"), ("c", "key"), (f" {text['no_calls_key']}", "dim")]]
    shown: list[list[Span]] = []
    for row in rows[:MOST_CALLS]:
        phase = word(row.get("phase"), language)
        where = " ".join(filter(None, (str(row.get("queue") or ""), str(row.get("agent") or "")))) or str(row.get("called") or "")
        shown.append([
            (str(row.get("contact")), "dim"), (word(row.get("kind"), language), "dim"),
            (clean(row.get("caller") or text["unnamed"]), "bold"), (f"→ {clean(where)}" if where else "", ""),
            ("● " + phase, mood(str(row.get("phase")))), (minutes(row.get("seconds")), "bold"),
            (", ".join(_leg(leg, language) for leg in row.get("legs", [])), "dim"),
        ])  # fmt: skip
    lines += table(shown, columns)
    if len(rows) > MOST_CALLS:
        lines.append([("  " + text["more"].format(count=len(rows) - MOST_CALLS), "dim")])
    return lines


def _leg(text: object, language: str) -> str:
    endpoint, _, state = clean(text).partition("=")
    return f"{endpoint} {word(state, language)}" if state and state != "answered" else endpoint


def _electrical(row: Row) -> Span:
    amps = float(row.get("milliamps") or 0)
    return (f"{float(row.get('volts') or 0):.0f} V" + (f" {amps:.0f} mA" if amps else ""), "dim")


def _lines(facts: Facts, language: str, columns: int) -> list[Line]:
    rows: list[list[Span]] = []
    for row in facts.rows("lines"):
        if row.get("kind") != "fxo":
            continue
        state = str(row.get("state", "")).replace("_", " ").lower()
        party = clean(row.get("caller") or row.get("called") or "")
        rows.append([
            (clean(row.get("endpoint")), ""), (clean(row.get("number")), "dim"), (word(state, language), mood(state)), _electrical(row),
            (party, "bold"), (clean(row.get("detail")) if state in BAD else "", "bad"),
        ])  # fmt: skip
    return [rule(TEXTS[language]["lines"], columns), *table(rows, columns)]


def _phones(facts: Facts, language: str, columns: int) -> list[Line]:
    text = TEXTS[language]
    jacks = {row.get("endpoint"): row for row in facts.rows("lines")}
    secrets = {row.get("account"): row.get("secret") for row in facts.rows("accounts") if row.get("kind") == "sip"}
    rows: list[list[Span]] = []
    for row in facts.rows("phones"):
        number, analog = str(row.get("extension")), row.get("kind") == "fxs"
        port = jacks.get(number, {})
        state = (str(port.get("state")) if analog and port else str(row.get("state"))).replace("_", " ").lower()
        rest: list[Span]
        if analog:
            rest = [_electrical(port), (text["staffed"] if number in facts.staffed else "", "dim")]
        else:
            where = clean(row.get("where"))
            rest = [(where, "dim") if where else (f"{text['secret']} {secrets.get(number, '')}", "secret")]
        rows.append([(number, "bold"), (clean(row.get("name")), ""), (word(state, language), mood(state)), *rest])
    # Secrets and volts are of different width: a column of each kind would push the other out of sight.
    analog_rows = [row for row, known in zip(rows, facts.rows("phones"), strict=True) if known.get("kind") == "fxs"]
    others = [row for row, known in zip(rows, facts.rows("phones"), strict=True) if known.get("kind") != "fxs"]
    heads = [tuple(max((cells(row[at][0]) for row in rows), default=0) for at in range(3))]
    aligned = [[*((_fill(row[at], heads[0][at])) for at in range(3)), *row[3:]] for row in [*analog_rows, *others]]
    split = len(analog_rows)
    return [rule(text["phones"], columns), *table(aligned[:split], columns), *table(aligned[split:], columns)]


def _fill(span: Span, size: int) -> Span:
    return (span[0] + " " * (size - cells(span[0])), span[1])


def _queues(facts: Facts, language: str, columns: int) -> list[Line]:
    text = TEXTS[language]
    rows: list[list[Span]] = []
    for row in facts.rows("queues"):
        waiting = int(row.get("waiting") or 0)
        rows.append([
            (clean(row.get("queue")), "bold"), (f"{text['waiting']} {waiting}", "busy" if waiting else "dim"),
            (f"{text['longest']} {minutes(row.get('longest_s'))}" if waiting else "", "busy"),
            (f"{text['ready']} {row.get('ready')}", "good" if row.get("ready") else "dim"),
            *((f"{text[name]} {row.get(name)}" if row.get(name) else "", "busy") for name in ("busy", "paused")),
        ])  # fmt: skip
    return [rule(text["queues"], columns), *table(rows, columns)]


def _agents(facts: Facts, language: str, columns: int) -> list[Line]:
    text = TEXTS[language]
    known = {row.get("account"): row for row in facts.rows("accounts") if row.get("kind") == "agent"}
    rows: list[list[Span]] = []
    for row in facts.rows("agents"):
        account, state = known.get(row.get("agent"), {}), str(row.get("state"))
        away = state == "logged-out"
        rows.append([
            (clean(row.get("agent")), "bold"), (clean(account.get("name", "")), ""),
            (f"{text['pin']} {account.get('secret')}" if account else "", "secret"),
            (word(state, language), mood(state)), (clean(row.get("reason") or ""), "busy"), (str(row.get("extension") or ""), ""),
            ("" if away else minutes(row.get("seconds")), "dim"),
            (f"×{row.get('calls')}" if row.get("calls") else "", "dim"),
        ])  # fmt: skip
    return [rule(text["agents"], columns), *table(rows, columns)]


def _contacts(facts: Facts, language: str, columns: int, most: int) -> list[Line]:
    text = TEXTS[language]
    rows: list[list[Span]] = []
    for row in [known for known in facts.rows("contacts") if known.get("ended_ms")][:most]:
        where = " ".join(filter(None, (str(row.get("queue") or ""), str(row.get("agent") or "")))) or str(row.get("called") or "")
        cause = str(row.get("cause"))
        rows.append([
            (clean(row.get("contact")), "dim"), (clean(row.get("caller") or text["unnamed"]), ""),
            (f"→ {clean(where)}" if where else "", ""),
            (word(cause, language), "good" if cause in ("normal", "transferred") else "busy"),
            (f"{text['rings']} {row.get('rings')}" if row.get("rings") else "", "dim"),
            (f"{text['waited']} {minutes(row.get('wait_ms', 0) / 1000)}", "dim"),
            (f"{text['talked']} {minutes(row.get('talk_ms', 0) / 1000)}" if row.get("talk_ms") else "", ""),
            (f"{text['rating']} {row.get('rating')}" if row.get("rating") else "", "good"),
        ])  # fmt: skip
    return [rule(text["contacts"], columns), *(table(rows, columns) or [[("  " + text["no_contacts"], "dim")]])]


def code_list(facts: Facts, language: str) -> list[tuple[str, str]]:
    """Feature codes with what they do."""
    text, codes = TEXTS[language], facts.codes
    names = {"login": "login", "logout": "logout", "pause": "pause", "ready": "code_ready", "hold": "hold", "transfer": "transfer",
             "echo_test": "echo_test", "pickup": "pickup"}  # fmt: skip
    found = [(codes[name], text[label]) for name, label in names.items() if name in codes]
    return [*found, *([(facts.outside, text["outside_line"])] if facts.outside else [])]


def _codes(facts: Facts, language: str, columns: int) -> list[Line]:
    pairs: list[Sequence[Span]] = []
    codes = code_list(facts, language)
    half = (len(codes) + 1) // 2
    for at in range(half):
        row: list[Span] = [(codes[at][0], "bold"), (codes[at][1], "")]
        if at + half < len(codes):
            row += [(codes[at + half][0], "bold"), (codes[at + half][1], "")]
        pairs.append(row)
    return [rule(TEXTS[language]["codes"], columns), *table(pairs, columns)]


def _hints(facts: Facts, language: str, columns: int) -> list[Line]:
    lines = [rule(TEXTS[language]["try"], columns)]
    wide = max((cells(what) for what, _ in facts.commands), default=0)
    if columns - wide - 4 >= 64:
        for what, command in facts.commands:
            pieces = shell_lines(command, columns - wide - 5)
            lines.append([("  ", ""), (what, ""), (" " * (wide - cells(what) + 2), ""), (pieces[0], "command")])
            lines += [[(" " * (wide + 6), ""), (piece, "command")] for piece in pieces[1:]]
    else:
        for what, command in facts.commands:
            lines.append([("  ", ""), (what, "")])
            lines += [[("    ", ""), (piece, "command")] for piece in shell_lines(command, columns - 5)]
    return [crop(line, columns) for line in lines]
