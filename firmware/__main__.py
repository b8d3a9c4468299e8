"""The `branchpbx` command: run | check | ctl | cli | sim | version.

Mistakes of the user end with one readable line and status 2 (wrong usage or configuration) or 1 (it cannot be done now);
a traceback here is a bug.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import firmware
from firmware.errors import PbxError

DEFAULT_BIND = "127.0.0.1"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if arguments[:1] == ["sim"]:
        # The simulated world is no part of the product: it is found by name and has a command line of its own.
        sim: Callable[[list[str]], int] = importlib.import_module("firmware.sim.cli").main
        return sim(arguments[1:])
    options = _parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except PbxError as error:
        sys.stderr.write(f"branchpbx: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="branchpbx", description="IP-PBX appliance of a branch office.")
    parser.set_defaults(action=lambda _: _usage(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument(
        "--state", type=Path, default=_default_state(), metavar="DIR", help="state folder (default: ./state or $BRANCHPBX_STATE)"
    )

    run = commands.add_parser("run", parents=[state], help="run an appliance until it is stopped")
    run.add_argument("--config", type=Path, required=True, metavar="FILE", help="site file (TOML)")
    run.add_argument("--bind", default=DEFAULT_BIND, metavar="ADDR", help=f"address that SIP and RTP listen on (default: {DEFAULT_BIND})")
    run.add_argument("--sip-port", type=int, default=None, metavar="PORT", help="instead of the site's sip.port; 0 picks a free one")
    run.add_argument(
        "--start-date", default=None, metavar="ISO", help="date and time at which the simulated world begins, in the site's time zone"
    )
    run.add_argument(
        "--speed", type=int, default=100, metavar="PERCENT", help="speed of the simulated world: 100 real time, 0 as fast as possible"
    )
    run.set_defaults(action=_run)

    check = commands.add_parser("check", help="check a site file: every mistake at once")
    check.add_argument("file", nargs="?", type=Path, metavar="FILE")
    check.add_argument("--json", action="store_true", help="machine-readable result")
    check.add_argument("--reference", action="store_true", help="print the configuration reference page instead")
    check.set_defaults(action=_check)

    ctl = commands.add_parser("ctl", parents=[state], help="send one command as JSON, print the reply as JSON")
    ctl.add_argument("request", metavar="JSON", help='for example \'{"command": "show status"}\' or "show status"')
    ctl.set_defaults(action=_ctl)

    cli = commands.add_parser("cli", parents=[state], help="console")
    cli.add_argument("-c", dest="line", default=None, metavar="LINE", help="run one line and leave")
    cli.add_argument("--language", choices=("en", "zh"), default=None)
    cli.set_defaults(action=_cli)

    commands.add_parser("sim", help="the simulated world: exchange, lines, phones, people (`branchpbx sim --help`)", add_help=False)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(action=_version)
    return parser


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
    from firmware.app.site import read_site, start_of_world, with_sip_port

    site = read_site(options.config)
    for problem in site.problems:
        sys.stderr.write(problem.text() + "\n")
    if site.config is None:
        sys.stderr.write(f"branchpbx: {options.config} has {_counted(len(site.problems), 'mistake')}; nothing was started\n")
        return 2
    if not 0 <= options.speed <= 100_000:
        sys.stderr.write(f"branchpbx: --speed {options.speed} is outside 0 to 100000 percent\n")
        return 2
    if options.sip_port is not None:
        if not 0 <= options.sip_port <= 65535:
            sys.stderr.write(f"branchpbx: --sip-port {options.sip_port} is outside 0 to 65535\n")
            return 2
        site = with_sip_port(site, options.sip_port)
    assert site.config is not None
    base = start_of_world(options.start_date, site.config)
    if isinstance(base, str):
        sys.stderr.write(f"branchpbx: {base}\n")
        return 2
    return parent.run(site, options.state, options.bind, wall_base_ms=base, speed=options.speed)


def _check(options: argparse.Namespace) -> int:
    import msgspec

    from firmware.app.site import read_site
    from firmware.config.render import reference

    if options.reference:
        sys.stdout.write(reference())
        return 0
    if options.file is None:
        sys.stderr.write("branchpbx check: name the FILE to check\n")
        return 2
    site = read_site(options.file)
    if options.json:
        report = {
            "file": site.file,
            "ok": not site.problems,
            "errors": [{**msgspec.to_builtins(problem), "text": problem.text()} for problem in site.problems],
            "missing_clips": site.missing_clips,
        }
        sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    else:
        for problem in site.problems:
            sys.stdout.write(problem.text() + "\n")
        for clip in site.missing_clips:
            sys.stdout.write(f"{site.file}: missing clip {clip}\n")
        verdict = "is right" if not site.problems else f"has {_counted(len(site.problems), 'mistake')}"
        if site.missing_clips:
            verdict += f"; {_counted(len(site.missing_clips), 'clip')} missing"
        sys.stdout.write(f"{site.file} {verdict}\n")
    return 2 if site.problems else 0


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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
    with Client(options.state / "run" / "control.sock") as client:
        if request["command"] == "events":
            args = request.get("args") or {}
            for frame in client.events(args.get("from"), args.get("types")):
                sys.stdout.write(json.dumps(frame, ensure_ascii=False) + "\n")
                sys.stdout.flush()
        reply = client.raw(request)
    sys.stdout.write(json.dumps(reply, ensure_ascii=False) + "\n")
    return 0 if reply.get("ok") else 1


def _cli(options: argparse.Namespace) -> int:
    from firmware.surfaces.cli import shell

    language = options.language or ("zh" if os.environ.get("LANG", "").startswith("zh") else "en")
    return shell.main(options.state, options.line, language)


if __name__ == "__main__":
    sys.exit(main())
