"""The factory station: cards are written, boards started, named, tested and labelled, several at the same time.

    python -m tools.factory STATION.toml                     scan a label for each place, then all boards go their way
    python -m tools.factory STATION.toml --boards TODAY.csv  columns place, serial, mac: no questions
    python -m tools.factory STATION.toml --left              boards that were begun and are neither good nor bad

Theory of operation
-------------------
STATION.toml says what is made and where boards lie (docs/factory.md). Each place works off its boards one after another in a thread of its
own; what happens to one board is `board.py`. A station that is killed is simply started again: what was proved is not repeated.
Status: 0 every board passed, 1 one failed, 2 wrong usage, 130 interrupted or not finished.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import signal
import sys
import threading
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from firmware.errors import StoreError
from firmware.factory.store import append_line

from .board import STEPS, Board, Failed, Job, Place, Stopped, default_test, label_fault
from .texts import say

KEYS = {"image", "board", "model", "folder", "operator", "language", "test", "boot_s", "baud", "place"}
PLACE_KEYS = {"name", "card", "port", "fixture", "recover", "switch"}
COLOURS = {"pass": "\033[30;42m", "fail": "\033[97;41m", "stopped": "\033[30;43m"}


class Usage(Exception):
    """What is wrong with the station's file or its boards, for the person at the bench."""


# --- what is to be done -----------------------------------------------------------------------------------------------


def read_station(path: Path, language: str, operator: str, simulated: int | None) -> tuple[Job, list[Place]]:
    """Job and places of a station file. Raises Usage with everything that is wrong."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Usage(f"{path}: {error}") from None
    wrong = [f"{path}: unknown: {name}" for name in sorted(found.keys() - KEYS)]
    rows = found.get("place", [])
    for number, row in enumerate(rows, start=1):
        wrong += [f"{path}: place {number}: unknown: {name}" for name in sorted(row.keys() - PLACE_KEYS)]
        wrong += [f"{path}: place {number}: {name} is missing" for name in ("name", "card", "port") if not row.get(name)]
    for name in ("name", "card", "port"):
        values = [row.get(name) for row in rows]
        wrong += [f"{path}: two places have the {name} {value}" for value in sorted({str(v) for v in values if v and values.count(v) > 1})]
    wrong += [f"{path}: {name} is missing" for name in ("image", "board", "folder") if not found.get(name)]
    operator = operator or str(found.get("operator", ""))
    if not operator:
        wrong.append("name the operator: --operator NAME")
    if not rows:
        wrong.append(f"{path}: a station has at least one [[place]]")
    image = path.parent / str(found.get("image", ""))
    if found.get("image") and not image.is_file():
        wrong.append(f"{image}: there is no such image")
    if wrong:
        raise Usage("\n".join(wrong))
    manifest = image.with_name("manifest.json")
    version = str(json.loads(manifest.read_text()).get("version", "")) if manifest.is_file() else ""
    board = str(found["board"])
    job = Job(
        image=image, digest=_digest(image), version=version, model=str(found.get("model", board)),
        folder=(path.parent / str(found["folder"])).resolve(), operator=operator, language=language or str(found.get("language", "en")),
        test=tuple(found.get("test", ())) or tuple(default_test(board, simulated)), boot_s=float(found.get("boot_s", 300.0)),
        baud=int(found.get("baud", 115200)), simulated=simulated is not None,
    )  # fmt: skip
    places = [
        Place(str(row["name"]), str(row["card"]), str(row["port"]), str(row.get("fixture", "")), tuple(row.get("recover", ())),
              tuple(row.get("switch", ())))
        for row in rows
    ]  # fmt: skip
    return job, places


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Label = tuple[Place, str, str]


def checked(rows: Sequence[tuple[str, str, str]], places: Sequence[Place]) -> list[Label]:
    """Rows of place, serial number and MAC. Raises Usage with everything that is wrong."""
    by_name, wrong, found = {place.name: place for place in places}, [], []
    seen: dict[str, int] = {}
    for number, (name, serial, mac) in enumerate(rows, start=1):
        serial, mac = serial.strip(), mac.strip().upper()
        fault = label_fault(serial, mac) or ("" if name in by_name else f"there is no place {name!r}")
        for word in (serial, mac):
            if word in seen:
                fault = fault or f"{word} is in row {seen[word]}, too"
            seen[word] = number
        if fault:
            wrong.append(f"row {number}: {fault}")
        else:
            found.append((by_name[name], serial, mac))
    if wrong:
        raise Usage("\n".join(wrong))
    return found


def from_list(path: Path, places: Sequence[Place]) -> list[Label]:
    """Boards of a CSV with the columns place, serial, mac."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise Usage(f"{path}: {error}") from None
    if not rows or not {"place", "serial", "mac"} <= rows[0].keys():
        raise Usage(f"{path}: a list has the columns place, serial, mac and a row for each board")
    return checked([(row["place"] or "", row["serial"] or "", row["mac"] or "") for row in rows], places)


def from_scanner(places: Sequence[Place]) -> list[Label]:
    """Two lines from a scanner for each place; an empty line leaves the place empty. A label that is wrong is asked for again."""
    found: list[Label] = []
    for place in places:
        while True:
            serial = input(f"{place.name}: serial / 序列号: ").strip()
            if not serial:
                break
            mac = input(f"{place.name}: MAC: ").strip()
            try:
                rows = [(one.name, old, address) for one, old, address in found]
                found = checked([*rows, (place.name, serial, mac)], places)
                break
            except Usage as error:
                print(error, file=sys.stderr)
    return found


# --- the screen -------------------------------------------------------------------------------------------------------


class Screen:
    """A line for each thing that happens; at a terminal, above them, one line for each place that shows where it is, redrawn in place."""

    def __init__(self, language: str, places: Sequence[Place]) -> None:
        self._language = language
        self._lock = threading.Lock()
        self._live = sys.stdout.isatty()
        self._rows = {place.name: "" for place in places}
        self._drawn = 0
        self._last = 0.0

    def line(self, text: str, kind: str = "") -> None:
        """One line that stays."""
        with self._lock:
            self._clear()
            if self._live and kind in COLOURS:
                text = f"{COLOURS[kind]} {text} \033[0m"
            sys.stdout.write(text + "\n")
            self._draw()
            sys.stdout.flush()

    def show(self, place: str, text: str) -> None:
        """Where a place is."""
        with self._lock:
            self._rows[place] = text
            if self._live and time.monotonic() - self._last > 0.1:
                self._last = time.monotonic()
                self._clear()
                self._draw()
                sys.stdout.flush()

    def _clear(self) -> None:
        if self._live and self._drawn:
            sys.stdout.write(f"\033[{self._drawn}A\033[J")
        self._drawn = 0

    def _draw(self) -> None:
        if self._live:
            shown = [f"{name:<8} {text}" for name, text in self._rows.items() if text]
            sys.stdout.write("".join(f"{text[:118]}\n" for text in shown))
            self._drawn = len(shown)

    def of(self, board: Board) -> None:
        """Show what happens to a board."""
        place, language = board.place.name, self._language

        def tell(code: str, step: str, facts: dict[str, object]) -> None:
            self.line(say(code, language, place=place, serial=board.serial, step=say(step, language), **facts))
            self.show(place, f"{board.serial}  {say(step, language)}")

        def progress(what: str, done: int, total: int) -> None:
            share = done / max(total, 1)
            self.show(place, f"{board.serial}  {say('flash', language)} {what:<6} [{'#' * int(share * 40):<40}] {share:4.0%}")

        board.tell, board.progress = tell, progress

    def verdict(self, board: Board, result: str, fault: Exception | None) -> None:
        """Its end, in a colour that is seen from across the room."""
        step = say(board.step, self._language)
        facts: dict[str, Any] = {"place": board.place.name, "serial": board.serial, "step": step, "label": board.label}
        if isinstance(fault, Failed):
            facts["why"] = fault.said(self._language)
        elif fault is not None and str(fault):
            facts["step"] = f"{step}: {fault}"
        self.line(say(result, self._language, **facts), result)
        self.show(board.place.name, "")


# --- all boards -------------------------------------------------------------------------------------------------------


def work(job: Job, labels: Sequence[Label], stop: threading.Event, screen: Screen, again: bool) -> dict[str, str]:
    """Every place works off its boards; serial number -> pass, known (it had passed before), fail, stopped."""
    by_place: dict[str, list[Label]] = {}
    for label in labels:
        by_place.setdefault(label[0].name, []).append(label)
    results: dict[str, str] = {}

    def at_place(mine: list[Label]) -> None:
        for place, serial, mac in mine:
            board = Board(job, place, serial, mac, stop)
            screen.of(board)
            fault: Exception | None = None
            try:
                result = board.run(again)
            except Failed as error:
                result, fault = ("known" if error.code == "known" else "fail"), error
            except (Stopped, OSError, StoreError) as error:
                result, fault = "stopped", error
            results[serial] = result
            screen.verdict(board, result, fault)

    with ThreadPoolExecutor(max_workers=len(by_place)) as pool:
        jobs = [pool.submit(at_place, mine) for mine in by_place.values()]
        for one in jobs:
            one.result()
    return results


def left(folder: Path) -> int:
    """Boards that were begun; printed."""
    for path in sorted((folder / "open").glob("*.jsonl")):
        rows = []
        for line in path.read_text(errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        done = [row["step"] for row in rows if isinstance(row, dict) and row.get("step") in STEPS]
        mac = next((str(row["mac"]) for row in rows if isinstance(row, dict) and "mac" in row), "-")
        print(f"{path.stem:<24} {mac}  {', '.join(done) or '-'}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="factory", description="Flash, start, name, test and label boards, several at the same time.")
    parser.add_argument("station", type=Path, metavar="STATION.toml")
    parser.add_argument("--boards", type=Path, default=None, metavar="LIST.csv", help="columns place, serial, mac")
    parser.add_argument("--operator", default=os.environ.get("BRANCHPBX_OPERATOR", ""), metavar="NAME")
    parser.add_argument("--lang", choices=("en", "zh"), default="")
    parser.add_argument("--again", action="store_true", help="also boards that have passed; their labels are taken back")
    parser.add_argument("--left", action="store_true", help="list boards that were begun and not finished")
    parser.add_argument("--simulated", type=int, default=None, metavar="SEED", help="cards may be files, the test is a simulated board's")
    options = parser.parse_args(argv)
    try:
        job, places = read_station(options.station, options.lang, options.operator, options.simulated)
        if options.left:
            return left(job.folder)
        labels = from_list(options.boards, places) if options.boards else from_scanner(places)
        if not labels:
            raise Usage("no boards")
    except Usage as error:
        print(f"factory: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):
        return 130
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    (job.folder / "labels").mkdir(parents=True, exist_ok=True)
    screen = Screen(job.language, places)
    results = work(job, labels, stop, screen, options.again)
    good = sum(result in ("pass", "known") for result in results.values())
    screen.line(say("sum", job.language, good=good, all=len(labels)))
    summary = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "operator": job.operator, "image": job.digest, "boards": results}
    append_line(job.folder / "batches.jsonl", json.dumps(summary).encode())
    if "stopped" in results.values():
        return 130
    return 0 if good == len(labels) else 1


if __name__ == "__main__":
    sys.exit(main())
