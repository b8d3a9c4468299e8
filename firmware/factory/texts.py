"""What the operator reads, in English and Chinese (data; L5)."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "begin": ("{number:>2}  {title} ...", "{number:>2}  {title}……"),
    "pass": ("      passed in {seconds:.1f} s", "      合格，用时 {seconds:.1f} 秒"),
    "fail": ("      FAILED: {reason}", "      不合格：{reason}"),
    "skip": ("      skipped: {reason}", "      跳过：{reason}"),
    "absent": ("      not applicable: {reason}", "      不适用：{reason}"),
    "laboratory": ("      laboratory: {reason}", "      由安规实验室完成：{reason}"),
    "not-run": ("      not run: {reason}", "      未执行：{reason}"),
    "retest": ("      once more ...", "      复测一次……"),
    "led-on": ("Is the LED {led} lit? [y/n] ", "指示灯 {led} 亮了吗？[y/n] "),
    "led-off": ("Is the LED {led} dark? [y/n] ", "指示灯 {led} 灭了吗？[y/n] "),
    "press-button": ("Press the button and keep it pressed.", "请按住按钮不放。"),
    "release-button": ("Let the button go.", "请松开按钮。"),
    "power-cycle": (
        "The board loses its supply for {seconds} s. Continue afterwards with --resume.",
        "电路板将断电 {seconds} 秒，之后请用 --resume 继续。",
    ),
    "watchdog": (
        "The watchdog resets the board within {seconds} s. Continue afterwards with --resume.",
        "看门狗将在 {seconds} 秒内复位电路板，之后请用 --resume 继续。",
    ),
    "restart": (
        "The board restarts; continue with: branchpbx factory --resume --serial {serial}",
        "电路板重启；请执行 branchpbx factory --resume --serial {serial} 继续",
    ),
    "verdict-pass": ("PASS  {serial}: pack it.", "合格  {serial}：可以包装。"),
    "verdict-fail": ("FAIL  {serial}: {steps}. It may be tested once more.", "不合格  {serial}：{steps}。可再测一次。"),
    "verdict-repair": ("REPAIR BIN  {serial}: {steps} failed twice.", "送修  {serial}：{steps} 两次不合格。"),
    "verdict-stopped": (
        "STOPPED for safety  {serial}: {steps}. Supply is off; take the board out.",
        "安全停止  {serial}：{steps}。电源已断开，请取下电路板。",
    ),
    "verdict-interrupted": ("INTERRUPTED  {serial}: start the test again.", "中断  {serial}：请重新测试。"),
    "report": ("Report: {path}", "报告：{path}"),
    "golden-good": (
        "The fixture measures the golden board as before ({numbers} numbers).",
        "工装测得的标准板数据与存档一致（{numbers} 项）。",
    ),
    "golden-drift": ("The fixture has DRIFTED: do not test boards until it is repaired.", "工装已漂移：修复前请勿测试。"),
    "golden-kept": ("Numbers of the golden board kept: {path}", "标准板数据已保存：{path}"),
    "answer": ("Please answer y or n.", "请回答 y 或 n。"),
}  # fmt: skip

# Titles of the steps in Chinese; English ones are in runner.STEPS.
TITLES_ZH: dict[str, str] = {
    "supply": "电源（空闲）", "identity": "身份存储器", "clocks": "PCM 时钟",
    "spi": "SPI 与芯片数量", "reset": "复位与初值", "interrupts": "中断线",
    "slots": "PCM 时隙", "link": "FXO 隔离链路", "converter": "FXS 升压电源",
    "calibration": "FXS 校准", "supply-active": "电源（全部 SLIC 工作）", "lifeline": "应急继电器",
    "idle-voltage": "FXS 空闲电压", "loop": "FXS 环路", "ringing": "FXS 振铃",
    "line-voltage": "FXO 线路电压", "line-loop": "FXO 环路", "ring-detect": "FXO 振铃检测",
    "analog": "语音通路", "call": "拨号与来电显示", "panel": "指示灯与按钮",
    "ethernet": "以太网", "rtc": "电池时钟", "storage": "存储、USB、传感器、看门狗",
    "insulation": "绝缘与浪涌",
}  # fmt: skip


def text(language: str, key: str, **values: object) -> str:
    """A text in `en` or `zh`."""
    return TEXTS[key][1 if language == "zh" else 0].format(**values)


def title(language: str, step: str, english: str) -> str:
    """A step's title."""
    return TITLES_ZH.get(step, english) if language == "zh" else english
