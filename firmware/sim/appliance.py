"""An appliance of a test's own, in virtual time: started in a folder, asked through its sockets, stopped, its records read.

Theory of operation. `Appliance` runs `branchpbx run` as a child that ends with us, waits until media ticks, and keeps a client of the
world and one of the product. The simulated day and the soak are played on it. Whoever asks for too much of real time is told.
Invariant: after `stop` nothing of it runs; what went wrong is in `trouble`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from firmware.errors import PbxError
from firmware.sim.client import ClientError, ProductClient, WorldClient
from firmware.sim.front import die_with_us

START_S = 60.0


class Appliance:
    """One appliance in `folder`; `speed` in percent of real time, 0 = as fast as it goes."""

    def __init__(self, folder: Path, site: str, speed: int, seed: int, limit_s: float) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.site = site
        self.speed = speed
        self.seed = seed
        self.limit_s = limit_s
        self.deadline = time.monotonic() + limit_s
        self.trouble: list[str] = []
        self.child: subprocess.Popen[bytes] | None = None
        self.world: WorldClient
        self.product: ProductClient
        self.wall_base = 0

    def start(self) -> None:
        """Start it on a date of the seed; PbxError with its last words when it does not."""
        site = self.folder / "site.toml"
        site.write_text(self.site, "utf-8")
        rng = random.Random(f"date/{self.seed}")
        date = f"2026-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}T{rng.randint(0, 22):02d}:{rng.randint(0, 59):02d}:00"
        with (self.folder / "run.out").open("wb") as sink:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "firmware", "run", "--config", str(site), "--state", str(self.state), "--bind", "127.0.0.1",
                 "--speed", str(self.speed), "--start-date", date], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, process_group=0,
                preexec_fn=die_with_us,  # noqa: PLW1509
            )  # fmt: skip
        limit = time.monotonic() + START_S
        while True:
            try:
                self.product = ProductClient(self.state, 10)
                self.product.ask("show status")
                self.world = WorldClient(self.state, 10)
                facts = self.world.ask("status")
                if facts["ticked"] > 0:
                    break
            except PbxError:
                pass
            if self.child.poll() is not None or time.monotonic() > limit:
                raise PbxError(f"the appliance did not start: {(self.folder / 'run.out').read_text('utf-8', 'replace')[-600:]}")
            time.sleep(0.1)
        self.wall_base = facts["wall_ms"] - facts["now_ms"]

    def stop(self) -> None:
        """Stop it; nothing of it is left."""
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()
                self.trouble.append("the appliance did not stop within 15 s of SIGINT")

    def secrets(self) -> dict[str, str]:
        """Secrets of the SIP extensions."""
        found: dict[str, str] = json.loads((self.state / "secrets.json").read_text("utf-8"))["extensions"]
        return found

    def endpoints(self) -> dict[str, Any]:
        """Where it listens."""
        found: dict[str, Any] = json.loads((self.state / "run" / "endpoints.json").read_text("utf-8"))
        return found

    def sleep(self, ms: int) -> None:
        """Let the world's time pass."""
        self.world.ask("sleep", ms=ms, timeout=600)
        if time.monotonic() > self.deadline:
            raise PbxError(f"this took longer than {self.limit_s:.0f} s of real time")

    def ask(self, command: str, **args: Any) -> Any:
        """The product's gate; connects again when core was restarted."""
        for attempt in range(20):
            try:
                return self.product.ask(command, **args)
            except ClientError:
                if attempt == 19:
                    raise
                self.sleep(500)
                try:
                    self.product = ProductClient(self.state, 10)
                except ClientError:
                    continue
        return None

    def records(self) -> list[dict[str, Any]]:
        """Contacts with their legs, when the last one is closed (or 10 s have passed)."""
        limit = time.monotonic() + 10
        while True:
            with sqlite3.connect(f"file:{self.state / 'calls.db'}?mode=ro", uri=True) as db:
                db.row_factory = sqlite3.Row
                rows = [dict(row) for row in db.execute("SELECT * FROM contacts ORDER BY opened_ms")]
                legs: dict[str, list[dict[str, Any]]] = {}
                for leg in db.execute("SELECT * FROM legs ORDER BY started_ms"):
                    legs.setdefault(leg["contact"], []).append(dict(leg))
                for row in rows:
                    row["legs"] = legs.get(row["id"], [])
            db.close()
            if all(row["ended_ms"] is not None for row in rows) or time.monotonic() > limit:
                return rows
            self.sleep(500)
