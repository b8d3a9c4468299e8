"""Alarms of lines, line chips and the lifeline, each with what to do, in English and Chinese (L5).

Theory of operation
-------------------
Three sources: `PortHealth` of the keepers in media, the state of each FXO machine, the lifeline relay. What a keeper tells is confirmed
already: a chip's alarm is raised at once and stays for ten seconds after it is over, so that a chip that fails again and again is one
alarm. A chip that was brought up again had let go of its line: a call on it is over; one that only cannot be read goes on talking.
A line without battery is an alarm within five seconds of the cut; a line in use by another telephone, ringing without end and the
lifeline after ten; all are cleared after ten (facts of the line cards, section 3; B12). Out of selection is a port whose
chip cannot serve: `Lines.set_health`.
Invariant: an alarm's kind is "<what>:<endpoint>", one per port and what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from firmware.call.model import EndpointState
from firmware.core.lines import Lines
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer

RAISE_MS = CLEAR_MS = 10_000
NO_LINE_MS = 3000       # behind the second the line takes to say so: known within 5 s of the cut
SERVING = ("well", "suspect")


class Text(NamedTuple):
    """One alarm in both languages."""

    en: str
    zh: str


FAULTS: dict[str, Text] = {
    "all-ones": Text("no chip answers on its serial bus", "串行总线上芯片无应答"),
    "all-zeros": Text("the serial bus reads zeros only", "串行总线读数全为零"),
    "garbage": Text("the chip's answers cannot be true", "芯片应答不可信"),
    "chip-reset": Text("the chip lost its settings", "芯片丢失设置"),
    "settings": Text("settings of the chip changed by themselves", "芯片设置自行改变"),
    "link": Text("the isolated line side does not answer", "隔离线路侧无应答"),
    "overload": Text("too much current or voltage on the line", "线路电流或电压过大"),
    "hook": Text("the hook switch does not follow", "摘挂机开关不动作"),
    "power-alarm": Text("a wire of the telephone line touches earth or another voltage", "电话线碰地或碰其他电压"),
    "supply": Text("the line feed has no supply voltage", "馈电电源无电压"),
    "busy": Text("the chip never finishes an access", "芯片内部访问不结束"),
    "bus": Text("the serial bus fails", "串行总线故障"),
    "clocks": Text("the clocks of the voice bus stand still", "语音总线时钟停止"),
    "start": Text("the port did not come up", "端口未能启动"),
}
_CABLE = Text("check the cable and the telephone, the port tries again by itself", "检查线缆和话机；端口会自动重试")
_CARD = Text("restart the appliance; if it stays, change the line card", "重启设备；若仍然如此，更换线路卡")
_WAIT = Text("it recovers by itself; if it returns, change the line card", "会自动恢复；若反复出现，更换线路卡")
REMEDIES: dict[str, Text] = {
    "power-alarm": _CABLE,
    "overload": Text("disconnect the line and have the exchange line checked", "拔下外线，请运营商检查线路"),
    "all-ones": Text("check that the line card is plugged in; restart the appliance", "检查线路卡是否插好；重启设备"),
    "all-zeros": Text("check that the line card is plugged in; restart the appliance", "检查线路卡是否插好；重启设备"),
    "supply": _CARD, "start": _CARD, "bus": _CARD, "hook": _CARD, "busy": _CARD,
}  # fmt: skip
LINE_TEXTS: dict[str, Text] = {
    "no-line": Text("no voltage on the line: plug in the cable, or call the operator", "线路无电压：请插好外线，或联系运营商"),
    "line-in-use": Text("another telephone on this line is off-hook: hang it up or unplug it", "该线路上另有话机摘机：请挂机或拔下"),
    "ring-stuck": Text(
        "ringing without end: unplug the line for a minute, then call the operator", "振铃不停：拔下外线一分钟后再插，仍有则联系运营商"
    ),
}
RELAY_TEXTS: dict[str, Text] = {
    "released": Text(
        "lifeline: its relay joins line and telephone, because one of the two ports did not come up; see the other alarms",
        "应急线路：继电器仍将外线与话机直连，因其中一个端口未启动；请看其他告警",
    ),
    "stuck": Text(
        "lifeline: the relay does not separate line and telephone; change the line card",
        "应急线路：继电器未能断开外线与话机；请更换线路卡",
    ),
}


class Standing:
    """Something that must last before it is raised, and be gone for a while before it is cleared."""

    def __init__(self, clock: Clock, raise_ms: int, on_change: Callable[[Text | None], None]) -> None:
        self._clock, self._raise_ms, self._on_change = clock, raise_ms, on_change
        self._told: Text | None = None
        self._wanted: Text | None = None
        self._timer: Timer | None = None

    def set(self, wanted: Text | None) -> None:
        """What is so now."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wanted == self._told:
            return
        delay = CLEAR_MS if wanted is None else 0 if self._told is not None else self._raise_ms
        if delay:
            self._timer = self._clock.call_later(delay, self._settle)
        else:
            self._settle()

    def _settle(self) -> None:
        self._timer = None
        self._told = self._wanted
        self._on_change(self._told)


class LineAlarms:
    """See the theory of operation. Make it after `Lines`, before media tells anything; the relay is told by `relay`."""

    def __init__(self, lines: Lines, media: Any, bus: Bus, clock: Clock, alarms: Alarms) -> None:
        self._lines, self._clock, self._alarms = lines, clock, alarms
        self._standing: dict[str, Standing] = {}
        self._faults: dict[str, str] = {}
        self._by_slot = {port.slot: port for port in lines.ports.values()}
        media.subscribe(self._on_media)
        bus.subscribe(EndpointState, self._on_state)

    def _stand(self, kind: str, raise_ms: int) -> Standing:
        if kind not in self._standing:
            self._standing[kind] = Standing(self._clock, raise_ms, lambda text: self._change(kind, text))
        return self._standing[kind]

    def _change(self, kind: str, text: Text | None) -> None:
        if text is None:
            self._alarms.clear(kind)
        else:
            self._alarms.raise_(kind, text.en, text.zh)

    def _on_media(self, event: Any) -> None:
        name = type(event).__name__
        if name == "MediaLost":
            for each in self._by_slot.values():
                self._stand(f"chip:{each.endpoint}", 0).set(None)
            return
        port = self._by_slot.get(event.port)
        if name != "PortHealth" or port is None:
            return
        fault = self._faults.get(port.endpoint, "") if event.kind == "recovered" else event.kind
        dropped = event.final or (event.kind == "recovered" and fault != "settings")
        out = "" if event.state in SERVING else fault_and_remedy(fault)[0].en
        self._lines.set_health(port.endpoint, out, dropped=dropped)
        if event.kind == "recovered":
            return
        self._faults[port.endpoint] = event.kind if event.raised else ""
        stand = self._stand(f"chip:{port.endpoint}", 0)
        stand.set(chip_text(port.endpoint, event.kind, event.step, event.final, event.text) if event.raised else None)

    def _on_state(self, event: EndpointState) -> None:
        port = self._lines.ports.get(event.endpoint)
        if port is None or port.kind.value != "fxo":
            return
        machine = port.machine.state
        stuck = machine.state == "NO_LINE" and bool(getattr(machine, "ringing", False))
        seen = {
            "no-line": machine.state == "NO_LINE" and not stuck,
            "line-in-use": machine.state == "IN_USE",
            "ring-stuck": stuck,
        }
        for what, stands in seen.items():
            text = LINE_TEXTS[what]
            told = Text(f"{event.endpoint}: {text.en}", f"{spoken(event.endpoint)}：{text.zh}")
            self._stand(f"{what}:{event.endpoint}", NO_LINE_MS if what == "no-line" else RAISE_MS).set(told if stands else None)

    def relay(self, state: str) -> None:
        """The lifeline relay now."""
        self._stand("lifeline", RAISE_MS).set(RELAY_TEXTS.get(state))


def fault_and_remedy(kind: str) -> tuple[Text, Text]:
    """What a chip's fault is called and what to do about it; a fault without a text goes by its code."""
    return FAULTS.get(kind, Text(kind, kind)), REMEDIES.get(kind, _WAIT)


def chip_text(endpoint: str, kind: str, step: str, final: bool, detail: str) -> Text:
    """Line, fault, step, what to do."""
    fault, remedy = fault_and_remedy(kind)
    out = Text("; out of service", "；已退出服务") if final else Text("", "")
    what = f" ({detail})" if kind == "start" and detail else ""
    return Text(
        f"{endpoint}: {fault.en} ({kind}) at step {step!r}{out.en}: {remedy.en}{what}",
        f"{spoken(endpoint)}：{fault.zh}（{kind}），步骤“{step}”{out.zh}：{remedy.zh}{what}",
    )


def spoken(endpoint: str) -> str:
    """An endpoint as a Chinese operator calls it."""
    kind, _, number = endpoint.rpartition("/")
    return f"外线 {number}" if kind == "line" else f"话机口 {number}" if kind == "fxs" else f"分机 {number}"
