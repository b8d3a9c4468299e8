"""`branchpbx sim`: the simulated world from a terminal.

Theory of operation. Each sub-command is one request of `control.py`, printed readably (or with `--json` as it came). `sim world` is the
process itself (the appliance starts it), `sim run` the front door of `make run`, `sim day` a whole day in a temporary folder.
Exit status: 0 done, 1 refused or failed (one line on stderr says why), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import tomllib
from pathlib import Path
from typing import Any

from firmware.config.board import Board, parse_board
from firmware.errors import PbxError
from firmware.sim.client import WorldClient

SETTLE_MS = 150
SILENCE_DBM0 = -75.0


def main(argv: list[str]) -> int:
    """Run one sub-command."""
    parser = _parser()
    options = parser.parse_args(argv)
    if not hasattr(options, "action"):
        parser.print_help(sys.stderr)
        return 2
    try:
        status: int = options.action(options)
    except BrokenPipeError:
        raise
    except (PbxError, ValueError, OSError) as error:
        sys.stderr.write(f"branchpbx sim: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="branchpbx sim", description="The simulated world: exchange, lines, phones, people.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state", type=Path, default=Path(os.environ.get("BRANCHPBX_STATE") or "state"), metavar="DIR")
    common.add_argument("--json", action="store_true", help="print the answer as JSON")
    drill = argparse.ArgumentParser(add_help=False)
    drill.add_argument("--emergency-drill", action="store_true", help="an emergency number is meant (it reaches the simulated centre only)")
    commands = parser.add_subparsers(metavar="COMMAND")

    call = commands.add_parser("call", parents=[common, drill], help="somebody outside calls the branch")
    call.add_argument("--from", dest="number", default="13800138000", metavar="NUMBER")
    call.add_argument("--name", default="")
    call.add_argument("--to-line", type=int, default=1, metavar="LINE")
    call.add_argument("--caller-id", choices=("fsk", "sdmf", "dtmf", "none"), default="fsk")
    call.add_argument("--withhold", choices=("private", "unavailable"), default="", help="the number is not sent, for this reason")
    call.add_argument("--press", default="", metavar="KEYS", help="such as 1@menu,2@menu,9@3.5 (menu, voice, talk, rating or seconds)")
    call.add_argument("--say", default="", metavar="WHAT", help="FILE.wav, tone:440 or speech:SECONDS, from the answer on")
    call.add_argument("--hang-up-after", type=float, default=0, metavar="S", help="seconds after the answer")
    call.add_argument("--patience", type=float, default=90, metavar="S", help="seconds to wait for an answer")
    call.add_argument("--record", type=Path, default=None, metavar="FILE", help="WAV of what the caller hears")
    call.add_argument("--wait", action="store_true", help="return when the call is over, with what the caller saw")
    call.set_defaults(action=_call)

    phone = commands.add_parser(
        "phone", parents=[common, drill], help="analog phone N: off-hook, dial, press, answer, flash, hang-up, say, record"
    )
    phone.add_argument("phone", type=int, metavar="N", help="number of the jack, 1 to 4")
    phone.add_argument(
        "what",
        metavar="WHAT",
        choices=("off-hook", "dial", "press", "answer", "leave", "flash", "hang-up", "say", "quiet", "record", "status"),
        help="off-hook, dial NUMBER, press KEYS, answer, leave, flash [MS], hang-up, say WHAT, quiet, record [FILE], status",
    )
    phone.add_argument("value", nargs="?", default="", help="number, keys, sound, flash time in ms or WAV file")
    phone.add_argument("--pulse", action="store_true")
    phone.add_argument("--after", type=float, default=1.0, metavar="S", help="answer so long after the first ring")
    phone.add_argument("--talk", type=float, default=0, metavar="S", help="hang up after so long")
    phone.add_argument("--say", default="", metavar="WHAT")
    phone.add_argument("--times", type=int, default=1, help="answer so many calls, 0 for ever")
    phone.add_argument("--wait", action="store_true")
    phone.set_defaults(action=_phone)

    exchange = commands.add_parser("exchange", parents=[common], help="settings and faults of a PSTN line")
    exchange.add_argument("line", type=int, metavar="LINE", help="number of the line; alone it shows the line")
    exchange.add_argument(
        "fault",
        nargs="?",
        default="",
        metavar="FAULT",
        help="cut, low-battery, noise, hum, no-dial-tone, stuck, parallel, reversed, false-ring",
    )
    exchange.add_argument("--off", action="store_true", help="mend it")
    exchange.add_argument("--for", dest="seconds", type=float, default=0, metavar="S", help="mend it by itself")
    exchange.add_argument("--value", type=float, default=0)
    exchange.add_argument("--release", default="", help="how a far hang-up is signalled: polarity+loop-drop+busy")
    exchange.add_argument("--answer-reversal", choices=("on", "off"), default="")
    exchange.add_argument("--erl", type=float, default=None, metavar="DB")
    exchange.add_argument("--echo-delay", type=float, default=None, metavar="MS")
    exchange.set_defaults(action=_exchange)

    fault = commands.add_parser("fault", parents=[common], help="faults of the line cards; alone it lists them")
    fault.add_argument("place", nargs="?", default="", metavar="PLACE", help="fxo N, fxs N, chain fxo, chain fxs or board")
    fault.add_argument("names", nargs="*", metavar="FAULT", help="number of the jack (or the chain's kind) and name of the fault")
    fault.add_argument("--off", action="store_true", help="mend it")
    fault.add_argument("--for", dest="seconds", type=float, default=0, metavar="S", help="mend it by itself")
    fault.add_argument("--value", type=float, default=None, help="rate, ohms, ppm or ms, as the list says")
    fault.add_argument("--language", choices=("en", "zh"), default=_language(), help="of the list")
    fault.set_defaults(action=_fault)
    oracle = commands.add_parser("oracle", parents=[common], help="what the simulated hardware saw: seizures, illegal accesses")
    oracle.add_argument("--since", type=int, default=0, metavar="MS", help="only what was not over at this time of the world")
    oracle.set_defaults(action=_oracle)

    number = commands.add_parser("number", parents=[common], help="how a number of the PSTN behaves")
    number.add_argument("number")
    number.add_argument("kind", choices=("answer", "busy", "no-answer", "congestion", "unobtainable"))
    number.add_argument("--answer-after", type=float, default=3.0, metavar="S")
    number.add_argument("--hang-up-after", type=float, default=0.0, metavar="S")
    number.add_argument("--say", default="speech:4")
    number.set_defaults(action=_number)

    for name, help_text in (("status", "the world now"), ("results", "what everybody saw"), ("watch", "observations as they are made")):
        plain = commands.add_parser(name, parents=[common], help=help_text)
        plain.set_defaults(action={"status": _status, "results": _results, "watch": _watch}[name])
    hang_up = commands.add_parser("hang-up", parents=[common], help="make a person hang up")
    hang_up.add_argument("person")
    hang_up.set_defaults(action=_hang_up)
    speed = commands.add_parser("speed", parents=[common], help="speed in percent of real time")
    speed.add_argument("percent", type=int)
    speed.set_defaults(action=_speed)

    serial = commands.add_parser("serial", parents=[common], help="a terminal at the box's serial port; Ctrl-] leaves")
    serial.add_argument("--language", choices=("en", "zh"), default=_language(), help=argparse.SUPPRESS)
    serial.set_defaults(action=_serial)

    run = commands.add_parser("run", parents=[common], help="start an appliance with its world and show it")
    run.add_argument("--config", type=Path, default=None, metavar="FILE", help="site file (default: the demo branch)")
    run.add_argument("--bind", default="127.0.0.1", metavar="ADDR", help="where SIP and RTP listen (default: 127.0.0.1, this machine only)")
    run.add_argument("--sip-port", type=int, default=-1, metavar="PORT", help="instead of the site's sip.port; 0 picks a free one")
    run.add_argument("--language", choices=("en", "zh"), default=_language(), help="of the screen (default: that of the environment)")
    run.add_argument("--no-staff", action="store_true", help="no simulated staff at the analog phones")
    run.set_defaults(action=_run)

    day = commands.add_parser("day", parents=[common], help="live a day of calls and compare what people saw with the records")
    day.add_argument("--seed", type=int, default=None)
    day.add_argument("--calls", type=int, default=20)
    day.add_argument("--speed", type=int, default=0, metavar="PERCENT")
    day.add_argument("--keep", type=Path, default=None, metavar="DIR", help="keep the appliance's folder here")
    day.set_defaults(action=_day)
    soak = commands.add_parser("soak", parents=[common], help="calls over all analogue ports at once, with faults, judged by the oracle")
    soak.add_argument("--seed", type=int, default=None)
    soak.add_argument("--calls", type=int, default=100)
    soak.add_argument("--faults", action="store_true", help="break lines, telephones, chips and chains meanwhile")
    soak.add_argument("--keep", type=Path, default=None, metavar="DIR", help="keep the appliance's folder here")
    soak.set_defaults(action=_soak)

    world = commands.add_parser("world", parents=[common], help="the world process itself (started by the appliance)")
    world.add_argument("--segment-fd", type=int, default=int(os.environ.get("BRANCHPBX_WORLD_FD", "-1")), metavar="N")
    world.add_argument("--country", default="")
    world.add_argument("--seed", type=int, default=1)
    world.set_defaults(action=_world)
    return parser


def _print(answer: Any) -> int:
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")
    return 0


def _where(options: argparse.Namespace) -> str:
    """How the folder is named again in the next command."""
    return "" if options.state == Path(os.environ.get("BRANCHPBX_STATE") or "state") else f" --state {options.state}"


def _person(options: argparse.Namespace, answer: dict[str, Any], does: str) -> int:
    if options.json:
        return _print(answer)
    result = answer.get("result")
    if result is None:
        where = _where(options)
        sys.stdout.write(f"{answer['person']} {does}; `branchpbx sim watch{where}` tells more, `branchpbx sim results{where}` afterwards\n")
        return 0
    talked = (result["ended"] - result["answered"]) / 1000 if result["answered"] >= 0 else 0.0
    sys.stdout.write(
        f"{result['ident']} {result['outcome']}: {result['rings']} rings, {talked:.1f} s, ended by {result['ended_by'] or 'nobody'}\n"
    )
    if result["partners"]:
        sys.stdout.write("heard " + ", ".join(f"{hz} Hz at {level} dBm0" for hz, level in result["partners"].items()) + "\n")
    return 0


def _call(options: argparse.Namespace) -> int:
    say = options.say
    if say and not say.startswith(("tone:", "speech:")):
        say = str(Path(say).absolute())
    record = str(options.record.absolute()) if options.record else ""
    facts = {
        "from": options.number,
        "line": options.to_line,
        "caller_id": options.caller_id,
        "name": options.name,
        "reason": options.withhold,
        "press": options.press,
        "say": say,
        "hang_up_after": options.hang_up_after,
        "patience": options.patience,
        "record": record,
        "wait": options.wait,
        "drill": options.emergency_drill,
    }
    answer = WorldClient(options.state).ask("call", timeout=None if options.wait else 10.0, **facts)
    return _person(options, answer, f"calls line {options.to_line} from {options.number or 'a number that is not sent'}")


def _phone(options: argparse.Namespace) -> int:
    facts: dict[str, Any] = {"phone": options.phone, "action": options.what, "drill": options.emergency_drill, "wait": options.wait}
    if options.what == "dial":
        facts |= {"number": options.value, "pulse": options.pulse, "talk": options.talk}
    elif options.what == "press":
        facts["keys"] = options.value
    elif options.what == "say":
        facts["what"] = options.value if options.value.startswith(("tone:", "speech:")) else str(Path(options.value).absolute())
    elif options.what == "flash" and options.value:
        if not options.value.isdigit():
            raise PbxError(f"flash {options.value!r}: the time is a number of ms, such as 300")
        facts["ms"] = int(options.value)
    elif options.what == "record" and options.value:
        facts["path"] = str(Path(options.value).absolute())
    elif options.what == "answer":
        facts |= {"after": options.after, "talk": options.talk, "say": options.say, "times": options.times}
    world = WorldClient(options.state)
    answer = world.ask("phone", timeout=None if options.wait else 10.0, **facts)
    if "person" in answer:
        return _person(options, answer, f"dials {options.value} on phone {options.phone}")
    if options.what in ("off-hook", "hang-up", "press", "flash") and "phone" in answer:
        world.ask("sleep", ms=SETTLE_MS)  # until the hook has moved
        answer = world.ask("phone", phone=options.phone, action="status")
    if options.json:
        return _print(answer)
    if "seat" in answer:
        calls = "every call" if not options.times else "one call" if options.times == 1 else f"{options.times} calls"
        sys.stdout.write(f"somebody sits at phone {options.phone} and will answer {calls}\n")
        return 0
    shown = answer["phone"]
    hook = "off-hook" if shown["lifted"] else "ringing" if shown["ringing"] else "on-hook"
    sys.stdout.write(
        f"phone {shown['phone']}: {hook}, {shown['volts']} V, {shown['milliamps']} mA, rang {shown['rings']} times, "
        + (f"hears {shown['level_dbm0']} dBm0\n" if shown["level_dbm0"] > SILENCE_DBM0 else "hears nothing\n")
    )
    return 0


def _exchange(options: argparse.Namespace) -> int:
    facts: dict[str, Any] = {"line": options.line}
    if options.fault:
        facts |= {"fault": options.fault, "on": not options.off, "value": options.value, "seconds": options.seconds}
    if options.release:
        facts["release"] = options.release
    if options.answer_reversal:
        facts["answer_reversal"] = options.answer_reversal == "on"
    if options.erl is not None:
        facts["erl_db"] = options.erl
    if options.echo_delay is not None:
        facts["echo_delay_ms"] = options.echo_delay
    world = WorldClient(options.state)
    answer = world.ask("exchange", **facts)
    if len(facts) > 1:
        world.ask("sleep", ms=SETTLE_MS)  # until the line is as it was told to be
        answer = world.ask("exchange", line=options.line)
    if options.json:
        return _print(answer)
    sys.stdout.write(_line_text(answer["line"]) + "\n")
    return 0


def _fault(options: argparse.Namespace) -> int:
    from firmware.sim.faults import FAULTS, words

    if not options.place:
        sys.stdout.write("\n".join(words(options.language)) + "\n")
        return 0
    if len(options.names) != (1 if options.place == "board" else 2):
        raise PbxError("name place, number and fault, such as `fxo 2 reset`, `chain fxs all-ff` or `board clocks`; alone it lists them")
    facts: dict[str, Any] = {"place": options.place, "fault": options.names[-1], "on": not options.off, "seconds": options.seconds}
    facts["number"] = options.names[0] if len(options.names) == 2 else ""
    if options.value is not None:
        facts["value"] = options.value
    answer = WorldClient(options.state).ask("fault", **facts)
    if options.json:
        return _print(answer)
    fault = FAULTS[options.place, options.names[-1]]
    what = fault.zh if options.language == "zh" else fault.en
    off = {"zh": "已排除：", "en": "mended: "}[options.language] if options.off else ""
    sys.stdout.write(f"{' '.join([options.place, *options.names])}: {off}{what}\n")
    return 0


def _oracle(options: argparse.Namespace) -> int:
    answer = WorldClient(options.state).ask("oracle", since=options.since)
    if options.json:
        return _print(answer)
    for span in answer["spans"]:
        until = f"{span['ended'] / 1000:.3f}" if span["ended"] >= 0 else "now"
        sys.stdout.write(f"{span['begun'] / 1000:10.3f} to {until:>10}  {span['jack']:<6} {span['what']:<5} {span['measure'] / 10:g}\n")
    for kind, count in sorted(answer["illegal_counts"].items()):
        sys.stdout.write(f"illegal: {kind} {count}\n")
    sys.stdout.write(f"lifeline {answer['lifeline']}, PCM clocks {'run' if answer['clocks'] else 'stand'}\n")
    return 0


def _number(options: argparse.Namespace) -> int:
    WorldClient(options.state).ask(
        "number",
        number=options.number,
        kind=options.kind,
        answer_after=options.answer_after,
        hang_up_after=options.hang_up_after,
        say=options.say,
    )
    sys.stdout.write(f"{options.number}: {options.kind} from now on\n")
    return 0


def _line_text(line: dict[str, Any]) -> str:
    call = line["call"]
    faults = f", faults {' '.join(line['faults'])}" if line["faults"] else ""
    talk = f", {'from' if call['direction'] == 'in' else 'to'} {call['number'] or call['digits'] or '?'}" if call else ""
    return f"line {line['line']}: {line['state']}, {line['volts']} V, {line['milliamps']} mA{talk}{faults}"


def _status(options: argparse.Namespace) -> int:
    answer = WorldClient(options.state).ask("status")
    if options.json:
        return _print(answer)
    pace = "real time" if answer["speed"] == 100 else f"speed {answer['speed']} %"
    sys.stdout.write(f"world at {answer['now_ms'] / 1000:.1f} s, {pace}, country {answer['country']}, media pid {answer['media_pid']}\n")
    for line in answer["lines"]:
        sys.stdout.write(_line_text(line) + "\n")
    for phone in answer["phones"]:
        hook = "off-hook" if phone["lifted"] else "ringing" if phone["ringing"] else "on-hook"
        sys.stdout.write(f"phone {phone['phone']}: {hook}, feed {phone['feed']}, {phone['volts']} V, {phone['milliamps']} mA\n")
    for person in answer["people"]:
        sys.stdout.write(f"{person['ident']}: {person['kind']} {person['number']} {person['outcome'] or 'waiting'}\n")
    return 0


def _results(options: argparse.Namespace) -> int:
    return _print(WorldClient(options.state).ask("results"))


def _serial(options: argparse.Namespace) -> int:
    from firmware.sim.cable import terminal
    from firmware.sim.texts import TEXTS

    return terminal(options.state, TEXTS[options.language]["serial_leave"])


def _watch(options: argparse.Namespace) -> int:
    client = WorldClient(options.state, timeout=10)
    client.ask("watch")
    client.link.settimeout(None)
    while True:
        note = client.read().get("event", {})
        facts = " ".join(f"{key}={value}" for key, value in note.items() if key not in ("at", "what"))
        sys.stdout.write(
            json.dumps(note, ensure_ascii=False) + "\n" if options.json else f"{note['at'] / 1000:10.2f}  {note['what']:<18} {facts}\n"
        )
        sys.stdout.flush()


def _hang_up(options: argparse.Namespace) -> int:
    WorldClient(options.state).ask("hang-up", person=options.person)
    sys.stdout.write(f"{options.person} hangs up\n")
    return 0


def _speed(options: argparse.Namespace) -> int:
    if not 0 <= options.percent <= 100_000:
        raise PbxError(f"{options.percent} percent: give 100 for real time, 0 for as fast as possible, at most 100000")
    answer = WorldClient(options.state).ask("speed", percent=options.percent)
    if options.json:
        return _print(answer)
    sys.stdout.write(f"speed {answer['percent']} % of real time\n")
    return 0


def _country_of(state: Path) -> str:
    """The country of the site that this appliance runs, as far as its files tell; CN otherwise."""
    try:
        endpoints = json.loads((state / "run" / "endpoints.json").read_text("utf-8"))
        site = tomllib.loads(Path(str(endpoints["config"])).read_text("utf-8"))
    except (OSError, ValueError, KeyError):
        return "CN"
    return str(site.get("site", {}).get("country", "CN"))


def _board() -> Board:
    """The board file that the appliance names to its world."""
    path = os.environ.get("BRANCHPBX_BOARD_FILE", "")
    if not path:
        raise PbxError("the world needs to know its board: `branchpbx run` names the board file in BRANCHPBX_BOARD_FILE")
    try:
        return parse_board(Path(path).read_bytes(), path)
    except OSError as error:
        raise PbxError(f"{path}: the board file cannot be read ({error.strerror})") from error


def _world(options: argparse.Namespace) -> int:
    from firmware.sim.control import Control
    from firmware.sim.loop_card import open_loop_card
    from firmware.sim.segment import Segment
    from firmware.sim.town import Town

    if options.segment_fd < 0:
        raise PbxError(
            "the world needs the descriptor of its segment: `branchpbx run` starts it with BRANCHPBX_WORLD_FD, or give --segment-fd"
        )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    segment = Segment(options.segment_fd, board=_board(), seed=options.seed)
    pcm = segment.board.pcm
    if pcm.world:
        segment.by_card(pcm.slots, pcm.spare)
    town = Town(segment, country_name=options.country or _country_of(options.state), seed=options.seed)
    if pcm.world:
        town.world.card = open_loop_card(pcm.world, pcm.slots)
    control = Control(town, options.state / "run" / "world.sock")

    def stop(*_: object) -> None:
        town.world.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches the whole group; the appliance decides
    try:
        town.world.run()
    finally:
        control.close()
    return 0


def _run(options: argparse.Namespace) -> int:
    from firmware.sim.front import Options, run

    return run(Options(options.state, options.config, options.bind, options.language, not options.no_staff, options.sip_port))


def _language() -> str:
    """The language that the environment asks for."""
    names = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "zh" if next(filter(None, names), "").startswith("zh") else "en"


def _soak(options: argparse.Namespace) -> int:
    from firmware.sim.soak import soak

    return soak(options.seed, options.calls, options.faults, options.keep, options.json)


def _day(options: argparse.Namespace) -> int:
    from firmware.sim.day import live

    return live(options.seed, options.calls, options.speed, options.keep)
