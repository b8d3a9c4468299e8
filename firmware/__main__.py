"""The `branchpbx` command: run | check | ctl | cli | report | board | recordings | prompt | update | factory | sim | version.

Mistakes of the user end with one readable line and status 2 (wrong usage or configuration) or 1 (it cannot be done now);
a traceback here is a bug.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import firmware
from firmware.errors import ConfigError, PbxError

DEFAULT_BIND = "127.0.0.1"
SERVICES = {"console": "console_tty", "ssh-daemon": "ssh"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status, 141 (as a shell counts it) when what reads the output went away: `show calls | head -1`.

    SIGPIPE stays ignored, as Python starts: it would also end a process whose client hangs up, without a word.
    """
    try:
        try:
            return _main(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _output_is_gone():
            raise
        return 128 + signal.SIGPIPE


def _output_is_gone() -> bool:
    """Whether nobody reads standard output any more; what is left in its buffer then goes nowhere."""
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), output)
    return True


def _main(arguments: list[str]) -> int:
    if arguments[:2] == ["sim", "week"]:
        # It is lived in an office of the product's own call parts, which the world does not import.
        week: Callable[..., int] = importlib.import_module("firmware.sim.week").main
        return week(arguments[2:], importlib.import_module("firmware.app.office").Office)
    if arguments[:1] == ["sim"]:
        # The simulated world is no part of the product: it is found by name and has a command line of its own.
        sim: Callable[[list[str]], int] = importlib.import_module("firmware.sim.cli").main
        return sim(arguments[1:])
    if arguments[:1] == ["factory"]:
        return _factory(arguments[1:])
    if arguments[:1] in (["console"], ["ssh-daemon"]):
        return _service(arguments[0], SERVICES[arguments[0]], arguments[1:])
    starting = arguments[:1] == ["run"]
    if starting:
        gc.disable()        # until the parent has what lives as long as it does
    options = _parser(everything=not starting).parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except PbxError as error:
        sys.stderr.write(f"branchpbx: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(*, everything: bool = True) -> argparse.ArgumentParser:
    """The command line; a start of the appliance is spared the modules of the other commands."""
    parser = argparse.ArgumentParser(prog="branchpbx", description="IP-PBX appliance of a branch office.")
    parser.set_defaults(action=lambda _: _usage(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="branchpbx")     # found out, it costs a formatter of help
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument(
        "--state", type=Path, default=_default_state(), metavar="DIR", help="state folder (default: ./state or $BRANCHPBX_STATE)"
    )

    run = commands.add_parser("run", parents=[state], help="run an appliance until it is stopped")
    run.add_argument(
        "--config", type=Path, default=None, metavar="FILE",
        help="site file (TOML), imported when it differs from the one imported last; without it, or else, the stored configuration",
    )  # fmt: skip
    run.add_argument("--bind", default=DEFAULT_BIND, metavar="ADDR", help=f"address that SIP and RTP listen on (default: {DEFAULT_BIND})")
    run.add_argument("--sip-port", type=int, default=None, metavar="PORT", help="instead of the site's sip.port; 0 picks a free one")
    run.add_argument(
        "--start-date", default=None, metavar="ISO", help="date and time at which the simulated world begins, in the site's time zone"
    )
    run.add_argument(
        "--speed", type=int, default=100, metavar="PERCENT", help="speed of the simulated world: 100 real time, 0 as fast as possible"
    )
    run.set_defaults(action=_run)
    if not everything:
        return parser

    check = commands.add_parser("check", help="check a site file: every mistake at once")
    check.add_argument("file", nargs="?", type=Path, metavar="FILE")
    check.add_argument("--json", action="store_true", help="machine-readable result")
    check.add_argument("--lang", choices=("en", "zh"), default=None, help="language of what is said (default: that of $LANG)")
    check.add_argument("--reference", action="store_true", help="print the configuration reference page instead")
    check.set_defaults(action=_check)

    schema = commands.add_parser("schema", help="print the JSON Schema of a site file")
    schema.set_defaults(action=_schema)

    ctl = commands.add_parser("ctl", parents=[state], help="send one command as JSON, print the reply as JSON")
    ctl.add_argument("request", metavar="JSON", help='for example \'{"command": "show status"}\' or "show status"')
    ctl.set_defaults(action=_ctl)

    cli = commands.add_parser("cli", parents=[state], help="console")
    cli.add_argument("-c", dest="lines", action="append", default=[], metavar="LINE", help="run this line and leave; may be given again")
    cli.add_argument("--language", choices=("en", "zh"), default=None)
    cli.add_argument("--ssh", action="store_true", help=argparse.SUPPRESS)
    cli.add_argument("--most", type=int, default=4, help=argparse.SUPPRESS)
    cli.set_defaults(action=_cli)

    commands.add_parser("console", help="serve the console on a serial port, with log-in (`branchpbx console --help`)", add_help=False)

    from firmware.surfaces.cli.reports import add_parsers

    add_parsers(commands, [state])
    commands.choices["report"].set_defaults(action=_report)
    commands.choices["board"].set_defaults(action=_board)
    from firmware.surfaces.cli.recordings import add_parser

    add_parser(commands, [state])
    commands.choices["recordings"].set_defaults(action=_recordings)
    from firmware.app import prompts

    prompts.add_parser(commands, [state])
    commands.choices["prompt"].set_defaults(action=_prompt)
    from firmware.app import update

    update.add_parser(commands, [state])
    commands.choices["update"].set_defaults(action=_update)
    from firmware.surfaces.cli import importing

    importing.add_parsers(commands, [state])
    commands.choices["import"].set_defaults(action=_import)
    commands.choices["export"].set_defaults(action=_export)
    from firmware.surfaces.cli import keeping

    keeping.add_parsers(commands, [state])
    for name, action in (("backup", _backup), ("restore", _restore), ("dhcp", _dhcp), ("host", _host)):
        commands.choices[name].set_defaults(action=action)
    dry = commands.add_parser("explain", parents=[state], help="dry run: who would answer a call at a time, step by step")
    _explain_options(dry)
    dry.set_defaults(action=_explain)

    commands.add_parser("factory", help="factory test of a board, yield of the line (`branchpbx factory --help`)", add_help=False)
    commands.add_parser("sim", help="the simulated world: exchange, lines, phones, people (`branchpbx sim --help`)", add_help=False)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(action=_version)
    return parser


def _service(command: str, module: str, arguments: list[str]) -> int:
    """A process of the appliance that is also a command: it adds its own options."""
    part: Any = importlib.import_module(f"firmware.app.{module}")
    parser = argparse.ArgumentParser(prog=f"branchpbx {command}", description=part.__doc__.partition("\n")[0])
    parser.add_argument("--state", type=Path, default=_default_state(), metavar="DIR", help="state folder")
    part.add_options(parser)
    try:
        status: int = part.run(parser.parse_args(arguments))
    except PbxError as error:
        sys.stderr.write(f"branchpbx {command}: {error}\n")
        return 1
    return status


def _default_state() -> Path:
    return Path(os.environ.get("BRANCHPBX_STATE") or "state")


def _usage(parser: argparse.ArgumentParser) -> int:
    parser.print_help(sys.stderr)
    return 2


def _version(_: argparse.Namespace) -> int:
    sys.stdout.write(f"branchpbx {firmware.__version__}\n")
    return 0


def _run(options: argparse.Namespace) -> int:
    from firmware.app import parent
    from firmware.app.site import start_of_world
    from firmware.app.start import Start

    if not 0 <= options.speed <= 100_000:
        sys.stderr.write(f"branchpbx: --speed {options.speed} is outside 0 to 100000 percent\n")
        return 2
    if options.sip_port is not None and not 0 <= options.sip_port <= 65535:
        sys.stderr.write(f"branchpbx: --sip-port {options.sip_port} is outside 0 to 65535\n")
        return 2
    start = Start(options.config, options.state.absolute(), options.sip_port)
    site = start.site()
    for problem in site.problems:
        sys.stderr.write(problem.text() + "\n")
    if site.config is None:
        sys.stderr.write(f"branchpbx: {site.file} has {_counted(len(site.problems), 'mistake')}; nothing was started\n")
        return 2
    assert site.config is not None
    base = start_of_world(options.start_date, site.config)
    if isinstance(base, str):
        sys.stderr.write(f"branchpbx: {base}\n")
        return 2
    return parent.run(site, options.state, options.bind, wall_base_ms=base, speed=options.speed, start=start)


def _check(options: argparse.Namespace) -> int:
    from firmware.app.site import read_site
    from firmware.config.render import reference

    if options.reference:
        sys.stdout.write(reference())
        return 0
    if options.file is None:
        sys.stderr.write("branchpbx check: name the FILE to check\n")
        return 2
    from firmware.app.checking import report

    text, status = report(read_site(options.file), _language(options.lang), options.json)
    sys.stdout.write(text)
    return status


def _schema(_: argparse.Namespace) -> int:
    from firmware.config.jsonschema import document

    sys.stdout.write(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")
    return 0


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _explain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("call",), help="what is explained")
    parser.add_argument("--from", dest="caller", default="", metavar="NUMBER", help="number of the caller; with --dial the extension")
    parser.add_argument("--to", default="", metavar="DID", help="number that was called")
    parser.add_argument("--line", default="", metavar="N", help="line jack or trunk name that the call comes in on")
    parser.add_argument("--at", default="", metavar="TIME", help="local time, 2026-10-01T09:00; now without it")
    parser.add_argument("--keys", default="", metavar="KEYS", help="keys that the caller presses, one at each menu")
    parser.add_argument("--dial", default="", metavar="DIGITS", help="a call from extension --from that dials these digits")
    parser.add_argument("--config", type=Path, default=None, metavar="FILE", help="a site file instead of the running appliance")
    parser.add_argument("--json", action="store_true", help="machine-readable steps")
    parser.add_argument("--language", choices=("en", "zh"), default=None)


def _explain(options: argparse.Namespace) -> int:
    from firmware.app import explain

    return explain.run(options, _language(options.language))


def _factory(arguments: list[str]) -> int:
    from firmware.app import factory

    parser = argparse.ArgumentParser(prog="branchpbx factory", description="Factory test of a board: docs/factory.md.")
    parser.add_argument("--state", type=Path, default=_default_state(), metavar="DIR", help="state folder")
    factory.options_of(parser)
    options = parser.parse_args(arguments)
    try:
        # The simulated stand is no part of the product, either: found by name, and only when it is asked for.
        maker = importlib.import_module("firmware.sim.fixture").SimStand if options.simulated is not None else None
        return factory.main(options, maker)
    except ConfigError as error:
        sys.stderr.write(f"branchpbx factory: {error}\n")
        return 2
    except PbxError as error:
        sys.stderr.write(f"branchpbx factory: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nbranchpbx factory: broken off; --resume goes on, --restart begins anew\n")
        return 130


def _ctl(options: argparse.Namespace) -> int:
    from firmware.control.client import Client

    request: Any = None
    if options.request.lstrip().startswith("{"):
        try:
            request = json.loads(options.request)
        except ValueError as error:
            sys.stderr.write(f'branchpbx ctl: not JSON ({error}); for example: branchpbx ctl \'{{"command": "show status"}}\'\n')
            return 2
        if not isinstance(request.get("command"), str):
            sys.stderr.write('branchpbx ctl: the request names no command; for example: \'{"command": "show calls", "args": {}}\'\n')
            return 2
    else:
        request = {"command": options.request.strip(), "args": {}}
    with Client(options.state / "run" / _socket_of(request["command"])) as client:
        if request["command"] == "events":
            args = request.get("args") or {}
            for frame in client.events(args.get("from"), args.get("types")):
                sys.stdout.write(json.dumps(frame, ensure_ascii=False) + "\n")
                sys.stdout.flush()
        reply = client.raw(request)
    sys.stdout.write(json.dumps(reply, ensure_ascii=False) + "\n")
    return 0 if reply.get("ok") else 1


def _socket_of(path: str) -> str:
    """Where a command is served: management relays what is core's, but may itself be away."""
    import firmware.app.manage  # noqa: F401 - registers what management serves
    from firmware.control.commands import lookup

    found = lookup(path)
    return "manage.sock" if found is not None and found.served == "manage" else "control.sock"


def _cli(options: argparse.Namespace) -> int:
    from firmware.surfaces.cli import ways

    if options.ssh:
        return ways.over_ssh(options.state, options.most)
    language = _language(options.language)
    if not options.lines:
        return ways.main(options.state, None, language)
    return next((status for line in options.lines if (status := ways.main(options.state, line, language)) != 0), 0)


def _report(options: argparse.Namespace) -> int:
    from firmware.surfaces.cli import reports

    return reports.report(options, _language(options.lang))


def _prompt(options: argparse.Namespace) -> int:
    from firmware.app import prompts

    return prompts.prompts(options, _language(options.lang))


def _update(options: argparse.Namespace) -> int:
    from firmware.app import update

    return update.update(options, _language(None))


def _recordings(options: argparse.Namespace) -> int:
    from firmware.surfaces.cli import recordings

    return recordings.recordings(options, _language(options.lang))


def _import(options: argparse.Namespace) -> int:
    from firmware.surfaces.cli import importing

    return importing.read(options, _language(options.lang))


def _export(options: argparse.Namespace) -> int:
    from firmware.surfaces.cli import importing

    return importing.write(options)


def _backup(options: argparse.Namespace) -> int:
    from firmware.app import backup

    return backup.make(options, _language(options.lang))


def _restore(options: argparse.Namespace) -> int:
    from firmware.app import backup

    return backup.restore(options, _language(options.lang))


def _dhcp(options: argparse.Namespace) -> int:
    from firmware.app import dhcp

    return dhcp.main(options)


def _host(options: argparse.Namespace) -> int:
    from firmware.app import host

    return host.main(options)


def _board(options: argparse.Namespace) -> int:
    from firmware.surfaces.cli import reports

    return reports.board(options, _language(options.lang), sys.stdout)


def _language(chosen: str | None) -> str:
    return chosen or ("zh" if os.environ.get("LANG", "").startswith("zh") else "en")


if __name__ == "__main__":
    sys.exit(main())
