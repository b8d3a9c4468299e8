"""The live state of a port in words, English and Chinese (L1, pure).

Each fact is a name and a value in both languages; what is not known is left out, so that a screen holds only what was measured.
"""

from __future__ import annotations

import msgspec

from firmware.line.doctor import PortView
from firmware.line.doctor_texts import CAUSES, DETAILS, EVIDENCE, SAYINGS, STATES, word


class Fact(msgspec.Struct, frozen=True):
    """One line of a report."""

    code: str
    name_en: str
    name_zh: str
    value_en: str
    value_zh: str


def facts(view: PortView) -> list[Fact]:
    """What is known of a port, in the order in which an installer asks for it."""
    found = [_state(view), *_electrical(view)]
    if view.kind == "fxo":
        found += _calls(view)
    found += _end(view) + _echo(view) + _chip(view) + _tests(view)
    if view.alarms:
        english, chinese = "; ".join(one for one, _ in view.alarms), "；".join(other or one for one, other in view.alarms)
        found.append(Fact("alarms", "alarms", "告警", english, chinese))
    return found


def ago(seconds: int) -> tuple[str, str]:
    """How long ago, coarse, in both languages."""
    if seconds < 60:
        return f"{seconds} s ago", f"{seconds} 秒前"
    if seconds < 3600:
        return f"{seconds // 60} min ago", f"{seconds // 60} 分钟前"
    if seconds < 172_800:
        return f"{seconds // 3600} h ago", f"{seconds // 3600} 小时前"
    return f"{seconds // 86_400} days ago", f"{seconds // 86_400} 天前"


def _state(view: PortView) -> Fact:
    english = f"{word(STATES, view.state, 'en')} for {view.seconds} s"
    chinese = f"{word(STATES, view.state, 'zh')}，已 {view.seconds} 秒"
    if view.detail:
        english, chinese = f"{english} ({view.detail})", f"{chinese}（{DETAILS.get(view.detail, view.detail)}）"
    return Fact("state", "state", "状态", english, chinese)


def _electrical(view: PortView) -> list[Fact]:
    found = []
    size = abs(view.volts)
    if view.battery is False:
        found.append(Fact("voltage", "voltage", "电压", "none", "无"))
    elif size or view.battery:
        polarity_en, polarity_zh = ("reversed", "反接") if view.reversed else ("normal", "正常")
        extra_en = f", polarity {polarity_en}" if view.kind == "fxo" else ""
        extra_zh = f"，极性{polarity_zh}" if view.kind == "fxo" else ""
        found.append(Fact("voltage", "voltage", "电压", f"{size:.0f} V{extra_en}", f"{size:.0f} 伏{extra_zh}"))
    if view.off_hook:
        found.append(Fact("current", "current", "电流", f"{view.milliamps:.1f} mA", f"{view.milliamps:.1f} 毫安"))
    elif view.off_hook_ma:
        found.append(Fact(
            "current", "current", "电流", f"{view.off_hook_ma:.1f} mA when off-hook last", f"上次摘机时 {view.off_hook_ma:.1f} 毫安"
        ))  # fmt: skip
    return found


def _calls(view: PortView) -> list[Fact]:
    found = []
    if view.ring_s >= 0:
        english, chinese = ago(view.ring_s)
        found.append(Fact("ring", "last ring", "上次振铃", f"{english}, {view.rings} rings", f"{chinese}，{view.rings} 声"))
    if view.caller_s >= 0:
        english, chinese = ago(view.caller_s)
        number = view.caller or "?"
        found.append(Fact("caller", "last caller id", "上次来电号码", f"{number}, {english}", f"{number}，{chinese}"))
    if view.with_id or view.without_id:
        total = view.with_id + view.without_id
        found.append(Fact(
            "caller-id", "caller id", "来电显示", f"{view.with_id} of {total} calls, {view.caller_id_errors} damaged",
            f"{total} 次来电中 {view.with_id} 次，{view.caller_id_errors} 次损坏",
        ))  # fmt: skip
    return found


def _end(view: PortView) -> list[Fact]:
    end = view.last_end
    if end is None:
        return []
    english, chinese = ago(end.seconds)
    who_en, who_zh = ("by the other side", "对方挂机") if end.by_far else ("by us", "本方挂机")
    percent = round(100 * end.confidence)
    return [Fact(
        "hang-up", "last hang-up", "上次挂机",
        f"{english}: {word(CAUSES, end.cause, 'en')} {who_en}; {word(EVIDENCE, end.kind, 'en')}, {percent} % sure",
        f"{chinese}：{word(CAUSES, end.cause, 'zh')}，{who_zh}；依据{word(EVIDENCE, end.kind, 'zh')}，把握 {percent} %",
    )]  # fmt: skip


def _echo(view: PortView) -> list[Fact]:
    echo = view.echo
    if echo is None or not echo.calls:
        return []
    return [Fact(
        "echo", "echo", "回声",
        f"ERL {echo.erl_db:.0f} dB, ERLE {echo.erle_db:.0f} dB, delay {echo.delay_ms} ms, "
        f"noise {echo.noise_dbm0:.0f} dBm0 ({echo.calls} calls)",
        f"回波损耗 {echo.erl_db:.0f} dB，抵消 {echo.erle_db:.0f} dB，时延 {echo.delay_ms} 毫秒，"
        f"噪声 {echo.noise_dbm0:.0f} dBm0（{echo.calls} 次通话）",
    )]  # fmt: skip


def _chip(view: PortView) -> list[Fact]:
    chip = view.chip
    if chip is None:
        return []
    if not chip.fault:
        return [Fact("chip", "chip", "芯片", "well", "正常")]
    text = f" ({chip.fault}: {chip.text})" if chip.text else f" ({chip.fault})"
    return [Fact("chip", "chip", "芯片", chip.name[0] + text, chip.name[1] + text)]


def _tests(view: PortView) -> list[Fact]:
    found = []
    if view.test_s >= 0:
        english, chinese = ago(view.test_s)
        saying = SAYINGS.get(view.test_failed)
        result_en = "passed" if not view.test_failed else f"failed: {saying.en.partition(':')[0] if saying else view.test_failed}"
        result_zh = "通过" if not view.test_failed else f"未通过：{saying.zh.partition('：')[0] if saying else view.test_failed}"
        if view.dial_tone_ms >= 0 and not view.test_failed:
            result_en += f", dial tone after {view.dial_tone_ms / 1000:.1f} s"
            result_zh += f"，{view.dial_tone_ms / 1000:.1f} 秒后有拨号音"
        found.append(Fact("test", "self-test", "自检", f"{result_en} ({english})", f"{result_zh}（{chinese}）"))
    loop = view.loop
    if loop is not None:
        parts = [
            (f"{value:.{digits}f} {unit}", f"{value:.{digits}f} {unit_zh}")
            for value, digits, unit, unit_zh in (
                (loop.feed_volts, 0, "V feed", "伏馈电"), (loop.loop_ohms, 0, "ohm loop", "欧环路"),
                (loop.foreign_volts, 0, "V foreign", "伏外来电压"),
                (loop.leak_kohms, 0, "kohm leak", "千欧漏电"), (loop.ren, 1, "REN", "REN"),
            )
            if value is not None
        ]  # fmt: skip
        if parts:
            found.append(Fact(
                "loop", "line test", "线路测试", ", ".join(one for one, _ in parts), "，".join(other for _, other in parts)
            ))  # fmt: skip
    return found
