"""`make bench-calls`: how many calls with media one core carries, what a call costs, how late the audio is, what memory it takes.

Theory of operation. The whole product runs pinned to one core; its simulated world and the load run on the others, so that their cost is
not counted. Each phase sets up its calls, lets them run, and compares the CPU time of media and core with that of the idle product. The
capacity is a straight line through both, ended by a full core. Delays are those of bursts that one side says and the other side gets
(`load_sip`, `bench_appliance.LineWatch`). Then the same load goes through other programs on the same core (`bench_peers`).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from bench_appliance import PROCESSES, SECRET, Box, LineWatch, write_bursts  # noqa: E402
from bench_peers import Peer, RtpEngine, UdpRelay, streams, version  # noqa: E402
from load_sip import PCMA, PCMU, Leg, Load, Stream, burst_wave  # noqa: E402

PAIRS = 50
RTP_PORTS = 112  # the most that the engine serves
LINES = 4
SECONDS = 8.0
SETUPS = 40
NEAR_NS, FAR_NS = 2_000_000, 250_000_000  # a burst arrives within these bounds
RESULT = HERE.parent / "build" / "bench" / "calls.json"
# What is measured under which name.
KINDS = {"SIP-SIP relayed": f"sip_sip_{PAIRS}", "SIP-SIP mixed": "sip_sip_mixed", "FXO-SIP": "fxo_sip", "FXO-FXS": "fxo_fxs"}
WAYS = (
    ("FXO to FXS", "fxo_fxs", "to_fxs"), ("FXS to FXO", "fxo_fxs", "to_fxo"),
    ("FXO to SIP", "fxo_sip", "to_sip"), ("SIP to FXO", "fxo_sip", "to_fxo"),
)  # fmt: skip
PEERS = {"relay_floor": "bare relay in C", "rtpengine_relay": "rtpengine, relay", "rtpengine_transcode": "rtpengine, transcoding"}
COMPARED = {"relay_floor": "SIP-SIP relayed", "rtpengine_relay": "SIP-SIP relayed", "rtpengine_transcode": "SIP-SIP mixed"}
Figures = dict[str, Any]
Cpu = Callable[[], dict[str, int]]


def say(text: str) -> None:
    """Progress, on standard error: the table alone goes to standard output."""
    sys.stderr.write(f"bench-calls: {text}\n")
    sys.stderr.flush()


def shares(load: Load, cpu: Cpu, seconds: float = SECONDS) -> dict[str, float]:
    """Per cent of a core that each process takes while the load runs on."""
    before, began = cpu(), time.monotonic_ns()
    load.run(seconds)
    after, spent = cpu(), time.monotonic_ns() - began
    return {name: 100 * (after[name] - before[name]) / spent for name in before}


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the others does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def carried(load: Load, pairs: Sequence[tuple[Stream, Stream]], cpu: Cpu, *, stamped: bool) -> Figures:
    """Let pairs of streams talk both ways: shares of CPU, packets lost, delay of the stamped packets or of the bursts of four pairs."""
    for index, pair in enumerate(pairs):
        for one in pair:
            one.talking, one.stamped, one.watched = True, stamped, not stamped and index < 4
    load.run(1.5)
    for pair in pairs:
        for one in pair:
            one.sent = one.heard = 0
            one.delays.clear()
            one.onsets_sent.clear()
            one.onsets_heard.clear()
    load.worst_late_ns = 0
    share = shares(load, cpu)
    late = load.worst_late_ns / 1e6
    for pair in pairs:
        for one in pair:
            one.talking = False
    load.run(0.3)
    sent = sum(one.sent for pair in pairs for one in pair)
    heard = sum(one.heard for pair in pairs for one in pair)
    if stamped:
        delays: list[float] = [value / 1e6 for pair in pairs for one in pair for value in one.delays]
    else:
        ways = [(a, b) for pair in pairs[:4] for a, b in (pair, pair[::-1])]
        delays = [value for a, b in ways for value in matched(a.onsets_sent, b.onsets_heard)]
    if not delays:
        raise RuntimeError(f"of {sent} packets no audio came out at the other side")
    return {
        "calls": len(pairs), "cpu": share, "packets": sent, "lost_percent": 100 * max(0, sent - heard) / sent,
        "delay_ms": statistics.median(delays), "delay_p99_ms": quantile(delays, 0.99),
        "load_latest_ms": late,
    }  # fmt: skip


def matched(said: Sequence[float], heard: Sequence[float]) -> list[float]:
    """Delays in ms of the bursts that arrived."""
    found = []
    for at in said:
        arrived = next((when for when in heard if at + NEAR_NS / 10 < when < at + FAR_NS), None)
        if arrived is not None:
            found.append((arrived - at) / 1e6)
    return found


def summary(delays: Sequence[float], what: str) -> Figures:
    """Median, extremes and number of delays."""
    if len(delays) < 3:
        raise RuntimeError(f"{what}: only {len(delays)} bursts came through")
    return {"median_ms": statistics.median(delays), "least_ms": min(delays), "most_ms": max(delays), "bursts": len(delays)}


class Bench:
    """One run against one appliance."""

    def __init__(self, folder: Path, product: set[int], others: set[int]) -> None:
        self.folder = folder
        self.extensions = [str(300 + number) for number in range(RTP_PORTS)]
        self.box = Box(folder, self.extensions, RTP_PORTS)
        self.box.pin(product, others)
        self.load = Load(self.box.host, self.box.sip, dict.fromkeys(self.extensions, SECRET))
        self.figures: Figures = {}

    def close(self) -> None:
        """End the appliance."""
        self.load.close()
        self.box.stop()

    def run(self) -> Figures:
        """Every phase."""
        for number in self.extensions:
            self.load.register(number)
            self.load.run(0.01)
        self.load.run_until(lambda: len(self.load.registered) == len(self.extensions), "all phones are registered", 20)
        self.load.run(1)
        say("idle")
        self.figures["idle"] = self.phase(lambda: {"calls": 0, "cpu": shares(self.load, self.box.cpu, 6)})
        self.figures["memory_idle_kb"] = self.box.memory()
        say(f"{SETUPS} call set-ups")
        self.figures["setup"] = self.setup()
        for calls in (PAIRS // 2, PAIRS):
            say(f"{calls} SIP-SIP calls, relayed")
            self.figures[f"sip_sip_{calls}"] = self.sip_sip(calls, (PCMA, PCMA))
        say(f"{PAIRS} SIP-SIP calls, mixed (another codec on each side)")
        self.figures["sip_sip_mixed"] = self.sip_sip(PAIRS, (PCMA, PCMU))
        say(f"{LINES} FXO-SIP calls")
        self.figures["fxo_sip"] = self.fxo_sip()
        say(f"{LINES} FXO-FXS calls")
        self.figures["fxo_fxs"] = self.fxo_fxs()
        return self.figures

    def phase(self, work: Callable[[], Figures]) -> Figures:
        """What `work` returns, and how the tick fared meanwhile."""
        ring = self.box.ring
        ring.clear_worst()
        before = ring.statistics()
        figures = work()
        after = ring.statistics()
        ticks = after["tick"] - before["tick"]
        return {
            **figures, "ticks": ticks, "tick_mean_us": (after["busy_us"] - before["busy_us"]) / max(1, ticks),
            "tick_worst_us": after["worst_busy_us"], "tick_worst_late_us": after["worst_late_us"],
            "dropped_events": after["dropped_events"] - before["dropped_events"],
        }  # fmt: skip

    def setup(self) -> Figures:
        """CPU of media, core and all that one call takes from INVITE to the answered BYE."""
        before, began = self.box.cpu(), time.monotonic_ns()
        answered = []
        for number in range(SETUPS):
            at = time.monotonic_ns()
            leg = self.connect(self.extensions[2 * (number % 20)], self.extensions[2 * (number % 20) + 1])
            answered.append((time.monotonic_ns() - at) / 1e6)
            self.load.hang_up(leg)
            self.load.run(0.05)
        self.load.run_until(lambda: not self.load.of_user, "every call has ended", 10)
        after, spent = self.box.cpu(), time.monotonic_ns() - began
        idle = self.figures["idle"]["cpu"]
        cost = {name: (after[name] - before[name] - idle[name] / 100 * spent) / 1e6 / SETUPS for name in PROCESSES}
        return {"calls": SETUPS, "cpu_ms": cost, "answer_ms": statistics.median(answered)}

    def connect(self, user: str, number: str, law: int = PCMA) -> Leg:
        """A call that is up on both sides."""
        leg = self.load.call(user, number, law)
        self.load.run_until(lambda: leg.over or (leg.up and self._up(number)), f"call from {user} to {number} is answered", 10)
        if leg.over:
            raise RuntimeError(f"call from {user} to {number} was refused with {leg.status}; see {self.folder / 'output.log'}")
        return leg

    def _up(self, user: str) -> bool:
        leg = self.load.of_user.get(user)
        return leg is not None and leg.up

    def sip_sip(self, calls: int, laws: tuple[int, int]) -> Figures:
        """Calls between SIP phones: relayed on arrival where the codecs agree, decoded, mixed and encoded where not."""
        self.load.law = dict.fromkeys(self.extensions, laws[1])
        legs = [self.connect(self.extensions[2 * k], self.extensions[2 * k + 1], laws[0]) for k in range(calls)]
        pairs = [(leg.stream, self.load.of_user[self.extensions[2 * k + 1]].stream) for k, leg in enumerate(legs)]
        figures = self.phase(lambda: carried(self.load, pairs, self.box.cpu, stamped=laws[0] == laws[1]))
        figures["memory_kb"] = self.box.memory()
        for leg in legs:
            self.load.hang_up(leg)
            self.load.run(0.01)
        self.load.run_until(lambda: not self.load.of_user, "every call has ended", 10)
        self.load.run(1)
        return figures

    def callers(self, first_digit: str) -> list[str]:
        """Somebody outside calls on each line and says bursts."""
        wave = self.folder / "caller.wav"
        write_bursts(wave, burst_wave(800), 1000, 60)
        people = []
        for line in range(1, LINES + 1):
            call = {"from": f"{first_digit}380013800{line}", "line": line, "caller_id": "dtmf", "say": str(wave), "patience": 40}
            people.append(str(self.box.world("call", **call)["person"]))
        return people

    def fxo_sip(self) -> Figures:
        """A call from each line to a SIP phone."""
        self.load.law = {}
        people = self.callers("1")
        phones = self.extensions[:LINES]
        self.load.run_until(lambda: all(self._up(number) for number in phones), "the calls from outside are answered", 30)
        media = [self.load.of_user[number].stream for number in phones]
        for one in media:
            one.talking = one.watched = True
        self.load.run(3)
        with LineWatch(self.box.pids["media"], list(range(LINES))) as watch:
            figures = self.phase(lambda: {"calls": LINES, "cpu": shares(self.load, self.box.cpu, 12)})
        to_sip = [delay for slot, one in enumerate(media) for delay in matched(watch.said[slot], one.onsets_heard)]
        to_fxo = [delay for slot, one in enumerate(media) for delay in matched(one.onsets_sent, watch.played[slot])]
        self._end(people)
        return {**figures, "to_sip": summary(to_sip, "FXO to SIP"), "to_fxo": summary(to_fxo, "SIP to FXO")}

    def fxo_fxs(self) -> Figures:
        """A call from each line to an analog phone."""
        wave = self.folder / "phone.wav"
        write_bursts(wave, burst_wave(800), 1300, 60)
        for phone in range(1, LINES + 1):
            self.box.world("phone", phone=phone, action="answer", after=0.5, say=str(wave), times=1)
        people = self.callers("2")

        def talking() -> bool:
            return all(fact["lifted"] for fact in self.box.world("status")["phones"])

        end = time.monotonic() + 30
        while not talking():
            self.load.run(0.3)
            if time.monotonic() > end:
                raise RuntimeError("the analog phones do not answer the calls from outside")
        self.load.run(3)
        with LineWatch(self.box.pids["media"], list(range(2 * LINES))) as watch:
            figures = self.phase(lambda: {"calls": LINES, "cpu": shares(self.load, self.box.cpu, 12)})
        to_fxs = [delay for line in range(LINES) for delay in matched(watch.said[line], watch.played[LINES + line])]
        to_fxo = [delay for line in range(LINES) for delay in matched(watch.said[LINES + line], watch.played[line])]
        self._end(people)
        return {**figures, "to_fxs": summary(to_fxs, "FXO to FXS"), "to_fxo": summary(to_fxo, "FXS to FXO")}

    def _end(self, people: list[str]) -> None:
        for person in people:
            self.box.world("hang-up", person=person)
        end = time.monotonic() + 15
        while self.box.ctl("show calls") or any(row["state"] != "IDLE" for row in self.box.ctl("show lines")):
            self.load.run(0.2)
            if time.monotonic() > end:
                raise RuntimeError("lines do not become idle when the callers have hung up")


def compare(folder: Path, product: set[int]) -> dict[str, Figures]:
    """The same load through the peers."""
    found: dict[str, Figures] = {}

    def one(name: str, peer: Peer, laws: tuple[int, int]) -> None:
        say(f"{PAIRS} calls through {peer.name} ({name})")
        load = Load("127.0.0.1", ("127.0.0.1", 9), {})
        try:
            peer.pin(product)
            pairs = streams(load, PAIRS, laws)
            idle = shares(load, lambda: {"peer": peer.cpu()}, 2)
            for pair in pairs:
                peer.connect(*pair)
            figures = carried(load, pairs, lambda: {"peer": peer.cpu()}, stamped=laws[0] == laws[1])
            per_call = (figures["cpu"]["peer"] - idle["peer"]) / PAIRS
            found[name] = {
                **figures, "title": PEERS[name], "program": peer.name, "cpu_per_call_percent": per_call, "memory_kb": peer.memory(),
            }  # fmt: skip
        finally:
            peer.stop()
            load.close()

    one("relay_floor", UdpRelay(folder, PAIRS), (PCMA, PCMA))
    if version():
        one("rtpengine_relay", RtpEngine(folder), (PCMA, PCMA))
        one("rtpengine_transcode", RtpEngine(folder), (PCMA, PCMU))
    else:
        say("rtpengine is not installed (apt-get install --no-install-recommends rtpengine-daemon): compared with the bare relay only")
    return found


def derive(figures: Figures, peers: dict[str, Figures]) -> tuple[dict[str, Figures], dict[str, float]]:
    """CPU per call, calls on one core, and ratios to the peers (above 1: ours takes more)."""
    idle = figures["idle"]["cpu"]["media"] + figures["idle"]["cpu"]["core"]
    capacity: dict[str, Figures] = {}
    for kind, key in KINDS.items():
        phase = figures[key]
        per_call = (phase["cpu"]["media"] + phase["cpu"]["core"] - idle) / phase["calls"]
        capacity[kind] = {
            "calls_measured": phase["calls"], "cpu_per_call_percent": per_call, "calls_on_one_core": int((100 - idle) / max(per_call, 1e-4))
        }  # fmt: skip
    ratios = {}
    for name, kind in COMPARED.items():
        if name in peers:
            ratios[f"{kind} / {PEERS[name]}"] = capacity[kind]["cpu_per_call_percent"] / max(peers[name]["cpu_per_call_percent"], 1e-4)
    return capacity, ratios


def machine(product: set[int], others: set[int]) -> Figures:
    """Where it was measured."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith(("model name", "Hardware"))), platform.machine())

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return {
        "cpu": model, "cores": os.cpu_count(), "architecture": platform.machine(), "kernel": platform.release(),
        "python": platform.python_version(), "commit": git("rev-parse", "--short=12", "HEAD"),
        "changed_since": bool(git("status", "--porcelain", "--untracked-files=no", "--", "firmware")),
        "product_on_cpus": sorted(product), "load_on_cpus": sorted(others), "load_average": os.getloadavg()[0],
    }  # fmt: skip


def table(report: Figures) -> str:
    """The figures to read."""
    rows: list[str] = []
    at, figures = report["machine"], report["appliance"]
    changed = " (changed since)" if at["changed_since"] else ""
    rows.append(f"{at['cpu']}, {at['cores']} cores, {at['architecture']}, commit {at['commit']}{changed}; the product on one core")
    rows += ["", f"{'Calls with media':26}{'calls':>6}{'media %':>9}{'core %':>8}{'% a call':>10}{'on one core':>13}{'lost %':>8}"]
    idle = figures["idle"]["cpu"]
    rows.append(f"{'idle':26}{0:>6}{idle['media']:>9.2f}{idle['core']:>8.2f}")
    for kind, key in KINDS.items():
        phase, capacity = figures[key], report["capacity"][kind]
        lost = f"{phase['lost_percent']:>8.2f}" if "lost_percent" in phase else f"{'-':>8}"
        rows.append(
            f"{kind:26}{phase['calls']:>6}{phase['cpu']['media']:>9.2f}{phase['cpu']['core']:>8.2f}"
            f"{capacity['cpu_per_call_percent']:>10.3f}{capacity['calls_on_one_core']:>13}{lost}"
        )
    for peer in report["peers"].values():
        rows.append(
            f"{peer['title']:26}{peer['calls']:>6}{peer['cpu']['peer']:>9.2f}{'':>8}{peer['cpu_per_call_percent']:>10.3f}{'':>13}"
            f"{peer['lost_percent']:>8.2f}"
        )
    rows.append(f"(the engine has {RTP_PORTS} RTP ports: {RTP_PORTS // 2} SIP-SIP calls at most, whatever the core could carry)")
    rows += ["", "CPU of a call against others on the same core (below 1: ours takes less)"]
    rows += [f"{name:44}{value:>6.2f}" for name, value in report["ratios"].items()]
    rows += ["", f"{'Tick of 10 ms':26}{'mean us':>9}{'worst us':>10}{'latest us':>11}"]
    for kind, key in {"idle": "idle", **KINDS}.items():
        phase = figures[key]
        rows.append(f"{kind:26}{phase['tick_mean_us']:>9.0f}{phase['tick_worst_us']:>10}{phase['tick_worst_late_us']:>11}")
    rows += ["", f"{'One-way delay, ms':26}{'median':>8}{'most':>8}"]
    for way, key, side in WAYS:
        rows.append(f"{way:26}{figures[key][side]['median_ms']:>8.2f}{figures[key][side]['most_ms']:>8.2f}")
    relays = {"SIP to SIP relayed": figures[KINDS["SIP-SIP relayed"]], "SIP to SIP mixed": figures["sip_sip_mixed"]}
    relays |= {peer["title"]: peer for peer in report["peers"].values()}
    rows += [f"{name:26}{phase['delay_ms']:>8.2f}{phase['delay_p99_ms']:>8.2f}  (99 %)" for name, phase in relays.items()]
    setup = figures["setup"]
    rows += ["", f"Call set-up to end, SIP-SIP: core {setup['cpu_ms']['core']:.2f} ms, media {setup['cpu_ms']['media']:.2f} ms of CPU; "
             f"answered after {setup['answer_ms']:.1f} ms"]  # fmt: skip
    rows += ["", f"{'Memory (PSS), MB':26}" + "".join(f"{name:>9}" for name in PROCESSES)]
    for name, memory in (("idle", figures["memory_idle_kb"]), (f"{PAIRS} SIP-SIP calls", figures[KINDS["SIP-SIP relayed"]]["memory_kb"])):
        rows.append(f"{name:26}" + "".join(f"{memory[process] / 1024:>9.1f}" for process in PROCESSES))
    return "\n".join(rows)


def main() -> int:
    """Measure, print, write."""
    began = time.monotonic()
    cpus = sorted(os.sched_getaffinity(0))
    product, others = ({cpus[0]}, set(cpus[1:])) if len(cpus) > 1 else (set(cpus), set(cpus))
    if product == others:
        say("this machine gives one CPU only: the load shares it, and delays and lateness are those of a machine too busy")
    with tempfile.TemporaryDirectory(prefix="branchpbx-bench-") as name:
        folder = Path(name)
        bench = Bench(folder, product, others)
        os.sched_setaffinity(0, others)
        try:
            figures = bench.run()
        except (RuntimeError, OSError) as error:
            said = (folder / "output.log").read_text(errors="replace")[-1500:]
            sys.stderr.write(f"bench-calls: {error}\nThe appliance said:\n{said}\n")
            return 1
        finally:
            bench.close()
        peers = compare(folder, product)
    capacity, ratios = derive(figures, peers)
    report = {
        "machine": machine(product, others), "seconds": round(time.monotonic() - began, 1), "capacity": capacity, "ratios": ratios,
        "appliance": figures, "peers": peers,
    }  # fmt: skip
    sys.stdout.write(table(report) + "\n")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"\n{RESULT.relative_to(HERE.parent)} written after {report['seconds']} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
