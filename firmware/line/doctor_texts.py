"""What the line doctor says, in English and Simplified Chinese: data only (L1, pure).

Each code has what is the case and what to do, per language; `{name}` are the values of its finding, which `say` and `advise` fill in. Words
of states, causes and evidence are here too, so that every screen calls a thing by one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from firmware.line.doctor import Finding

Language = Literal["en", "zh"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")


class Saying(msgspec.Struct, frozen=True):
    """One code: what is the case and what to do about it."""

    en: str
    zh: str
    do_en: str = ""
    do_zh: str = ""


SAYINGS: Final[Mapping[str, Saying]] = MappingProxyType(
    {
        "well": Saying("nothing is wrong with this port", "此端口一切正常"),
        "busy": Saying("a call is going on, nothing is wrong", "正在通话，一切正常"),
        "not-measured": Saying("not measured yet", "尚未测量", "wait a second and ask again", "稍等一秒后再查询"),
        "no-echo-figures": Saying(
            "no call of 8 s or more was measured yet",
            "尚无 8 秒以上的通话可供测量",
            "make a call over this line, or compare terminations: `doctor echo {jack} compare=true`",
            "请通过该线路打一次电话，或比较阻抗：`doctor echo {jack} compare=true`",
        ),
        "best-match": Saying("the present termination fits this line", "当前阻抗与该线路匹配"),
        "better-match": Saying(
            "termination {name} fits this line better by {better} dB",
            "阻抗 {name} 与该线路更匹配，改善 {better} dB",
            "take it with `doctor termination {jack} {setting}`",
            "用 `doctor termination {jack} {setting}` 采用",
        ),
        "taken-match": Saying(
            "termination {name} fits this line better by {better} dB and is used from now on",
            "阻抗 {name} 与该线路更匹配，改善 {better} dB，现已采用",
            "`doctor termination {jack} country` goes back to the country's",
            "`doctor termination {jack} country` 可恢复国家默认值",
        ),
        "no-voltage": Saying(
            "no voltage",
            "线路无电压",
            "is the cable in the wall socket? Try an ordinary telephone there; if it is dead too, call the operator",
            "线缆是否插在墙上插座里？用普通话机在该插座试听；若也无声，请联系运营商",
        ),
        "ring-stuck": Saying(
            "ringing voltage that never ends",
            "铃流一直不停",
            "pull the plug and put it back; if it comes again, call the operator",
            "拔下插头再插上；若再出现，请联系运营商",
        ),
        "parallel": Saying(
            "only {volts} V: a telephone on the same line is off-hook",
            "只有 {volts} 伏：同一线路上有并联话机摘机",
            "find the other telephone, alarm dialler or fax on this line and put it on-hook; best disconnect it",
            "找到该线路上的其他话机、报警器或传真机并挂机；最好将其断开",
        ),
        "low-voltage": Saying(
            "only {volts} V at rest",
            "空闲电压仅 {volts} 伏",
            "look for a leak or a second device on the line; ask the operator to measure it",
            "检查线路漏电或是否并接了其他设备；请运营商测量",
        ),
        "weak-voltage": Saying(
            "{volts} V: fed by an adapter or another PBX, not by an exchange",
            "{volts} 伏：由网关或其他交换机供电，并非局端供电",
            "nothing to do; such devices often give no caller id or polarity reversal unless set to",
            "无需处理；此类设备若未设置，常不送来电显示和反极信号",
        ),
        "high-voltage": Saying(
            "{volts} V, more than a telephone line has",
            "{volts} 伏，高于电话线正常电压",
            "unplug it and find out what it is before using it",
            "请拔下并查明这是什么线路后再使用",
        ),
        "reversed": Saying(
            "polarity reversed",
            "极性反接",
            "swap the two wires in the plug if this line uses polarity reversal to tell answer and hang-up; else it does no harm",
            "若该线路用反极信号判断应答与挂机，请对调插头内两根线；否则无影响",
        ),
        "no-current": Saying(
            "no loop current when the line is seized",
            "摘机后无环路电流",
            "a broken wire or a corroded contact, or the operator has barred the line: try an ordinary telephone in the socket",
            "可能断线、接触不良，或线路已被停机：请用普通话机在插座上试",
        ),
        "low-current": Saying(
            "current only {milliamps} mA: the exchange may not notice that we are off-hook",
            "电流仅 {milliamps} 毫安：局端可能检测不到摘机",
            "clean the contacts, shorten or replace the cable; tell the operator",
            "清洁接点，缩短或更换线缆；并告知运营商",
        ),
        "long-line": Saying(
            "current only {milliamps} mA: long line",
            "电流仅 {milliamps} 毫安：线路较长",
            "expect a low volume; raise the gain from the line if people sound quiet",
            "音量可能偏小；若声音小，可提高线路侧接收增益",
        ),
        "high-current": Saying(
            "current {milliamps} mA, too much",
            "电流 {milliamps} 毫安，过大",
            "a short line to a PBX without current limit: put a resistor of 300 ohm into the line or lower its feed",
            "很可能接到无限流的交换机端口：在线路中串入 300 欧电阻或降低其馈电",
        ),
        "no-dial-tone": Saying(
            "no dial tone",
            "没有拨号音",
            "listen with a telephone in the socket; the bill may be unpaid, or the line is another PBX's that wants a code first",
            "用话机在插座上听；可能欠费停机，或该线路接在其他交换机上需先拨接入码",
        ),
        "slow-dial-tone": Saying(
            "dial tone comes only after {seconds} s",
            "拨号音 {seconds} 秒后才出现",
            "nothing to do; calls take that much longer to begin",
            "无需处理；呼出会相应变慢",
        ),
        "caller-id-damaged": Saying(
            "caller id was damaged in {count} of {calls} calls",
            "{calls} 次来电中有 {count} 次来电显示数据损坏",
            "noise on the line: look at the echo doctor and at the cable; keep it away from mains and motors",
            "线路有噪声：请看回声诊断并检查线缆；远离电源线和电机",
        ),
        "no-caller-id": Saying(
            "no caller id in the last {calls} calls",
            "最近 {calls} 次来电均无来电显示",
            "order the service from the operator; if an ordinary telephone shows numbers here, capture a call and send it to support",
            "请向运营商申请开通来电显示；若普通话机在此有显示，请抓取一次来电并发给技术支持",
        ),
        "release-guessed": Saying(
            "this line does not tell clearly when the other side hangs up ({count} times guessed)",
            "该线路没有明确的对方挂机信号（已有 {count} 次靠推断）",
            "ask the operator for polarity reversal or a loop break at hang-up; the line's tone is learned meanwhile: `tone show`",
            "请向运营商申请挂机反极或断环信号；系统同时会自动学习挂断音：`tone show`",
        ),
        "very-noisy": Saying(
            "line noisy: {noise} dBm0 of noise",
            "线路噪声大：噪声 {noise} dBm0",
            "unplug everything else on this line; if it stays, call the operator",
            "拔下该线路上的其他设备；若仍存在请联系运营商",
        ),
        "noisy": Saying(
            "some noise on the line: {noise} dBm0",
            "线路略有噪声：{noise} dBm0",
            "check the cable and its distance from mains",
            "检查线缆及其与电源线的距离",
        ),
        "poor-match": Saying(
            "strong echo from the line: only {erl} dB come back weaker (good lines have 15 or more)",
            "线路回声强：回波损耗仅 {erl} dB（良好线路为 15 以上）",
            "try another termination: `doctor echo {jack} compare=true` measures which one fits",
            "尝试其他阻抗：用 `doctor echo {jack} compare=true` 测量哪一种最合适",
        ),
        "echo-left": Saying(
            "the echo canceller reaches only {erle} dB",
            "回声抵消仅达到 {erle} dB",
            "people hear themselves in the first seconds; check that no other telephone hangs on the line, then try another termination",
            "通话开始时对方会听到自己的声音；确认线路上没有并机，再尝试其他阻抗",
        ),
        "echo-heard": Saying(
            "echo was audible in {audible} of {words} words",
            "{words} 个词中有 {audible} 个能听到回声",
            "try another termination, or lower the gain towards the line by 3 dB",
            "尝试其他阻抗，或将送往线路的增益降低 3 dB",
        ),
        "too-loud": Saying(
            "the line's speech is cut off at full scale",
            "线路话音过大被削波",
            "lower the gain from the line by 3 dB",
            "将线路侧接收增益降低 3 dB",
        ),
        "too-quiet": Saying(
            "the line's speech is only {level} dBm0", "线路话音仅 {level} dBm0", "raise the gain from the line", "提高线路侧接收增益"
        ),
        "chip-out": Saying("the port is out of service: {name}", "端口已退出服务：{name}", "{todo}", "{todo}"),
        "chip-fault": Saying(
            "chip fault: {name}", "芯片故障：{name}", "it is being recovered; look again in a minute", "正在自动恢复；一分钟后再看"
        ),
        "chip-recovered": Saying(
            "the chip failed {count} times today and recovered",
            "芯片今日出错 {count} 次，均已恢复",
            "check supply and earth if the number grows",
            "若次数增加，请检查电源与接地",
        ),
        "left-off-hook": Saying(
            "the telephone is off-hook and nobody dials ({time} min)",
            "话机摘机后无人拨号（{time} 分）",
            "put the handset back; if it lies on its hook, the wires touch: check plug and cable",
            "请把听筒挂好；若听筒已挂好，则是两线相碰：请检查插头和线缆",
        ),
        "no-feed": Saying(
            "the jack is fed with {volts} V only",
            "插口馈电仅 {volts} 伏",
            "unplug the telephone; if it stays so, the port is broken, else the cable is shorted",
            "拔下话机；若仍如此则端口损坏，否则线缆短路",
        ),
        "phone-far": Saying(
            "only {milliamps} mA through the telephone", "话机电流仅 {milliamps} 毫安", "a very long or bad cable", "线缆过长或质量差"
        ),
        "phone-far-ohms": Saying("{ohms} ohm to the telephone", "到话机的电阻为 {ohms} 欧", "a very long or bad cable", "线缆过长或质量差"),
        "foreign-voltage": Saying(
            "{volts} V from outside on this jack",
            "插口上有外来电压 {volts} 伏",
            "unplug at once: an outside line is plugged into a telephone jack",
            "请立即拔下：外线被误插到话机插口",
        ),
        "leak": Saying(
            "{kohms} kohm between the wires: damp or damaged cable",
            "线间漏电 {kohms} 千欧：线缆受潮或破损",
            "replace the cable",
            "更换线缆",
        ),
        "shorted": Saying("the wires touch ({ohms} ohm)", "两线短路（{ohms} 欧）", "check plug and cable", "检查插头和线缆"),
        "nothing-rings": Saying(
            "nothing that could ring is connected", "未接任何可振铃的设备", "is the telephone plugged in?", "话机是否插好？"
        ),
        "too-many-bells": Saying(
            "bells of {ren} REN, more than the port can ring",
            "振铃负载 {ren} REN，超过端口能力",
            "disconnect one of the telephones",
            "请拔掉其中一部话机",
        ),
    }
)

STATES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "NO_LINE": ("no line", "无线路"),
        "IDLE": ("idle", "空闲"),
        "IN_USE": ("in use by another telephone", "被并机占用"),
        "RINGING": ("ringing", "振铃"),
        "ANSWERING": ("answering", "应答中"),
        "SEIZING": ("seizing", "摘机"),
        "WAIT_DIAL_TONE": ("waiting for dial tone", "等待拨号音"),
        "DIALLING": ("dialling", "拨号中"),
        "WAIT_ANSWER": ("waiting for an answer", "等待应答"),
        "TALKING": ("in a call", "通话中"),
        "RELEASING": ("releasing", "拆线"),
        "GUARD": ("resting after a call", "挂机保护"),
        "DIAL_TONE": ("off-hook, dial tone", "摘机，拨号音"),
        "COLLECTING": ("dialling", "拨号中"),
        "CALLING": ("calling", "呼叫中"),
        "FAR_GONE": ("the other side hung up", "对方已挂机"),
        "REORDER": ("busy tone", "忙音"),
        "HOWLER": ("howler", "催挂音"),
        "LOCKOUT": ("left off-hook", "久不挂机"),
    }
)
#: What a machine says of its state, in Chinese.
DETAILS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no battery: check the cable and the operator": "无电压：请检查线缆和运营商",
        "a parallel telephone is off-hook": "并联话机摘机",
        "ringing voltage without end: check the line and the operator": "铃流不停：请检查线路和运营商",
        "no dial tone": "无拨号音",
        "no loop current": "无环路电流",
        "glare": "占线时有来电",
        "telephone left off-hook": "话机未挂好",
        "in use by hand": "正由人工占用",
    }
)
CAUSES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "normal": ("hang-up", "正常挂机"),
        "busy": ("busy", "占线"),
        "no-answer": ("no answer", "无应答"),
        "rejected": ("rejected", "拒接"),
        "cancelled": ("given up before an answer", "应答前放弃"),
        "abandoned": ("caller left", "主叫离开"),
        "answered-elsewhere": ("answered elsewhere", "他处应答"),
        "transferred": ("transferred", "已转接"),
        "unreachable": ("unreachable", "不可达"),
        "refused": ("refused", "被拒绝"),
        "congestion": ("congestion", "拥塞"),
        "no-dial-tone": ("no dial tone", "无拨号音"),
        "line-fault": ("line fault", "线路故障"),
        "media-lost": ("restart of the media process", "媒体进程重启"),
        "rtp-lost": ("network lost", "网络中断"),
        "timeout": ("time limit", "超时"),
        "preempted": ("freed for an emergency call", "为紧急呼叫让路"),
        "system": ("system", "系统"),
    }
)
EVIDENCE: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "polarity": ("polarity reversal", "反极"),
        "loop-drop": ("loop current lost", "环路断电"),
        "busy-tone": ("busy tone", "忙音"),
        "congestion-tone": ("congestion tone", "拥塞音"),
        "dial-tone": ("dial tone", "拨号音"),
        "silence": ("long silence", "长时间静音"),
        "ringback-stopped": ("ringback stopped", "回铃停止"),
        "ring-stopped": ("ringing stopped", "振铃停止"),
        "ring": ("ring", "振铃"),
        "voice": ("voice", "话音"),
        "on-hook": ("handset put down", "挂机"),
        "off-hook": ("off-hook", "摘机"),
        "timer": ("timer", "定时器"),
        "command": ("our own hang-up", "本机挂断"),
        "adoption": ("restart", "重启"),
    }
)
WEIGHT_WORDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "fault": ("FAULT", "故障"),
        "warning": ("warning", "警告"),
        "hint": ("hint", "提示"),
        "good": ("good", "正常"),
    }
)


def word(table: Mapping[str, tuple[str, str]], name: str, language: Language) -> str:
    """A name as people of that language say it; one that is not in the table as it is."""
    return table[name][LANGUAGES.index(language)] if name in table else name


def say(finding: Finding, language: Language) -> str:
    """What is the case."""
    saying = SAYINGS[finding.code]
    return (saying.en if language == "en" else saying.zh).format_map(_values(finding, language)).strip()


def advise(finding: Finding, language: Language, jack: str = "") -> str:
    """What to do about it."""
    saying = SAYINGS[finding.code]
    return (saying.do_en if language == "en" else saying.do_zh).format_map(_values(finding, language, jack))


def _values(finding: Finding, language: Language, jack: str = "") -> _Values:
    """Values of the sentence; those that are words themselves come as NAME_en and NAME_zh."""
    own = {name.removesuffix(f"_{language}"): value for name, value in finding.values.items() if name.endswith(f"_{language}")}
    return _Values({"jack": jack, **finding.values, **own})


class _Values(dict[str, str]):
    """A value that a finding does not carry reads as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"
