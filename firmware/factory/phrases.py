"""Reasons of failures in Chinese: the words of the steps, phrase by phrase (data; L5).

Reports stay in English, so that every line of them can be searched; the screen of an operator who reads Chinese shows these. What a
driver says (registers, values read and expected) is shown as it is.
"""

from __future__ import annotations

import re

PHRASES_ZH: dict[str, str] = {
    # numbers
    "across the open jack": "插口开路电阻", "supply current, idle": "空闲电流",
    "supply current, all SLICs active": "全部 SLIC 工作时电流", "bit clock error": "位时钟误差", "frame clock": "帧时钟",
    "breaks of the stream": "音频流中断次数", "revision": "芯片版本", "errors at": "错误次数，速率", "INT falls after": "中断线响应时间",
    "delay of the own pattern": "本时隙图样延迟", "loudest other slot": "其他时隙最大电平", "isolation link": "隔离链路",
    "converter rises in": "升压时间", "supply of the linefeed": "馈电电源",
    "left after 500 ms without converter": "关断 500 ms 后剩余电压", "bring-up": "启动时间", "converter peak current": "升压峰值电流",
    "largest resistance, joined": "吸合电阻最大值", "smallest resistance, apart": "断开电阻最小值",
    "wrong states of the sense contact in": "检测触点错误次数，循环数", "forward, by the chip": "正向电压（芯片）",
    "forward, by the meter": "正向电压（仪表）", "reversed, by the chip": "反向电压（芯片）",
    "reversed, by the meter": "反向电压（仪表）", "off-hook seen after": "摘机检测时间", "on-hook seen after": "挂机检测时间",
    "loop current at": "环路电流，设定", "loop current, by the chip": "环路电流（芯片）",
    "loop current, by the meter": "环路电流（仪表）", ", by the meter": "（仪表）", ", by the chip": "（芯片）",
    "threshold of the loop detector": "环路检测门限", "ringing into": "振铃电压，负载", "ringing frequency at": "振铃频率，负载",
    "ring trip after": "摘机截铃时间", "polarity turns at": "极性反转，馈电", "current flows after": "出现电流时间",
    "current ends after": "电流消失时间", "detected after": "检测到振铃时间", "half-waves shown at": "误检半波数，电压",
    "level at 1004 Hz, crossed": "1004 Hz 电平（交叉）", "level at 1004 Hz": "1004 Hz 电平", "signal to distortion": "信号失真比",
    "response at": "频率响应", "crosstalk into other ports": "串音", "idle noise": "空闲噪声", "echo return loss": "回波损耗",
    "from the line, absolute": "接收绝对电平", "to the line, absolute": "发送绝对电平", "wrong or missing digits": "错误或缺失的按键数",
    "caller ids not decoded": "未解出的来电显示数", "packets lost of": "丢包数，总量", "battery of the clock": "时钟电池",
    "clock error after": "时钟误差，断电", "wrong bytes of": "错误字节数，总量", "USB sticks": "U 盘数",
    "temperature sensor": "温度传感器", "watchdog resets after": "看门狗复位时间", "rail": "电压轨", "open": "开路",
    # words around them
    "limit": "限值", "never": "始终未出现", "heard nothing": "什么都没有听到",
    # what to look at
    "a short between tip and ring": "a、b 线之间短路", "tip and ring are swapped": "a、b 线接反", "the chip is too old": "芯片版本过旧",
    "SPI wiring, supply or speed": "检查 SPI 连线、电源、速率",
    "no DC power: 12 V, coil, transistor": "没有直流电源：检查 12 V、电感、晶体管",
    "the supply leaks: linefeed transistors": "电源漏电：检查馈电晶体管",
    "isolation capacitors, Si3019, its supply": "检查隔离电容、Si3019 及其电源",
    "relay contacts, or the relay does not fall": "继电器触点不良或不释放",
    "a welded contact, or the relay does not pull": "触点粘连或继电器不吸合", "the telephone was lifted while it rang": "振铃时摘机",
    "the ring detector is too sensitive": "振铃检测过于灵敏", "the watchdog does not reset the board": "看门狗没有复位电路板",
    "is shorted": "短路", "is low while no chip asks: stuck": "无请求时为低电平：被卡住", "does not follow": "没有响应",
    "stays low after the events were cleared": "清除事件后仍为低电平",
    "RESET does not reset the chip: check its line": "RESET 不能复位芯片：检查该线", "the lines are joined": "两条线连在一起",
    "no bit clock: the sound device does not run": "没有位时钟：声音设备没有运行", "something speaks in slot": "有信号出现在时隙",
    "not in slot": "不在时隙", "the loop does not close": "环路不闭合", "ring trip at": "误截铃，负载",
    "although nobody lifted": "无人摘机", "the line drops out (DOD) while current flows": "有电流时线路掉电（DOD）",
    "the button was not seen": "没有检测到按钮", "the button stays pressed": "按钮一直按下", "the link is half duplex": "链路为半双工",
    "is not on": "不亮", "is not off": "不灭", "write protection does not hold: the memory was changed": "写保护无效：存储器被改写",
    "the memory does not keep its record": "存储器不能保存记录",
    "the lifeline relay is not released by the reset": "复位没有释放应急继电器", "which did not pass": "未通过", "needs": "需要先通过",
    "stopped for safety": "因安全停止", "of 10 sent on hook": "共发送 10 次（挂机状态）",
}  # fmt: skip

_ORDER = re.compile("|".join(rf"(?<![A-Za-z]){re.escape(phrase)}(?![A-Za-z])" for phrase in sorted(PHRASES_ZH, key=len, reverse=True)))


def reason_in(language: str, reason: str) -> str:
    """A reason for the screen."""
    return _ORDER.sub(lambda found: PHRASES_ZH[found.group(0)], reason) if language == "zh" else reason
