"""What can go wrong with line cards, and the commands that make it so: chips, chains, copper, clocks, sound device, relay.

Theory of operation. A fault has a name and a place: a jack ("fxo 1", "fxs 3"), a chain ("chain fxo") or the whole board ("board").
`FAULTS` says for each name where it may be, what it does, and its words in two languages. Faults with a *value* take a number (a rate,
ohms, ppm, ms); those that happen once have no end. `CardFaults.put` makes one, for a time if so wanted; the chips' own records stay honest,
because wires and copper are struck, or the chip itself at the place that fails in the field.
Invariants: chips are touched under the segment's lock; every fault that stands is in `standing`; times are the world's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from firmware.errors import PbxError
from firmware.sim.phones import AnalogPhone
from firmware.sim.world import World


@dataclass(frozen=True)
class Fault:
    """One kind of fault. `default` is its value; `once`: it happens and is over."""

    place: str  # "fxo", "fxs", "chain", "board"
    en: str
    zh: str
    default: float = 1.0
    once: bool = False
    parameter: tuple[str, ...] = ()  # of the simulated chip or chain
    wire: str = ""  # attribute of the phone's wire


FAULTS: dict[tuple[str, str], Fault] = {
    ("chain", "all-ff"): Fault("chain", "every reply is 0xFF", "所有应答都是 0xFF", parameter=("all_ff",)),
    ("chain", "all-00"): Fault("chain", "every reply is 0x00", "所有应答都是 0x00", parameter=("all_00",)),
    ("chain", "flip"): Fault("chain", "bits flip both ways, VALUE a byte", "位翻转，概率 VALUE", 0.001, parameter=("flip_in", "flip_out")),
    ("chain", "flip-in"): Fault("chain", "bits of replies flip, VALUE per byte", "应答位翻转，概率 VALUE", 0.001, parameter=("flip_in",)),
    ("chain", "slip"): Fault("chain", "the chips miss VALUE bytes", "芯片漏掉 VALUE 个字节", once=True, parameter=("slip_next",)),
    ("chain", "int-stuck"): Fault("chain", "INT stays low", "INT 线恒低", parameter=("int_stuck",)),
    ("fxo", "reset"): Fault("fxo", "the chip resets itself", "芯片自行复位", once=True),
    ("fxo", "silent"): Fault("fxo", "the chip does not answer", "芯片不应答", parameter=("fault_reply",)),
    ("fxo", "link"): Fault("fxo", "the isolation link is lost", "隔离链路中断", parameter=("fault_link",)),
    ("fxo", "hook-open"): Fault("fxo", "the hook switch does not close", "摘机开关不能闭合", parameter=("fault_hook",)),
    ("fxo", "hook-closed"): Fault("fxo", "the hook switch does not open", "摘机开关不能断开", parameter=("fault_hook_closed",)),
    ("fxo", "chatter"): Fault("fxo", "ring detector chatters, VALUE per ms", "振铃误动，概率 VALUE", 0.05, parameter=("fault_chatter",)),
    ("fxo", "billing"): Fault("fxo", "billing tone of VALUE volts", "VALUE 伏的计费音", 1.0, parameter=("billing_volts",)),
    ("fxs", "reset"): Fault("fxs", "the chip resets itself", "芯片自行复位", once=True),
    ("fxs", "silent"): Fault("fxs", "the chip does not answer", "芯片不应答", parameter=("fault_reply",)),
    ("fxs", "no-power"): Fault("fxs", "the DC-DC converter gives nothing", "DC-DC 无输出", parameter=("fault_no_rise",)),
    ("fxs", "no-fall"): Fault("fxs", "the DC-DC converter cannot be switched off", "DC-DC 关不掉", parameter=("fault_no_fall",)),
    ("fxs", "alarm"): Fault("fxs", "power alarms without end", "功率告警不断", parameter=("fault_alarm",)),
    ("fxs", "calibration"): Fault("fxs", "calibration never ends", "校准永不结束", parameter=("fault_calibration",)),
    ("fxs", "supply-leak"): Fault("fxs", "the supply leaks", "电源漏电", parameter=("fault_leak",)),
    ("fxs", "hook-stuck"): Fault("fxs", "the chip says off-hook for ever", "芯片恒报摘机", parameter=("fault_hook",)),
    ("fxs", "leak"): Fault("fxs", "VALUE ohm between the wires", "线间漏电 VALUE 欧", 5000.0, wire="leak_ohms"),
    ("fxs", "short"): Fault("fxs", "the wires are shorted", "线间短路", wire="shorted"),
    ("fxs", "earth"): Fault("fxs", "ring is on earth", "R 线碰地", wire="earthed"),
    ("fxs", "reversed"): Fault("fxs", "tip and ring are swapped", "线对接反", wire="reversed"),
    ("fxs", "cut"): Fault("fxs", "the wires are cut", "线路断开", wire="cut"),
    ("board", "clocks"): Fault("board", "the PCM clocks stand still", "PCM 时钟停止"),
    ("board", "stall"): Fault("board", "the sound device stalls for VALUE ms", "声音设备停顿 VALUE 毫秒", 200.0, once=True),
    ("board", "xrun"): Fault("board", "the sound device loses a block", "声音设备丢失一个数据块", once=True),
    ("board", "drift"): Fault("board", "the card's clock is VALUE ppm fast", "板卡时钟快 VALUE ppm", 200.0),
    ("board", "relay-welded"): Fault("board", "the lifeline relay's contacts are welded", "应急继电器触点粘连"),
}  # fmt: skip


def words(language: str) -> list[str]:
    """A line for each fault: where, name, what it does."""
    return [f"{place:<6} {name:<13} {fault.zh if language == 'zh' else fault.en}" for (place, name), fault in FAULTS.items()]


class CardFaults:
    """Faults of one board, by place and name."""

    def __init__(self, world: World, phones: dict[int, AnalogPhone]) -> None:
        self.world = world
        self.phones = phones
        self.standing: dict[tuple[str, str, str], float] = {}
        self._turn: dict[tuple[str, str, str], int] = {}

    def put(self, place: str, number: str, name: str, *, on: bool = True, value: float | None = None, seconds: float = 0.0) -> Fault:
        """Make a fault (or, `on` false, mend it); PbxError says what there is. `seconds`: mend it after so long."""
        fault = self.check(place, number, name)
        amount = fault.default if value is None else value
        key = (place, number, name)
        turn = self._turn[key] = self._turn.get(key, 0) + 1
        self._apply(fault, place, number, name, amount if on else 0.0)
        if on and not fault.once:
            self.standing[key] = amount
        else:
            self.standing.pop(key, None)
        self.world.observe("card-fault", place=place, number=number, fault=name, on=on, value=amount)
        if on and seconds > 0 and not fault.once:

            def mend() -> None:
                if self._turn[key] == turn:
                    self.put(place, number, name, on=False)

            self.world.after(1000 * seconds, mend)
        return fault

    def check(self, place: str, number: str, name: str) -> Fault:
        """The kind of fault; PbxError when there is no such fault or place."""
        fault = FAULTS.get((place, name))
        if fault is None:
            known = ", ".join(known for where, known in FAULTS if where == place)
            raise PbxError(
                f"no fault {name!r} at {place!r}: use {known}"
                if known
                else f"no place {place!r}: use fxo N, fxs N, chain fxo, chain fxs or board"
            )
        self._place(place, number)
        return fault

    def _place(self, place: str, number: str) -> int:
        """Index of the chip or chain; PbxError when there is none."""
        segment = self.world.segment
        if place == "board":
            return 0
        if place == "chain":
            if number not in ("fxo", "fxs"):
                raise PbxError(f"no chain {number!r}: use chain fxo or chain fxs")
            return 0 if number == "fxo" else 1
        jacks = segment.jacks(place)
        if number not in jacks:
            raise PbxError(f"no {place.upper()} jack {number!r} on chips: there are {', '.join(jacks)}")
        return jacks.index(number)

    def _apply(self, fault: Fault, place: str, number: str, name: str, amount: float) -> None:
        segment, index = self.world.segment, self._place(place, number)
        if place == "board":
            self._board(name, amount)
        elif fault.wire:
            wire = self.phones[int(number)].wire
            setattr(wire, fault.wire, amount if fault.wire == "leak_ohms" else bool(amount))
        elif name == "reset":
            if amount:
                with segment.held:
                    segment.chips.self_reset(place, index)
        else:
            with segment.held:
                for parameter in fault.parameter:
                    segment.chips.set("bus" if place == "chain" else place, index, parameter, amount)

    def _board(self, name: str, amount: float) -> None:
        segment = self.world.segment
        actions: dict[str, Callable[[], Any]] = {
            "clocks": lambda: segment.stop_clocks(bool(amount)),
            "stall": lambda: segment.stall(max(1, round(amount / 10))) if amount else None,
            "xrun": lambda: segment.stall(1) if amount else None,
            "drift": lambda: setattr(self.world, "drift_ppm", amount),
            "relay-welded": lambda: segment.weld(bool(amount)),
        }
        actions[name]()

    def facts(self) -> list[dict[str, Any]]:
        """What stands, as plain data."""
        return [
            {"place": place, "number": number, "fault": name, "value": value}
            for (place, number, name), value in sorted(self.standing.items())
        ]
