"""A real DNS server of other origin with records of ours, on a port of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.appliance import DIE_WITH_TEST, wait_until


class Dnsmasq:
    """Serves `records` (lines of a dnsmasq configuration) and nothing else; `with` starts and stops it."""

    def __init__(self, folder: Path, records: Sequence[str], *, host: str, port: int) -> None:
        self.folder, self.host, self.port = folder, host, port
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "dnsmasq.conf"
        self.config.write_text("\n".join([
            f"port={port}", f"listen-address={host}", "bind-interfaces", "no-resolv", "no-hosts", "local=/#/", "log-queries",
            "log-facility=-", "pid-file=", "user=root", *records,
        ]) + "\n")  # fmt: skip

    def __enter__(self) -> Dnsmasq:
        self.log = (self.folder / "dnsmasq.log").open("wb")
        command = [*DIE_WITH_TEST, "/usr/sbin/dnsmasq", "--keep-in-foreground", f"--conf-file={self.config}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        wait_until(lambda: "started" in self.said() or self.process.poll() is not None, "dnsmasq serves")
        assert self.process.poll() is None, self.said()
        return self

    def said(self) -> str:
        return (self.folder / "dnsmasq.log").read_text(errors="replace")

    def asked(self, kind: str, name: str) -> int:
        """How often it was asked for a record."""
        return self.said().count(f"query[{kind}] {name} ")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(5)
        self.log.close()
