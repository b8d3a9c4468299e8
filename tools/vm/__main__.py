"""`python -m tools.vm build|run|bundle [--board NAME]`: the appliance image and the emulated board (docs/image.md)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import power
from .build import build, update
from .fetch import NotFetched
from .machine import started
from .settings import BUILD, BoardImage, load

NOT_RUN = 3


def main() -> int:
    """The command line; status 3 where packages cannot be fetched."""
    parser = argparse.ArgumentParser(prog="python -m tools.vm")
    parser.add_argument("what", choices=("build", "run", "bundle"))
    parser.add_argument("--board", default="qemu-armv7")
    parser.add_argument("--version", default="")
    options = parser.parse_args()
    board = load(options.board)
    try:
        if options.what == "bundle":
            from firmware import __version__

            print(update(board, options.version or __version__))
            return 0
        built = build(board, options.version)
    except NotFetched as error:
        print(f"vm: not run: {error}", file=sys.stderr)
        return NOT_RUN
    print(f"{built.disk}\n{built.root} ({built.root.stat().st_size / 1e6:.1f} MB)\n{built.loader}")
    return run(board, built.loader, built.disk) if options.what == "run" else 0


def run(board: BoardImage, loader: Path, disk: Path) -> int:
    """The emulated board on this terminal; its disk stays in build/vm/run until it is deleted."""
    machine = started(board, loader, disk, BUILD / "run")
    where = [f"{port}/udp at 127.0.0.1:{host}" for port, host in machine.udp_ports.items()]
    where += [f"{port}/tcp at 127.0.0.1:{host}" for port, host in machine.tcp_ports.items()]
    print(f"The emulated board starts; leave with Ctrl-A X. Reached from here: {', '.join(where)}", flush=True)
    return power.run(
        machine.command(["-chardev", "stdio,id=serial,mux=on,signal=off", "-serial", "chardev:serial", "-mon", "chardev=serial"])
    )


if __name__ == "__main__":
    sys.exit(main())
